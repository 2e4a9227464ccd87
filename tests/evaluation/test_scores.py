"""Columns stand side by side."""

from __future__ import annotations

from dataclasses import replace

from bakemem.evaluation.scores import Score, table


def test_a_row_for_each_metric_and_a_column_for_each_way() -> None:
    """Shares stand in percent with their error, other figures as they are, and what one column lacks is a dash."""
    acc = Score("arc", "acc", "none", 0.5, 0.125, 16, True)
    text = table({
        "base": [acc, Score("wiki", "bits", "none", 0.75, None, 9, False)],
        "baked": [replace(acc, value=0.875, stderr=0.25), Score("gsm", "match", "strict", 1.5, None, None, True)],
    })  # fmt: skip
    assert text.splitlines() == [
        "|                    | n  | base        | baked       |",
        "| ------------------ | -- | ----------- | ----------- |",
        "| arc acc            | 16 | 50.0 ± 12.5 | 87.5 ± 25.0 |",
        "| wiki bits          | 9  | 0.750       | –           |",
        "| gsm match (strict) |    | –           | 1.500       |",
    ]
