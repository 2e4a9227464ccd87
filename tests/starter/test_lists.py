"""The next key of an answer is found in the list of the prompt."""

from __future__ import annotations

from transformers import PreTrainedTokenizerFast

from bakemem.starter.encode import Encoder
from bakemem.starter.lines import BEGINNING, Lines
from bakemem.starter.lists import Lists
from bakemem.types import Turn

TOOLS = "<tools>\nget_news(topic: string) - News of a topic.\nset_alarm(hour: integer, ?day_name: string)\n</tools>"
CALL = '<tool_call>\n{"name": "set_alarm", "arguments": {"hour": 7, "day_name": "Monday"}}\n</tool_call>'


def told(fast: PreTrainedTokenizerFast, ids: list[int]) -> list[tuple[str, str, str]]:
    """The text up to each place, the key that was written last, and how the listing goes on."""
    return [
        (fast.decode(ids[next_.place - 1 : next_.place + 1]).strip(), fast.decode(ids[slice(*next_.written)]),
         fast.decode(ids[next_.listed : next_.listed + 2]).strip())
        for next_ in Lists(fast).following(ids)
    ]  # fmt: skip


def test_a_call_follows_the_signature_of_its_tool(fast: PreTrainedTokenizerFast) -> None:
    """From the name to the first key, from a value's end and a key's opening to the next, and at last to `)`."""
    turns = [Turn("system", TOOLS), Turn("user", "Set hour and day name, on Monday."), Turn("assistant", CALL)]
    ids, _ = Encoder(fast)(turns)
    assert told(fast, ids) == [
        ('{"', "set_alarm", "hour"), ("7", "hour", "day_"), (', "', "hour", "day_"), ("Monday", "day_name", ")"),
    ]  # fmt: skip


def test_json_follows_the_keys_that_were_asked_for(fast: PreTrainedTokenizerFast) -> None:
    """A word is found whether or not a space or a quote stands before it, and not inside another one."""
    asked = "Return the meeting_place of Rex as JSON with 'name', meeting and `end`."
    answer = '{"name": "Rex", "meeting": "Monday", "end": "May"}'
    ids, _ = Encoder(fast)([Turn("user", asked), Turn("assistant", answer)])
    found = told(fast, ids)
    assert [written for _, written, _ in found] == ["name", "name", "meeting", "meeting"]
    assert all(after.startswith(("meet", "end", "en")) for _, _, after in found)


def test_what_is_no_listed_json_has_no_next_key(fast: PreTrainedTokenizerFast) -> None:
    """Plain talk, keys that nobody listed, a call of an unknown tool, and ends that are missing."""
    for answer in ('Rex is your dog: "a": 3.', '{"a": 1, "b": 2}', CALL, '{"name": "', '"": "": {"arguments": {', "}}"):
        ids, _ = Encoder(fast)([Turn("user", "hour, day"), Turn("assistant", answer)])
        assert told(fast, ids) == []


def test_the_heads_of_a_listed_key_tell_the_key_before(fast: PreTrainedTokenizerFast) -> None:
    """Where it is listed, and where the answer opens it; a head of the next layer finds it."""
    turns = [Turn("system", TOOLS), Turn("user", "At 7 on Monday."), Turn("assistant", CALL)]
    ids, _ = Encoder(fast)(turns)
    found = Lines(fast).pointers(ids)
    opened = next(n for n in Lists(fast).following(ids) if fast.decode(ids[n.place]) == ' "')
    for place in (opened.place, opened.listed):
        assert fast.decode([p.token for p in found.before if p.place == place]).strip() == "hour"
        assert not [p for p in found.own if p.place == place]
    assert [(p.nth, p.source) for p in found.next if p.place == opened.place] == [(BEGINNING - 1, opened.listed)]
