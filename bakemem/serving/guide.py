"""Replies that are held to a grammar: of all tokens, only those with which it can still be fulfilled are drawn.

Knows tokenizers and grammars (llguidance's, a variant of Lark's); knows no models.
"""

from __future__ import annotations

from functools import cached_property, lru_cache

import numpy as np
import torch
from llguidance import LLMatcher, LLTokenizer
from llguidance.hf import from_tokenizer
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from bakemem.errors import InputError, ServingError
from bakemem.template import ChatTemplate


class Grammars:
    """Makes guides for one tokenizer, which is read when the first is wanted; `n_vocab` is the length of the logits."""

    def __init__(self, template: ChatTemplate, n_vocab: int) -> None:
        self._template, self._n_vocab = template, n_vocab
        self._compiled = lru_cache(64)(self._compile)  # an agent's tools are the same in every reply

    def guide(self, grammar: str) -> Guide:
        """A guide at the beginning of a reply. Raises InputError for a grammar or a tokenizer that cannot guide."""
        return Guide(self._compiled(grammar).deep_copy())

    def _compile(self, grammar: str) -> LLMatcher:
        matcher = LLMatcher(self._tokenizer, grammar, log_level=0)
        if matcher.is_error():
            raise InputError(f"The reply's grammar cannot be used: {matcher.get_error()}")
        return matcher

    @cached_property
    def _tokenizer(self) -> LLTokenizer:
        tokenizer = self._template.tokenizer
        if not isinstance(tokenizer, PreTrainedTokenizerFast):
            raise InputError("A grammar needs a fast tokenizer, which the model does not have.")
        n_vocab = max(self._n_vocab, len(tokenizer))
        return from_tokenizer(tokenizer, n_vocab, eos_token=list(self._template.stop_ids))


class Guide:
    """How far one reply is in its grammar."""

    def __init__(self, matcher: LLMatcher) -> None:
        self._matcher = matcher

    def held(self, logits_V: Tensor) -> Tensor:
        """The logits, minus infinity at tokens that may not come next; only a stop token may where all is said."""
        bits = np.unpackbits(np.frombuffer(self._matcher.compute_bitmask(), np.uint8), bitorder="little")
        allowed_V = torch.from_numpy(bits[: len(logits_V)]).bool()
        if self._matcher.is_error() or not allowed_V.any():
            raise ServingError(f"The reply cannot go on in its grammar: {self._matcher.get_error()}")
        return logits_V.masked_fill(~allowed_V, -torch.inf)

    def add(self, token: int) -> None:
        """The token that was drawn."""
        self._matcher.consume_token(token)
