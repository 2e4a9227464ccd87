"""The first wrong version is found whatever the history, and probes are compared with what was said after the bake."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
from hypothesis import given

from bakemem.asking import bisect, judged, verify
from bakemem.errors import InputError
from bakemem.types import Probe, Turn


@given(st.lists(st.booleans(), min_size=1, max_size=40))
def test_the_first_of_the_newest_wrong_ones_is_found(wrong: list[bool]) -> None:
    """It is wrong, and what stands before it is right, or there is nothing; few are asked."""
    path = [f"v{n}" for n in range(len(wrong))]
    asked: list[str] = []

    def answer(name: str) -> str:
        asked.append(name)
        return "wrong" if wrong[path.index(name)] else "right"

    if not wrong[-1]:
        with pytest.raises(InputError, match="nothing to look for"):
            bisect(path, answer, lambda text: text == "wrong")
        return
    found = bisect(path, answer, lambda text: text == "wrong")
    first = path.index(found.first_wrong)
    assert wrong[first]
    if found.last_right is None:
        assert first == 0
    else:
        assert found.last_right == path[first - 1]
        assert not wrong[first - 1]
    assert len(asked) == len(set(asked)) == len(found.answers) <= 2 * len(path).bit_length() + 2


def test_a_single_turn_from_right_to_wrong_is_found_exactly() -> None:
    """Wherever it is in a history of a hundred versions."""
    path = [f"v{n}" for n in range(100)]
    for turned in range(1, 100):
        found = bisect(path, lambda name, at=turned: str(int(name[1:]) >= at), lambda text: text == "True")  # type: ignore[misc]
        assert (found.first_wrong, found.last_right) == (f"v{turned}", f"v{turned - 1}")


def test_wrong_is_what_holds_the_bad_or_lacks_the_expected() -> None:
    """In any case of letters."""
    bad, expected = judged("q", bad="Bosuk", expected=None), judged("q", bad=None, expected="Mira")
    assert [bad("It is BOSUK."), bad("No idea.")] == [True, False]
    assert [expected("It is mira."), expected("No idea.")] == [False, True]


@pytest.mark.parametrize(
    ("question", "bad", "expected"), [("q", None, None), ("q", "a", "b"), ("q", " ", None), ("", "a", None)]
)
def test_a_question_and_one_text_are_needed(question: str, bad: str | None, expected: str | None) -> None:
    """Anything else is an error that says so."""
    with pytest.raises(InputError, match="Give a question"):
        judged(question, bad=bad, expected=expected)


def test_probes_are_compared_with_both_answers() -> None:
    """White space counts for nothing; a version without probes is an error."""
    probes = [Probe((Turn("user", f"q{n}"),), "direct", (), "teacher", "student") for n in range(4)]
    found = verify("v1", probes, lambda asked: ["student", " student ", "teacher", "else"])
    assert (found.asked, found.as_baked, found.as_taught) == (4, 0.5, 0.25)
    assert [now for _, now in found.changed] == ["teacher", "else"]
    with pytest.raises(InputError, match="no probes"):
        verify("v1", [], lambda asked: [])
