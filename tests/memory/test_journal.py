"""The journal takes memories in, lets newer ones replace older ones, and moves them with the live version."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import bakemem
from bakemem.errors import HomeError, InputError, NotFoundError, TransitionError
from bakemem.memory import Journal, forget, records
from bakemem.opening import read_journal
from bakemem.types import Draft, Memory, Provenance, Version
from tests.zones import local_time

MakeVersion = Callable[..., Version]
USER = Provenance(conversation="c1", turn="My dog is called Bosuk.", extractor="model")


def tell(journal: Journal, text: str, key: str = "user.dog", said: datetime | None = None) -> Memory:
    """Adds a fact that the user said, now or then."""
    return journal.add(Draft("fact", key, text), USER, valid_from=said)


def statuses(journal: Journal) -> dict[str, str]:
    """The status of each text."""
    return {m.text: m.status for m in journal.memories()}


def test_a_memory_survives_closing_the_journal(journal: Journal, tmp_path: Path) -> None:
    """What was added is read back equal, provenance and time included, by another journal on the same file."""
    memory = tell(journal, "The user's dog is called Bosuk.")
    journal.close()
    again = Journal(tmp_path / "journal.db")
    assert again.memories() == [memory]
    assert again.get(memory.id).provenance == USER
    again.close()


def test_the_same_text_is_kept_once(journal: Journal) -> None:
    """A repetition gives back the memory that is there."""
    first = tell(journal, "The user's dog is called Bosuk.")
    assert tell(journal, "  The user's dog is called Bosuk.\n", key="User.Dog") == first
    assert len(journal.memories()) == 1


def test_a_newer_text_supersedes_the_older_one_of_its_key(journal: Journal) -> None:
    """The older memory stays readable and names its successor; other keys are untouched."""
    town = tell(journal, "The user lives in Plinth.", key="user.town")
    dog = tell(journal, "The user's dog is called Bosuk.")
    moved = tell(journal, "The user lives in Tarn.", key="user.town")
    old = journal.get(town.id)
    assert (old.status, old.superseded_by) == ("superseded", moved.id)
    assert journal.memories("pending") == [dog, moved]
    assert [(e.action, e.old, e.new, e.note) for e in journal.history(town.id)] == [
        ("remember", None, "pending", ""),
        ("supersede", "pending", "superseded", moved.id),
    ]


def test_an_older_word_that_comes_later_does_not_supersede_a_newer_one(journal: Journal) -> None:
    """It goes behind it at once, into the chain, and what was older still stays behind both."""
    now = datetime.now(UTC)
    tell(journal, "The user lives in Plinth.", said=now - timedelta(hours=3))
    newest = tell(journal, "The user lives in Tarn.", said=now - timedelta(hours=1))
    late = tell(journal, "The user lives in Gopo.", said=now - timedelta(hours=2))
    assert (late.status, late.superseded_by) == ("superseded", newest.id)
    assert [(e.action, e.new) for e in journal.history(late.id)] == [
        ("remember", "pending"), ("supersede", "superseded"),
    ]  # fmt: skip
    assert journal.memories("pending") == [newest]


def test_a_held_memory_is_not_superseded_by_an_older_word(journal: Journal, make_version: MakeVersion) -> None:
    """What a rollback left can still come back."""
    newer = tell(journal, "The user's dog is called Rex.")
    journal.commit_version(make_version("v1", [newer]), accepted=True)
    journal.set_live("base")
    tell(journal, "The user's dog is called Bosuk.", said=datetime.now(UTC) - timedelta(hours=1))
    assert statuses(journal) == {
        "The user's dog is called Rex.": "held", "The user's dog is called Bosuk.": "superseded",
    }  # fmt: skip


def test_a_word_said_again_counts_from_then(journal: Journal) -> None:
    """By the last time that a person said it; a tool that repeats it renews nothing, nor does an older word."""
    now = datetime.now(UTC)
    first, second, third, last = (now - timedelta(hours=h) for h in (4, 3, 2, 1))
    dog = tell(journal, "The user's dog is called Bosuk.", said=second)
    tell(journal, "The user's dog is called Bosuk.", said=first)
    assert journal.get(dog.id).valid_from == second
    tell(journal, "The user's dog is called Bosuk.", said=last)
    journal.add(Draft("fact", "user.dog", "The user's dog is called Bosuk."), Provenance("tool"), "quarantined")
    assert journal.get(dog.id).valid_from == last
    tell(journal, "The user's dog is called Rex.", said=third)
    assert [m.text for m in journal.memories("pending")] == ["The user's dog is called Bosuk."]


def test_an_older_word_leaves_a_newer_one_in_quarantine(journal: Journal) -> None:
    """The operator may still approve it, and its word, given then, wins."""
    tool = journal.add(Draft("fact", "user.dog", "The user's dog is called Rex."), Provenance("tool"), "quarantined")
    late = tell(journal, "The user's dog is called Bosuk.", said=datetime.now(UTC) - timedelta(hours=1))
    assert (late.status, journal.get(tool.id).status) == ("pending", "quarantined")
    journal.approve([tool.id])
    assert journal.get(late.id).superseded_by == tool.id


def test_an_approval_counts_from_when_it_was_given(journal: Journal) -> None:
    """What was said between the tool's word and the approval, and is read only now, goes behind it."""
    now = datetime.now(UTC)
    tool = journal.add(
        Draft("fact", "user.dog", "The user's dog is called Rex."), Provenance("tool"), "quarantined",
        valid_from=now - timedelta(hours=3),
    )  # fmt: skip
    [approved] = journal.approve([tool.id])
    assert approved.valid_from is not None
    assert approved.valid_from >= now
    late = tell(journal, "The user's dog is called Bosuk.", said=now - timedelta(hours=2))
    assert (late.status, late.superseded_by) == ("superseded", tool.id)


