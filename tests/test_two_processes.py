"""One process writes to a home as fast as it can while two others read it and ask for the lock.

HAMMER_SECONDS says for how long (the tests take no BAKEMEM_ variable from the machine).
"""

from __future__ import annotations

import multiprocessing
import os
import random
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from bakemem.errors import AdapterError, HomeLockedError
from bakemem.memory import HomeLock, Journal, forget
from bakemem.versions import VersionStore, check_adapter
from tests.homes import BASE, assert_sound, fake_bake, let_go, opened, remember, state_of, write_adapter

SECONDS = float(os.environ.get("HAMMER_SECONDS", "5"))


@contextmanager
def owned(home: Path) -> Iterator[None]:
    """The lock is held; before that, a reader that found it free may have it for a moment."""
    lock, held = HomeLock(home), False
    while not held:
        try:
            lock.acquire()
            held = True
        except HomeLockedError:
            time.sleep(0.001)
    try:
        yield
    finally:
        lock.release()


def write(home: Path, seconds: float) -> dict[str, int]:
    """Does at random all that a writer may do, and starts anew at times; how often each."""
    rng, done, end = random.Random(0), Counter[str](), time.monotonic() + seconds
    source = write_adapter(home.parent / "source")
    kept, gone = dict[str, str](), set[str]()
    while time.monotonic() < end:
        with owned(home), opened(home) as (journal, store):
            for _ in range(40):
                done[_step(rng, journal, store, source, kept, gone)] += 1
            found = state_of(journal)
            assert_sound(found, store)
            assert {i: found.texts[i] for i in kept} == kept
            assert {found.statuses[i] for i in gone} <= {"forgotten"}
    return dict(done)


def _step(
    rng: random.Random, journal: Journal, store: VersionStore, source: Path, kept: dict[str, str], gone: set[str]
) -> str:
    versions = [v for v in journal.versions() if not v.gone]
    learned = {v.name for v in journal.tainted()}
    servable = [v.name for v in versions if v.status == "accepted" and v.name not in learned]
    spare = [v.name for v in versions if v.name != journal.live()]
    what = rng.choice(["remember", "remember", "bake", "roll back", "forget", "collect"])
    if what == "bake" and journal.count("pending"):
        fake_bake(journal, store, source, accepted=rng.random() < 0.8)
    elif what == "roll back":
        journal.set_live(rng.choice([None, *servable]))
    elif what == "forget" and len(kept) > 8:
        forgotten = {m.id for m in forget(journal, [rng.choice(list(kept))])}
        gone |= forgotten
        for i in forgotten & kept.keys():
            del kept[i]
    elif what == "collect" and len(spare) > 3:
        let_go(journal, store, spare[:2])
    else:
        memory = remember(journal, f"Fact {rng.random()}.", f"key.{rng.randrange(10)}")
        kept[memory.id], what = memory.text, "remember"
    return what


def read(home: Path, seconds: float) -> dict[str, float]:
    """Reads all there is and asks for the lock, again and again; how often, and how it was refused."""
    store, end, counts, refusals = VersionStore(home), time.monotonic() + seconds, Counter[str](), list[float]()
    while time.monotonic() < end:
        journal = Journal(home / "journal.db", readonly=True)
        try:
            for _ in range(20):
                counts[_look(journal, store)] += 1
        finally:
            journal.close()
        started = time.monotonic()
        try:
            HomeLock(home).acquire().release()
        except HomeLockedError:
            refusals.append(time.monotonic() - started)
    return {**counts, "refused": len(refusals), "median refusal, s": statistics.median(refusals)}


def _look(journal: Journal, store: VersionStore) -> str:
    """One state of the journal holds rule 1, and the version that it calls live is whole, or was let go since."""
    with journal.read() as connection:
        live, versions = journal._live(connection), {v.name: v for v in journal._versions(connection)}
        memories = journal.select(connection)
    inside = versions[live].memory_ids if live else ()
    assert all((m.status == "baked") <= (m.id in inside) for m in memories)
    assert all((m.status == "pending") <= (m.id not in inside) for m in memories)
    assert all((m.status == "forgotten") == (m.text == "") for m in memories)
    assert live is None or (versions[live].status, versions[live].gone) == ("accepted", "")
    moves = [entry.new for entry in journal.reflog() if entry.action not in ("collect", "erase")]
    assert live is None or live in moves
    if live is None:
        return "the base"
    try:
        check_adapter(store.folder(live), base_fingerprint=BASE)
    except (AdapterError, OSError):
        assert journal.version(live).gone, f"{live} is broken, and the journal counts on it"
        return "let go since"
    return "whole"


def test_readers_see_whole_states_and_writers_are_refused_at_once(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """No reader ever meets half a change, a broken version or an error, and nobody else gets the lock."""
    home = tmp_path / "home"
    with opened(home):
        pass
    with ProcessPoolExecutor(3, multiprocessing.get_context("spawn")) as pool:
        readers = [pool.submit(read, home, SECONDS) for _ in range(2)]
        writer = pool.submit(write, home, SECONDS)
        done, seen = writer.result(SECONDS + 60), [reader.result(SECONDS + 60) for reader in readers]
    print(f"writer: {done}; readers: {seen}")
    record_property("writer", done)
    record_property("readers", seen)
    assert {"remember", "bake", "roll back", "forget", "collect"} <= done.keys()
    for counts in seen:
        assert counts["whole"] > 0
        assert counts["refused"] > 0
        assert counts["median refusal, s"] < 0.1
