"""The lanes of a log lead from every version to its parent."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bakemem.cli.graph import lanes


def drawn(parents: str) -> list[str]:
    """The rows for versions of one letter, newest first, each before its parent: `dc cb bb`; bodies are left out."""
    pairs = [(pair[0], pair[1]) for pair in parents.split()]
    rows = []
    for (name, _), lane in zip(pairs, lanes(pairs), strict=True):
        rows += [f"{lane.head}  {name}", *([lane.join] if lane.join else [])]
    return rows


@pytest.mark.parametrize(
    ("parents", "picture"),
    [
        ("aa", ["*  a"]),
        ("cb ba aa", ["*  c", "*  b", "*  a"]),
        ("cb db ba aa", ["*  c", "| *  d", "|/", "*  b", "*  a"]),
        ("ca ba aa", ["*  c", "| *  b", "|/", "*  a"]),
        ("ea db ca ba aa", ["*  e", "| *  d", "| | *  c", "|_|/", "| *  b", "|/", "*  a"]),
        ("ec da fb cb ba aa", ["*  e", "| *  d", "| | *  f", "* | |  c", "|_|/", "* |  b", "|/", "*  a"]),
        ("da ec cb fb ba aa", ["*  d", "| *  e", "| *  c", "| | *  f", "| |/", "| *  b", "|/", "*  a"]),
        ("eb db gc fa ba ca aa", ["*  e", "| *  d", "|/", "| *  g", "| | *  f", "* | |  b", "|_|/", "| *  c", "|/",
                                  "*  a"]),
        ("cb gf ha da ba fa aa", ["*  c", "| *  g", "| | *  h", "| | | *  d", "| | |/", "* | |  b", "|_|/", "| *  f",
                                  "|/", "*  a"]),
        ("ha gd fc ha ca da aa", ["*  h", "| *  g", "| | *  f", "| | | *  h", "|_|_|/", "| | *  c", "|_|/", "| *  d",
                                  "|/", "*  a"]),
        ("hb gd fb da ba aa", ["*  h", "| *  g", "| | *  f", "|_|/", "| *  d", "* |  b", "|/", "*  a"]),
        ("hb fb gd da ba aa", ["*  h", "| *  f", "|/", "| *  g", "| *  d", "* |  b", "|/", "*  a"]),
        ("hc gb fd ca ba da aa", ["*  h", "| *  g", "| | *  f", "* | |  c", "| * |  b", "|/ /", "| *  d", "|/",
                                  "*  a"]),
    ],
)  # fmt: skip
def test_the_pictures_are_those_of_git(parents: str, picture: list[str]) -> None:
    """A line, forks, forks that cross a lane, and lanes that move up when one at their left ends."""
    assert drawn(parents) == picture


@given(st.lists(st.integers(0, 1_000), max_size=20))
def test_every_version_can_be_followed_to_its_parent(choices: list[int]) -> None:
    """Whatever the tree: going down from a version's star, along bars and strokes, the next star is its parent's."""
    parents = {n + 1: choice % (n + 1) for n, choice in enumerate(choices)} | {0: 0}
    order = sorted(parents, reverse=True)
    rows: list[str] = []
    stars: dict[int, int] = {}
    for n, lane in zip(order, lanes([(str(n), str(parents[n])) for n in order]), strict=True):
        stars[len(rows)] = n
        assert lane.body == lane.head.replace("*", "|")
        rows += [lane.head, *([lane.join] if lane.join else [])]
    assert {n: stars[_next_star(rows, row)] for row, n in stars.items() if n} == {n: parents[n] for n in order if n}


def _next_star(rows: list[str], row: int) -> int:
    """The row of the star to which the lane of a row's star leads."""
    column = rows[row].index("*")
    for below in range(row + 1, len(rows)):
        line = rows[below].ljust(column + 1)
        if line[column] == "*":
            return below
        if line[column] != "|":
            assert line[column - 1] == "/"
            column -= 2
            while column and line[column - 1] == "_":
                column -= 2
    raise AssertionError("The lane ends nowhere.")
