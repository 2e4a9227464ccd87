"""The shipped starter is the one that its report describes."""

from __future__ import annotations

import re

import pytest
from safetensors import safe_open

from bakemem.serving import Base
from bakemem.starter import STARTER
from bakemem.starter.evaluate import ASK, SKILLS, Judge, Skill

REPORT = (STARTER.parent / "REPORT.md").read_text(encoding="utf-8")
N = 60


def reached(skill: Skill) -> float:
    """The share that the report gives a skill."""
    row = next(line for line in REPORT.splitlines() if line.startswith(f"| {skill.name} |"))
    percent = re.search(r"([0-9.]+)%(?: \*\*missed\*\*)? \|$", row)
    assert percent
    return float(percent[1]) / 100


@pytest.mark.slow
@pytest.mark.parametrize("skill", SKILLS, ids=lambda s: s.name)
def test_a_skill_is_what_the_report_says(skill: Skill, starter: Base) -> None:
    """On other samples than the report's, within three standard deviations of so small a sample."""
    judge = Judge(starter.model, starter.template.tokenizer, seed=77)
    share, wrong = judge.score_ask(N) if skill is ASK else judge.score(skill, N)
    expected = reached(skill)
    deviation = (max(expected * (1 - expected), 0.01) / N) ** 0.5
    assert share >= expected - 3 * deviation, wrong[:3]


def test_a_missed_skill_is_called_missed() -> None:
    """The report hides no row below its bound."""
    for skill in SKILLS:
        row = next(line for line in REPORT.splitlines() if line.startswith(f"| {skill.name} |"))
        assert ("**missed**" in row) == (reached(skill) < skill.least)


def test_the_weights_are_small_safetensors_in_bfloat16() -> None:
    """At most 16 MB, two to eight million parameters, and no pickle beside them."""
    file = STARTER / "model.safetensors"
    assert file.stat().st_size <= 16_000_000
    with safe_open(file, framework="pt") as tensors:
        loaded = [tensors.get_tensor(name) for name in tensors.keys()]  # noqa: SIM118
    assert 2e6 <= sum(t.numel() for t in loaded) <= 8e6
    assert {str(t.dtype) for t in loaded} == {"torch.bfloat16"}
    assert not [p for p in STARTER.iterdir() if p.suffix not in (".json", ".jinja", ".safetensors")]