def test_a_word_from_the_future_gives_way_to_what_is_said_now(journal: Journal) -> None:
    """The clock was set back since, or another home's is fast."""
    tell(journal, "The user's dog is called Rex.", said=datetime.now(UTC) + timedelta(days=1))
    assert tell(journal, "The user's dog is called Bosuk.").status == "pending"


def test_the_same_text_with_another_kind_is_another_memory(journal: Journal) -> None:
    """An instruction replaces a fact of the same words, for the words are used differently."""
    journal.add(Draft("fact", "style.case", "Always answer in upper case."), USER)
    journal.add(Draft("instruction", "style.case", "Always answer in upper case."), USER)
    assert [(m.kind, m.status) for m in journal.memories()] == [("fact", "superseded"), ("instruction", "pending")]


def test_quarantined_text_never_touches_what_the_user_said(journal: Journal) -> None:
    """A tool's text with a known key waits beside the user's memory, and the user's next word replaces both."""
    mine = tell(journal, "The user's dog is called Bosuk.")
    tool = Provenance(role="tool", source="tool:web")
    other = journal.add(Draft("fact", "user.dog", "The user's dog is called Evil."), tool, "quarantined")
    assert journal.add(Draft("fact", "user.dog", "The user's dog is called Evil."), tool, "quarantined") == other
    assert journal.memories() == [mine, other]
    tell(journal, "The user's dog is called Rex.")
    assert [m.status for m in journal.memories()] == ["superseded", "superseded", "pending"]


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("user.dog", ""), ("user.dog", " \n "), ("user.dog", "x" * 2_001), ("user.dog", "a\0b"), ("user.dog", "\ud800"),
        ("", "text"), ("user dog", "text"), ("user..dog", "text"), (".user", "text"), ("user/dog", "text"),
        ("k" * 201, "text"), ("a\0b", "text"),
    ],
)  # fmt: skip
def test_text_or_key_that_cannot_be_kept_is_refused(journal: Journal, key: str, text: str) -> None:
    """Bad input is an InputError and leaves no trace."""
    with pytest.raises(InputError):
        journal.add(Draft("fact", key, text), USER)
    assert journal.memories() == []


