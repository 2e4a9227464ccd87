"""How curves and shares are drawn: colours that everybody can tell apart, names at the ends of lines, no legend.

Knows matplotlib (extra `demo`), which is imported when something is drawn; knows no experiment.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999")
"""Okabe and Ito's, the strongest first."""
MARKERS = "osD^vPXd"


def curves(
    axes: Axes, lines: Mapping[str, Sequence[tuple[float, float]]], looks: Mapping[str, int], *, gap: float = 0.055
) -> None:
    """Lines of (x, share) with their names behind their last points, kept `gap` apart; `looks` picks the colours."""
    places = {name: points[-1][1] for name, points in lines.items()}
    last = None
    for name in sorted(places, key=lambda name: places[name]):
        places[name] = places[name] if last is None else max(places[name], last + gap)
        last = places[name]
    for name, points in lines.items():
        colour = COLOURS[looks[name]]
        axes.plot(*zip(*points, strict=True), color=colour, marker=MARKERS[looks[name]], markersize=4, clip_on=False)
        axes.annotate(name, (1.02, places[name]), xycoords=("axes fraction", "data"), color=colour, va="center")


def dots(
    file: Path, title: str, rows: Sequence[str], shares: Mapping[str, Sequence[float | None]], *, wanted: str = ""
) -> None:
    """A dot plot: one line a row, one kind of dot a series of `shares`, named above; `wanted` stands below the axis."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 1.3 + 0.42 * len(rows)), layout="constrained")
    axes = figure.subplots()
    for n, (name, row) in enumerate(shares.items()):
        lift = 0.12 * ((len(shares) - 1) / 2 - n)
        places = [(share, lift - i) for i, share in enumerate(row) if share is not None]
        axes.plot(*zip(*places, strict=True), MARKERS[n], color=COLOURS[n], markersize=7, label=name, clip_on=False)
    axes.set_yticks([-i for i in range(len(rows))], list(rows))
    axes.set(xlim=(0, 1), ylim=(-len(rows) + 0.5, 0.5), title=title, xlabel=wanted)
    axes.xaxis.set_major_formatter(lambda share, place: f"{share:.0%}")
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside upper center", ncols=len(shares), frameon=False)
    figure.savefig(file, dpi=150)
