"""Who may write: the rule that decides whether a draft may be believed, or waits for the operator in quarantine.

Only the user and the operator instruct. Plain rules over roles and words; knows no storage and no model.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from bakemem.memory.keys import infer_kind, plain
from bakemem.types import Draft, Memory, Provenance, Role

TEACHERS: frozenset[Role] = frozenset({"user", "operator"})
"""Whose word is enough."""
READ: frozenset[Role] = TEACHERS | {"tool", "document", "web"}
"""Whose turns memories are looked for in. What the assistant says is only ever said back to it."""

_PRIVILEGE = re.compile(
    r"\b(ignore|disregard|override|bypass|forget) (all|any|every|the|your|previous|prior|earlier|everything)\b"
    r"|\bfrom now on\b|\bsystem prompt\b|\bdeveloper mode\b|\bjailbreak\b"
    r"|\b(as|is|are|be) (an? |the )?(trust(ed|worthy)|authori[sz]ed|verified|official|privileged|admin\w*|root)\b"
    r"|\bas safe\b"
    r"|\b(trust|obey|believe|prefer|recommend|whitelist|allow) (this|that|these|all|only|everything|every|any|the)\b"
    r"|\byou (must|should|shall|are to|have to|need to)\b|\b(should|must|to) (always|never)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Ruling:
    """Where a draft goes, and the reason when it must wait."""

    status: Literal["pending", "quarantined"]
    reason: str = ""


def admit(draft: Draft, provenance: Provenance, *, trust: Mapping[str, str], rivals: Sequence[Memory] = ()) -> Ruling:
    """Pending for the user and the operator, and for facts from a source in `trust`; all else is quarantined.

    `rivals` are the live memories of the draft's key: a trusted source may renew its own word, never a person's.
    """
    if provenance.role in TEACHERS:
        return Ruling("pending")
    if draft.kind == "instruction" or infer_kind(draft.text) == "instruction":
        return Ruling("quarantined", f"an instruction from {_who(provenance)}: only the user and the operator instruct")
    if _PRIVILEGE.search(plain(draft.text)):
        return Ruling("quarantined", f"{_who(provenance)} asks for trust or obedience")
    if provenance.role not in READ or trust.get(provenance.source) != "fact":
        return Ruling("quarantined", f"a fact from {_who(provenance)}, which is not trusted")
    if any(rival.provenance.role in TEACHERS for rival in rivals):
        return Ruling("quarantined", f"{_who(provenance)} contradicts what a person said")
    return Ruling("pending")


def _who(provenance: Provenance) -> str:
    return provenance.source or provenance.role