def test_provenance_that_cannot_be_stored_is_refused(journal: Journal) -> None:
    """Half a surrogate pair in the turn is an InputError, not a database error."""
    with pytest.raises(InputError):
        journal.add(Draft("fact", "user.dog", "Bosuk."), Provenance(turn="\udcff"))


def test_a_kind_or_role_that_there_is_not_is_refused(journal: Journal) -> None:
    """A memory of such a kind would be in no prompt; the error says which there are."""
    with pytest.raises(InputError, match="'facts' is no kind of memory: choose one of instruction, fact"):
        journal.add(Draft("facts", "user.dog", "Bosuk."), USER)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="'banana' is no role: choose one of system, user"):
        journal.add(Draft("fact", "user.dog", "Bosuk."), Provenance("banana"))  # type: ignore[arg-type]
    assert journal.memories() == []


@pytest.mark.parametrize(
    "ask",
    [
        lambda journal, name: journal.get(name), lambda journal, name: journal.history(name),
        lambda journal, name: journal.version(name), lambda journal, name: journal.servable(name),
        lambda journal, name: journal.memories(key=name), lambda journal, name: journal.tag("good", name),
        lambda journal, name: forget(journal, [name]), lambda journal, name: forget(journal, conversation=name),
    ],
)  # fmt: skip
def test_a_name_that_no_database_can_hold_is_refused(journal: Journal, ask: Callable[[Journal, str], object]) -> None:
    """Half a surrogate pair, as Python reads a byte that is not UTF-8."""
    with pytest.raises(InputError, match="half a surrogate pair"):
        ask(journal, "talk\udcff")


def test_a_time_without_a_zone_is_local(journal: Journal) -> None:
    """As the command line has it."""
    dog = tell(journal, "The user's dog is called Bosuk.")
    here = dog.created.astimezone().replace(tzinfo=None)
    assert journal.memories(since=here) == [dog]
    assert journal.memories(since=here + timedelta(seconds=1)) == []


@pytest.fixture(params=["Asia/Tokyo", "America/New_York"])
def zone(request: pytest.FixtureRequest) -> Iterator[None]:
    """Local time is another, ahead or behind."""
    with local_time(request.param):
        yield


@pytest.mark.usefixtures("zone")
def test_the_ends_of_the_calendar_are_times_like_others(journal: Journal) -> None:
    """Since its first day is all, since its last is nothing, though no other zone has them."""
    dog = tell(journal, "The user's dog is called Bosuk.")
    for known in (None, UTC):
        assert journal.memories(since=datetime.min.replace(tzinfo=known)) == [dog]
        assert journal.memories(since=datetime.max.replace(tzinfo=known)) == []


def test_any_script_can_be_key_and_text(journal: Journal) -> None:
    """Letters beyond ASCII are letters, and case does not tell keys apart in any script."""
    first = journal.add(Draft("fact", "Ποντίκι.Όνομα", "Ο χρήστης ζει στην Αθήνα. 🐭"), USER)
    assert journal.add(Draft("fact", "ποντίκι.όνομα", "Ο χρήστης ζει στην Αθήνα. 🐭"), USER) == first


def test_a_memory_is_found_by_the_beginning_of_its_id(journal: Journal) -> None:
    """A unique prefix of four characters is enough; an unknown, shared or shorter one names what is near."""
    alone = tell(journal, "The only one.", key="alone")
    assert journal.get(alone.id[:4].upper()) == alone
    with pytest.raises(NotFoundError, match=rf"begins an id \({alone.id}\): type more"):
        journal.get(alone.id[:3])
    memories = [tell(journal, f"Fact {n}.", key=f"k{n}") for n in range(40)]
    wanted = memories[7]
    assert journal.get(wanted.id[:10]) == wanted
    with pytest.raises(NotFoundError, match=wanted.id):
        journal.get(wanted.id + "0")
    with pytest.raises(NotFoundError, match="type more"):
        journal.get(next(m.id[0] for m in memories if sum(n.id[0] == m.id[0] for n in memories) > 1))
    with pytest.raises(NotFoundError):
        journal.get("%")
    with pytest.raises(NotFoundError):
        journal.get("")


