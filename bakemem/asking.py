"""What can be asked of versions: whether one still answers as it did, and which one first answered wrongly.

Knows versions and answers; who answers is given to it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from bakemem.baking import same, share
from bakemem.errors import InputError
from bakemem.types import Memory, Probe


@dataclass(frozen=True, slots=True)
class Verified:
    """A version's held-out questions asked again: the shares of answers that are as after its bake, and as the prompted
    teacher's, and the probes with other answers than after the bake, each with the answer of now.
    """

    version: str
    asked: int
    as_baked: float
    as_taught: float
    changed: tuple[tuple[Probe, str], ...]


@dataclass(frozen=True, slots=True)
class Bisected:
    """The first version that answered wrongly, the last before it that did not (None: there is none; `base` is the
    model without memory), and all answers that were asked for, by version.
    """

    first_wrong: str
    last_right: str | None
    answers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Blame:
    """A memory behind an answer, and by how many nats the answer is less likely without it."""

    memory: Memory
    nats: float


def verify(version: str, probes: Sequence[Probe], answer: Callable[[Sequence[Probe]], Sequence[str]]) -> Verified:
    """Ask a version's probes again. Raises InputError when it has none."""
    if not probes:
        raise InputError(f"Version {version} has no probes: it is of an older bakemem. Bake again to have some.")
    now = answer(probes)
    kept = [same(probe.given, text) for probe, text in zip(probes, now, strict=True)]
    changed = tuple((p, text) for p, text, as_it_was in zip(probes, now, kept, strict=True) if not as_it_was)
    taught = share([same(probe.expected, text) for probe, text in zip(probes, now, strict=True)])
    return Verified(version, len(probes), share(kept), taught, changed)


def judged(question: str, *, bad: str | None, expected: str | None) -> Callable[[str], bool]:
    """Whether an answer is wrong: it holds `bad`, or lacks `expected`, in any case. Raises InputError."""
    if (bad is None) == (expected is None) or not (bad or expected or "").strip() or not question.strip():
        raise InputError(
            "Give a question, and either a text that a wrong answer holds or one that a right answer holds."
        )
    if bad is not None:
        return lambda answer: bad.casefold() in answer.casefold()
    return lambda answer: str(expected).casefold() not in answer.casefold()


def bisect(path: Sequence[str], answer: Callable[[str], str], wrong: Callable[[str], bool]) -> Bisected:
    """The first version of the newest run of wrong ones, by binary search; `path` is oldest first.

    From the newest back in doubling steps to one that answers rightly, then by halves between the two. Raises
    InputError when the newest one answers rightly.
    """
    answers: dict[str, str] = {}

    def is_wrong(place: int) -> bool:
        name = path[place]
        if name not in answers:
            answers[name] = answer(name)
        return wrong(answers[name])

    bad = len(path) - 1
    if not is_wrong(bad):
        raise InputError(f"{path[bad]} answers rightly ({answers[path[bad]]!r}): there is nothing to look for.")
    step, good = 1, max(bad - 1, 0)
    while good > 0 and is_wrong(good):
        bad, step = good, 2 * step
        good = max(bad - step, 0)
    if is_wrong(good):
        return Bisected(path[good], None, answers)
    while bad - good > 1:
        middle = (good + bad) // 2
        good, bad = (good, middle) if is_wrong(middle) else (middle, bad)
    return Bisected(path[bad], path[good], answers)
