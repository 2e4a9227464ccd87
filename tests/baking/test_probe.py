"""Long conversations in one cache say what the model says when it reads them anew."""

from __future__ import annotations

from bakemem.baking import LongConversations, answers, same, share
from bakemem.serving import Base
from bakemem.types import Turn

SYSTEMS = ["You sing.", "", "You are the slow and careful assistant of a large ship."]
TEXTS = [["Hello!", "What is my dog called, please?", "Hi."], ["Who are you?", "Yes.", "Tell me something long."],
         ["One.", "Two and three.", "Four!"]]  # fmt: skip


def afresh(base: Base, dialogues: list[list[Turn]]) -> list[str]:
    """Each conversation read from its start, on its own."""
    return [answers(base.model, base.template, [d], adapter_name=None, lock=base.lock, max_new_tokens=48)[0]
            for d in dialogues]  # fmt: skip


def test_a_cached_conversation_equals_one_read_anew(tiny_base: Base) -> None:
    """Ragged lengths, padding and masks change no reply, and replies end when they end."""
    talk = LongConversations(tiny_base.model, tiny_base.template, SYSTEMS, None, tiny_base.lock)
    dialogues = [[Turn("system", s)] if s else [] for s in SYSTEMS]
    for texts in TEXTS:
        for dialogue, text in zip(dialogues, texts, strict=True):
            dialogue.append(Turn("user", text))
        replies = talk.say(texts)
        assert all(same(a, b) for a, b in zip(replies, afresh(tiny_base, dialogues), strict=True))
        if any("\ufffd" in r or not r for r in replies):
            return  # random bytes do not survive being read again as text
        for dialogue, reply in zip(dialogues, replies, strict=True):
            dialogue.append(Turn("assistant", reply))


def test_a_probe_leaves_no_trace(tiny_base: Base) -> None:
    """What is asked with `keep=False` changes nothing that follows."""
    plain, probed = (
        LongConversations(tiny_base.model, tiny_base.template, SYSTEMS, None, tiny_base.lock) for _ in range(2)
    )
    assert plain.say(TEXTS[0]) == probed.say(TEXTS[0])
    probed.say(TEXTS[1], keep=False)
    probed.say(TEXTS[2], keep=False)
    assert plain.say(TEXTS[1]) == probed.say(TEXTS[1])


def test_answers_do_not_depend_on_the_batch(tiny_base: Base) -> None:
    """Left padding is masked: a conversation is answered alike alone and among others."""
    asked = [[Turn("user", text)] for texts in TEXTS for text in texts]
    together = answers(tiny_base.model, tiny_base.template, asked, adapter_name=None, lock=tiny_base.lock)
    alone = [
        answers(tiny_base.model, tiny_base.template, [turns], adapter_name=None, lock=tiny_base.lock)[0]
        for turns in asked
    ]
    assert together == alone


def test_the_share_of_nothing_is_whole() -> None:
    """Nothing failed where nothing was asked."""
    assert share([]) == 1.0
    assert share([True, False]) == 0.5
    assert same(" a  b\n", "a b")
    assert not same("a b", "a B")
