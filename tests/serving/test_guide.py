"""Replies that are held to a grammar, beside others that are not."""

from __future__ import annotations

import pytest

from bakemem.errors import InputError
from bakemem.serving import LocalEngine, Request, Sampling
from bakemem.types import Turn

ASKED = (Turn("user", "Question 1 about cats?"),)
COLOURS = '%llguidance {}\nstart: "red" | "green, very green"\n'


def test_a_reply_is_in_the_language_of_its_grammar(engine: LocalEngine) -> None:
    """At any temperature, and it ends by itself; what is beside it in a batch is as without it."""
    alone = engine.submit(Request(ASKED, sampling=Sampling(max_new_tokens=20))).text()
    held = [engine.submit(Request(ASKED, sampling=Sampling(3.0, 20, seed), grammar=COLOURS)) for seed in range(6)]
    free = engine.submit(Request(ASKED, sampling=Sampling(max_new_tokens=20)))
    assert {reply.text() for reply in held} == {"red", "green, very green"}
    assert {reply.ending.finish for reply in held} == {"stop"}
    assert free.text() == alone


def test_a_grammar_goes_on_behind_the_prefix(engine: LocalEngine) -> None:
    """The prefix is no part of it."""
    reply = engine.submit(Request(ASKED, prefix="My colour is ", grammar='%llguidance {}\nstart: "blue."'))
    assert reply.text() == "blue."


def test_a_reply_keeps_the_space_behind_its_prefix(engine: LocalEngine) -> None:
    """What is put behind the prefix reads on; without one a reply begins with its first word."""
    grammar = 'start: " blue and grey"'
    said = {prefix: engine.submit(Request(ASKED, prefix=prefix, grammar=grammar)).text() for prefix in ("They are", "")}
    assert said == {"They are": " blue and grey", "": "blue and grey"}


def test_a_reply_that_is_cut_short_has_only_begun(engine: LocalEngine) -> None:
    """As its ending says."""
    reply = engine.submit(Request(ASKED, sampling=Sampling(max_new_tokens=2), grammar="start: /x{50}/"))
    assert set(reply.text()) == {"x"}
    assert reply.ending.finish == "length"


@pytest.mark.parametrize("grammar", ["start: missing", "no grammar at all", 'start: "\\'])
def test_a_grammar_that_is_none_is_refused_at_once(engine: LocalEngine, grammar: str) -> None:
    """With what is wrong with it."""
    with pytest.raises(InputError, match="grammar cannot be used"):
        engine.submit(Request(ASKED, grammar=grammar))


def test_a_slow_tokenizer_is_told(engine: LocalEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of it can be guided."""
    monkeypatch.setattr("bakemem.serving.guide.PreTrainedTokenizerFast", int)
    with pytest.raises(InputError, match="fast tokenizer"):
        engine.submit(Request(ASKED, grammar=COLOURS))
