"""What the page of the experiments says, and on which base it was measured."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import pages
from benchmarks.science import page
from benchmarks.science.experiment import Experiment, Figures, Goal, Page, Results, is_kept, unit_file

HEAD = "<!-- goals -->\n<!-- end of goals -->\n<!-- a -->\nold\n<!-- end of a -->\n<!-- b -->\nold\n<!-- end of b -->\n"


def experiment(number: int, name: str) -> Experiment:
    """One that has one number."""

    def measure(lab: object, row: str, seed: int) -> Figures:
        raise AssertionError("nothing is measured")

    def shown(results: Results) -> Page:
        return Page(f"| {name} |", (Goal(f"figure of {name}", results.spread("row", "figure"), least=0.5),))

    return Experiment(number, name, name.title(), f"What of {name}?", ("row",), measure, shown)


A, B = experiment(1, "a"), experiment(2, "b")


def put(file: Path, figure: float, base: str) -> dict[str, object]:
    """A unit as a run keeps it."""
    unit = {"row": "row", "seed": 0, "figures": {"figure": figure}, "seconds": 1.0, "base": base, "day": "2026-01-02"}
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(unit))
    return unit


@pytest.fixture
def docs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of pages in which nothing was measured."""
    folder = tmp_path / "docs"
    (folder / "science").mkdir(parents=True)
    (folder / "science.md").write_text(HEAD)
    monkeypatch.setattr(page, "DOCS", folder)
    monkeypatch.setattr(pages, "DOCS", folder)
    return folder


def test_what_was_not_measured_anew_stays_with_its_goals(docs: Path, tmp_path: Path) -> None:
    """Its section is as it was, and among all goals it says that the model was another."""
    put(unit_file(tmp_path, A, "row", 0), 0.75, "new")
    (docs / "science" / "b.json").write_text(json.dumps([put(tmp_path / "b.json", 0.25, "earlier")]))
    page.write(tmp_path, [A, B], "new", docs=True)
    text = (docs / "science.md").read_text()
    assert "| 1 | figure of a | ≥ 50.0% | 75.0% | 1 | met | 2026-01-02 |" in text
    assert "| 2 | figure of b | ≥ 50.0% | 25.0% | 1 | **missed** | on an earlier starter |" in text
    assert "What of a? Seeds: 1. Measured: 2026-01-02." in text
    assert "What of b?" not in text


def test_rows_that_are_published_stay_until_all_are_measured_anew(docs: Path, tmp_path: Path) -> None:
    """A run that was stopped in the midst of an experiment takes no row from the page."""
    put(unit_file(tmp_path, A, "row", 0), 0.75, "new")
    shown = docs / "science" / "a.json"
    shown.write_text(json.dumps([put(tmp_path / "a.json", 0.25, "earlier") | {"row": row} for row in ("row", "other")]))
    page.write(tmp_path, [replace(A, rows=("row", "other"))], "new", docs=True)
    assert "25.0%" in (docs / "science.md").read_text()
    assert len(json.loads(shown.read_text())) == 2
    page.write(tmp_path, [A], "new", docs=True)  # but a row that the experiment has no more goes
    assert "75.0%" in (docs / "science.md").read_text()
    assert [unit["row"] for unit in json.loads(shown.read_text())] == ["row"]


def test_a_unit_of_another_base_is_no_result(docs: Path, tmp_path: Path) -> None:
    """A starter that was made anew is measured anew, whatever lies in the folder of runs."""
    file = unit_file(tmp_path, A, "row", 0)
    put(file, 0.75, "earlier")
    page.write(tmp_path, [A], "new", docs=True)
    assert "75.0%" not in (docs / "science.md").read_text()
    assert not is_kept(file, "new")
    assert is_kept(file, "earlier")
    assert is_kept(file, "")
