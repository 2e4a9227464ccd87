"""Calls are found in what models of each family write, whole or piece by piece."""

from __future__ import annotations

import copy
import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AddedToken, PreTrainedTokenizerBase

from bakemem.agents.tool_calls import Listener, find_calls
from bakemem.serving.detokenizer import Detokenizer
from bakemem.template import ChatTemplate

NAMES = ("add", "get_weather")
ADD = ("add", {"a": 1})
WEATHER = ("get_weather", {"city": "Málaga"})
ONE, TWO = '{"name": "add", "arguments": {"a": 1}}', '{"name": "get_weather", "arguments": {"city": "Málaga"}}'
WRITTEN = {
    "hermes": (f"<tool_call>\n{ONE}\n</tool_call>", "", [ADD]),
    "hermes 3": ('<tool_call>\n{ "arguments": {"a": 1}, "name": "add"}\n</tool_call> ', "", [ADD]),
    "hermes, two": (f"<tool_call>\n{ONE}\n</tool_call>\n<tool_call>\n{TWO}\n</tool_call>", "", [ADD, WEATHER]),
    "hermes, talk before": (f"Let me see. <tool_call>\n{ONE}\n</tool_call>", "Let me see.", [ADD]),
    "hermes, cut short after the call": (f"<tool_call>\n{ONE}", "", [ADD]),
    "llama": ('{"name": "add", "parameters": {"a": 1}}', "", [ADD]),
    "llama, two": (f"{ONE}; {TWO}", "", [ADD, WEATHER]),
    "llama, marked": (f"<|python_tag|>{ONE}", "", [ADD]),
    "mistral": (f"[TOOL_CALLS] [{ONE}, {TWO}]", "", [ADD, WEATHER]),
    "mistral, mark left out": (f"[{ONE}]", "", [ADD]),
    "mistral 11": ('[TOOL_CALLS]add[ARGS]{"a": 1}', "", [ADD]),
    "mistral 11, two and talk": (
        'So.[TOOL_CALLS]add[ARGS]{"a": 1}[TOOL_CALLS]get_weather[CALL_ID]abcdefghi[ARGS]{"city": "Málaga"} Wait.',
        "So. Wait.",
        [ADD, WEATHER],
    ),
    "mistral, talk before": (f"Let me see.[TOOL_CALLS] [{ONE}]", "Let me see.", [ADD]),
    "llama, marked, talk before": (f"Let me see.<|python_tag|>{ONE}; {TWO}", "Let me see.", [ADD, WEATHER]),
    "hermes, tags in a text": (
        '<tool_call>\n{"name": "add", "arguments": {"a": "</tool_call><tool_call>[TOOL_CALLS]"}}\n</tool_call>\nDone.',
        "Done.",
        [("add", {"a": "</tool_call><tool_call>[TOOL_CALLS]"})],
    ),
    "hermes, a brace too many": (f"<tool_call>\n{ONE}}}\n</tool_call>\nDone.", "Done.", [ADD]),
    "hermes, a line break in a text": (
        '<tool_call>\n{"name": "add", "arguments": {"a": "1\n2"}}\n</tool_call>',
        "",
        [("add", {"a": "1\n2"})],
    ),
    "llama, marks in a text": (
        '{"name": "add", "parameters": {"a": "<tool_call>"}}',
        "",
        [("add", {"a": "<tool_call>"})],
    ),
    "llama, a line break in a text": ('{"name": "add", "parameters": {"a": "1\n2"}}', "", [("add", {"a": "1\n2"})]),
    "mistral 11, marks left out": ('add{"a": 1}', "", [ADD]),
    "no arguments": ('<tool_call>{"name": "add"}</tool_call>', "", [("add", {})]),
    "plain": ("The answer is 2.", "The answer is 2.", []),
    "JSON that is no call": ('{"name": "Bosuk", "age": 2}', '{"name": "Bosuk", "age": 2}', []),
    "JSON of which a part is a call": (f'{ONE}\n{{"title": "x"}}', f'{ONE}\n{{"title": "x"}}', []),
    "a call behind a semicolon": (f";{ONE}", f";{ONE}", []),
    "a list": ("[1, 2]", "[1, 2]", []),
    "empty": ("", "", []),
}


@pytest.mark.parametrize("case", WRITTEN, ids=str)
def test_calls_are_found(case: str) -> None:
    """In the way of each family, with the text around them."""
    written, text, calls = WRITTEN[case]
    found = find_calls(written, NAMES)
    assert (found.text, found.calls, found.broken) == (text, calls, [])


