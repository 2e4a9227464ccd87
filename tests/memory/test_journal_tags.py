"""Versions have names of the user's own: tags."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from bakemem.errors import InputError, NotFoundError
from bakemem.memory import Journal
from bakemem.types import Draft, Provenance, Version

MakeVersion = Callable[..., Version]


@pytest.fixture
def filled(journal: Journal, make_version: MakeVersion) -> Journal:
    """v1, and v2, which is live."""
    dog = journal.add(Draft("fact", "user.dog", "The user's dog is called Bosuk."), Provenance())
    journal.commit_version(make_version("v1", [dog]), accepted=True)
    journal.commit_version(make_version("v2", [dog], parent="v1"), accepted=True)
    return journal


def test_a_tag_names_its_version_wherever_a_version_is_asked_for(filled: Journal, tmp_path: Path) -> None:
    """Found by it, made live by it, tagged again by it, and still there for the next journal on the file."""
    assert filled.tag("good", "v1").name == "v1"
    assert filled.version("good").name == filled.servable("good").name == "v1"
    assert filled.tag("better", "good").name == "v1"
    filled.set_live("good")
    assert filled.live() == "v1"
    again = Journal(tmp_path / "journal.db")
    assert again.tags() == {"better": "v1", "good": "v1"}
    again.close()


@pytest.mark.parametrize(
    "name",
    [
        "live", "candidate", "base", "LIVE", "Base", "v", "v1", "V12", "v0", "abcd", "ABCD", "deadbeef", "c0ffee123456",
        "", " ", "1good", "-good", ".good", "a b", "a/b", "a\n", "good\n", "über", "a" * 65, "a\0",
    ],
)  # fmt: skip
def test_what_means_something_else_cannot_be_a_tag(filled: Journal, name: str) -> None:
    """Reserved words and what looks like a version's name or id in any case, and what could not be typed or shown."""
    with pytest.raises(InputError, match="cannot be a tag"):
        filled.tag(name, "v1")
    assert filled.tags() == {}


@pytest.mark.parametrize("name", ["a", "good", "before-trip", "v1.good", "V2-final", "abc", "abcdefabcdefa", "a" * 64])
def test_other_names_are_tags(filled: Journal, name: str) -> None:
    """Also those that are nearly a version's name, or nearly hexadecimal."""
    filled.tag(name, "v1")
    assert filled.version(name).name == "v1"


def test_a_tag_is_moved_and_taken_away(filled: Journal) -> None:
    """It is for one version at a time; the version stays when its tag goes, and no pointer to what serves moves."""
    before = filled.reflog()
    filled.tag("good", "v1")
    filled.tag("good", "v2")
    assert filled.tags() == {"good": "v2"}
    filled.untag("good")
    assert filled.tags() == {}
    assert [v.name for v in filled.versions()] == ["v1", "v2"]
    assert (filled.live(), filled.reflog()) == ("v2", before)


def test_unknown_tags_and_versions_are_named(filled: Journal) -> None:
    """A tag that is not there, and the pointers that are no tags, cannot be taken away."""
    with pytest.raises(NotFoundError, match="v9"):
        filled.tag("good", "v9")
    for name in ("good", "live", "candidate", "v1", ""):
        with pytest.raises(NotFoundError):
            filled.untag(name)
    with pytest.raises(NotFoundError, match="good"):
        filled.version("good")
    assert filled.live() == "v2"


@pytest.mark.parametrize("why", ["collected", "erased"])
def test_tags_go_with_their_version(filled: Journal, why: str) -> None:
    """A destroyed version loses its tags, others keep theirs, and it takes no new one."""
    for name, version in (("old", "v1"), ("older", "v1"), ("new", "v2")):
        filled.tag(name, version)
    filled.destroyed(["old"], why)  # type: ignore[arg-type]
    assert filled.tags() == {"new": "v2"}
    with pytest.raises(InputError, match="was destroyed"):
        filled.tag("old", "v1")
    assert filled.version("v1").gone == why
    assert filled.reflog()[-1].old == "v1"


def test_the_live_version_keeps_its_tags(filled: Journal) -> None:
    """To destroy it is refused as a whole: nothing of the same call is gone."""
    filled.tag("good", "v1")
    filled.tag("best", "v2")
    with pytest.raises(InputError, match="is live"):
        filled.destroyed(["v1", "v2"], "collected")
    assert filled.tags() == {"best": "v2", "good": "v1"}
    assert [v.gone for v in filled.versions()] == ["", ""]


def test_a_name_goes_before_a_tag_and_a_tag_before_an_id(filled: Journal, make_version: MakeVersion) -> None:
    """`live` is the live version; `fab` is a tag, though an id begins so, while its longer beginnings are the id's."""
    version = dataclasses.replace(make_version("v3", [], parent="v2"), id="fab012345678")
    filled.commit_version(version, accepted=True)
    assert filled.version("fab").name == "v3"
    filled.tag("fab", "v1")
    assert filled.version("fab").name == "v1"
    assert filled.version("fab0").name == "v3"
    assert filled.version("live").name == "v3"
    filled.untag("fab")
    assert filled.version("fab").name == "v3"


def test_the_candidate_is_what_was_refused_last(filled: Journal, make_version: MakeVersion) -> None:
    """A refused version is the candidate until another is refused or one is accepted; it never counts as a tag."""
    with pytest.raises(NotFoundError):
        filled.version("candidate")
    for name in ("v3", "v4"):
        filled.commit_version(make_version(name, [], parent="v2", accepted=False), accepted=False)
        assert filled.version("candidate").name == name
    assert filled.tags() == {}
    with pytest.raises(InputError, match="rejected"):
        filled.set_live("candidate")
    filled.tag("nearly", "candidate")
    filled.commit_version(make_version("v5", [], parent="v2"), accepted=True)
    with pytest.raises(NotFoundError):
        filled.version("candidate")
    assert filled.version("nearly").name == "v4"


def test_tags_of_namespaces_are_apart(filled: Journal, tmp_path: Path, make_version: MakeVersion) -> None:
    """The same tag may be another version's in another namespace."""
    other = Journal(tmp_path / "journal.db", "bob")
    other.commit_version(make_version("v1", [], namespace="bob"), accepted=True)
    filled.tag("good", "v2")
    with pytest.raises(NotFoundError):
        other.version("good")
    other.tag("good", "v1")
    assert (filled.tags(), other.tags()) == ({"good": "v2"}, {"good": "v1"})
    other.close()
