"""The command diff: memories, scores, answers and weights of two versions, and the picture of the weights."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click import unstyle
from click.testing import Result
from matplotlib.figure import Figure
from safetensors.numpy import save

from bakemem.cli.picture import draw_layers
from bakemem.memory import forget
from bakemem.versioned import compare

Run = Callable[..., Result]

DOG, CASE, TOWN = "The user's dog is called Bosuk.", "Always answer in upper case.", "The user lives in Plinth."
CONFIG = {"peft_type": "LORA", "r": 2, "lora_alpha": 2, "target_modules": ["q_proj", "up_proj"]}
KINDS = ("self_attn.q_proj", "mlp.up_proj")


def adapter(sizes: dict[int, float], answers: dict[str, str]) -> dict[str, bytes]:
    """The files of an adapter of four blocks; the norm of a block's update is its size, 1 where none is given."""
    tensors = {}
    for block in range(4):
        for kind in KINDS:
            a, b = np.zeros((2, 8), "f4"), np.zeros((8, 2), "f4")
            a[0, 0], b[0, 0] = 1, sizes.get(block, 1)
            module = f"base_model.model.model.layers.{block}.{kind}"
            tensors |= {f"{module}.lora_A.weight": a, f"{module}.lora_B.weight": b}
    probes = [
        {"turns": [{"role": "user", "content": q}], "kind": "direct", "memory_ids": [], "expected": "", "given": a}
        for q, a in answers.items()
    ]  # fmt: skip
    return {
        "adapter_config.json": json.dumps(CONFIG).encode(), "adapter_model.safetensors": save(tensors),
        "probes.json": json.dumps(probes).encode(),
    }  # fmt: skip


@pytest.fixture
def two(keeper: Any) -> Any:
    """v1 knows a dog and a town; v2 another town, and an instruction; layer 2 changed most, then layer 0."""
    keeper.remember(DOG, key="user.dog")
    keeper.remember(TOWN, key="user.town")
    keeper.bake(files=adapter({}, {"Where do I live?": "In Plinth.", "What is my dog called?": "Bosuk."}))
    keeper.remember("The user lives in Tarn.", key="user.town")
    keeper.remember(CASE, "instruction", "style.case")
    keeper.bake(files=adapter({0: 1.5, 2: 4}, {"What is my dog called?": "Bosuk.", "Where do I live?": "IN TARN."}))
    return keeper


def test_diff_lists_what_came_and_went(run: Run, baked: Any) -> None:
    """In both directions, with the scores' differences."""
    forth, back = run("diff", "v1", "v3").stdout, run("diff", "v3", "v1").stdout
    for text in (CASE, TOWN):
        assert any(line.strip().startswith("+") and text in line for line in forth.splitlines())
        assert any(line.strip().startswith("-") and text in line for line in back.splitlines())
    assert "-48.0 points" in forth
    answer = json.loads(run("diff", "base", "v1", "--json").stdout)
    assert ([m["text"] for m in answer["added"]], answer["removed"], answer["old"]) == ([DOG], [], None)


def test_diff_shows_what_took_the_place_of_what(run: Run, two: Any) -> None:
    """A superseded memory stands beside the newer one, in one line, and neither is listed again."""
    lines = [line.strip() for line in run("diff", "v1", "v2").stdout.splitlines()]
    pairs = [line for line in lines if line.startswith("~")]
    assert [line.partition("  ")[2] for line in pairs] == [f"{TOWN} → The user lives in Tarn."]
    assert [line.partition("  ")[2] for line in lines if line[:2] in ("+ ", "- ")] == [CASE]
    (pair,) = json.loads(run("diff", "v1", "v2", "--json").stdout)["superseded"]
    assert [m["text"] for m in pair] == [TOWN, "The user lives in Tarn."]


def test_diff_shows_changed_answers_side_by_side(run: Run, two: Any) -> None:
    """The question, then the old answer and the new one; equal answers are not shown."""
    output = run("diff", "v1", "v2").stdout
    assert "answers that changed (1)" in output
    assert "  Where do I live?\n    In Plinth. | IN TARN.\n" in output
    assert "dog" not in output
    answers = json.loads(run("diff", "v1", "v2", "--json").stdout)["answers"]
    assert answers == [{"question": "Where do I live?", "old": "In Plinth.", "new": "IN TARN."}]


def test_many_changed_answers_are_not_all_printed(run: Run, keeper: Any) -> None:
    """The first ten, and how many more there are; JSON has all."""
    keeper.remember(DOG)
    for given in ("Yes.", "No."):
        keeper.bake(files=adapter({}, {f"Question {n}?": given for n in range(13)}))
    output = run("diff", "v1", "v2").stdout
    assert "Question 9?" in output
    assert "Question 10?" not in output
    assert "3 more" in output
    assert len(json.loads(run("diff", "v1", "v2", "--json").stdout)["answers"]) == 13


