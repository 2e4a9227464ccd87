"""The index in step with the journal: what it shows, and when it has to be compared with it again."""

from __future__ import annotations

import json
import logging
import os
import random
import threading
from collections import defaultdict
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from bakemem.errors import HomeError, InputError, ModelError
from bakemem.memory import Journal, Shadow, export, forget, load
from bakemem.memory.last_used import LastUsed
from bakemem.testing import MemoryIndex
from bakemem.types import Draft, Memory, Provenance


class Kept(MemoryIndex):
    """An index that outlives its process, and counts how often it was compared with the journal."""

    compared = opened = closed = 0

    def sync(self, memories: Iterable[Memory]) -> int:
        """Counts, and compares."""
        self.compared += 1
        return super().sync(memories)

    def open(self) -> Kept:
        """Counts."""
        self.opened += 1
        return self

    def close(self) -> None:
        """Counts."""
        self.closed += 1


def say(journal: Journal, key: str, text: str) -> str:
    """The id of a new memory."""
    return journal.add(Draft("fact", key, text), Provenance()).id


def shown(journal: Journal, index: Kept) -> set[str]:
    """What the index shows once it was opened and asked, and closed again."""
    shadow = Shadow(journal, lambda: index)
    shadow.recall("anything", 1)
    shadow.close()
    return index.ids()


def test_an_index_that_was_closed_in_step_is_not_compared_again(journal: Journal) -> None:
    """Opening costs the same whatever the journal holds."""
    index, dog = Kept(), say(journal, "dog", "A dog.")
    assert (shown(journal, index), index.compared) == ({dog}, 1)
    assert (shown(journal, index), index.compared) == ({dog}, 1)


def test_whatever_changed_meanwhile_is_found(journal: Journal, tmp_path: Path) -> None:
    """A memory that was added, superseded, forgotten or imported while the index was closed."""
    index, dog = Kept(), say(journal, "dog", "A dog.")
    assert shown(journal, index) == {dog}
    cat = say(journal, "cat", "A cat.")
    assert shown(journal, index) == {dog, cat}
    other = say(journal, "dog", "Another dog.")
    assert shown(journal, index) == {other, cat}
    forget(journal, [cat])
    assert shown(journal, index) == {other}
    elsewhere = Journal(tmp_path / "other.db")
    owl = say(elsewhere, "owl", "An owl.")
    [line] = export(elsewhere)
    load(journal, [json.dumps({**json.loads(line), "history": []})])  # no event tells of it
    assert shown(journal, index) == {other, owl}
    elsewhere.close()


def test_what_is_superseded_or_approved_moves_at_once(journal: Journal) -> None:
    """The open index drops what a newer memory took the place of, and takes in what was approved."""
    index = Kept()
    shadow = Shadow(journal, lambda: index)
    old = say(journal, "dog", "A dog.")
    shadow.recall("dog", 1)
    new = say(journal, "dog", "Another dog.")
    shadow.follow([new])
    assert index.ids() == {new} != {old}
    tool = journal.add(Draft("fact", "dog", "A third dog."), Provenance(role="tool"), "quarantined")
    shadow.follow([tool.id])
    assert index.ids() == {new}
    journal.approve([tool.id])
    shadow.follow([tool.id])
    assert index.ids() == {tool.id}
    shadow.close()
    assert (shown(journal, index), index.compared) == ({tool.id}, 1)


