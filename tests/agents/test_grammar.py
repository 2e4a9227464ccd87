"""What replies are held to: calls of the tools there are, and JSON of a schema, however a model writes them."""

from __future__ import annotations

import copy
import json
import logging
from typing import Any, Literal

import pytest
import torch
from langchain_core.messages import AIMessage
from pydantic import BaseModel, Field, RootModel
from transformers import AddedToken, PreTrainedTokenizerBase

from bakemem.agents.chat_model import BakedChatModel
from bakemem.agents.forms import json_schema
from bakemem.agents.grammar import call_grammar, json_grammar
from bakemem.serving import Reply
from bakemem.serving.guide import Grammars
from bakemem.template import CallForm, ChatTemplate
from tests.tiny import OpenMemory

FORM = CallForm('<tool_call>\n{"name": "', '", "arguments":', "}\n</tool_call>", "<tool_call>")


def function(name: str, **properties: Any) -> dict[str, Any]:
    """A tool whose first argument must be given."""
    schema = {"type": "object", "properties": properties, "required": list(properties)[:1]}
    return {"type": "function", "function": {"name": name, "parameters": schema}}


TOOLS = [function("add", a={"type": "integer"}, b={"type": "string"}), function("sky", city={"type": "string"})]
ADD = '<tool_call>\n{"name": "add", "arguments": {"a": 1, "b": "ü"}}\n</tool_call>'
SKY = '<tool_call>\n{"name": "sky", "arguments": {"city": "Bonn"}}\n</tool_call>'


def fits(tokenizer: PreTrainedTokenizerBase, grammar: str, text: str) -> bool:
    """Whether each token of the text, and its end, may come after those before."""
    template = ChatTemplate(tokenizer)
    guide = Grammars(template, len(tokenizer)).guide(grammar)
    for token in [*tokenizer.encode(text, add_special_tokens=False), template.end_id]:
        if guide.held(torch.zeros(len(tokenizer)))[token] < 0:
            return False
        guide.add(token)
    return True


@pytest.mark.parametrize(("text", "wanted"), [
    ("Hello.", True), (ADD, True), (f"Well. {ADD}\n{SKY}\nDone.", True), ("a < b, <tool_cal", True),
    (ADD.replace("add", "sub"), False), (ADD.replace('"a": 1, ', ""), False), (ADD.replace("1", '"x"'), False),
    (ADD.replace("b", "c"), False), (ADD.replace('"a": 1, "b": "ü"', '"b": "ü", "a": 1'), False),
    (ADD.replace("</tool_call>", ""), False), (SKY.replace(": ", ":"), False), (SKY.replace(' {"c', '{"c'), True),
    (SKY.replace('{"city": "Bonn"}', '{\n  "city":"Bonn"\n}'), True),
])  # fmt: skip
def test_what_begins_as_a_call_is_one(tokenizer: PreTrainedTokenizerBase, text: str, wanted: bool) -> None:
    """Of a tool there is, with its arguments in their order; text may stand around it, and JSON have white space."""
    assert fits(tokenizer, call_grammar(TOOLS, FORM, {}), text) == wanted


@pytest.mark.parametrize(("begun", "alone", "rest", "wanted"), [
    (FORM.start, False, 'sky", "arguments": {"city": "x"}}\n</tool_call>', True),
    (FORM.start, False, f'sky", "arguments": {{"city": "x"}}}}\n</tool_call>\n{ADD}', True),
    (FORM.start, True, f'sky", "arguments": {{"city": "x"}}}}\n</tool_call>\n{ADD}', False),
    (FORM.start, False, 'sub", "arguments": {}}\n</tool_call>', False),
    (FORM.begin("sky"), True, ' {"city": "x"}}\n</tool_call>', True),
    (FORM.begin("sky"), True, ' {"a": 1}}\n</tool_call>', False),
])  # fmt: skip
def test_a_call_that_was_begun_goes_on(
    tokenizer: PreTrainedTokenizerBase, begun: str, alone: bool, rest: str, wanted: bool
) -> None:
    """From where its beginning ends."""
    assert fits(tokenizer, call_grammar(TOOLS, FORM, {}, begun=begun, alone=alone), rest) == wanted


class Row(BaseModel):
    """A recursive model."""

    n: int
    inner: Row | None = None


class Rows(RootModel[list[int]]):
    """A model that is a list."""