def test_diff_fits_the_terminal(run: Run, keeper: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Long memories, questions and answers are shortened to its width, and the bars of answers stand in one column."""
    monkeypatch.setattr("click.testing._NamedTextIOWrapper.isatty", lambda self: True)
    monkeypatch.setenv("COLUMNS", "80")
    for text in ("word " * 60, "other " * 60):
        keeper.remember(text, key="user.text")
        keeper.bake(files=adapter({}, {"long " * 40: text, "short": text[:7]}))
    lines = unstyle(run("diff", "v1", "v2").stdout).splitlines()
    assert max(map(len, lines)) <= 80
    assert len({line.index("|") for line in lines if line.startswith("    ")}) == 1
    assert any("~" in line and "word" in line and "other" in line for line in lines)


def test_diff_names_the_layers_that_changed_most(run: Run, two: Any) -> None:
    """Those that changed at all, the largest change first, with the norms; JSON has all in the order of the model."""
    lines = run("diff", "v1", "v2").stdout.partition("layers that changed most (of 8)")[2].splitlines()[1:]
    assert [line.split() for line in lines[:4:2]] == [
        ["model.layers.2.mlp.up_proj", "3", "1", "→", "4"], ["model.layers.0.mlp.up_proj", "0.5", "1", "→", "1.5"],
    ]  # fmt: skip
    assert len(lines) == 4
    layers = json.loads(run("diff", "v1", "v2", "--json").stdout)["layers"]
    assert [layer["change"] for layer in layers] == pytest.approx([0.5, 0.5, 0, 0, 3, 3, 0, 0])


def test_diff_names_five_layers_at_most(run: Run, two: Any) -> None:
    """Beside the base all eight changed; the five largest are printed."""
    lines = run("diff", "base", "v2").stdout.partition("layers that changed most (of 8)")[2].splitlines()[1:]
    assert [float(line.split()[1]) for line in lines] == [4, 4, 1.5, 1.5, 1]


def test_equal_versions_differ_in_nothing(run: Run, two: Any) -> None:
    """Scores that did not move are not printed, and rounding is no change of the weights."""
    assert [line.strip() for line in run("diff", "v2", "v2").stdout.splitlines()] == [
        "v2 → v2", "the same memories", "the same weights",
    ]  # fmt: skip


def test_diff_understands_tags_and_ids(run: Run, two: Any) -> None:
    """A tag and the beginning of an id stand for their versions."""
    two.journal.tag("before", "v1")
    answer = json.loads(run("diff", "before", two.journal.version("v2").id[:8], "--json").stdout)
    assert (answer["old"], answer["new"]) == ("v1", "v2")
    result = run("diff", "before", "v9")
    assert result.exit_code == 1
    assert "v9" in result.stderr


def test_diff_with_a_destroyed_version_tells_what_is_left(run: Run, two: Any) -> None:
    """Memories and scores are compared, standard error says what is not, and the exit code is 0."""
    two.journal.destroyed(["v1"], "collected")
    two.store.destroy("v1")
    result = run("diff", "v1", "v2")
    assert result.exit_code == 0
    assert "~" in result.stdout
    assert "layers" not in result.stdout
    assert "v1 was collected" in result.stderr


def test_diff_keeps_forgotten_answers_to_itself(run: Run, two: Any) -> None:
    """Answers of a version that learned what was forgotten since are not printed, in JSON neither."""
    forget(two.journal, [m.id for m in two.journal.memories() if m.text == TOWN])
    for more in ((), ("--json",)):
        result = run("diff", "v1", "v2", *more)
        assert "Plinth" not in result.stdout
        assert "bakemem erase" in result.output


def test_the_picture_shows_each_kind_of_layer(run: Run, two: Any, tmp_path: Path) -> None:
    """A PNG is written; the answer, JSON or not, stays whole."""
    for more in ((), ("--json",)):
        file = tmp_path / f"layers{len(more)}.png"
        result = run("diff", "v1", "v2", "--plot", str(file), *more)
        assert result.exit_code == 0
        assert file.read_bytes().startswith(b"\x89PNG")
        assert more or f"picture: {file}" in result.stdout
    assert json.loads(result.stdout)["new"] == "v2"


def test_the_picture_draws_the_norms(two: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One panel a kind, one pair of bars a block, as high as the larger update and as the change."""
    drawn: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: drawn.append(figure))
    draw_layers(compare(two.journal, two.store, "v1", "v2"), tmp_path / "x.png")
    panels = {axes.get_title(): [bar.get_height() for bar in axes.patches] for axes in drawn[0].axes}
    assert set(panels) == set(KINDS)
    for heights in panels.values():
        assert heights == pytest.approx([1.5, 1, 4, 1, 0.5, 0, 3, 0])


@pytest.mark.parametrize(
    ("old", "name", "complaint"),
    [
        ("v1", "folder/x.png", "cannot be written"), ("v1", "x.what", "cannot be written"),
        ("base", "x.png", "no layers"),
    ],
)  # fmt: skip
def test_a_picture_that_cannot_be_drawn_is_explained(
    run: Run, two: Any, tmp_path: Path, old: str, name: str, complaint: str
) -> None:
    """No such folder, an unknown format, and nothing to draw: one line, exit code 1, no traceback."""
    result = run("diff", old, "v2" if old == "v1" else "base", "--plot", str(tmp_path / name))
    assert result.exit_code == 1
    assert complaint in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not (tmp_path / name).exists()


def test_without_matplotlib_the_extra_is_named(
    run: Run, two: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who did not install the extra is told its name, and `diff` works without --plot."""
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    result = run("diff", "v1", "v2", "--plot", str(tmp_path / "x.png"))
    assert result.exit_code == 1
    assert "bakemem[demo]" in result.stderr
    assert run("diff", "v1", "v2").exit_code == 0
