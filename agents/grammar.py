"""Grammars that hold a reply to calls of the tools there are, or to JSON of a schema: llguidance's variant of Lark's.

Knows schemas and how a model writes calls; knows no messages and no models.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from bakemem.rendering import Tool
from bakemem.template import CallForm

_SPACE = r"[\x20\x0A\x0D\x09]{1,8}"  # where JSON allows white space: a small model may write it for ever
_TYPES = ("object", "array", "string", "integer", "number", "boolean", "null")
_JOINED = frozenset("allOf anyOf oneOf $ref if dependentSchemas".split())  # beside an object's own keys, they name more
_NAMED = frozenset("properties $defs definitions patternProperties dependentSchemas".split())  # schemas by names
_VALUES = frozenset("enum const default examples".split())  # no schemas
_KINDS = frozenset("$ref allOf anyOf oneOf enum const".split())
_JSON = {"whitespace_pattern": _SPACE, "lenient": True}  # lenient: keywords and formats it does not know hold nothing


def json_grammar(schema: Mapping[str, Any]) -> str:
    """JSON of this schema and nothing else. Its keys come in the schema's order."""
    return "\n".join(["%llguidance {}", f"start: {_value(schema)}", _GAP])


def call_grammar(
    tools: Sequence[Tool], form: CallForm, special: Mapping[str, int], *, begun: str = "", alone: bool = False
) -> str:
    """Calls of these tools with arguments of their schemas, between which text may stand; there need be none.

    Whatever begins with the form's mark is a call; empty where there is no mark. With `begun` the first goes on from
    there, and with `alone` nothing comes after it. `special` are the ids of special tokens.
    """
    functions = [tool["function"] for tool in tools]

    def bodies(skipped: str) -> str:
        starts = [form.begin(str(function["name"])) for function in functions]
        return " | ".join(
            f"{_text(start[len(skipped) :], special)} args_{i} {_text(form.end, special)}"
            for i, start in enumerate(starts) if start.startswith(skipped)
        )  # fmt: skip

    rules = [f"args_{i}: {_value(function.get('parameters') or {})}" for i, function in enumerate(functions)]
    parts = []
    if begun:
        parts.append("first")
        rules.append(f"first: {bodies(begun)}")
    if form.mark and not (begun and alone):
        parts.append("talk")
        lazy = "" if form.mark in special else "[lazy]"
        rules += ["talk: (mark call)* TEXT", r"TEXT: /(.|\n)*/", f"mark{lazy}: TEXT {_text(form.mark, special)}",
                  f"call: {bodies(form.mark)}"]  # fmt: skip
    return "\n".join(["%llguidance {}", f"start: {' '.join(parts)}", *rules, _GAP]) if parts else ""


_GAP = f"GAP: /{_SPACE}/"


def is_schema(schema: Mapping[str, Any]) -> bool:
    """Whether it says itself of which kind its values are."""
    kinds = schema.get("type")
    return not _KINDS.isdisjoint(schema) or all(k in _TYPES for k in (kinds if isinstance(kinds, list) else [kinds]))


def _value(schema: Mapping[str, Any]) -> str:
    """A value of the schema; an object where the schema does not say."""
    closed = _closed(dict(schema), _is_mixed(schema))
    held = {**({} if is_schema(schema) else {"type": "object"}), **closed, "x-guidance": _JSON}
    return f"GAP? %json {json.dumps(held)}"


def _is_mixed(schema: Any, named: bool = False) -> bool:
    """Whether several places somewhere name an object's keys; the keys of one that is `named` are names."""
    if isinstance(schema, Mapping):
        parts = ((key, part) for key, part in schema.items() if named or key not in _VALUES)
        return (not named and _joins(schema)) or any(_is_mixed(p, not named and key in _NAMED) for key, p in parts)
    return isinstance(schema, list) and any(_is_mixed(part) for part in schema)


def _joins(schema: Mapping[str, Any]) -> bool:
    """Whether several places of it name the keys of one object."""
    places, parts = len(_JOINED.intersection(schema)) + ("properties" in schema), schema.get("allOf")
    return places > 1 or (isinstance(parts, list) and len(parts) > 1)


def _closed(schema: Any, mixed: bool, part: bool = False) -> Any:
    """The schema, of whose objects only those with keys of any name have others than they name.

    A `part` is one of several that name an object's keys: closed, it would forbid those of the others. In a schema that
    is `mixed` each definition may be one.
    """
    if not isinstance(schema, dict):
        return schema
    closed, joined = dict(schema), _joins(schema)
    for key in ("properties", "$defs", "definitions"):
        if isinstance(schema.get(key), dict):
            defined = mixed and key != "properties"
            closed[key] = {name: _closed(value, mixed, defined) for name, value in schema[key].items()}
    for key in ("items", "additionalProperties"):
        if key in schema:
            closed[key] = _closed(schema[key], mixed)
    for key in ("allOf", "anyOf", "oneOf", "prefixItems"):
        if isinstance(schema.get(key), list):
            within = key != "prefixItems" and (part or joined)
            closed[key] = [_closed(value, mixed, within) for value in schema[key]]
    if "properties" in schema and not joined and not part:
        closed.setdefault("additionalProperties", False)
    return closed


def _text(text: str, special: Mapping[str, int]) -> str:
    """Text as a rule has it: strings, and special tokens by their ids."""
    pieces = re.split(f"({'|'.join(map(re.escape, special))})", text) if special else [text]
    return " ".join(f"<[{special[p]}]>" if p in special else json.dumps(p) for p in pieces if p)
