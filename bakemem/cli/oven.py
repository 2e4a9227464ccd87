"""The command bake: how far it is while it runs, and its report.

Knows the names of the stages and what they count; knows nothing of how they work.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from bakemem.cli.frame import REFUSED, Command, Place, place_and_model
from bakemem.cli.text import count, print_json, report_lines, version_values
from bakemem.types import Version

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from bakemem.agent_memory import AgentMemory
    from bakemem.baking import StageProgress

STAGES = ("stimulate", "rollout", "bake", "pursue", "gate")


@click.command(cls=Command)
@click.option("--from-base", is_flag=True, help="Start cold, not from the live version; takes all memories anew.")
@click.option("--pursue", type=click.IntRange(0), default=0, metavar="N",
              help="Go on for up to N rounds of Prompt Pursuit: for instructions that the model follows weakly.",
              )  # fmt: skip
@place_and_model
@click.pass_context
def bake(ctx: click.Context, where: Place, from_base: bool, pursue: int) -> None:
    """Bake what is pending into a new version.

    It holds the memories that are baked already too, unless newer ones took their place.

    Four stages: stimulate (questions are asked about each memory), rollout (the prompted model answers them), bake (an
    adapter learns to answer the same without the prompt; KL is what is left to learn) and gate (held-out
    questions). Accepted, the version serves at once; refused, it is kept, never serves, and the exit code is 3.
    Ctrl-C or SIGTERM at any time leaves the old version live and every memory where it was; the next bake goes on where
    it stopped.
    """
    with where.memory(must_exist=True) as memory:
        version = run(memory, from_base=from_base, pursue=pursue, quiet=where.as_json)
        live, memories = memory.live, memory.memories()
    if where.as_json:
        print_json(version_values(version, live))
    else:
        print_baked(version, live)
        click.echo("\n".join(report_lines(version.report, memories)))
        if pursue and not version.report.pursued:
            click.echo(
                "No round of Prompt Pursuit was kept: the prompt changes hardly an answer more, or going on did harm."
            )
    if version.status == "rejected":
        ctx.exit(REFUSED)


def run(memory: AgentMemory, *, from_base: bool = False, pursue: int = 0, quiet: bool = False) -> Version:
    """Bakes, and shows how far it is."""
    with shown(quiet) as progress:
        return memory.bake(from_base=from_base, pursue=pursue, progress=progress)


def print_baked(version: Version, live: str | None) -> None:
    """The first line of the report: what happened, and what serves now."""
    n = count(len(version.memory_ids), "memory")
    if version.status == "accepted":
        click.echo(click.style(f"{version.name} is live", fg="green", bold=True) + f": {n} in the weights.")
    else:
        click.echo(click.style(f"{version.name} was refused by the gate", fg="red", bold=True)
                   + f": {live or 'base'} stays live, and what is pending stays in the prompt.")  # fmt: skip


@contextmanager
def shown(quiet: bool) -> Iterator[StageProgress]:
    """How far a bake is, on standard error: live on a terminal, else a line a stage unless `quiet`."""
    if not sys.stderr.isatty():
        yield _Lines(quiet)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(finished_text="✓"), TextColumn("{task.description:9}"), BarColumn(24),
               MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.fields[kl]}"))  # fmt: skip
    with Progress(*columns, console=Console(stderr=True)) as progress:
        yield Bars(progress)


class _Lines:
    """One line a stage, when it begins."""

    def __init__(self, quiet: bool) -> None:
        self._quiet, self._stage = quiet, ""

    def __call__(self, stage: str, done: int, total: int, kl: float | None) -> None:
        if stage != self._stage and not self._quiet:
            click.echo(f"{stage} …", err=True)
        self._stage = stage


class Bars:
    """One bar a stage, in the order of the stages; what a stage counts in several rounds is added up."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[str, TaskID] = {
            stage: progress.add_task(stage, total=None, start=False, visible=False, kl="") for stage in STAGES
        }
        self._now, self._before, self._round = "", 0, (0, 0)
        self._first_kl: float | None = None

    def __call__(self, stage: str, done: int, total: int, kl: float | None) -> None:
        """Moves the bar of a stage; the first call of another stage ends the one before."""
        if stage not in self._tasks:
            self._tasks[stage] = self._progress.add_task(stage, total=None, start=False, kl="")
        if stage != self._now:
            self._begin(stage)
        elif done < self._round[0] or (total != self._round[1] and stage != "bake"):  # a training may end earlier
            self._before += self._round[1]
        self._round = done, total
        text = ""
        if kl is not None:
            self._first_kl = kl if self._first_kl is None else self._first_kl
            text = f"KL {self._first_kl:.3f} → {kl:.3f} nats"
        self._progress.update(self._tasks[stage], completed=self._before + done, total=self._before + total, kl=text)

    def _begin(self, stage: str) -> None:
        if self._now == stage:
            return
        if self._now:
            whole = self._before + self._round[1]
            self._progress.update(self._tasks[self._now], completed=whole, total=whole)
        self._now, self._before, self._round = stage, 0, (0, 0)
        self._progress.update(self._tasks[stage], visible=True)
        self._progress.start_task(self._tasks[stage])
