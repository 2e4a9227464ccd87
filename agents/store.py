"""A LangGraph `BaseStore` over memories: what an application puts becomes memories that are baked with all others.

Knows LangGraph's operations and a memory's public verbs. A value is a text, or its JSON; nothing of it is hidden.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, cast

from langchain_core.runnables import run_in_executor
from langgraph.store.base import (
    BaseStore,
    GetOp,
    Item,
    ListNamespacesOp,
    MatchCondition,
    Op,
    PutOp,
    Result,
    SearchItem,
    SearchOp,
    validate_op_namespace,
)

from bakemem.agent_memory import AgentMemory
from bakemem.errors import InputError
from bakemem.memory import LIVE, TEACHERS, clean_key, clean_text
from bakemem.types import Kind, Memory, Role

from .namespaces import Namespaces

_CODED = "hex."  # of a key that is no slug


class BakedMemoryStore(BaseStore):
    """The live memories of a home (`Namespaces`), or of one namespace (`AgentMemory`), as LangGraph's items.

    The namespace `("users", "alice")` is the memory's namespace `users.alice`; its items are all its live memories,
    those that were told or read out of a conversation too. A value `{"text": sentence}` is kept as that sentence, any
    other as its JSON, at most 2,000 characters, which a model learns less well. A put in the place of an item
    supersedes it. A delete *forgets*: text, index, and every version that learned it, with those that went on from it.

    `role` says whose word a put is. An application that puts what it knows is the `operator`; where a model decides
    what is put (the tools of LangMem), it is the `assistant`: then puts wait in quarantine, where no get or search
    finds them until they are approved, and only what waits can be deleted.

    Everything is searched by meaning, so `index` says nothing; there is no time to live, and an item's times are both
    those of its last put.
    """

    def __init__(self, memory: AgentMemory | Namespaces, *, role: Role) -> None:
        self._memory, self._role = memory, role

    def batch(self, ops: Iterable[Op]) -> list[Result]:
        """The results, in order; reads come before the batch's puts, of which the last one of a key counts.

        Raises InputError for a value or a key that cannot be kept, or a namespace of somebody else, before anything is
        put; and what the memory raises.
        """
        todo = list(ops)
        for op in todo:
            validate_op_namespace(op)
        puts = {(op.namespace, op.key): op for op in todo if isinstance(op, PutOp)}
        changes = [self._prepared(op) for op in puts.values()]
        results = [self._read(op) for op in todo]
        for change in changes:
            change()
        return results

    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        """As `batch`, in a thread."""
        return await run_in_executor(None, self.batch, list(ops))

    # ---- read

    def _read(self, op: Op) -> Result:
        if isinstance(op, GetOp):
            return self._get(op)
        if isinstance(op, SearchOp):
            return self._search(op)
        if isinstance(op, ListNamespacesOp):
            return self._list(op)
        if isinstance(op, PutOp):
            return None
        raise InputError(f"The operation {type(op).__name__} is not known: give get, search, put or list operations.")

    def _get(self, op: GetOp) -> Item | None:
        if op.namespace not in self._names():
            return None
        try:
            key = _slug(op.key)
        except InputError:  # nothing could be kept under it
            return None
        found = self._of(op.namespace).memories(tuple(LIVE), key=key)
        return Item(value=_value(found[0].text), **_known(found[0])) if found else None

    def _search(self, op: SearchOp) -> list[SearchItem]:
        found: list[SearchItem] = []
        for name in self._names():
            if name[: len(op.namespace_prefix)] == op.namespace_prefix:
                found += self._searched(self._of(name), op)
        if op.query:
            found.sort(key=lambda item: -(item.score or 0.0))
        return found[op.offset : op.offset + op.limit]

    def _searched(self, memory: AgentMemory, op: SearchOp) -> Iterator[SearchItem]:
        """What fits in one namespace: the nearest first, else the oldest."""
        scored: Sequence[tuple[Memory, float | None]]
        if op.query:
            most = len(memory.memories(tuple(LIVE))) if op.filter else op.offset + op.limit
            scored = memory.nearest(op.query, most)
        else:
            scored = [(m, None) for m in memory.memories(tuple(LIVE))]
        for found, score in scored:
            value = _value(found.text)
            if _fits(value, op.filter or {}):
                yield SearchItem(value=value, score=score, **_known(found))

    def _list(self, op: ListNamespacesOp) -> list[tuple[str, ...]]:
        found = [name for name in self._names() if all(_matches(c, name) for c in op.match_conditions or ())]
        cut = sorted({name[: op.max_depth] for name in found})
        return cut[op.offset : op.offset + op.limit]

    def _names(self) -> list[tuple[str, ...]]:
        """The namespaces of which anything was ever kept."""
        one = self._memory
        return [_labels(name) for name in (one.names() if isinstance(one, Namespaces) else [one.namespace])]

    def _of(self, namespace: tuple[str, ...]) -> AgentMemory:
        name = ".".join(namespace)
        if isinstance(self._memory, Namespaces):
            return self._memory(name)
        if name != self._memory.namespace:
            raise InputError(
                f"This store holds the memory of {_labels(self._memory.namespace)} and of nobody else: give it a "
                f"Namespaces(home) to keep {namespace} too."
            )
        return self._memory

    # ---- write

    def _prepared(self, op: PutOp) -> Callable[[], object]:
        """What a put or delete is going to do; its arguments are known to be good."""
        try:
            memory, key = self._of(op.namespace), _slug(op.key)
        except InputError:
            if op.value is None:  # there is nothing of what could not be put
                return lambda: None
            raise
        if op.value is None:
            return lambda: self._delete(memory, key)
        if memory.redact(op.key) != op.key:
            raise InputError("An item's key holds what redaction takes out of a text: put it under another one.")
        text = clean_text(_text(op.value, memory.redact), "A value (as JSON, unless it is {'text': …} alone)")
        kind: Kind | None = "fact" if text.startswith("{") else None  # JSON has no wording to guess from
        return lambda: memory.remember(text, kind=kind, key=key, role=self._role)

    def _delete(self, memory: AgentMemory, key: str) -> None:
        waiting = [m for m in memory.memories("quarantined", key=key) if m.provenance.role == self._role]
        live = memory.memories((*LIVE, "held"), key=key)  # what is held would come back with its version
        if live and self._role not in TEACHERS:
            raise InputError(
                f"{_key(key)!r} counts as what a person said: {self._role} may not forget it. Let the user do it "
                f"(`bakemem forget {live[0].id}`)."
            )
        if doomed := [m.id for m in (*waiting, *live)]:
            memory.forget(doomed)


def _labels(namespace: str) -> tuple[str, ...]:
    return tuple(namespace.split("."))


def _slug(key: str) -> str:
    """A memory's key for an item's: the same where it may be, else in hexadecimal digits. Raises InputError."""
    with suppress(InputError):
        if not key.startswith(_CODED) and clean_key(key) == key:
            return key
    try:
        return clean_key(_CODED + key.encode().hex())
    except (InputError, UnicodeEncodeError) as error:
        raise InputError(
            f"{key[:60]!r} cannot be an item's key: use 1 to 98 bytes of text, or a slug of at most 200 characters."
        ) from error


def _key(slug: str) -> str:
    """An item's key for a memory's."""
    try:
        return bytes.fromhex(slug.removeprefix(_CODED)).decode() if slug.startswith(_CODED) else slug
    except ValueError:
        return slug


def _text(value: Mapping[str, Any], redact: Callable[[str], str] = str) -> str:
    """A value, redacted, as a memory's text, from which `_value` makes it again. Raises InputError for what is no JSON,
    and as `redact` does.
    """
    if not isinstance(value, Mapping):
        raise InputError(f"A value is a {type(value).__name__}: give a mapping, at best {{'text': sentence}}.")
    text = value.get("text")
    if isinstance(text, str) and len(value) == 1 and _value(text.strip()) == value:
        return redact(text)
    try:
        written = json.dumps(dict(value), ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(
            f"A value cannot be kept ({error}): give a mapping of JSON values, at best {{'text': sentence}}."
        ) from error
    if json.loads(written) != value:
        raise InputError("A value would not come back as it is: its keys must be text, and its values those of JSON.")
    try:
        kept = json.dumps(_redacted(json.loads(written), redact), ensure_ascii=False)
    except RecursionError as error:
        raise InputError("A value is nested too deep to be kept: give a flatter one.") from error
    if redact(kept) != kept:
        raise InputError("A value's parts hold together what must not be stored: take it out and try again.")
    return kept


def _redacted(value: Any, redact: Callable[[str], str]) -> Any:
    """A value of JSON of which each text, each key and each number is redacted; a number may become text by that."""
    if isinstance(value, dict):
        parts = {redact(name): _redacted(part, redact) for name, part in value.items()}
        if len(parts) < len(value):
            raise InputError("Two keys of a value are one without what must not be stored: take it out and try again.")
        return parts
    if isinstance(value, list):
        return [_redacted(part, redact) for part in value]
    if isinstance(value, str):
        return redact(value)
    masked = "" if value is None or isinstance(value, bool) else redact(str(value))
    return value if masked in ("", str(value)) else masked


def _value(text: str) -> dict[str, Any]:
    """The value that a memory's text stands for."""
    if text.startswith("{"):
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            return {"text": text}
        return cast("dict[str, Any]", value)
    return {"text": text}