def test_namespaces_cannot_see_each_other(journal: Journal, tmp_path: Path, make_version: MakeVersion) -> None:
    """Memories, versions, pointer, reflog and names of one namespace are invisible in another."""
    mine = tell(journal, "Mine.")
    journal.commit_version(make_version("v1", [mine]), accepted=True)
    other = Journal(tmp_path / "journal.db", "someone else")
    assert (other.memories(), other.versions(), other.live(), other.reflog()) == ([], [], None, [])
    assert other.next_version_name() == "v1"
    with pytest.raises(NotFoundError):
        other.get(mine.id)
    with pytest.raises(NotFoundError):
        other.release([mine.id])
    tell(other, "Theirs.")
    assert journal.memories() == [journal.get(mine.id)]
    other.close()


@pytest.mark.parametrize("namespace", ["", "  ", "a\nb", "x" * 201])
def test_a_namespace_must_be_printable(tmp_path: Path, namespace: str) -> None:
    """A namespace that could not be shown or told apart is refused."""
    with pytest.raises(InputError):
        Journal(tmp_path / "journal.db", namespace)


def test_an_accepted_version_bakes_its_memories_and_goes_live(journal: Journal, make_version: MakeVersion) -> None:
    """Version, pointer, reflog and memory states move together; what came during the bake stays pending."""
    dog, cat = tell(journal, "Dog."), tell(journal, "Cat.", key="user.cat")
    version = make_version("v1", [dog, cat])
    late = tell(journal, "Late.", key="user.late")
    journal.commit_version(version, accepted=True)
    assert journal.live() == "v1"
    assert journal.versions() == [version] == [journal.version("live")]
    assert journal.version("0000") == version
    assert statuses(journal) == {"Dog.": "baked", "Cat.": "baked", "Late.": "pending"}
    assert [(e.action, e.old, e.new) for e in journal.reflog()] == [("bake", None, "v1")]
    assert journal.history(late.id)[-1].action == "remember"
    assert journal.history(dog.id)[-1].note == "v1"


def test_a_rejected_version_is_recorded_and_moves_nothing(journal: Journal, make_version: MakeVersion) -> None:
    """Its memories stay pending, its name is not used again, and it cannot be made live."""
    dog = tell(journal, "Dog.")
    journal.commit_version(make_version("v1", [dog], accepted=False), accepted=False)
    assert (journal.live(), journal.reflog(), statuses(journal)) == (None, [], {"Dog.": "pending"})
    assert journal.next_version_name() == "v2"
    with pytest.raises(InputError, match="agreement"):
        journal.set_live("v1")


def test_a_memory_superseded_during_its_bake_stays_superseded(journal: Journal, make_version: MakeVersion) -> None:
    """The newer text, which the version does not hold, stays pending and so in the prompt."""
    version = make_version("v1", [tell(journal, "Old.")])
    tell(journal, "New.")
    journal.commit_version(version, accepted=True)
    assert statuses(journal) == {"Old.": "superseded", "New.": "pending"}


