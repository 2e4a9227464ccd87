"""The commands about names of versions: reflog and tag."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import Result

Run = Callable[..., Result]


def lines(result: Result) -> list[str]:
    """Lines of the output without date and time, with single spaces."""
    return [" ".join(line.split()[2:]) for line in result.stdout.splitlines()]


def test_reflog_shows_the_moves(run: Run, baked: Any) -> None:
    """Every move of the live pointer, newest first."""
    baked.journal.set_live("base")
    assert lines(run("reflog")) == ["rollback v2 → base", "bake v1 → v2", "bake base → v1"]
    answer = json.loads(run("reflog", "--json").stdout)
    assert (answer["live"], answer["reflog"][0]["old"]) == (None, "v2")


def test_reflog_shows_what_was_destroyed(run: Run, baked: Any) -> None:
    """A destroyed version moved no pointer, and the line does not say so."""
    baked.journal.destroyed(["v1"], "collected")
    baked.journal.destroyed(["v3"], "erased")
    assert lines(run("reflog"))[:2] == ["erase v3 destroyed", "collect v1 destroyed"]


def test_an_empty_reflog_says_so(run: Run, keeper: Any) -> None:
    """On standard error, so that a program reads nothing."""
    result = run("reflog")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "never moved" in result.stderr


@pytest.mark.usefixtures("model")
def test_a_tag_is_given_moved_listed_and_taken_away(run: Run, baked: Any) -> None:
    """Each step says what it did, and `show` takes the tag for the version."""
    assert "No version has a tag" in run("tag").stderr
    assert run("tag", "v1", "good").stdout == "good is v1.\n"
    assert run("tag", "live", "good").stdout == "good is v2; it was v1.\n"
    assert json.loads(run("tag", "good", "a-longer-one", "--json").stdout) == {"good": "v2", "a-longer-one": "v2"}
    assert run("tag").stdout == "a-longer-one  v2\ngood          v2\n"
    assert run("show", "good").stdout.startswith("v2")
    assert "names no version any more" in run("tag", "--delete", "good").stdout
    assert json.loads(run("tag", "--json").stdout) == {"a-longer-one": "v2"}


@pytest.mark.usefixtures("model")
@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("v1",), "a version and a name"), (("v1", "good", "--delete", "good"), "a version and a name"),
        (("v1", "v9"), "cannot be a tag"), (("v9", "good"), "v9"), (("--delete", "good"), "good"),
    ],
)  # fmt: skip
def test_what_cannot_be_a_tag_is_refused(run: Run, baked: Any, arguments: tuple[str, ...], complaint: str) -> None:
    """Half an order, a reserved name, and unknown versions and tags: one line, exit code 1, and no tag."""
    result = run("tag", *arguments)
    assert result.exit_code == 1
    assert complaint in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert baked.journal.tags() == {}