def test_an_index_that_could_not_follow_is_compared_again(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    """The memory stands in the journal, and the next opening finds it."""
    index = Kept()
    shadow = Shadow(journal, lambda: index)
    shadow.recall("dog", 1)

    def broken(memories: Iterable[Memory]) -> None:
        raise ModelError("no embedder")

    with monkeypatch.context() as patch:
        patch.setattr(index, "put", broken)
        with pytest.raises(ModelError), shadow.behind():
            dog = say(journal, "dog", "A dog.")
            shadow.follow([dog])
        shadow.close()
    assert (shown(journal, index), index.compared) == ({dog}, 2)


def test_a_change_that_was_cut_short_is_compared_again(journal: Journal) -> None:
    """Ctrl-C between the journal and the index: what was forgotten must not stay in the index for good."""
    index, dog = Kept(), say(journal, "dog", "A dog.")
    shadow = Shadow(journal, lambda: index)
    shadow.recall("dog", 1)
    with pytest.raises(KeyboardInterrupt), shadow.behind():
        forget(journal, [dog])
        raise KeyboardInterrupt
    shadow.close()
    assert index.ids() == {dog}
    assert shown(journal, index) == set()


def test_once_compared_after_a_change_that_failed_it_is_not_compared_again(journal: Journal) -> None:
    """One key that cannot be used must not make every opening slow from then on."""
    index, dog = Kept(), say(journal, "dog", "A dog.")
    shadow = Shadow(journal, index.open)
    shadow.recall("dog", 1)
    with pytest.raises(InputError), shadow.behind():
        say(journal, "no key!", "A cat.")
    for _ in range(3):
        shadow.rest()
        assert [memory.id for memory, _ in shadow.recall("dog", 1)] == [dog]
    assert index.compared == 2
    shadow.close()


def test_a_change_that_fails_while_the_index_is_compared_is_found_by_the_next_opening(journal: Journal) -> None:
    """The comparison had read the journal before it."""
    index = Kept()
    shadow, sync, dog = Shadow(journal, index.open), index.sync, say(journal, "dog", "A dog.")

    def changed_meanwhile(memories: Iterable[Memory]) -> int:
        with suppress(KeyboardInterrupt), shadow.behind():
            say(journal, "cat", "A cat.")
            raise KeyboardInterrupt
        return sync(memories)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(index, "sync", changed_meanwhile)
        shadow.recall("dog", 1)
    shadow.close()
    assert index.ids() == {dog}
    assert len(shown(journal, index)) == 2


def test_what_one_namespace_learns_leaves_the_others_in_step(tmp_path: Path) -> None:
    """What one namespace learned is no reason to compare the index of another."""
    ours, theirs = Journal(tmp_path / "journal.db", "a"), Journal(tmp_path / "journal.db", "b")
    index, dog = Kept(), say(ours, "dog", "A dog.")
    shown(ours, index)
    say(theirs, "dog", "Their dog.")
    assert (shown(ours, index), index.compared) == ({dog}, 1)
    ours.close()
    theirs.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_forked_process_leaves_the_index_alone(journal: Journal) -> None:
    """Chroma would wait there for threads that only its parent has, also when it is closed."""
    index, dog = Kept(), say(journal, "dog", "A dog.")
    shadow = Shadow(journal, lambda: index)
    shadow.recall("dog", 1)
    child = os.fork()
    if child == 0:
        try:
            shadow.near("dog", 1, 0.0)
            os._exit(1)
        except HomeError as error:
            shadow.close()
            os._exit(0 if "forked" in str(error) and not index.closed else 2)
        finally:
            os._exit(3)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert shadow.near("dog", 1, 0.0) == [dog]
    shadow.close()


def test_closing_what_was_never_opened_opens_nothing(journal: Journal) -> None:
    """A command that only reads the journal never loads an index."""

    def never() -> MemoryIndex:
        raise AssertionError("opened")

    Shadow(journal, never).close()


@pytest.fixture
def two_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """At most two indexes are open in this process, and none is yet."""
    fresh = LastUsed()
    monkeypatch.setattr("bakemem.memory.shadow.last_used", lambda process: fresh)
    monkeypatch.setattr("bakemem.memory.last_used.most_open", lambda: 2)


@pytest.fixture
def journals(tmp_path: Path) -> Iterator[list[Journal]]:
    """The journals of five namespaces."""
    opened = [Journal(tmp_path / "journal.db", f"user-{i}") for i in range(5)]
    yield opened
    for one in opened:
        one.close()


@pytest.mark.usefixtures("two_open")
def test_the_index_that_was_not_used_for_longest_is_closed(journals: list[Journal]) -> None:
    """It is opened when it is asked again, is not compared unless something changed, and finds what was written."""
    indexes = [Kept() for _ in journals]
    shadows = [Shadow(journal, index.open) for journal, index in zip(journals, indexes, strict=True)]
    dogs = [say(journal, "dog", "A dog.") for journal in journals]

    def open_now() -> list[int]:
        return [i for i, index in enumerate(indexes) if index.opened > index.closed]

    for i in (0, 1, 0, 2):
        assert [memory.id for memory, _ in shadows[i].recall("dog", 1)] == [dogs[i]]
    assert open_now() == [0, 2]
    shadows[1].recall("dog", 1)
    assert (open_now(), indexes[1].compared) == ([1, 2], 1)
    with shadows[0].behind():
        cat = say(journals[0], "cat", "A cat.")
        shadows[0].follow([cat])
    assert open_now() == [1, 2]
    assert [memory.id for memory, _ in shadows[0].recall("A cat.", 1)] == [cat]
    assert (open_now(), indexes[0].compared) == ([0, 1], 2)
    for shadow in shadows:
        shadow.close()
    assert open_now() == []


@pytest.mark.usefixtures("two_open")
def test_an_index_in_use_is_not_closed_for_another(journals: list[Journal]) -> None:
    """Nobody waits for it: the next one that is not in use is closed, and where there is none, one more is open."""
    begun, go_on = threading.Event(), threading.Event()

    class Slow(Kept):
        def search(self, text: str, k: int) -> list[tuple[str, float]]:
            begun.set()
            assert go_on.wait(10)
            return super().search(text, k)

    indexes = [Slow(), Kept(), Kept()]
    shadows = [Shadow(journal, index.open) for journal, index in zip(journals[:3], indexes, strict=True)]
    dog = say(journals[0], "dog", "A dog.")
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(shadows[0].recall, "dog", 1)
        assert begun.wait(10)
        shadows[1].recall("dog", 1)
        shadows[2].recall("dog", 1)
        assert [index.closed for index in indexes] == [0, 1, 0]
        go_on.set()
        assert [memory.id for memory, _ in slow.result()] == [dog]
    for shadow in shadows:
        shadow.close()


def test_an_index_that_is_closed_in_a_change_is_compared_again(journal: Journal) -> None:
    """Whether the change had begun before, or begins while it is closed: it never passes for one that followed."""
    index, real = Kept(), journal.last_change
    shadow = Shadow(journal, index.open)
    shadow.recall("dog", 1)
    with shadow.behind():
        dog = say(journal, "dog", "A dog.")
        shadow.rest()
        shadow.follow([dog])
    assert ([memory.id for memory, _ in shadow.recall("dog", 1)], index.compared) == ([dog], 2)
    with ExitStack() as changes, pytest.MonkeyPatch.context() as patch:

        def changed_meanwhile() -> str:
            changes.enter_context(shadow.behind())
            say(journal, "cat", "A cat.")
            return real()

        patch.setattr(journal, "last_change", changed_meanwhile)
        shadow.rest()
    shadow.recall("dog", 1)
    assert (len(index.ids()), index.compared) == (2, 3)
    shadow.close()


def test_an_index_that_cannot_be_sealed_is_no_error_of_another(
    journal: Journal, caplog: pytest.LogCaptureFixture
) -> None:
    """It is closed all the same, and compared when it is opened again; the log says so."""

    class Unwritable(Kept):
        def seal(self, state: str) -> None:
            raise HomeError("The disk is full.")

    index = Unwritable()
    shadow = Shadow(journal, index.open)
    shadow.recall("dog", 1)
    with caplog.at_level(logging.WARNING):
        shadow.rest()
    assert (index.closed, "The disk is full." in caplog.text) == (1, True)


@pytest.mark.usefixtures("two_open")
def test_an_index_that_cannot_be_rebuilt_is_opened_anew(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may have been closed on the way: the next use opens it, and finds that something was forgotten."""
    index = Kept()
    shadow = Shadow(journal, index.open)
    dog, cat = (say(journal, key, f"A {key}.") for key in ("dog", "cat"))
    shadow.recall("dog", 1)

    def full(memories: Iterable[Memory]) -> None:
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(index, "purge", full)
        with pytest.raises(OSError, match="disk full"), shadow.behind():
            forget(journal, [dog])
            shadow.rebuild()
    assert (index.opened, index.closed) == (1, 1)
    assert [memory.id for memory, _ in shadow.recall("cat", 1)] == [cat]
    assert (index.ids(), index.opened) == ({cat}, 2)
    shadow.close()


def test_an_index_that_is_rebuilt_is_not_compared_before(journal: Journal) -> None:
    """All of it goes: it is filled once, and the next opening finds it in step."""
    index, filled = Kept(), list[int]()
    dog, cat = (say(journal, key, f"A {key}.") for key in ("dog", "cat"))
    assert shown(journal, index) == {dog, cat}
    forget(journal, [dog])
    purge = index.purge
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(index, "purge", lambda memories: filled.append(len(memories)) or purge(memories))
        shadow = Shadow(journal, index.open)
        assert shadow.rebuild() == 1
        shadow.close()
    assert (shown(journal, index), filled, index.compared) == ({cat}, [1], 1)


def test_an_index_that_cannot_be_brought_up_to_date_is_closed(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else each try would leave files open."""
    index = Kept()
    shadow = Shadow(journal, index.open)

    def broken(memories: Iterable[Memory]) -> int:
        raise ModelError("no embedder")

    with monkeypatch.context() as patch:
        patch.setattr(index, "sync", broken)
        with pytest.raises(ModelError):
            shadow.recall("dog", 1)
    assert (index.opened, index.closed) == (1, 1)


@pytest.mark.usefixtures("two_open")
def test_threads_that_use_more_indexes_than_may_be_open_stay_in_step(journals: list[Journal]) -> None:
    """Each finds at once what it wrote, and in the end every index holds what its journal holds."""
    indexes = [Kept() for _ in journals]
    shadows = [Shadow(journal, index.open) for journal, index in zip(journals, indexes, strict=True)]
    keeping = defaultdict[int, threading.Lock](threading.Lock)

    def work(seed: int) -> None:
        rng = random.Random(seed)
        for n in range(20):
            i = rng.randrange(len(journals))
            with keeping[i], shadows[i].behind():
                wrote = say(journals[i], f"number.{seed}.{n}", f"The number is {seed * 20 + n}.")
                shadows[i].follow([wrote])
            found = shadows[i].recall(f"The number is {seed * 20 + n}.", 1)
            assert [memory.id for memory, _ in found] == [wrote]

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    for shadow, journal, index in zip(shadows, journals, indexes, strict=True):
        shadow.close()
        assert index.ids() == {memory.id for memory in journal.memories()}
        assert index.opened == index.closed > 1
