"""What a caller asks of the form of a reply: tools, one of them to be called, or JSON of a schema.

Turns that into how a reply begins and what it is held to. Knows a base model; knows no memory and no messages.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.utils.function_calling import convert_to_json_schema
from pydantic import BaseModel

from bakemem.errors import InputError
from bakemem.serving import Base

from .grammar import call_grammar, is_schema, json_grammar

_LOG = logging.getLogger(__name__)


def tool_name(tool: Mapping[str, Any]) -> str:
    """Raises InputError for a tool that a provider runs, such as its web search: here is nobody to run it."""
    if not isinstance(function := tool.get("function"), dict) or "name" not in function:
        raise InputError(f"A tool is of the type {tool.get('type')!r}: give functions, or tools of LangChain.")
    return str(function["name"])


def json_schema(schema: Any) -> dict[str, Any]:
    """Of whatever LangChain takes as one; none allows every object."""
    if isinstance(schema, type) and issubclass(schema, BaseModel):
        return schema.model_json_schema()
    if schema is None or (isinstance(schema, dict) and (is_schema(schema) or "properties" in schema)):
        return schema or {}
    return convert_to_json_schema(schema)


def chosen_tool(choice: str | bool | dict[str, Any] | None, names: list[str]) -> str:
    """Raises InputError for a choice that is none of the tools."""
    if isinstance(choice, dict):
        choice = str((choice.get("function") or choice).get("name", choice.get("type")))
    if choice in (None, False, "auto"):
        return "auto"
    if choice in (True, "any", "required"):
        return "any"
    if choice != "none" and choice not in names:
        raise InputError(
            f"tool_choice is {choice!r}, which is none of the tools: {', '.join(names) or 'there are none'}."
        )
    return str(choice)


def beginning(base: Base, choice: str, names: Sequence[str]) -> str:
    """How the reply is made to begin, where a call is asked for."""
    if choice in ("auto", "none") or not names:
        return ""
    if choice == "any" and len(names) > 1:
        return base.template.call_form.start
    return base.template.call_form.begin(names[0] if choice == "any" else choice)


def asked_schema(asked: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any] | None:
    """The schema that JSON is asked for in, by `json_schema` or by OpenAI's `response_format`; None where it is not.

    Raises InputError for another format, and for one beside tools.
    """
    if (given := asked.get("response_format")) is None:
        return asked.get("json_schema")
    if names:
        raise InputError("A reply is held to tools or to a response_format: take ToolStrategy, which makes it a tool.")
    described = given.get("json_schema") if isinstance(given, Mapping) and given.get("type") == "json_schema" else None
    schema = described.get("schema") if isinstance(described, Mapping) else None
    if not isinstance(schema, dict):
        raise InputError(
            f"response_format is {given!r}: give {{'type': 'json_schema', 'json_schema': {{'schema': …}}}}, or take "
            "with_structured_output."
        )
    return schema


def held_to(
    base: Base, tools: Sequence[dict[str, Any]], choice: str, begun: str, schema: dict[str, Any] | None, *, alone: bool
) -> str:  # fmt: skip
    """The grammar of the reply: of calls of the tools (with `alone` of one), or else of JSON of a schema.

    Empty where there is nothing, or nothing that the model can be held to.
    """
    try:
        if tools:
            form = base.template.call_form
            grammar = call_grammar(tools, form, base.template.special_tokens, begun=begun,
                                   alone=alone or choice != "any")  # fmt: skip
        else:
            grammar = "" if schema is None else json_grammar(schema)
        if grammar:
            base.grammars.guide(grammar)
    except InputError as error:
        _LOG.warning("The reply is not held to its schema: %s", error)
        return ""
    return grammar