def _known(memory: Memory) -> dict[str, Any]:
    """What an item tells beside its value."""
    return {"key": _key(memory.key), "namespace": _labels(memory.namespace), "created_at": memory.created,
            "updated_at": memory.created}  # fmt: skip


def _matches(condition: MatchCondition, namespace: tuple[str, ...]) -> bool:
    path = condition.path
    if len(path) > len(namespace):
        return False
    part = namespace[: len(path)] if condition.match_type == "prefix" else namespace[len(namespace) - len(path) :]
    return all(wanted in ("*", label) for wanted, label in zip(path, part, strict=True))


_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "$eq": lambda value, wanted: bool(value == wanted),
    "$ne": lambda value, wanted: bool(value != wanted),
    "$gt": lambda value, wanted: float(value) > float(wanted),
    "$gte": lambda value, wanted: float(value) >= float(wanted),
    "$lt": lambda value, wanted: float(value) < float(wanted),
    "$lte": lambda value, wanted: float(value) <= float(wanted),
}


def _fits(value: Any, wanted: Any) -> bool:
    """Whether a value has what a filter asks for. Raises InputError for an operator that is not known."""
    if isinstance(wanted, list | tuple):
        alike = isinstance(value, list) and len(value) == len(wanted)
        return alike and all(_fits(one, part) for one, part in zip(value, wanted, strict=True))
    if not isinstance(wanted, Mapping):
        return bool(value == wanted)
    if not any(name.startswith("$") for name in wanted):
        return isinstance(value, Mapping) and all(_fits(value.get(name), part) for name, part in wanted.items())
    if unknown := wanted.keys() - _COMPARE.keys():
        raise InputError(f"The operator {min(unknown)!r} is not known: use one of {', '.join(_COMPARE)}.")
    try:
        return all(_COMPARE[name](value, part) for name, part in wanted.items())
    except (TypeError, ValueError):
        return False  # what is no number is not above or below one
