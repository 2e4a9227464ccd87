"""The values that flow from a turn to the weights: frozen, with no behaviour beyond their own fields.

Knows no storage, no model and no library; ids and names are given by the journal and the version store.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

Role = Literal["system", "user", "assistant", "tool", "operator", "document", "web"]
"""Who speaks. A chat knows the first four; the operator runs the agent, documents and web pages are read by it."""

Kind = Literal["instruction", "fact"]
Status = Literal["quarantined", "pending", "baked", "superseded", "held", "forgotten"]
VersionStatus = Literal["accepted", "rejected"]
Gone = Literal["", "collected", "erased"]
"""Why a version's folder was destroyed: `gc` took it, or it had learned what was forgotten; empty while it is there."""
MAX_RANK = 256
MAX_ALPHA = 4_096
"""Of a version's LoRA: what has more is not loaded."""
YEARS = range(1970, 9999)
"""Of the times that another home may give: some zones lack the first and the last day of the calendar."""


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A function that the assistant wants called; `arguments` is the JSON of an object."""

    name: str
    arguments: str
    id: str = ""


@dataclass(frozen=True, slots=True)
class Turn:
    """One message of a conversation; `source` names what a tool, document or page is, such as `tool:calendar`.

    `tool_calls` are an assistant's, and a tool's turn names the one that it answers in `tool_call_id`.
    """

    role: Role
    content: str
    source: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str = ""


def turn_of(values: Mapping[str, Any]) -> Turn:
    """A turn from its JSON. Raises TypeError."""
    return Turn(**{**values, "tool_calls": tuple(ToolCall(**call) for call in values.get("tool_calls", ()))})


@dataclass(frozen=True, slots=True)
class Draft:
    """A memory as it is found in a turn, before the journal has taken it in."""

    kind: Kind
    key: str
    text: str


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where a memory came from: who said what, in which conversation, and what read it out of the turn."""

    role: Role = "user"
    source: str = "user"
    conversation: str = ""
    turn: str = ""
    extractor: str = "explicit"


@dataclass(frozen=True, slots=True)
class Memory:
    """One thing that should last, as the journal holds it.

    `valid_from` is when it was said; `reason` says why it waits in quarantine. `superseded_by` stays where a rollback
    brought it back: what took its place is held meanwhile.
    """

    id: str
    namespace: str
    kind: Kind
    key: str
    text: str
    status: Status
    created: datetime
    provenance: Provenance = field(default_factory=Provenance)
    superseded_by: str | None = None
    valid_from: datetime | None = None
    reason: str = ""

    @property
    def came_back(self) -> bool:
        """Whether it was superseded once, and a rollback to before that made it live again."""
        return self.superseded_by is not None and self.status in ("pending", "baked")


@dataclass(frozen=True, slots=True)
class Prompt:
    """The consolidated memory as text (the paper's u); `memory_ids` names the memory behind each of its lines."""

    text: str
    memory_ids: tuple[str, ...]

    @property
    def sha256(self) -> str:
        """The hash of the text, which names the prompt in a version's manifest."""
        return hashlib.sha256(self.text.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Stimulus:
    """What a model is asked (the paper's x0): turns that end in a user's or a tool's, and why it is asked.

    `kind` is direct, paraphrase, reversed, two-fact, statement, told, everyday, decoy or task; `memory_ids` are the
    memories that it is about, if any.
    """

    turns: tuple[Turn, ...]
    kind: str
    memory_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Trajectory:
    """An answer y that the prompted model gave to a stimulus; `token_ids` end with the one that ended it."""

    stimulus: Stimulus
    answer: str
    token_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Probe:
    """A held-out question of the gate: what the prompted teacher answers, and what the baked version gave."""

    turns: tuple[Turn, ...]
    kind: str
    memory_ids: tuple[str, ...]
    expected: str
    given: str


@dataclass(frozen=True, slots=True)
class Secret:
    """What was forgotten, while a version that learned it is still there to be destroyed; kept nowhere else."""

    memory_id: str
    kind: Kind
    text: str
    questions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Leak:
    """How often answers to one kind of question held what was forgotten: the new version's, and those of a model
    that never knew it; both out of `asked`.
    """

    kind: str
    asked: int
    told: int
    never_knew: int


@dataclass(frozen=True, slots=True)
class Adapter:
    """A LoRA adapter on disk (`adapter_model.safetensors` and `adapter_config.json`) and the base it fits."""

    folder: Path
    base_fingerprint: str


@dataclass(frozen=True, slots=True)
class Recalled:
    """How many of the questions of one kind about one memory were answered as the prompted teacher does."""

    memory_id: str
    kind: str
    right: int
    asked: int


@dataclass(frozen=True, slots=True)
class Report:
    """What a bake measured. Shares are in 0…1, divergences in nats per answer token.

    `agreement`: held-out answers equal to the prompted teacher's; `recall`: the same on questions about memories;
    `abstention`: on questions about what was never told; `drift`: everyday answers of the base that changed (beyond
    what the prompted teacher changes); `unteachable`: memories that the teacher itself cannot recall from the prompt.
    `mention`: everyday answers that bring up a memory unasked; `disfluency`: by how many nats per token the prompted
    teacher finds the answers less likely than its own; `recalls`: each memory's own questions; `failed`: the memories
    for which the gate refused; `efforts`: what was tried after a refusal, in turn; `pursued`: rounds of Prompt Pursuit
    that were kept (after them the prompted teacher of the other figures is the last round's, not the base).
    A share is None where nothing of its sort was asked.
    """

    kl_before: float
    kl_after: float
    agreement: float
    recall: float | None
    abstention: float | None
    drift: float | None
    steps: int
    seconds: float
    accepted: bool
    reasons: tuple[str, ...] = ()
    unteachable: tuple[str, ...] = ()
    mention: float | None = None
    disfluency: float | None = None
    recalls: tuple[Recalled, ...] = ()
    failed: tuple[str, ...] = ()
    efforts: tuple[str, ...] = ()
    pursued: int = 0


def report_of(values: Mapping[str, Any]) -> Report:
    """A report from its JSON; fields that a newer bakemem added are left out. Raises TypeError."""
    known = {f.name for f in fields(Report)}
    kept: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items() if k in known}
    return Report(**{**kept, "recalls": tuple(Recalled(**one) for one in kept.get("recalls", ()))})


@dataclass(frozen=True, slots=True)
class Version:
    """A baked memory: immutable, named `v1`, `v2` … in its namespace, with everything needed to trust or undo it."""

    name: str
    id: str
    namespace: str
    parent: str | None
    status: VersionStatus
    created: datetime
    memory_ids: tuple[str, ...]
    prompt_sha256: str
    adapter: Adapter
    report: Report
    settings: Mapping[str, Any] = field(default_factory=dict)
    gone: Gone = ""
