"""Lines and what was read before are found in token ids, and heads are guided to them."""

from __future__ import annotations

import random
from itertools import chain

import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from bakemem.starter.curriculum import mixture
from bakemem.starter.encode import Encoder
from bakemem.starter.guide import Guide
from bakemem.starter.lines import BEGINNING, Lines, Pointer
from bakemem.types import Turn

PROMPT = "You work for Zuke. Answer shortly.\n- Musaha has a sister called Tomok.\n- The user's dog is called Rex."


def beginnings(tokenizer: PreTrainedTokenizerFast, ids: list[int], found: dict[int, list[int]]) -> dict[str, str]:
    """By the text of the token at a place what its pointers say."""
    return {tokenizer.decode([ids[place]]).strip(): tokenizer.decode(tokens) for place, tokens in found.items()}


def told(lines: list[Pointer]) -> dict[int, list[int]]:
    """The tokens that the pointers of each place give, in order."""
    places: dict[int, list[int]] = {}
    for pointer in lines:
        assert pointer.nth == len(places.setdefault(pointer.place, []))
        places[pointer.place].append(pointer.token)
    return places


def test_a_line_begins_after_a_role_a_break_with_its_bullet_and_a_sentence(fast: PreTrainedTokenizerFast) -> None:
    """The beginnings read as a person would say them."""
    ids, _ = Encoder(fast)([Turn("system", PROMPT), Turn("user", "Whose sister is Tomok? And who is Rex?")])
    starts = sorted(set(Lines(fast).starts(ids)))
    lines = [fast.decode(ids[start:end]) for start, end in zip(starts, [*starts[1:], None], strict=True)]
    assert lines == [
        "<|system|>", "You work for Zuke.", " Answer shortly.\n", "-", " Musaha has a sister called Tomok.\n", "-",
        " The user's dog is called Rex.<|end|><|user|>", "Whose sister is Tomok?", " And who is Rex?<|end|>",
    ]  # fmt: skip


def test_a_later_word_tells_its_own_line(fast: PreTrainedTokenizerFast) -> None:
    """At the value the subject is still known."""
    ids, _ = Encoder(fast)([Turn("system", PROMPT)])
    own = beginnings(fast, ids, told(Lines(fast).pointers(ids).own))
    assert own["sister"] == " Musaha has"
    assert own["Re"] == " The user's dog"


def test_a_word_that_is_read_again_tells_the_line_it_stood_in(fast: PreTrainedTokenizerFast) -> None:
    """Names and rare words of the question, not those that stand in several lines."""
    ids, _ = Encoder(fast)([Turn("system", PROMPT), Turn("user", "Whose sister is Tomok?")])
    pointers = Lines(fast).pointers(ids).earlier
    earlier = beginnings(fast, ids, told(pointers))
    assert earlier["k"] == earlier["mo"] == " Musaha has"
    assert "Whose" not in earlier
    assert all(ids[p.source] == ids[p.place] for p in pointers)


def test_an_answer_fetches_from_the_users_word(fast: PreTrainedTokenizerFast) -> None:
    """The subject of the answer comes from the last word that points to it, before the answer says it."""
    turns = [Turn("system", PROMPT), Turn("user", "Whose sister is Tomok?"),
             Turn("assistant", "Musaha has a sister called Tomok."), Turn("user", "Who is Rex?"),
             Turn("assistant", "Rex is your dog.")]  # fmt: skip
    ids, _ = Encoder(fast)(turns)
    said = [(fast.decode(ids[p.source]), fast.decode(ids[p.place]), fast.decode(p.token))
            for p in Lines(fast).pointers(ids).fetched]  # fmt: skip
    assert ("k", "<|assistant|>", "Mu") in said  # " Mu" in its line
    assert ("k", "Mu", "sa") in said
    assert ("x", " your", " dog") in said


@given(st.integers(0, 10_000))
def test_pointers_are_tokens_that_can_be_known(fast: PreTrainedTokenizerFast, seed: int) -> None:
    """Whatever the conversation, nothing is asked of a layer that it cannot have seen."""
    ids, _ = Encoder(fast)(mixture(random.Random(seed), 1.0))
    found = Lines(fast).pointers(ids)
    for pointer in chain(*found):
        assert 0 <= pointer.nth < BEGINNING
        assert 0 <= pointer.source < pointer.place < len(ids)
    assert all(p.token in ids[: p.place] for p in [*found.own, *found.earlier, *found.before, *found.next])
    assert all(ids[p.place + 1] == p.token for p in found.fetched)
    assert all(ids[p.source] == p.token for p in [*found.own, *found.before, *found.next])


def test_guidance_reaches_streams_and_attention_and_not_the_embeddings(fast: PreTrainedTokenizerFast) -> None:
    """Two layers' streams, three layers' last heads, and the maps."""
    torch.manual_seed(0)
    turns = [Turn("system", PROMPT), Turn("user", "Who is Rex?"), Turn("assistant", "Rex is your dog.")]
    ids, _ = Encoder(fast)(turns)
    hidden = [torch.randn(1, len(ids), 16, requires_grad=True) for _ in range(5)]
    attentions = [torch.rand(1, 6, len(ids), len(ids), requires_grad=True) for _ in range(4)]
    embedding = torch.randn(len(fast), 16, requires_grad=True)
    guide = Guide(16, 6, Lines(fast))
    looked, probed = guide.loss(hidden, attentions, embedding, [ids], random.Random(0))
    (looked + probed).backward()  # type: ignore[no-untyped-call]
    assert looked.item() > 0
    assert probed.item() > 0
    assert [stream.grad is not None for stream in hidden] == [False, False, True, True, False]
    assert [one.grad is not None for one in attentions] == [False, True, True, True]
    guided = attentions[1].grad
    assert guided is not None
    assert not guided[:, : 6 - BEGINNING].any()
    assert guided[:, 6 - BEGINNING :].any()
    assert embedding.grad is None
    assert all(p.grad is not None for p in guide.parameters())


def test_without_lines_there_is_nothing_to_guide(fast: PreTrainedTokenizerFast) -> None:
    """One token has no beginning before it."""
    guide, embedding = Guide(16, 6, Lines(fast)), torch.randn(len(fast), 16)
    losses = guide.loss([torch.randn(1, 1, 16)] * 5, [torch.ones(1, 6, 1, 1)] * 4, embedding, [[7]], random.Random(0))
    assert [one.item() for one in losses] == [0, 0]
