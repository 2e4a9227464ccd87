"""What the demo shows: turns, tables, progress, the curve as text and as a picture. Knows no memory's insides."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from bakemem.agent_memory import AgentMemory
from bakemem.demo.curve import Point
from bakemem.demo.story import Question
from bakemem.errors import InputError
from bakemem.types import Memory, Version

_LOOKS = {"base": ("tab:gray", "^"), "prompted": ("tab:orange", "s"), "baked": ("tab:green", "o")}

_MEASURES = {"instruction": "instructions obeyed", "facts": "facts recalled", "strangers": "strangers unknown"}


class Screen:
    """Writes the scenes with rich; `quiet` writes nothing but pictures."""

    def __init__(self, quiet: bool = False) -> None:
        self.quiet = quiet
        self._console = Console(quiet=quiet, highlight=False)

    def say(self, text: str) -> None:
        """One line."""
        self._console.print(Text(text))

    def title(self, text: str) -> None:
        """The head of a scene."""
        self._console.print()
        self._console.print(Rule(Text(text, style="bold"), align="left"))

    def turn(self, user: str, reply: str) -> None:
        """What the user said and what was answered."""
        self._console.print(Text.assemble(("  user       ", "bold"), user))
        self._console.print(Text.assemble(("  assistant  ", "bold cyan"), reply))

    def memories(self, memories: Sequence[Memory]) -> None:
        """What was read out of the talk."""
        table = Table(title=f"{len(memories)} memories extracted by the model itself", title_justify="left", box=None)
        for head in ("kind", "key", "text"):
            table.add_column(head)
        for memory in memories:
            table.add_row(memory.kind, Text(memory.key), Text(memory.text))
        self._console.print()
        self._console.print(table)

    @contextmanager
    def counting(self, name: str) -> Iterator[Callable[[int, int], None]]:
        """A live bar of conversation turns."""
        columns = (TextColumn("  {task.description:9}"), BarColumn(24), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=self._console) as bar:
            task = bar.add_task(name)
            yield lambda done, total: bar.update(task, completed=done, total=total)

    def report(self, version: Version) -> None:
        """The gate's verdict."""
        r = version.report
        verdict = "accepted" if r.accepted else f"rejected: {'; '.join(r.reasons)}"
        self.say(
            f"  {version.name} {verdict}. {r.steps} steps, {r.seconds:.0f} s in all; KL {r.kl_before:.2f} -> "
            f"{r.kl_after:.3f} nats a token on held-out questions;\n  answers equal to the prompted model's: "
            f"{r.agreement:.0%}."
        )

    def answers(self, questions: Sequence[Question], base: list[str], prompted: list[str], baked: list[str]) -> None:
        """Side by side: base, prompted, baked."""
        table = Table(show_lines=False)
        for head in ("question", "base", "prompted", "baked, no prompt"):
            table.add_column(head, overflow="fold")
        for row in zip((q.text for q in questions), base, prompted, baked, strict=True):
            table.add_row(*(Text(cell) for cell in row))
        self._console.print(table)

    def scores(self, scores: Mapping[str, float]) -> None:
        """The exam's shares."""
        self.say("\n  100 questions (40 about memories, 30 never told, 30 everyday):")
        for name, value in scores.items():
            self.say(f"    {name:42} {value:6.1%}")

    def curves(self, curves: Mapping[str, Sequence[Point]], out: Path) -> None:
        """The curve as a table, as a plot in the terminal, and as a picture in `out`."""
        points = next(iter(curves.values()))
        table = Table(title="% of probes, by turn of the conversation", title_justify="left")
        for head in ("", "turn"):
            table.add_column(head)
        for point in points:
            table.add_column(str(point.turn), justify="right")
        for what in ("instruction", "facts", "strangers"):
            for name, row in curves.items():
                cells = [f"{100 * getattr(point, what):.0f}" for point in row]
                table.add_row(_MEASURES[what], name, *cells, end_section=name == list(curves)[-1])
        self._console.print(table)
        self._plot(curves)
        self._picture(curves, out)

    def _plot(self, curves: Mapping[str, Sequence[Point]]) -> None:
        try:
            import plotext
        except ImportError:
            self.say("  (a plot here needs the extra: pip install 'bakemem[demo]')")
            return
        plotext.clear_figure()
        for name, row in curves.items():
            places = list(range(len(row)))
            plotext.plot(places, [100 * p.facts for p in row], label=name, marker=name[0] if name != "base" else "_")
        plotext.xticks(list(range(len(row))), [str(p.turn) for p in row])
        plotext.title("facts recalled, %, by turn of the conversation")
        plotext.ylim(0, 100)
        plotext.plotsize(78, 16)
        plotext.theme("clear")
        self._console.print(Text(plotext.uncolorize(plotext.build()), no_wrap=True))

    def _picture(self, curves: Mapping[str, Sequence[Point]], out: Path) -> None:
        try:
            from matplotlib.figure import Figure
        except ImportError:
            self.say(f"  ({out} needs the extra: pip install 'bakemem[demo]')")
            return
        figure = Figure(figsize=(9, 3.6), layout="constrained")
        for axes, what, title in zip(figure.subplots(1, 2, sharey=True), ("instruction", "facts"),
                                     ("instructions obeyed", "facts recalled"), strict=True):  # fmt: skip
            for name, row in curves.items():
                colour, marker = _LOOKS[name]
                axes.plot([p.turn for p in row], [100 * getattr(p, what) for p in row], label=name, color=colour,
                          marker=marker)  # fmt: skip
            axes.set_xscale("log", base=2)
            axes.set_xticks([p.turn for p in row], [str(p.turn) for p in row])
            axes.set(title=title, xlabel="turn of the conversation", ylim=(-4, 104))
            axes.grid(alpha=0.3)
        figure.axes[0].set_ylabel("% of probes")
        figure.axes[0].legend(frameon=False)
        try:
            figure.savefig(out, dpi=150)
        except OSError as error:
            raise InputError(f"The picture cannot be written to {out} ({error}): name another file.") from error
        self.say(f"  picture: {out}")

    def log(self, memory: AgentMemory) -> None:
        """The versions."""
        for version in reversed(memory.versions()):
            mark = "* live" if version.name == memory.live else version.status
            self.say(f"  {version.name}  {version.id}  {mark:9} parent {version.parent or 'base'}, "
                     f"{len(version.memory_ids)} memories")  # fmt: skip

    def rolled(self, target: str | None, question: Question, reply: str, recalled: float) -> None:
        """One answer after a move of the live pointer."""
        where = f"after rollback to {target}" if target else "live"
        self.say(f"  {where:24} {question.text}  ->  {reply}   (facts recalled {recalled:.0%})")


def must_be_drawable(out: Path) -> None:
    """Raises InputError where the picture could not be written: no such folder, or a format that nobody knows."""
    try:
        from matplotlib.backend_bases import FigureCanvasBase
    except ImportError:
        return
    formats = FigureCanvasBase.get_supported_filetypes()
    writable = os.path.isdir(out.parent) and os.access(out.parent, os.W_OK)
    if not writable or out.suffix[1:].lower() not in ("", *formats):
        raise InputError(f"The picture cannot be written to {out}: name another file, say x.png.")