@pytest.mark.parametrize(("schema", "right", "wrong"), [
    ({"title": "Row", "type": "array", "items": {"type": "integer"}}, "[1, 2]", "{}"), (Rows, "[1, 2]", "{}"),
    (Row, '{"n": 1, "inner": {"n": 2, "inner": null}}', '{"n": "x"}'),
    ({"title": "Row", "anyOf": [{"type": "integer"}, {"type": "string"}]}, "1", "{}"), (None, '{"a": 1}', "[]"),
    ({"title": "Row", "type": "object"}, '{"a": 1}', "[]"),
])  # fmt: skip
def test_json_need_not_be_an_object(tokenizer: PreTrainedTokenizerBase, schema: Any, right: str, wrong: str) -> None:
    """Where the schema says so."""
    grammar = json_grammar(json_schema(schema))
    assert fits(tokenizer, grammar, right)
    assert not fits(tokenizer, grammar, wrong)


@pytest.mark.parametrize("special", [True, False])
def test_a_mark_may_be_a_token_of_its_own(tokenizer: PreTrainedTokenizerBase, special: bool) -> None:
    """One that no text is read as, as Mistral's, or one that text is, as Qwen's."""
    own = copy.deepcopy(tokenizer)
    own.add_tokens([AddedToken("[TOOL_CALLS]", special=special), AddedToken("[ARGS]", special=special)])
    form = CallForm("[TOOL_CALLS]", "[ARGS]", "", "[TOOL_CALLS]")
    tokens = ChatTemplate(own).special_tokens
    assert ("[ARGS]" in tokens) == special
    grammar = call_grammar(TOOLS, form, tokens)
    assert fits(own, grammar, 'Yes.[TOOL_CALLS]add[ARGS]{"a": 1}[TOOL_CALLS]sky[ARGS]{"city": "x"}')
    assert not fits(own, grammar, "[TOOL_CALLS]sub")
    assert fits(own, call_grammar(TOOLS, form, tokens, begun="[TOOL_CALLS]add[ARGS]"), '{"a": 1}')


def test_calls_without_a_mark_are_held_only_where_they_are_begun(tokenizer: PreTrainedTokenizerBase) -> None:
    """A reply that begins with a brace need be none."""
    form = CallForm('{"name": "', '", "parameters":', "}", "")
    assert call_grammar(TOOLS, form, {}) == ""
    grammar = call_grammar(TOOLS, form, {}, begun=form.start)
    assert fits(tokenizer, grammar, 'add", "parameters": {"a": 1}}')
    assert not fits(tokenizer, grammar, 'add", "parameters": {"a": 1}}; and')


def test_objects_have_the_keys_they_name(tokenizer: PreTrainedTokenizerBase) -> None:
    """Nested ones too, but for those that allow any."""
    inner = {"type": "object", "properties": {"properties": {"type": "integer"}}}
    schema = {
        "properties": {"one": {"$ref": "#/$defs/One"}, "all": {"type": "array", "items": inner},
                       "free": {"type": "object"}, "more": {**inner, "additionalProperties": True}},
        "$defs": {"One": inner},
    }  # fmt: skip
    for key, value in {
        "one": {"properties": 1},
        "all": [{"properties": 1}],
        "free": {"x": 1},
        "more": {"x": 1},
    }.items():
        assert fits(tokenizer, json_grammar(schema), json.dumps({key: value}))
    for key, other in {"one": {"x": 1}, "all": [{"x": 1}], "other": 1}.items():
        assert not fits(tokenizer, json_grammar(schema), json.dumps({key: other}))
    assert fits(tokenizer, json_grammar({}), '{"any": [1, {"thing": null}]}')


_A: dict[str, Any] = {"type": "object", "properties": {"a": {"type": "integer"}}}
_B: dict[str, Any] = {"type": "object", "properties": {"b": {"type": "integer"}}, "required": ["b"]}
_DEFS_OF_ONE: dict[str, Any] = {"A": _A, "B": _B}
_DEFS: dict[str, Any] = {**_DEFS_OF_ONE, "AB": {"allOf": [{"$ref": "#/$defs/A"}, _B]}}


@pytest.mark.parametrize(("schema", "right", "wrong"), [
    ({"allOf": [_A, _B]}, '{"a": 1, "b": 2}', '{"a": 1}'),
    ({"allOf": [{"$ref": "#/$defs/A"}, {"$ref": "#/$defs/B"}], "$defs": _DEFS}, '{"a": 1, "b": 2}', '{"a": 1}'),
    ({"properties": {"c": {"const": 3}}, "allOf": [{"$ref": "#/$defs/B"}], "$defs": _DEFS}, '{"c": 3, "b": 2}', "{}"),
    ({"properties": {"c": {"const": 3}}, "$ref": "#/$defs/B", "$defs": _DEFS}, '{"c": 3, "b": 2}', '{"c": 3}'),
    ({"properties": {"c": {"const": 3}}, "anyOf": [_A, _B]}, '{"c": 3, "b": 2}', '{"c": 4, "b": 2}'),
    ({"properties": {"x": {"$ref": "#/$defs/AB"}}, "$defs": _DEFS}, '{"x": {"a": 1, "b": 2}}', '{"y": 1}'),
])  # fmt: skip
def test_an_object_may_be_described_in_parts(
    tokenizer: PreTrainedTokenizerBase, schema: dict[str, Any], right: str, wrong: str
) -> None:
    """None of them forbids the keys of another, as inheritance writes it."""
    grammar = json_grammar({"type": "object", **schema})
    assert fits(tokenizer, grammar, right)
    assert not fits(tokenizer, grammar, wrong)


