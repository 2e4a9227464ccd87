"""Whether a baked candidate may serve: held-out answers against the prompted teacher's, and what changed beside them.

Knows answers and thresholds; knows no training. A refused candidate is kept, named rejected, and never serves.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from bakemem.baking.probe import same, share
from bakemem.types import Probe, Recalled, Report

ABOUT = ("direct", "paraphrase", "reversed", "two-fact")


@dataclass(frozen=True, slots=True)
class Thresholds:
    """What a candidate must reach: shares in 0…1, `max_disfluency` in nats per token."""

    min_agreement: float = 0.85
    min_abstention: float = 0.85
    max_drift: float = 0.15
    min_each: float = 0.25
    max_mention: float = 0.02
    max_disfluency: float = 0.5


@dataclass(frozen=True, slots=True)
class Trained:
    """What training measured: mean KL per answer token (nats) on held-out stimuli, steps, and wall seconds."""

    kl_before: float
    kl_after: float
    steps: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Beside:
    """What was measured beside the probes: spontaneous mention (a share) and disfluency (nats per token)."""

    mention: float | None = None
    disfluency: float | None = None


def judge(
    probes: Sequence[Probe], trained: Trained, beside: Beside, thresholds: Thresholds, unteachable: Sequence[str] = ()
) -> Report:
    """The report of a candidate from its answers to the held-out questions.

    Agreement counts all of them; recall those about memories; abstention the decoys, where the prompted teacher was
    told nothing; drift the everyday questions.
    """
    equal = [same(p.expected, p.given) for p in probes]

    def of(*kinds: str) -> float | None:
        flags = [flag for flag, probe in zip(equal, probes, strict=True) if probe.kind in kinds]
        return share(flags) if flags else None

    recalls = recalled(probes)
    failed = _failed(recalls, thresholds.min_each)
    kept = of("everyday")
    report = Report(
        kl_before=trained.kl_before, kl_after=trained.kl_after, agreement=share(equal), recall=of(*ABOUT),
        abstention=of("decoy"), drift=None if kept is None else 1.0 - kept, steps=trained.steps,
        seconds=trained.seconds, accepted=True, unteachable=tuple(unteachable), mention=beside.mention,
        disfluency=beside.disfluency, recalls=tuple(recalls), failed=tuple(failed),
    )  # fmt: skip
    return refused(report, *_reasons(report, thresholds))


def refused(report: Report, *reasons: str) -> Report:
    """The report with more reasons against the candidate; as it is without any."""
    return replace(report, accepted=False, reasons=(*report.reasons, *reasons)) if reasons else report


def _reasons(report: Report, least: Thresholds) -> Iterator[str]:
    if report.agreement < least.min_agreement:
        yield f"agreement with the prompted model is {report.agreement:.0%}, below {least.min_agreement:.0%}"
    if report.failed:
        yield f"these memories are not answered as the prompted model does: {', '.join(report.failed)}"
    if report.abstention is not None and report.abstention < least.min_abstention:
        yield f"it agrees on {report.abstention:.0%} of what was not told, below {least.min_abstention:.0%}"
    if report.drift is not None and report.drift > least.max_drift:
        yield f"{report.drift:.0%} of the everyday answers changed, above {least.max_drift:.0%}"
    if report.mention is not None and report.mention > least.max_mention:
        yield f"{report.mention:.1%} of the everyday answers bring up a memory unasked, above {least.max_mention:.1%}"
    if report.disfluency is not None and not report.disfluency <= least.max_disfluency:
        yield f"its answers are {report.disfluency:.2f} nats a token less likely, above {least.max_disfluency:.2f}"
    if not report.kl_after < report.kl_before:
        yield f"the divergence did not fall ({report.kl_before:.3f} to {report.kl_after:.3f} nats)"


def recalled(probes: Sequence[Probe]) -> list[Recalled]:
    """Each memory's own questions by kind, in the order of the probes."""
    counts: dict[tuple[str, str], list[bool]] = {}
    for probe in probes:
        if len(probe.memory_ids) == 1:
            counts.setdefault((probe.memory_ids[0], probe.kind), []).append(same(probe.expected, probe.given))
    return [Recalled(memory, kind, sum(flags), len(flags)) for (memory, kind), flags in counts.items()]


def _failed(recalls: Sequence[Recalled], least: float) -> list[str]:
    """The memories with two or more held-out questions of their own and too few right: they would be nowhere."""
    counts: dict[str, tuple[int, int]] = {}
    for one in recalls:
        right, asked = counts.get(one.memory_id, (0, 0))
        counts[one.memory_id] = right + one.right, asked + one.asked
    return [memory for memory, (right, asked) in counts.items() if asked >= 2 and right / asked < least]
