"""What changed from one version to another: memories, scores, answers and weights.

Reads the versions' folders through the store; knows no journal. None stands for the base, which holds nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from bakemem.errors import AdapterError, HomeCorruptError
from bakemem.types import Memory, Report, Version
from bakemem.versions.change import LayerChange, layer_changes
from bakemem.versions.check import check_adapter
from bakemem.versions.store import VersionStore


@dataclass(frozen=True, slots=True)
class AnswerChange:
    """One of the gate's questions that both versions were asked, and answered differently."""

    question: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class VersionDiff:
    """From version `old` to version `new` (None: the base).

    `superseded` are memories of the old version with those of the new one that took their place, and these are in
    neither `added` nor `removed`. `scores` are the new report's figures less the old's. `problems` say why `answers`
    or `layers` are empty though there was something to compare.
    """

    old: str | None
    new: str | None
    added: tuple[Memory, ...]
    removed: tuple[Memory, ...]
    superseded: tuple[tuple[Memory, Memory], ...]
    scores: Mapping[str, float]
    answers: tuple[AnswerChange, ...]
    layers: tuple[LayerChange, ...]
    problems: tuple[str, ...]


def diff(
    old: Version | None, new: Version | None, memories: Iterable[Memory], store: VersionStore, *,
    tainted: Collection[str] = (),
) -> VersionDiff:  # fmt: skip
    """Compares two versions; `memories` are those of their namespace, in the order in which to list them.

    Forgotten memories, and those that are not in `memories`, are left out; scores are empty beside the base. Answers of
    `tainted` versions, which learned what was forgotten since, are not shown. Versions whose files are gone or damaged
    are compared by what the journal says of them: `problems` names the reason, and nothing is raised.
    """
    known = {m.id: m for m in memories if m.status != "forgotten"}
    before = set(old.memory_ids) if old else set()
    after = set(new.memory_ids) if new else set()
    replaced = {m.id: successor for m in known.values() if m.id in before - after
                if (successor := _successor(m, known, after))}  # fmt: skip
    paired = {*replaced, *(m.id for m in replaced.values())}
    answers, layers, problems = _of_files(old, new, store, tainted)
    return VersionDiff(
        old=old.name if old else None,
        new=new.name if new else None,
        added=tuple(m for m in known.values() if m.id in after - before - paired),
        removed=tuple(m for m in known.values() if m.id in before - after - paired),
        superseded=tuple((known[i], successor) for i, successor in replaced.items()),
        scores=_deltas(old.report, new.report) if old and new else {},
        answers=answers,
        layers=layers,
        problems=tuple(dict.fromkeys(problems)),
    )


def _successor(memory: Memory, known: Mapping[str, Memory], wanted: Collection[str]) -> Memory | None:
    """The first of those that superseded the memory, one after the other, that is wanted."""
    seen: set[str] = set()
    while (newer := memory.superseded_by) is not None and newer in known and newer not in seen:
        memory = known[newer]
        if newer in wanted:
            return memory
        seen.add(newer)
    return None


def _deltas(old: Report, new: Report) -> dict[str, float]:
    pairs = ((f.name, getattr(old, f.name), getattr(new, f.name)) for f in dataclasses.fields(Report))
    return {name: after - before for name, before, after in pairs if isinstance(before, float) and after is not None}


def _of_files(
    old: Version | None, new: Version | None, store: VersionStore, tainted: Collection[str]
) -> tuple[tuple[AnswerChange, ...], tuple[LayerChange, ...], list[str]]:
    versions = [v for v in (old, new) if v is not None]
    problems = [problem for v in versions for problem in _unreadable(v, store)]
    if problems:
        return (), (), problems
    answers: tuple[AnswerChange, ...] = ()
    layers: tuple[LayerChange, ...] = ()
    try:
        if old and new:
            problems += _hidden(old, new, store, tainted)
            answers = () if problems else tuple(_answers(old, new, store))
        if old and new and old.adapter.base_fingerprint != new.adapter.base_fingerprint:
            problems.append(f"{old.name} and {new.name} were baked on different bases: their weights are not compared.")
        else:
            layers = layer_changes(*(None if v is None else store.folder(v.name) for v in (old, new)))
    except (AdapterError, HomeCorruptError, OSError) as error:  # another process may destroy one meanwhile
        problems.append(str(error))
    return answers, layers, problems


def _unreadable(version: Version, store: VersionStore) -> Iterator[str]:
    """Why a version's files cannot be compared; nothing when they can."""
    if version.gone:
        yield f"Version {version.name} was {version.gone}: its weights and answers are destroyed."
        return
    try:
        store.manifest(version.name)
        check_adapter(store.folder(version.name), base_fingerprint=version.adapter.base_fingerprint)
    except (AdapterError, HomeCorruptError, OSError) as error:
        yield f"Version {version.name} is not compared by its files: {error}"


def _hidden(old: Version, new: Version, store: VersionStore, tainted: Collection[str]) -> Iterator[str]:
    """Why the answers of two versions cannot be shown; nothing when they can."""
    for version in (old, new):
        if version.name in tainted:
            yield (f"Version {version.name} learned what was forgotten since: its answers are not shown. "
                   "Run `bakemem erase`.")  # fmt: skip
        elif not store.probes(version.name):
            yield f"Version {version.name} was baked without keeping its answers: they are not compared."


def _answers(old: Version, new: Version, store: VersionStore) -> Iterator[AnswerChange]:
    """The answers that changed, in the order of the old version's questions."""
    given = {probe.turns: probe.given for probe in store.probes(new.name)}
    for probe in store.probes(old.name):
        answer = given.get(probe.turns, probe.given)
        if answer != probe.given and probe.turns:
            yield AnswerChange(probe.turns[-1].content, probe.given, answer)
