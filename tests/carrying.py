"""Homes with versions whose adapters are small but real, for the tests that carry versions about."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from safetensors.numpy import save_file

from bakemem.config import load_config
from bakemem.memory import Journal, consolidate
from bakemem.memory.redact import Mode, redacted
from bakemem.testing import MemoryIndex, ScriptedExtractor
from bakemem.types import Report, Version
from bakemem.versioned import Versioned
from bakemem.versions import Manifest, VersionStore

DOG, TOWN = "The user's dog is called Bosuk.", "The user lives in Plinth."
_CONFIG = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj"], "bias": "none"}
_PROBES = [{"turns": [{"role": "user", "content": "What is my dog called?"}], "kind": "direct", "memory_ids": [],
            "expected": "Bosuk", "given": "Bosuk"}]  # fmt: skip


class Home(Versioned):
    """A home without a model, in which versions are made up."""

    def __init__(self, home: Path, namespace: str = "default", redaction: Mode = "off") -> None:
        home.mkdir(exist_ok=True)
        self.journal, self.store = Journal(home / "journal.db", namespace), VersionStore(home, namespace)
        super().__init__(load_config(home, redaction=redaction), self.journal, self.store, open_index=MemoryIndex,
                         make_extractor=lambda: ScriptedExtractor({}),
                         redact=lambda text: redacted(text, redaction))  # fmt: skip

    def bake(self, accepted: bool = True) -> Version:
        """Commits a version of all that is pending or baked."""
        name = self.journal.next_version_name()
        report = Report(4.0, 0.05, 0.98, None, 1.0, 0.0, 60, 14.5, accepted, () if accepted else ("too weak",))
        manifest = Manifest(
            name=name, namespace=self.journal.namespace, parent=self.live, created=datetime.now(UTC),
            prompt=consolidate(self.memories(["pending", "baked"])), base_fingerprint="base-1", report=report, seed=0,
            data_sha256="0" * 64, settings={"model": "starter", "rank": 2},
        )  # fmt: skip
        with TemporaryDirectory() as source:
            write_adapter(Path(source))
            manifest = self.store.stage(Path(source), manifest)
        self.journal.commit_version(manifest.version(self.store.folder(name)), accepted=accepted)
        self.store.settle(name)
        return self.journal.version(name)

    def statuses(self) -> dict[str, str]:
        """Text to status, without tombstones."""
        return {m.text: m.status for m in self.memories() if m.text}

    def state(self) -> object:
        """All that the journal and the version folders hold."""
        memories = self.memories()
        files = sorted((p.relative_to(self.store.folder("v1").parent), p.read_bytes())
                       for p in self.store.folder("v1").parent.rglob("*") if p.is_file())  # fmt: skip
        return memories, [self.history(m.id) for m in memories], self.versions(), self.reflog(), files


def write_adapter(folder: Path) -> None:
    """A LoRA adapter of one layer, with its probes."""
    layer = "base_model.model.model.layers.0.self_attn.q_proj.lora_"
    save_file({f"{layer}A.weight": np.ones((2, 8), np.float32), f"{layer}B.weight": np.ones((8, 2), np.float32)},
              folder / "adapter_model.safetensors")  # fmt: skip
    (folder / "adapter_config.json").write_text(json.dumps(_CONFIG), encoding="utf-8")
    (folder / "probes.json").write_text(json.dumps(_PROBES), encoding="utf-8")
