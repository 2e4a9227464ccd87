"""The command schedule: what the schedule of a memory does and waits for, or the schedule itself in the foreground.

Knows how to print; when something is due, others know.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from bakemem.cli.frame import Command, Place, place_and_model
from bakemem.cli.text import count, one_line, print_json, when

if TYPE_CHECKING:
    from bakemem.memory import Job


@click.command(cls=Command)
@click.option("--run", "runs", is_flag=True, help="Bake and tidy up when it is due, until Ctrl-C or SIGTERM.")
@place_and_model
def schedule(where: Place, runs: bool) -> None:
    """Tell when this memory bakes by itself, and how the last runs ended; with --run, do it.

    It bakes when enough is pending or has waited long enough, at a cron time, or when the prompt is not heeded any more
    in long conversations; and that in quiet hours or when nobody talks. A refused or failed bake is tried again later.
    The settings that decide are in config.toml: bake_memories, bake_hours, quiet_hours, idle_minutes and others. In a
    program, which can chat at the same time: `with memory.scheduled():`. Without --run it only reads, beside whoever
    writes.
    """
    if runs:
        _run(where)
        return
    state = _read(where)
    print_json(state) if where.as_json else _print(state)


def _run(where: Place) -> None:
    from bakemem.schedule import Schedule

    def tell(job: Job) -> None:
        if not where.as_json:
            ended = f"{job.outcome}: {one_line(job.detail)}" if job.ended else "…"
            click.echo(f"{when(job.ended or job.started)}  {job.name:6}  {ended}")

    with where.memory(must_exist=True) as memory, Schedule(memory, tell=tell):
        if not where.as_json:
            click.echo("The schedule runs; Ctrl-C ends it.", err=True)
        while True:  # in slices, so that signals get through everywhere
            threading.Event().wait(1.0)


def _read(where: Place) -> dict[str, Any]:
    from bakemem.memory import Jobs
    from bakemem.schedule import SCHEDULE, decide, in_words, is_running, load_per_cpu, rules_of, state_of

    rules, now = rules_of(where.config()), datetime.now(UTC)
    with where.journal() as journal:
        jobs = Jobs(journal).all()
        running = is_running(jobs, now)
        state = state_of(journal.waiting(), jobs, journal.versions(), journal.live(), load=load_per_cpu(),
                         talked=None if running else now)  # fmt: skip  # a start counts as talk
    decision = decide(state, rules, now)
    seen = jobs.pop(SCHEDULE, None)
    return {
        "running": running, "since": seen.started if seen and running else None,
        "now": seen.detail if seen and running else in_words(decision, rules.hours.zone),
        "action": decision.action, "why": decision.why, "waits_for": decision.waits_for, "until": decision.until,
        "pending": len(state.pending), "tokens": sum(one.tokens for one in state.pending),
        "oldest": state.pending[0].since if state.pending else None, "bakes_since_base": state.rolled,
        "jobs": jobs,
    }  # fmt: skip


def _print(state: Mapping[str, Any]) -> None:
    if state["running"]:
        click.echo(f"The schedule runs since {when(state['since'])}: {one_line(state['now'])}")
    else:
        click.echo("No schedule runs: `bakemem schedule --run`, or `with memory.scheduled():` in a program.")
        click.echo(f"One that began now: {one_line(state['now'])}")
    since = f", the oldest since {when(state['oldest'])}" if state["pending"] else ""
    memories = count(state["pending"], "memory")
    click.echo(f"Pending: {memories}, about {state['tokens']} tokens of the prompt{since}.")
    for name, job in state["jobs"].items():
        ended = f"{job.outcome}: {one_line(job.detail)}" if job.ended else "has not ended"
        again = f" ({job.failures} in a row)" if job.failures > 1 else ""
        click.echo(f"{name:6}  {when(job.started)}  {ended}{again}")
