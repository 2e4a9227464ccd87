"""What is written beside an adapter: everything needed to read, trust or rebuild a version, as readable JSON.

Knows no folders and no journal.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from bakemem.errors import HomeCorruptError
from bakemem.types import Adapter, Prompt, Report, Version, report_of
from bakemem.versions.plain_json import plain_json

FORMAT = 1
ORIGIN = "unpacked_from"
"""The setting by which a version that came in a bundle names the one that was packed at first."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """All that defines a version; `files` (name to sha256) is filled in by the store.

    `source` is the JSON that it was read from, which another bakemem may have written with other fields than this one
    has; a changed copy (`dataclasses.replace`) has none.
    """

    name: str
    namespace: str
    parent: str | None
    created: datetime
    prompt: Prompt
    base_fingerprint: str
    report: Report
    seed: int
    data_sha256: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    source: str = field(default="", init=False, repr=False, compare=False)

    @property
    def id(self) -> str:
        """Twelve hex digits of the hash over the canonical manifest: another bake has another id."""
        return _id_of(plain_json(self.source, finite=False) if self.source else self._values())

    def version(self, folder: Path) -> Version:
        """The version as the journal takes it, with its adapter in `folder`."""
        return Version(
            name=self.name, id=self.id, namespace=self.namespace, parent=self.parent,
            status="accepted" if self.report.accepted else "rejected", created=self.created,
            memory_ids=self.prompt.memory_ids, prompt_sha256=self.prompt.sha256,
            adapter=Adapter(folder, self.base_fingerprint), report=self.report,
            settings={**self.settings, "seed": self.seed, "data_sha256": self.data_sha256},
        )  # fmt: skip

    def to_json(self) -> str:
        """The manifest as a person reads it."""
        if self.source:
            return self.source
        return json.dumps({"id": self.id, **self._values()}, indent=2, ensure_ascii=False, default=str) + "\n"

    def _values(self) -> dict[str, Any]:
        return {
            "format": FORMAT, "name": self.name, "namespace": self.namespace, "parent": self.parent,
            "created": self.created.isoformat(), "base_fingerprint": self.base_fingerprint, "seed": self.seed,
            "data_sha256": self.data_sha256, "prompt_sha256": self.prompt.sha256, "prompt": self.prompt.text,
            "memory_ids": list(self.prompt.memory_ids), "report": dataclasses.asdict(self.report),
            "settings": dict(self.settings), "files": dict(self.files),
        }  # fmt: skip


def _id_of(values: Mapping[str, Any]) -> str:
    named = {key: value for key, value in values.items() if key != "id"}
    canonical = json.dumps(named, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str)
    return hashlib.sha256(canonical.encode()).hexdigest()[:12]


def manifest_of(text: str) -> Manifest:
    """The manifest in its JSON.

    Raises HomeCorruptError when it is damaged, was changed by hand, or is of a form that only a newer bakemem reads.
    """
    try:
        values = plain_json(text, finite=False)  # a bake that diverged has such scores
        manifest = Manifest(
            name=values["name"], namespace=values["namespace"], parent=values["parent"],
            created=datetime.fromisoformat(values["created"]),
            prompt=Prompt(values["prompt"], tuple(values["memory_ids"])),
            base_fingerprint=values["base_fingerprint"], report=report_of(values["report"]), seed=values["seed"],
            data_sha256=values["data_sha256"], settings=dict(values["settings"]), files=dict(values["files"]),
        )  # fmt: skip
        object.__setattr__(manifest, "source", text)
        intact, newer = manifest.id == values["id"], values["format"] > FORMAT
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise HomeCorruptError(f"A version's manifest is damaged ({error!r}): roll back to another version.") from error
    if not intact:
        raise HomeCorruptError(
            f"The manifest of version {manifest.name} does not have the hash {values['id']} that it names: "
            "it was changed. Roll back to another version."
        )
    if newer:
        raise HomeCorruptError(f"Version {manifest.name} was written by a newer bakemem: upgrade, or roll back.")
    return manifest
