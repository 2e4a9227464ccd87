"""How much each layer changed between two versions, as a picture: depth from left to right, one panel a kind of layer.

Knows norms and names; draws with matplotlib, which is imported when it is used.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bakemem.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from bakemem.versions import LayerChange, VersionDiff

COLUMNS = 4
UPDATE, CHANGE = "#c9d3df", "#c1440e"


def draw_layers(changes: VersionDiff, file: Path) -> None:
    """Writes the picture to `file`, in the format that its name ends with.

    Raises InputError when there are no layers to draw, when matplotlib is missing, and when the file cannot be written.
    """
    if not changes.layers:
        why = " ".join(changes.problems) or "neither version has weights of its own."
        raise InputError(f"There are no layers to draw in {file}: {why}")
    try:
        from matplotlib.figure import Figure
        from matplotlib.ticker import MaxNLocator
    except ImportError as error:
        raise InputError("--plot needs matplotlib: install the extra with pip install 'bakemem[demo]'.") from error
    panels = _by_kind(changes.layers)
    columns = min(COLUMNS, len(panels))
    rows = math.ceil(len(panels) / columns)
    figure = Figure(figsize=(max(5.5, 1.4 + 2.4 * columns), 1.2 + 1.9 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    for axes, (kind, layers) in zip(grid, panels.items(), strict=False):
        _bars(axes, kind, layers)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8, min_n_ticks=1))
    for axes in grid[len(panels) :]:
        axes.set_visible(False)
    for axes in grid[max(0, len(panels) - columns) : len(panels)]:  # the lowest that is seen of each column
        axes.tick_params(labelbottom=True)
        axes.set_xlabel("layer, from input to output", fontsize=8)
    figure.suptitle(
        f"{changes.old or 'base'} → {changes.new or 'base'}: how much each layer's update changed", fontsize=11
    )
    figure.supylabel("Frobenius norm", fontsize=9)
    figure.legend(*grid[0].get_legend_handles_labels(), loc="outside lower right", ncols=2, frameon=False,
                  fontsize=9)  # fmt: skip
    try:
        figure.savefig(file, dpi=150)
    except (OSError, ValueError) as error:
        raise InputError(f"The picture cannot be written to {file} ({error}): name another file, say x.png.") from error


def _bars(axes: Axes, kind: str, layers: Sequence[tuple[int, LayerChange]]) -> None:
    places = [place for place, _ in layers]
    axes.bar(places, [max(c.old, c.new) for _, c in layers], 0.85, color=UPDATE, label="the update, the larger of both")
    axes.bar(places, [c.change for _, c in layers], 0.5, color=CHANGE, label="its change")
    axes.set_title(kind, fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
    axes.grid(axis="y", alpha=0.3)
    axes.set_axisbelow(True)


def _by_kind(layers: Sequence[LayerChange]) -> dict[str, list[tuple[int, LayerChange]]]:
    """Layers of the same part of a block, such as `mlp.up_proj`, each with the number of its block."""
    kinds: dict[str, list[tuple[int, LayerChange]]] = {}
    for layer in layers:
        block = re.search(r"(?:^|\.)(\d+)\.(.+)", layer.module)
        kind, place = (block[2], int(block[1])) if block else (layer.module, 0)
        kinds.setdefault(kind, []).append((place, layer))
    return kinds
