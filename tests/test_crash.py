"""Whatever the disk does and whenever the process dies, a home is as before or as after, and never in between."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from bakemem.memory import forget
from tests.carrying import Home
from tests.crash import FAILURES, Explorer, Scenario
from tests.homes import fake_bake, let_go, opened, remember, write_adapter
from tests.lost_writes import lose_writes

pytestmark = pytest.mark.skipif(os.name == "nt", reason="kill -9 and fork are POSIX")


def _source(home: Path) -> Path:
    return home.parent / "source"


def _two_versions(home: Path) -> None:
    """v1 knows a dog, v2 a town as well and is live; a song is pending; v1 has a tag."""
    write_adapter(_source(home))
    with opened(home) as (journal, store):
        for key, text in (("user.dog", "Bosuk is the dog."), ("user.town", "Plinth is the town.")):
            remember(journal, text, key)
            fake_bake(journal, store, _source(home))
        remember(journal, "Tarn is the song.", "user.song")
        journal.tag("first", "v1")


def _no_version(home: Path) -> None:
    write_adapter(_source(home))
    with opened(home, "A team") as (journal, _):
        remember(journal, "Bosuk is the dog.", "user.dog")


def _a_left_folder(home: Path) -> None:
    _two_versions(home)
    with opened(home) as (_, store):
        store.stage(home / "versions/v2", dataclasses.replace(store.manifest("v2"), name="v3"))


def _left_by_a_crash(home: Path) -> None:
    """A version that was never committed, a half-written one, and a collected one that was not removed yet."""
    _a_left_folder(home)
    shutil.copytree(home / "versions/v2", home / "versions/.tmp-v4-x")
    with opened(home, sweep=False) as (journal, _):
        journal.destroyed(["v1"], "collected")


def _bake(home: Path, *, accepted: bool = True, namespace: str = "default", sweep: bool = True) -> None:
    with opened(home, namespace, sweep=sweep) as (journal, store):
        fake_bake(journal, store, _source(home), accepted=accepted)


def _let_go(home: Path, why: str) -> None:
    with opened(home) as (journal, store):
        let_go(journal, store, ["v1"], why)


def _roll_back(home: Path) -> None:
    with opened(home) as (journal, _):
        journal.set_live("v1")


def _forget(home: Path) -> None:
    with opened(home) as (journal, _):
        forget(journal, [m.id for m in journal.memories(key="user.town")])


def _packed(home: Path) -> Path:
    return home.parent / "version.zip"


def _a_packed_version(home: Path) -> None:
    """One of another home lies beside this one."""
    _two_versions(home)
    there = Home(home.parent / "there", "theirs")
    there.remember("Rex is the cat.", kind="fact", key="user.cat")
    there.bake()
    there.pack("v1", _packed(home))
    there._close()


def _unpack(home: Path) -> None:
    here = Home(home)
    try:
        here.unpack(_packed(home))
    finally:
        here._close()


def _open(home: Path) -> None:
    with opened(home):
        pass


SCENARIOS = {
    "bake": Scenario(_two_versions, _bake),
    "rejected bake": Scenario(_two_versions, lambda home: _bake(home, accepted=False)),
    "first bake of a namespace": Scenario(_no_version, lambda home: _bake(home, namespace="A team"), "A team"),
    "bake over a left folder": Scenario(_a_left_folder, lambda home: _bake(home, sweep=False)),
    "rollback": Scenario(_two_versions, _roll_back),
    "collect": Scenario(_two_versions, lambda home: _let_go(home, "collected")),
    "erase": Scenario(_two_versions, lambda home: _let_go(home, "erased")),
    "unpack": Scenario(_a_packed_version, _unpack),
    "sweep": Scenario(_left_by_a_crash, _open),
    "forget": Scenario(_two_versions, _forget, erased="Plinth"),
}

FAILING = ("first bake of a namespace", "bake over a left folder", "collect", "forget")
"""These make every sort of call; a failing call, which takes longer to try than a kill, is tried on them."""


def explore(name: str, failure: str, folder: Path) -> tuple[int, int]:
    """How many calls a scenario makes, and how many runs with that failure left a sound home."""
    explorer = Explorer(SCENARIOS[name], folder)
    return len(explorer.calls), explorer.explore(failure)


def lose(name: str, folder: Path) -> tuple[int, int]:
    """How many operations a scenario makes, and how many different disks a power cut may leave of it; all sound."""
    return lose_writes(Explorer(SCENARIOS[name], folder))


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory where there is one: a thousand homes are written, and each call is awaited."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else tmp_path, prefix="bakemem-") as made:
        yield Path(made)


@pytest.fixture(scope="module")
def other_process() -> Iterator[ProcessPoolExecutor]:
    """A process without torch, which forks in a millisecond."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        yield pool


@pytest.mark.parametrize(
    ("name", "failure"),
    [(n, f) for n in SCENARIOS for f in FAILURES if f == "kill" or n in FAILING if (n, f) != ("forget", "torn")],
)
def test_a_failure_at_any_call_leaves_the_old_state_or_the_new_one(
    name: str,
    failure: str,
    folder: Path,
    other_process: ProcessPoolExecutor,
    record_property: Callable[[str, object], None],
) -> None:
    """At each of the N calls of each path; the home then opens, is sound, and has lost nothing."""
    calls, runs = other_process.submit(explore, name, failure, folder).result(120)
    print(f"{name}, {failure}: {runs} runs over {calls} calls")
    record_property("calls", calls)
    record_property("runs", runs)
    assert runs > 0


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_power_cut_at_any_time_loses_nothing_that_was_acknowledged(
    name: str, folder: Path, other_process: ProcessPoolExecutor, record_property: Callable[[str, object], None]
) -> None:
    """Whatever was not synced may be lost, in any combination: what the journal counts on is whole all the same."""
    operations, disks = other_process.submit(lose, name, folder).result(120)
    print(f"{name}: {disks} disks after {operations} operations")
    record_property("operations", operations)
    record_property("disks", disks)
    assert disks > 0