def test_a_baked_memory_that_a_new_version_leaves_out_returns_to_the_prompt(
    journal: Journal, make_version: MakeVersion
) -> None:
    """Nothing falls between weights and prompt."""
    dog, cat = tell(journal, "Dog."), tell(journal, "Cat.", key="user.cat")
    journal.commit_version(make_version("v1", [dog, cat]), accepted=True)
    journal.commit_version(make_version("v2", [cat], parent="v1"), accepted=True)
    assert statuses(journal) == {"Dog.": "pending", "Cat.": "baked"}


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"name": "v1"}, InputError),  # taken
        ({"name": "best"}, InputError),
        ({"name": "../v2"}, InputError),
        ({"namespace": "other"}, InputError),
        ({"status": "rejected"}, InputError),  # but committed as accepted
        ({"parent": "v9"}, NotFoundError),
        ({"memory_ids": ("feedfeedfeedfeed",)}, NotFoundError),
    ],
)
def test_a_version_that_does_not_fit_changes_nothing(
    journal: Journal, make_version: MakeVersion, change: dict[str, object], error: type[Exception]
) -> None:
    """A refused commit leaves versions, pointer and memories as they were."""
    dog = tell(journal, "Dog.")
    journal.commit_version(make_version("v1", [dog]), accepted=True)
    cat = tell(journal, "Cat.", key="user.cat")
    version = make_version("v2", [dog, cat], parent="v1")
    fields = {name: getattr(version, name) for name in Version.__slots__}
    with pytest.raises(error):
        journal.commit_version(Version(**{**fields, **change}), accepted=True)
    assert journal.live() == "v1"
    assert len(journal.versions()) == 1
    assert statuses(journal) == {"Dog.": "baked", "Cat.": "pending"}


def test_quarantined_memory_cannot_be_baked(journal: Journal, make_version: MakeVersion) -> None:
    """A version that holds quarantined text is refused whole."""
    bad = journal.add(Draft("fact", "user.dog", "Evil."), Provenance(role="tool", source="tool:web"), "quarantined")
    with pytest.raises(TransitionError, match="quarantined"):
        journal.commit_version(make_version("v1", [bad]), accepted=True)
    assert journal.versions() == []
    assert journal.live() is None


def test_rollback_holds_what_only_newer_versions_know_and_brings_it_back(
    journal: Journal, make_version: MakeVersion
) -> None:
    """To an older version and to the base, and forward again, with each move in the reflog."""
    dog = tell(journal, "Dog.")
    journal.commit_version(make_version("v1", [dog]), accepted=True)
    cat = tell(journal, "Cat.", key="user.cat")
    journal.commit_version(make_version("v2", [dog, cat], parent="v1"), accepted=True)
    tell(journal, "New.", key="user.new")
    journal.set_live("v1")
    assert statuses(journal) == {"Dog.": "baked", "Cat.": "held", "New.": "pending"}
    journal.set_live(None)
    assert statuses(journal) == {"Dog.": "held", "Cat.": "held", "New.": "pending"}
    assert journal.live() is None
    journal.set_live("v2", action="roll forward")
    journal.set_live("v2")  # already there: no change, no line
    assert statuses(journal) == {"Dog.": "baked", "Cat.": "baked", "New.": "pending"}
    assert [(e.action, e.old, e.new) for e in journal.reflog()] == [
        ("bake", None, "v1"), ("bake", "v1", "v2"), ("rollback", "v2", "v1"), ("rollback", "v1", None),
        ("roll forward", None, "v2"),
    ]  # fmt: skip
    assert [e.action for e in journal.history(cat.id)] == ["remember", "bake", "hold", "restore"]


@pytest.fixture
def changed(journal: Journal, make_version: MakeVersion) -> list[Memory]:
    """Three words for one key, each baked in a version of its own: v1, v2, v3, which is live."""
    told = []
    for n, text in enumerate(("First.", "Second.", "Third."), start=1):
        told.append(tell(journal, text))
        version = make_version(f"v{n}", [told[-1]], parent=f"v{n - 1}" if n > 1 else None)
        journal.commit_version(version, accepted=True)
    return told


