"""Tools in the starter's world: the curriculum and the chat template write the same, and every call is right."""

from __future__ import annotations

import json
import random
import re
from typing import Any

import pytest
from langchain_core.utils.function_calling import convert_to_openai_tool
from transformers import PreTrainedTokenizerFast

from bakemem.starter import STARTER
from bakemem.starter.tokenizer import CHAT_TEMPLATE
from bakemem.starter.tool_talk import json_mode, no_call, structured, tool_call, tool_conversation, with_tools
from bakemem.starter.tools import call_text, fill, make_tools
from bakemem.types import Turn

_CALL = re.compile(r"<tool_call>\n(.*?)\n</tool_call>")


@pytest.fixture(scope="module")
def render() -> Any:
    """The starter's template over messages."""
    tokenizer = PreTrainedTokenizerFast.from_pretrained(STARTER)
    return lambda messages, **options: tokenizer.apply_chat_template(
        messages, tokenize=False, chat_template=CHAT_TEMPLATE, **options
    )


def as_messages(turns: list[Turn]) -> list[dict[str, Any]]:
    """Turns as the template is given them."""
    return [{"role": turn.role, "content": turn.content} for turn in turns]


@pytest.mark.parametrize("system", ["", "Be helpful."])
@pytest.mark.parametrize("seed", range(8))
def test_the_template_lists_tools_as_the_curriculum_does(render: Any, system: str, seed: int) -> None:
    """After the system prompt, or as a system prompt of their own."""
    tools = make_tools(random.Random(seed), 3, False)
    turns = [*([Turn("system", system)] if system else []), Turn("user", "Hello.")]
    written = render(as_messages(with_tools(turns, tools)), add_generation_prompt=True)
    assert render(as_messages(turns), tools=[t.schema for t in tools], add_generation_prompt=True) == written


@pytest.mark.parametrize("as_text", [True, False])
@pytest.mark.parametrize("seed", range(8))
def test_the_template_writes_calls_as_the_curriculum_does(render: Any, seed: int, as_text: bool) -> None:
    """Two calls of one turn, with arguments as a mapping or as JSON text, and beside words."""
    rng = random.Random(seed)
    calls = [(tool, fill(rng, tool, False)) for tool in make_tools(rng, 2, False)]
    given = [{"function": {"name": t.name, "arguments": json.dumps(a, ensure_ascii=False) if as_text else a}}
             for t, a in calls]  # fmt: skip
    text = "\n".join(call_text(*call) for call in calls)
    assert render([{"role": "assistant", "content": None, "tool_calls": given}]) == f"<|assistant|>{text}<|end|>"
    told = render([{"role": "assistant", "content": "Yes.", "tool_calls": given}])
    assert told == f"<|assistant|>Yes.\n{text}<|end|>"


def test_what_langchain_gives_is_listed(render: Any) -> None:
    """Optional, untyped and missing parameters of a real function."""

    def find(place: str, days: int = 3, unit: str | None = None) -> str:
        """Find the weather."""
        return place

    text = render([{"role": "user", "content": "x"}], tools=[convert_to_openai_tool(find)])
    assert "find(place: string, ?days: integer, ?unit: string) - Find the weather." in text
    assert "f()\n" in render(
        [{"role": "user", "content": "x"}], tools=[{"type": "function", "function": {"name": "f"}}]
    )


@pytest.mark.parametrize("sample", [tool_call, tool_conversation, structured])
def test_every_call_is_json_for_a_tool_that_is_listed(sample: Any) -> None:
    """With all that the tool requires, nothing that it does not know, and values of its types."""
    kinds = {"string": str, "integer": int, "number": float, "boolean": bool}
    for seed in range(150):
        turns = sample(random.Random(seed), False)
        listed = dict(re.findall(r"^(\w+)\((.*)\)", turns[0].content.partition("<tools>")[2], re.M))
        for text in _CALL.findall("\n".join(t.content for t in turns if t.role == "assistant")):
            made = json.loads(text)
            wanted = dict(part.split(": ") for part in filter(None, listed[made["name"]].split(", ")))
            assert {n for n in wanted if not n.startswith("?")} <= made["arguments"].keys()
            assert made["arguments"].keys() <= {n.lstrip("?") for n in wanted}
            for name, value in made["arguments"].items():
                assert type(value) is kinds[wanted.get(name) or wanted[f"?{name}"]]


def test_tools_of_the_exam_are_never_trained_on() -> None:
    """By their names."""
    rng = random.Random(4)
    seen = {tool.name for _ in range(300) for tool in make_tools(rng, 3, False)}
    assert not seen & {tool.name for _ in range(300) for tool in make_tools(rng, 3, True)}


def test_no_tool_is_called_where_none_is_needed() -> None:
    """Facts, things never told and small talk beside tools are answered in words."""
    assert not any("<tool_call>" in no_call(random.Random(i), True)[-1].content for i in range(100))


def test_json_mode_gives_the_wanted_keys() -> None:
    """And no other text."""
    for seed in range(100):
        *_, asked, answer = json_mode(random.Random(seed), True)
        assert all(key in asked.content for key in json.loads(answer.content))


def test_an_optional_field_that_is_not_said_is_left_out() -> None:
    """One that must be given is `unknown`."""
    found = [
        turns for seed in range(400) if "?punchline" in (turns := structured(random.Random(seed), False))[0].content
    ]
    assert found
    assert not any("punchline" in turns[-1].content for turns in found)
