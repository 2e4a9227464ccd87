"""What the tests of the starter's training share."""

from __future__ import annotations

import pytest
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast


@pytest.fixture(scope="session")
def fast(tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerFast:
    """The starter's tokenizer as what it is."""
    assert isinstance(tokenizer, PreTrainedTokenizerFast)
    return tokenizer