def test_what_was_superseded_comes_back_with_its_version(journal: Journal, changed: list[Memory]) -> None:
    """What took its place is held, and takes it again when its own version does; between them all is as it was."""
    assert statuses(journal) == {"First.": "superseded", "Second.": "superseded", "Third.": "baked"}
    moved = journal.set_live("v2")
    assert statuses(journal) == {"First.": "superseded", "Second.": "baked", "Third.": "held"}
    assert {m.text: m.status for m in moved} == {"Second.": "baked", "Third.": "held"}
    journal.set_live("v1")
    assert statuses(journal) == {"First.": "baked", "Second.": "superseded", "Third.": "held"}
    journal.set_live(None)
    assert statuses(journal) == {"First.": "superseded", "Second.": "superseded", "Third.": "held"}
    journal.set_live("v1")
    journal.set_live("v3")
    assert statuses(journal) == {"First.": "superseded", "Second.": "superseded", "Third.": "baked"}
    assert [m.text for m in journal.chain(changed[2].id)] == ["Third.", "Second.", "First."]
    assert [e.action for e in journal.history(changed[1].id)][2:] == ["supersede", "restore", "supersede"]


def test_what_is_superseded_by_what_waits_stays_so(journal: Journal, make_version: MakeVersion) -> None:
    """The newest word is in the prompt whatever version serves."""
    journal.commit_version(make_version("v1", [tell(journal, "Old.")]), accepted=True)
    journal.set_live(None)
    tell(journal, "New.")
    journal.set_live("v1")
    assert statuses(journal) == {"Old.": "superseded", "New.": "pending"}


@pytest.mark.parametrize("again", ["released", "said", "baked"])
def test_what_is_held_takes_its_place_again(
    journal: Journal, make_version: MakeVersion, changed: list[Memory], again: str
) -> None:
    """By whatever way it returns: one word of a key is live."""
    journal.set_live("v1")
    if again == "released":
        assert [m.status for m in journal.release([changed[2].id])] == ["pending"]
    elif again == "said":
        assert tell(journal, "Third.").id == changed[2].id
    else:
        journal.commit_version(make_version("v4", [changed[2]], parent="v1"), accepted=True)
    now = "baked" if again == "baked" else "pending"
    assert statuses(journal) == {"First.": "superseded", "Second.": "superseded", "Third.": now}
    assert journal.get(changed[0].id).superseded_by == changed[1].id


def test_what_came_back_is_forgotten_with_no_mistake(journal: Journal, changed: list[Memory]) -> None:
    """Who rolls a mistake back and forgets it keeps what was true before, and nothing is left of the rest."""
    journal.set_live("v1")
    forget(journal, [changed[2].id])
    assert statuses(journal)["First."] == "baked"
    assert [m.id for m in journal.memories("forgotten")] == [changed[1].id, changed[2].id]
    assert journal.get(changed[0].id).superseded_by is None
    newer = tell(journal, "Fourth.")
    forget(journal, [newer.id])
    assert journal.memories(["pending", "baked", "held", "superseded"]) == []


@pytest.mark.parametrize("approved", [False, True])
def test_a_new_word_takes_the_place_of_what_came_back_and_of_what_is_held(
    journal: Journal, make_version: MakeVersion, changed: list[Memory], approved: bool
) -> None:
    """Each was superseded by the one that was said after it, so that a rollback and a forgetting find them all."""
    journal.set_live("v1")
    if approved:
        newer = journal.add(Draft("fact", "user.dog", "Fourth."), Provenance("tool", "tool:x"), "quarantined")
        journal.approve([newer.id])
    else:
        newer = tell(journal, "Fourth.")
    assert [m.text for m in journal.chain(newer.id)] == ["Fourth.", "Third.", "Second.", "First."]
    assert journal.history(changed[2].id)[-1].note == newer.id
    journal.commit_version(make_version("v4", [newer], parent="v1"), accepted=True)
    journal.set_live("v1")
    assert statuses(journal) == {"First.": "baked", "Second.": "superseded", "Third.": "superseded", "Fourth.": "held"}
    journal.set_live("v4")
    assert {m.text for m in forget(journal, [newer.id])} == {""}
    assert [m.status for m in journal.memories()] == ["forgotten"] * 4


