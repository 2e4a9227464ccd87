"""Whether a baked candidate may serve: held-out answers against the prompted teacher's, and what changed beside them.

Knows answers and thresholds; knows no training. A refused candidate is kept, named rejected, and never serves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bakemem.baking.probe import same, share
from bakemem.types import Report, Stimulus

ABOUT = ("direct", "paraphrase", "reversed", "two-fact")


@dataclass(frozen=True, slots=True)
class Thresholds:
    """What a candidate must reach, as shares in 0…1."""

    min_agreement: float = 0.85
    min_abstention: float = 0.85
    max_drift: float = 0.15
    min_each: float = 0.25


@dataclass(frozen=True, slots=True)
class Trained:
    """What training measured: mean KL per answer token (nats) on held-out stimuli, steps, and wall seconds."""

    kl_before: float
    kl_after: float
    steps: int
    seconds: float


def judge(
    stimuli: Sequence[Stimulus], teacher: Sequence[str], student: Sequence[str], trained: Trained,
    thresholds: Thresholds, unteachable: Sequence[str] = (),
) -> Report:  # fmt: skip
    """The report of a candidate from its held-out answers; `stimuli`, `teacher` and `student` run side by side.

    Agreement counts all of them; recall those about memories; abstention the decoys, where the prompted teacher was
    told nothing; drift the everyday questions.
    """
    equal = [same(t, s) for t, s in zip(teacher, student, strict=True)]

    def of(*kinds: str) -> float | None:
        flags = [flag for flag, stimulus in zip(equal, stimuli, strict=True) if stimulus.kind in kinds]
        return share(flags) if flags else None

    agreement, abstention, kept = share(equal), of("decoy"), of("everyday")
    drift = None if kept is None else 1.0 - kept
    reasons = []
    if agreement < thresholds.min_agreement:
        reasons.append(f"agreement with the prompted model is {agreement:.0%}, below {thresholds.min_agreement:.0%}")
    lost = _lost(stimuli, equal, thresholds.min_each)
    if lost:
        reasons.append(f"these memories are not answered as the prompted model does: {', '.join(lost)}")
    if abstention is not None and abstention < thresholds.min_abstention:
        reasons.append(f"it agrees on {abstention:.0%} of what was not told, below {thresholds.min_abstention:.0%}")
    if drift is not None and drift > thresholds.max_drift:
        reasons.append(f"{drift:.0%} of the everyday answers changed, above {thresholds.max_drift:.0%}")
    if not trained.kl_after < trained.kl_before:
        reasons.append(f"the divergence did not fall ({trained.kl_before:.3f} to {trained.kl_after:.3f} nats)")
    return Report(
        kl_before=trained.kl_before, kl_after=trained.kl_after, agreement=agreement, recall=of(*ABOUT),
        abstention=abstention, drift=drift, steps=trained.steps, seconds=trained.seconds, accepted=not reasons,
        reasons=tuple(reasons), unteachable=tuple(unteachable),
    )  # fmt: skip


def _lost(stimuli: Sequence[Stimulus], equal: Sequence[bool], least: float) -> list[str]:
    """The memories with two or more held-out questions of their own and too few right: they would be nowhere."""
    flags: dict[str, list[bool]] = {}
    for stimulus, flag in zip(stimuli, equal, strict=True):
        if len(stimulus.memory_ids) == 1:
            flags.setdefault(stimulus.memory_ids[0], []).append(flag)
    return [memory for memory, answered in flags.items() if len(answered) >= 2 and share(answered) < least]
