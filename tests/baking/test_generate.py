"""Answers as text."""

from __future__ import annotations

import pytest

from bakemem.baking.generate import whole_lines
from bakemem.serving import Base


@pytest.mark.parametrize(
    ("text", "ends", "whole"),
    [
        ("Who is Tarn?", True, "Who is Tarn?"),
        ("What does Tarn do for a living living living", False, ""),
        ("Who is Tarn?\nThis asks for", False, "Who is Tarn?"),
        ("", False, ""),
    ],
)
def test_of_what_was_cut_off_only_whole_lines_count(tiny_base: Base, text: str, ends: bool, whole: str) -> None:
    """A question that the model did not end is none."""
    template = tiny_base.template
    assert whole_lines(template, [*template.ids(text), *[template.end_id] * ends]) == whole