def test_what_came_back_and_is_said_again_is_the_newest_word(journal: Journal, changed: list[Memory]) -> None:
    """The user said it after what a rollback holds: that does not take its place any more."""
    journal.set_live("v1")
    assert tell(journal, "First.").superseded_by is None
    assert statuses(journal) == {"First.": "baked", "Second.": "superseded", "Third.": "superseded"}
    assert [m.text for m in journal.chain(changed[0].id)] == ["First.", "Third.", "Second."]
    journal.set_live("base")
    assert statuses(journal)["First."] == "held"
    journal.release([changed[0].id])
    assert statuses(journal)["First."] == "pending"


def test_a_word_that_is_read_late_leaves_what_came_back(journal: Journal, changed: list[Memory]) -> None:
    """It was said before what is held."""
    journal.set_live("v1")
    assert changed[1].valid_from
    late = journal.add(Draft("fact", "user.dog", "Late."), Provenance(), valid_from=changed[1].valid_from)
    assert (late.status, late.superseded_by) == ("superseded", changed[2].id)
    assert statuses(journal)["First."] == "baked"


def test_release_returns_held_memories_to_the_prompt_all_or_none(journal: Journal, make_version: MakeVersion) -> None:
    """A released memory is pending, is baked again by a version that holds it, and one bad id releases none."""
    dog, cat = tell(journal, "Dog."), tell(journal, "Cat.", key="user.cat")
    journal.commit_version(make_version("v1", [dog, cat]), accepted=True)
    journal.set_live("base")
    late = tell(journal, "Late.", key="user.late")
    with pytest.raises(TransitionError):
        journal.release([dog.id, late.id])
    assert statuses(journal)["Dog."] == "held"
    assert [m.status for m in journal.release([dog.id, dog.id])] == ["pending"]
    journal.set_live("v1")
    assert statuses(journal) == {"Dog.": "baked", "Cat.": "baked", "Late.": "pending"}


def test_saying_a_held_memory_again_releases_it(journal: Journal, make_version: MakeVersion) -> None:
    """The user's new word counts; a tool's repetition does not bring it back."""
    dog = tell(journal, "Dog.")
    journal.commit_version(make_version("v1", [dog]), accepted=True)
    journal.set_live(None)
    tool = Provenance(role="tool", source="tool:web")
    assert journal.add(Draft("fact", "user.dog", "Dog."), tool, "quarantined").id != dog.id
    again = tell(journal, "Dog.")
    assert (again.id, again.status) == (dog.id, "pending")


def test_a_home_can_be_moved(tmp_path: Path, make_version: MakeVersion) -> None:
    """The adapter's folder is found where the home is now."""
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    journal = Journal(old / "journal.db")
    version = make_version("v1")
    fields = {name: getattr(version, name) for name in Version.__slots__}
    adapter = type(version.adapter)(old / "versions" / "v1", "base-1")
    journal.commit_version(Version(**{**fields, "adapter": adapter}), accepted=True)
    journal.close()
    old.rename(new)
    moved = Journal(new / "journal.db", readonly=True)
    assert moved.version("v1").adapter.folder == new / "versions" / "v1"
    moved.close()


def test_unknown_versions_name_the_closest(journal: Journal, make_version: MakeVersion) -> None:
    """The base is no version, and a wrong name tells the right ones."""
    with pytest.raises(NotFoundError, match="base serves"):
        journal.version("live")
    journal.commit_version(make_version("v1"), accepted=True)
    with pytest.raises(NotFoundError, match="v1"):
        journal.version("v7")
    with pytest.raises(NotFoundError):
        journal.set_live("v7")


