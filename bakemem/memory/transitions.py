"""Which status may follow which, as data: the only place that says so.

Knows no storage; the journal asks it before it writes.
"""

from __future__ import annotations

from collections.abc import Mapping

from bakemem.errors import TransitionError
from bakemem.types import Status

LIVE: frozenset[Status] = frozenset({"pending", "baked"})
"""What the agent knows now: from the prompt, or from the weights."""

TRANSITIONS: Mapping[tuple[Status | None, Status], str] = {
    (None, "pending"): "remember",
    (None, "quarantined"): "quarantine",
    ("quarantined", "pending"): "approve",
    ("pending", "baked"): "bake",
    ("baked", "pending"): "leave out",  # a newer version was baked without it: back into the prompt
    ("baked", "held"): "hold",
    ("held", "baked"): "restore",
    ("superseded", "baked"): "restore",  # a rollback to before what took its place, which is held
    ("superseded", "pending"): "restore",  # what took its place was another source's, and is forgotten
    ("superseded", "quarantined"): "restore",
    ("held", "pending"): "release",
    ("quarantined", "superseded"): "supersede",
    ("pending", "superseded"): "supersede",
    ("baked", "superseded"): "supersede",
    ("held", "superseded"): "supersede",
    ("quarantined", "forgotten"): "forget",
    ("pending", "forgotten"): "forget",
    ("baked", "forgotten"): "forget",
    ("held", "forgotten"): "forget",
    ("superseded", "forgotten"): "forget",
}
"""(old status, new status) to the verb that the history shows; what is not here is not allowed."""


def transition(memory_id: str, old: Status | None, new: Status) -> str:
    """The verb of a change of status. Raises TransitionError when the change is not allowed."""
    try:
        return TRANSITIONS[old, new]
    except KeyError:
        if old == new:
            raise TransitionError(f"Memory {memory_id} is {old} already.") from None
        allowed = ", ".join(to for (start, to) in TRANSITIONS if start == old) or "nothing else"
        raise TransitionError(
            f"Memory {memory_id} is {old}: it cannot become {new}. From {old} it may become {allowed}."
        ) from None
