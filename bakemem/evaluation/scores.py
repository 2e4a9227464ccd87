"""What the columns of a comparison scored, side by side, as the paper's tables show it.

Knows names and numbers; knows no benchmark and no model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Column:
    """One way to answer: an attached adapter or the base, with a prompt or without."""

    name: str
    adapter_id: str | None = None
    prompt: str = ""


@dataclass(frozen=True, slots=True)
class Score:
    """One metric of one task, as lm-eval names them; `filter` is how answers were read, `n` how many there were."""

    task: str
    metric: str
    filter: str
    value: float
    stderr: float | None
    n: int | None
    higher_is_better: bool

    @property
    def title(self) -> str:
        """The task and its metric, and the filter where there is one."""
        return f"{self.task} {self.metric}" + ("" if self.filter == "none" else f" ({self.filter})")


def table(columns: Mapping[str, Sequence[Score]]) -> str:
    """A Markdown table: a row for each metric of each task, a column for each way to answer.

    Shares, which are better the higher they are, stand in percent with their standard error.
    """
    rows: dict[str, dict[str, Score]] = {}
    for name, scores in columns.items():
        for score in scores:
            rows.setdefault(score.title, {})[name] = score
    lines = [["", "n", *columns]]
    for title, row in rows.items():
        known = list(row.values())
        share = all(s.higher_is_better and 0.0 <= s.value <= 1.0 for s in known)
        n = known[0].n
        lines.append([title, "" if n is None else str(n),
                      *(_cell(row[name], share) if name in row else "–" for name in columns)])  # fmt: skip
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join(f"| {' | '.join(c.ljust(w) for c, w in zip(line, widths, strict=True))} |" for line in lines)


def _cell(score: Score, share: bool) -> str:
    scale, digits = (100, 1) if share else (1, 3)
    error = "" if score.stderr is None else f" ± {scale * score.stderr:.{digits}f}"
    return f"{scale * score.value:.{digits}f}{error}"