@pytest.mark.parametrize("written", [
    '<tool_call>\n{"name": "add", "arguments": {"a": ', "<tool_call>add(1)</tool_call>", "<tool_call></tool_call>",
    '<tool_call>{"name": 3, "arguments": {}}</tool_call>', '<tool_call>{"name": "add", "arguments": [1]}</tool_call>',
    "[TOOL_CALLS] [{", "<|python_tag|>print(1)", f'[TOOL_CALLS] [{ONE}, {{"a": 1}}]', "<tool_call>" + "[" * 10_000,
])  # fmt: skip
def test_a_broken_call_is_not_lost(written: str) -> None:
    """What was meant as a call and cannot be read is given as it is, and never shown as an answer."""
    found = find_calls(written, NAMES)
    assert (found.text, found.calls, len(found.broken)) == ("", [], 1)


@given(case=st.sampled_from(sorted(WRITTEN)), cuts=st.lists(st.integers(0, 120), max_size=12))
def test_pieces_give_what_the_whole_gives(case: str, cuts: list[int]) -> None:
    """However an answer is cut, its text and calls are the same, and nothing that was shown is taken back."""
    written, text, calls = WRITTEN[case]
    edges = [0, *sorted(min(cut, len(written)) for cut in cuts), len(written)]
    listener = Listener(NAMES)
    shown = "".join(listener.hear(written[a:b]) for a, b in pairwise(edges))
    assert written.startswith(shown)
    rest = listener.end()
    assert ((shown + rest.text).strip(), rest.calls) == (text, calls)


def test_a_broken_call_costs_no_other() -> None:
    """Each mark begins a call of its own."""
    found = find_calls(f"<tool_call>add(1)</tool_call>\n<tool_call>\n{ONE}\n</tool_call>", NAMES)
    assert (found.text, found.calls, found.broken) == ("", [ADD], ["add(1)"])
    found = find_calls('[TOOL_CALLS]add(1)[TOOL_CALLS]add[ARGS]{"a": 1}', NAMES)
    assert (found.text, found.calls, found.broken) == ("", [ADD], ["add(1)"])


def test_marks_that_are_special_tokens_come_through(tokenizer: PreTrainedTokenizerBase) -> None:
    """From a model's tokens to its calls, and no part of a call is shown on the way."""
    own = copy.deepcopy(tokenizer)
    own.add_tokens([AddedToken(mark, special=True) for mark in ("[TOOL_CALLS]", "[ARGS]")])
    template = ChatTemplate(own)
    detokenizer, listener, shown = Detokenizer(template), Listener(NAMES), ""
    for token in template.ids('So.[TOOL_CALLS]add[ARGS]{"a": 1}[TOOL_CALLS]add[ARGS]{"a": 1}'):
        shown += listener.hear(detokenizer.add(token))
    found = listener.end()
    assert (shown + found.text, found.calls) == ("So.", [ADD, ADD])


def test_plain_text_is_shown_as_it_comes() -> None:
    """Tools that are not called cost no waiting, nor does text before a call."""
    listener = Listener(NAMES)
    assert listener.hear("The ") == "The"
    assert listener.hear("sun < ") == " sun <"
    assert listener.hear("moon.<tool") == " moon."
    assert listener.hear("_call>" + ONE) == ""
    assert listener.end().calls == [ADD]


@given(st.text())
def test_without_tools_text_is_text(text: str) -> None:
    """Whatever it looks like."""
    listener = Listener(())
    assert listener.hear(text) + listener.end().text == text


@given(st.text(alphabet='<>tool_cal/{}[]":,;ad 1\n', max_size=60))
def test_nothing_that_a_model_writes_is_an_error(text: str) -> None:
    """Text that is almost a call is text, a call or a broken one."""
    found = find_calls(text, NAMES)
    assert all(isinstance(json.dumps(arguments), str) for _, arguments in found.calls)


def test_the_beginning_counts_and_is_not_heard_again() -> None:
    """A call that was begun for the model is whole with what it went on with; one that it spoiled is broken."""
    begun = '<tool_call>\n{"name": "add", "arguments":'
    good, spoiled = Listener(NAMES, begun), Listener(NAMES, begun)
    assert [good.hear(' {"a": 1}}\n</tool_call>'), spoiled.hear(" I would rather not.")] == ["", ""]
    assert good.end().calls == [ADD]
    assert spoiled.end().broken == [" I would rather not.".join(("{" + begun.partition("{")[2], ""))]


def test_only_so_many_calls_count() -> None:
    """A model that is to make one call at a time is held to it."""
    listener = Listener(NAMES, most=1)
    listener.hear(WRITTEN["hermes, two"][0])
    assert listener.end().calls == [ADD]
