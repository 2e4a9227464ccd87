"""What the tests of the command line share: a home, one with versions in it, and a tiny random model."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import bakemem.opening
from bakemem.cli import main
from bakemem.memory import Journal, consolidate
from bakemem.types import Draft, Kind, Memory, Provenance, Report, Turn
from bakemem.versions import Manifest, VersionStore
from tests.adapters import write_adapter

Run = Callable[..., Result]

DOG, CASE, TOWN = "The user's dog is called Bosuk.", "Always answer in upper case.", "The user lives in Plinth."
SETTINGS = """
max_new_tokens = 4
steps = 12
questions_per_memory = 2
max_sequence_tokens = 128
rank = 2
efforts = 0
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder where no memory is yet."""
    return tmp_path / "home"


@pytest.fixture
def run(home: Path) -> Run:
    """Runs a command on the home; what is not an error of ours is raised."""

    def call(*arguments: str, stdin: str | bytes | None = None) -> Result:
        return CliRunner().invoke(main, [*arguments, "--home", str(home)], input=stdin, catch_exceptions=False)

    return call


class Keeper:
    """Fills a home without any model: memories, and versions with made-up scores."""

    def __init__(self, home: Path, namespace: str = "default") -> None:
        home.mkdir(exist_ok=True)
        self.home, self.journal = home, Journal(home / "journal.db", namespace)
        self.store = VersionStore(home, namespace)

    def remember(self, text: str, kind: Kind = "fact", key: str = "") -> Memory:
        """Keeps one memory."""
        key = key or f"key{len(self.journal.memories())}"
        return self.journal.add(Draft(kind, key, text), Provenance(turn=text))

    def bake(
        self, accepted: bool = True, unteachable: tuple[str, ...] = (), files: Mapping[str, bytes] | None = None
    ) -> str:
        """Commits a version of all that is pending or baked, with these files or empty ones; its name."""
        name, live = self.journal.next_version_name(), self.journal.live()
        reasons = () if accepted else ("agreement with the prompted model is 50%, below 90%",)
        report = Report(4.0, 0.05, 0.98 if accepted else 0.5, 0.97, 1.0, 0.01, 60, 14.5, accepted, reasons, unteachable)
        manifest = Manifest(
            name=name, namespace=self.journal.namespace, parent=live, created=datetime.now(UTC),
            prompt=consolidate(self.journal.memories(["pending", "baked"])), base_fingerprint="base-1", report=report,
            seed=0, data_sha256="0" * 64, settings={"model": "starter", "rank": 16},
        )  # fmt: skip
        source = write_adapter(self.home / "source")
        for file, content in {"probes.json": b"[]", **(files or {})}.items():
            (source / file).write_bytes(content)
        manifest = self.store.stage(source, manifest)
        self.journal.commit_version(manifest.version(self.store.folder(name)), accepted=accepted)
        self.store.settle(name)
        return name


@pytest.fixture
def keeper(home: Path) -> Keeper:
    """Fills the home."""
    return Keeper(home)


@pytest.fixture
def baked(keeper: Keeper) -> Keeper:
    """A home with v1 (a dog), v2 (and an instruction), which is live, the rejected v3, and a pending memory."""
    keeper.remember(DOG, key="user.dog")
    keeper.bake()
    keeper.remember(CASE, "instruction", "style.case")
    keeper.bake()
    town = keeper.remember(TOWN, key="user.town")
    keeper.bake(accepted=False, unteachable=(town.id,))
    return keeper


@pytest.fixture(scope="session")
def tiny_base() -> Any:
    """A random Llama of two layers that reads bytes."""
    from tests.tiny import byte_base

    return byte_base()


class ModelRoom:
    """A home whose model is tiny; `says` scripts what the extractor finds in a user's words."""

    def __init__(self) -> None:
        self.says: dict[str, list[Draft]] = {}

    def extract(self, turn: Turn) -> list[Draft]:
        """The scripted drafts."""
        return self.says.get(turn.content, []) if turn.role != "assistant" else []

    def same(self, draft: Draft, memory: Memory) -> bool:
        """Two drafts are never of one thing."""
        return False


@pytest.fixture
def model(home: Path, tiny_base: Any, monkeypatch: pytest.MonkeyPatch) -> ModelRoom:
    """Lets commands load the tiny model in place of the starter, with short answers and a short bake."""
    from bakemem.agent_memory import AgentMemory
    from bakemem.serving import wrap_base
    from tests.tiny import count_unended

    count_unended(monkeypatch)

    def load(config: object) -> Any:
        fresh = copy.deepcopy(tiny_base.model)  # a bake adds layers to it
        return wrap_base("tiny", fresh, tiny_base.template.tokenizer)

    room = ModelRoom()
    monkeypatch.setattr(bakemem.opening, "load_model", load)
    monkeypatch.setattr(AgentMemory, "_extractor", room)
    home.mkdir(exist_ok=True)
    (home / "config.toml").write_text(SETTINGS, encoding="utf-8")
    return room