@pytest.mark.parametrize(
    ("read", "most"),
    [(Journal.serving, 1), (Journal.tainted, 1), (lambda j: j.version("v5"), 1), (lambda j: j.servable("live"), 1),
     (lambda j: j.version(f"{5:012x}"), 1), (lambda j: j.set_live("v4"), 1), (lambda j: j.name_of(f"{5:012x}"), 0)],
)  # fmt: skip
def test_one_version_is_read_where_one_is_asked_for(
    journal: Journal, make_version: MakeVersion, monkeypatch: pytest.MonkeyPatch, read: Callable[[Journal], object],
    most: int,
) -> None:  # fmt: skip
    """Else each chat would read the reports of every version ever baked; here one learned what is forgotten."""
    lost, kept = tell(journal, "The user's dog is called Bosuk."), tell(journal, "The user lives in Plinth.", "town")
    journal.commit_version(make_version("v1", [lost, kept]), accepted=True)
    forget(journal, [lost.id])
    for i in range(2, 7):
        journal.commit_version(make_version(f"v{i}", [kept], parent=f"v{i - 1}" if i > 2 else None), accepted=True)
    parsed = list[str]()

    def counted(row: Mapping[Any, Any], *rest: Any, real: Callable[..., Version] = records.version_of) -> Version:
        parsed.append(row["name"])
        return real(row, *rest)

    monkeypatch.setattr(records, "version_of", counted)
    read(journal)
    assert len(parsed) == most


def test_a_version_is_named_by_its_whole_id(journal: Journal, tmp_path: Path, make_version: MakeVersion) -> None:
    """Also one that serves no more; not by the beginning of it, and not in another namespace."""
    journal.commit_version(make_version("v1"), accepted=True)
    journal.commit_version(make_version("v2", accepted=False), accepted=False)
    assert [journal.name_of(f"{i:012x}") for i in (1, 2, 3)] == ["v1", "v2", None]
    assert journal.name_of("0") is None
    other = Journal(tmp_path / "journal.db", "other")
    assert other.name_of(f"{1:012x}") is None
    other.close()


def test_a_read_only_journal_never_creates_one(tmp_path: Path) -> None:
    """Looking at a home without a journal is an error that says so, and leaves the folder empty."""
    with pytest.raises(HomeError, match="no memory"):
        Journal(tmp_path / "journal.db", readonly=True)
    assert list(tmp_path.iterdir()) == []


def test_the_journal_may_be_anywhere_that_a_url_names(tmp_path: Path) -> None:
    """What it says of versions stays relative to the home."""
    home, url = tmp_path / "home", f"sqlite:///{tmp_path / 'elsewhere.db'}"
    with bakemem.open(home, journal=url) as memory:
        memory.remember("The user's dog is called Bosuk.", key="user.dog")
    (home / "config.toml").write_text(f"journal = {url!r}\n", encoding="utf-8")
    journal = read_journal(home)
    assert [m.key for m in journal.memories()] == ["user.dog"]
    journal.close()
    assert not (home / "journal.db").exists()


@pytest.mark.parametrize("use", [Journal.memories, lambda journal: tell(journal, "The user's cat is called Tarin.")])
def test_a_closed_journal_is_used_no_more(journal: Journal, tmp_path: Path, use: Callable[[Journal], object]) -> None:
    """Another may own the home by then."""
    journal.close()
    with pytest.raises(HomeError, match="was closed"):
        use(journal)
    journal.close()
    assert Journal(tmp_path / "journal.db").memories() == []


def test_one_connection_is_kept_however_many_were_used(journal: Journal) -> None:
    """Twenty threads read at the same moment, and none waits for another; each connection holds two files open."""
    together = threading.Barrier(20)

    def read(_: int) -> None:
        with journal.read():
            together.wait(10)

    with ThreadPoolExecutor(20) as pool:
        list(pool.map(read, range(20)))
    assert journal._engine.pool.checkedin() == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_forked_process_is_told_to_open_its_own(journal: Journal) -> None:
    """It would share the file's locks with its parent, which knows nothing of it."""
    memory = tell(journal, "The user's dog is called Bosuk.")
    child = os.fork()
    if child == 0:
        try:
            journal.memories()
            os._exit(1)
        except HomeError as error:
            journal.close()
            os._exit(0 if "forked" in str(error) else 2)
        finally:
            os._exit(3)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert journal.memories() == [memory]