@pytest.mark.parametrize("beside", [
    {"allOf": {"type": "string"}}, {"note": {"allOf": [{"$ref": "#/$defs/B"}], "description": "As pydantic once did"}},
    {"note": {"enum": [{"allOf": [1, 2]}]}}, {"note": {"allOf": [_B]}},
    {"note": {"type": "null", "default": {"allOf": 1}}},
])  # fmt: skip
def test_what_is_described_in_one_place_stays_closed(
    tokenizer: PreTrainedTokenizerBase, beside: dict[str, Any]
) -> None:  # fmt: skip
    """Also where a property has the name of a keyword, or a definition has but a description beside it."""
    properties = {"x": {"$ref": "#/$defs/A"}, **beside}
    grammar = json_grammar({"type": "object", "properties": properties, "required": ["x"], "$defs": _DEFS_OF_ONE})
    assert fits(tokenizer, grammar, '{"x": {"a": 1}}')
    assert not fits(tokenizer, grammar, '{"x": {"a": 1, "z": 2}}')
    assert not fits(tokenizer, grammar, '{"x": {"a": 1}, "note": {"b": 1, "z": 2}}')


class Trip(BaseModel):
    """A trip."""

    by: Literal["train", "car"]
    days: int = Field(ge=1, le=99)
    note: Literal["long", "short"] | None = None


@pytest.mark.parametrize("method", ["function_calling", "json_schema", "json_mode"])
def test_a_random_model_fills_in_a_form(open_memory: OpenMemory, method: Any) -> None:
    """Which nothing but the grammar can make it do."""
    model = BakedChatModel(memory=open_memory(), temperature=1.0, max_tokens=120)
    held = model.with_structured_output(Trip, method=method)
    assert all(isinstance(held.invoke(f"Where to {n}?"), Trip) for n in range(5))
    assert "days" in model.with_structured_output(Trip.model_json_schema(), method=method).invoke("Where to?")


def test_a_random_model_calls_the_tools_there_are(open_memory: OpenMemory) -> None:
    """Any of them, or the one that is chosen."""
    model = BakedChatModel(memory=open_memory(), temperature=1.0, max_tokens=120)
    trip, stop = (function(name, by={"enum": ["train", "car"]}) for name in ("trip", "stop"))
    for choice, names in (("any", {"trip", "stop"}), ("stop", {"stop"})):
        for n in range(5):
            reply = model.bind_tools([trip, stop], tool_choice=choice, parallel_tool_calls=False).invoke(f"Go {n}!")
            [call] = reply.tool_calls
            assert call["name"] in names
            assert call["args"]["by"] in ("train", "car")


def test_who_is_not_strict_holds_nothing(open_memory: OpenMemory, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a setting, or for the tools of a call."""
    memory, grammars = open_memory(), list[str]()
    respond = memory.respond

    def listen(*args: Any, grammar: str = "", **options: Any) -> Reply:
        grammars.append(grammar)
        return respond(*args, grammar=grammar, **options)

    monkeypatch.setattr(memory, "respond", listen)
    strict, loose = (BakedChatModel(memory=memory, max_tokens=8, strict=strict) for strict in (True, False))
    bound = [strict.bind_tools(TOOLS), strict.bind_tools(TOOLS, strict=None), loose.bind_tools(TOOLS, strict=True),
             strict.bind_tools(TOOLS, strict=False), loose.bind_tools(TOOLS)]  # fmt: skip
    for model in bound:
        model.invoke("x")
    assert list(map(bool, grammars)) == [True, True, True, False, False]


def test_what_cannot_be_held_is_asked_for_all_the_same(
    open_memory: OpenMemory, caplog: pytest.LogCaptureFixture
) -> None:
    """With a warning that says why."""
    model = BakedChatModel(memory=open_memory(), max_tokens=8)
    unheard = function("odd", a={"type": "string", "pattern": "(?=x)y"})
    with caplog.at_level(logging.WARNING):
        assert isinstance(model.bind_tools([unheard], tool_choice="odd").invoke("x"), AIMessage)
    assert "not held to its schema" in caplog.text
