"""Values as the journal's rows hold them, and back; the two values that only the journal gives: Event, ReflogEntry.

Knows the columns' names, not SQL.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from bakemem.errors import HomeCorruptError
from bakemem.types import Adapter, Memory, Provenance, Status, Version, report_of


@dataclass(frozen=True, slots=True)
class Event:
    """One change of a memory's status: when, by which verb, for which version or memory, and who did it."""

    memory_id: str
    at: datetime
    action: str
    old: Status | None
    new: Status
    note: str = ""
    actor: str = ""


@dataclass(frozen=True, slots=True)
class ReflogEntry:
    """One move of the live pointer; None is the base. `erase` and `collect` move nothing: `old` was destroyed then."""

    at: datetime
    action: str
    old: str | None
    new: str | None


@dataclass(frozen=True, slots=True)
class State:
    """A namespace at one moment: `pointers` are `live`, `candidate` and the tags; `tainted` are the names of the
    versions that learned what was forgotten since.
    """

    memories: Sequence[Memory]
    versions: Sequence[Version]
    pointers: Mapping[str, str]
    reflog: Sequence[ReflogEntry]
    tainted: frozenset[str]


@dataclass(frozen=True, slots=True)
class Copy:
    """A copy of memories or of a version that left the home: when, what, and where to."""

    at: datetime
    what: str
    place: str


def now() -> datetime:
    """The time, with its zone."""
    return datetime.now(UTC)


def local(time: datetime) -> datetime:
    """The time with its zone: local time, if it has none; at the ends of the calendar, which no other zone has, UTC."""
    try:
        return time.astimezone()
    except (ValueError, OverflowError):
        return time.replace(tzinfo=UTC)


def memory_row(memory: Memory) -> dict[str, Any]:
    """The columns of a memory."""
    row = dataclasses.asdict(memory)
    provenance = row.pop("provenance")
    valid_from = memory.valid_from or memory.created
    return {**row, **provenance, "created": memory.created.isoformat(), "valid_from": valid_from.isoformat()}


def memory_of(row: Mapping[Any, Any]) -> Memory:
    """The memory in a row."""
    return Memory(
        id=row["id"], namespace=row["namespace"], kind=row["kind"], key=row["key"], text=row["text"],
        status=row["status"], created=time_of(row["created"]), superseded_by=row["superseded_by"],
        valid_from=time_of(row["valid_from"] or row["created"]), reason=row["reason"],
        provenance=Provenance(
            role=row["role"], source=row["source"], conversation=row["conversation"], turn=row["turn"],
            extractor=row["extractor"],
        ),
    )  # fmt: skip


def version_row(version: Version, root: Path) -> dict[str, Any]:
    """The columns of a version; the adapter's folder is kept relative to the home, so that a home can be moved."""
    folder = version.adapter.folder.absolute()
    inside = folder.is_relative_to(root)
    return {
        "namespace": version.namespace, "name": version.name, "id": version.id, "parent": version.parent,
        "status": version.status, "created": version.created.isoformat(), "prompt_sha256": version.prompt_sha256,
        "folder": (folder.relative_to(root) if inside else folder).as_posix(),
        "base_fingerprint": version.adapter.base_fingerprint,
        "report": json.dumps(dataclasses.asdict(version.report)),
        "settings": json.dumps(dict(version.settings), sort_keys=True, default=str), "gone": version.gone,
    }  # fmt: skip


def version_of(row: Mapping[Any, Any], memory_ids: Sequence[str], root: Path) -> Version:
    """The version in a row. Raises HomeCorruptError when its columns cannot be read."""
    what = f"Version {row['name']}"
    try:
        report, settings = report_of(object_of(row["report"], what)), object_of(row["settings"], what)
    except TypeError as error:
        raise HomeCorruptError(f"{what} in the journal cannot be read ({error}): use a backup.") from error
    return Version(
        name=row["name"], id=row["id"], namespace=row["namespace"], parent=row["parent"], status=row["status"],
        created=time_of(row["created"]), memory_ids=tuple(memory_ids), prompt_sha256=row["prompt_sha256"],
        adapter=Adapter(root / row["folder"], row["base_fingerprint"]), report=report, settings=settings,
        gone=row["gone"],
    )  # fmt: skip


def event_of(row: Mapping[Any, Any]) -> Event:
    """The event in a row."""
    return Event(row["memory_id"], time_of(row["at"]), row["action"], row["old"], row["new"], row["note"],
                 row["actor"])  # fmt: skip


def event_row(event: Event) -> dict[str, Any]:
    """The columns of an event, but for the memory that it belongs to."""
    row = dataclasses.asdict(event)
    del row["memory_id"]
    return {**row, "at": event.at.isoformat()}


def reflog_of(row: Mapping[Any, Any]) -> ReflogEntry:
    """The reflog entry in a row."""
    return ReflogEntry(time_of(row["at"]), row["action"], row["old"], row["new"])


def object_of(text: Any, what: str) -> dict[str, Any]:
    """The JSON object in a column of `what`. Raises HomeCorruptError."""
    try:
        values = json.loads(text)
        if not isinstance(values, dict):
            raise ValueError("a column holds no JSON object")
    except (ValueError, TypeError, RecursionError) as error:
        raise HomeCorruptError(f"{what} in the journal cannot be read ({error}): use a backup.") from error
    return values


def time_of(text: Any) -> datetime:
    """The time in a column. Raises HomeCorruptError."""
    try:
        return datetime.fromisoformat(cast(str, text))
    except (ValueError, TypeError) as error:
        raise HomeCorruptError(f"The journal holds {text!r} for a time: restore it from a backup.") from error
