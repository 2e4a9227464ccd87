"""Tokens become text as they come: nothing is lost, doubled, or shown too early."""

from __future__ import annotations

from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from bakemem.serving.detokenizer import Detokenizer
from bakemem.template import ChatTemplate
from tests.tiny import byte_base

TEMPLATE = byte_base().template  # a token a byte: characters come in parts
texts = st.text(st.sampled_from("ab \n.ü→🙂"), max_size=40)


@given(texts)
@settings(max_examples=300)
def test_the_pieces_are_the_text(text: str) -> None:
    """Without white space around it, as the template's `decode` gives it."""
    detokenizer = Detokenizer(TEMPLATE)
    ids = TEMPLATE.ids(text)
    assert "".join([*map(detokenizer.add, ids), detokenizer.rest()]) == TEMPLATE.decode(ids) == text.strip()


@example("a aa", ["aa"])
@given(texts, st.lists(st.text(st.sampled_from("ab .ü"), min_size=1, max_size=4), max_size=3))
@settings(max_examples=300)
def test_a_stop_text_is_never_shown(text: str, stop: list[str]) -> None:
    """What is shown is the text before the one that is complete first."""
    detokenizer, shown = Detokenizer(TEMPLATE, stop), ""
    for token in TEMPLATE.ids(text):
        shown += detokenizer.add(token)
        if detokenizer.stopped:
            break
    shown += detokenizer.rest()
    lead = len(text) - len(text.lstrip())
    met = [(at + len(one), at) for one in stop if (at := text.find(one)) >= 0]
    assert detokenizer.stopped == bool(met)
    assert shown == (text[lead : max(lead, min(met)[1])] if met else text[lead:]).rstrip()


def test_a_space_behind_the_beginning_is_kept() -> None:
    """Also by tokenizers that write a space before the first word and read it away again, as Llama 2's."""
    vocabulary = {"<end>": 0, "▁They": 1, "▁are": 2, "▁blue": 3, "▁": 4}
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>")
    wrapped.chat_template = TEMPLATE.tokenizer.chat_template
    template = ChatTemplate(wrapped)
    for begun, shown in (([], "are blue"), ([1], " are blue")):
        detokenizer = Detokenizer(template, begun=begun)
        assert "".join([*map(detokenizer.add, [2, 3]), detokenizer.rest()]) == shown


def test_a_character_is_shown_when_it_is_whole() -> None:
    """Not its first bytes."""
    detokenizer = Detokenizer(TEMPLATE)
    assert [detokenizer.add(token) for token in TEMPLATE.ids("ü🙂")] == ["", "ü", "", "", "", "🙂"]


def test_bytes_that_never_become_a_character_are_kept_at_the_end() -> None:
    """As the tokenizer writes them."""
    detokenizer, ids = Detokenizer(TEMPLATE), TEMPLATE.ids("a🙂")[:-1]
    assert "".join([*map(detokenizer.add, ids), detokenizer.rest()]) == TEMPLATE.decode(ids)
