"""The command eval: benchmarks of lm-eval on versions of a memory, or on a prompt that is baked for them.

Knows which columns stand side by side; knows nothing of how a benchmark is asked.
"""

from __future__ import annotations

import hashlib
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bakemem.cli.frame import Command, Place, place_and_model, read_text, waiting
from bakemem.cli.oven import shown
from bakemem.cli.questions import parse_questions
from bakemem.cli.text import print_json, report_lines
from bakemem.errors import InputError

if TYPE_CHECKING:
    from bakemem.agent_memory import AgentMemory
    from bakemem.evaluation.harness import Harness
    from bakemem.evaluation.scores import Column, Score
    from bakemem.serving import Base
    from bakemem.types import Report


@dataclass
class _Outcome:
    """What was measured."""

    model: str
    columns: dict[str, list[Score]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    prompt: str = ""
    bake: Report | None = None

    def values(self) -> dict[str, Any]:
        """As JSON."""
        sha = hashlib.sha256(self.prompt.encode()).hexdigest() if self.prompt else None
        return {"model": self.model, "prompt_sha256": sha, "bake": self.bake, "columns": self.columns,
                "seconds": self.seconds}  # fmt: skip


@click.command("eval", cls=Command)
@click.option("--tasks", required=True, metavar="A,B…", help="Tasks or groups of lm-eval, such as gsm8k,arc_challenge.")
@click.option("--version", "versions", multiple=True, metavar="NAME",
              help="A version, `live` or `base`; may be given again.  [default: base and live]")  # fmt: skip
@click.option("--prompt-file", metavar="FILE", help="Bake this prompt, and compare it with itself in the context.")
@click.option("--stimuli-file", metavar="FILE",
              help="What is asked for that bake: a question a line, or JSON Lines.  [default: training questions of "
              "the first task]")  # fmt: skip
@click.option("--questions", type=click.IntRange(8), default=256, show_default=True, metavar="N",
              help="At most so many training questions.")  # fmt: skip
@click.option("--num-fewshot", type=click.IntRange(0), metavar="N",
              help="Examples of the task before each question.  [default: 0 with --prompt-file, else the task's "
              "own]")  # fmt: skip
@click.option("--limit", type=click.IntRange(1), metavar="N", help="Only the first N questions of each task.")
@click.option("--batch-size", default="8", show_default=True, metavar="N|auto", help="Questions asked at once.")
@click.option("--tasks-dir", type=click.Path(exists=True, file_okay=False, path_type=Path), metavar="FOLDER",
              help="Tasks of your own: YAML files as lm-eval reads them.")  # fmt: skip
@click.option("--unsafe-code", is_flag=True, help="Let tasks such as mbpp run what the model writes, on this machine.")
@place_and_model
def evaluate(
    where: Place, tasks: str, versions: Sequence[str], prompt_file: str | None, stimuli_file: str | None,
    questions: int, num_fewshot: int | None, limit: int | None, batch_size: str, tasks_dir: Path | None,
    unsafe_code: bool,
) -> None:  # fmt: skip
    """Score versions, or a prompt baked on the spot, on benchmarks.

    Without --prompt-file the columns are versions of the memory: what `chat` would answer from, side by side with the
    base. With it they are base, prompted, baked (the prompt in the weights) and both; the prompt is a file of text,
    such as worked examples, and no memory is read or written. Tasks after the first show what the bake did to other
    skills.

    Needs the extra: pip install 'bakemem[eval]', or in a checkout pip install -e '.[eval]'. lm-eval fetches the data of
    its own tasks from the Hugging Face hub.
    """
    _must_agree(versions, prompt_file, stimuli_file, batch_size)
    bars = _bars(where.as_json)
    prompt = None if prompt_file is None else read_text(prompt_file).strip()
    stimuli = None if stimuli_file is None else parse_questions(read_text(stimuli_file), stimuli_file)
    if prompt == "":
        raise InputError(f"{prompt_file} is empty: give the prompt to bake.")
    with waiting("Loading the tasks …"):
        harness = _harness(tasks, tasks_dir, limit=limit, batch_size=batch_size, unsafe_code=unsafe_code,
                           num_fewshot=0 if prompt and num_fewshot is None else num_fewshot,
                           seed=where.config().seed, bars=bars)  # fmt: skip
    if prompt:
        outcome = _bake_and_score(where, harness, prompt, questions if stimuli is None else stimuli)
    else:
        with where.memory(must_exist=True, warm=True) as memory:
            outcome = _Outcome(memory.config.model)
            _score(where, harness, memory.base, list(_versions(memory, versions)), outcome)
    if where.as_json:
        print_json(outcome.values())
        return
    from bakemem.evaluation.scores import table

    click.echo(table(outcome.columns))
    if outcome.bake:
        click.echo("\n".join(["the bake", *report_lines(outcome.bake, ())]))


def _must_agree(versions: Sequence[str], prompt_file: str | None, stimuli_file: str | None, batch_size: str) -> None:
    if versions and prompt_file:
        raise click.UsageError("--version is about the memory, --prompt-file about a prompt of its own: give one.")
    if stimuli_file and not prompt_file:
        raise click.UsageError("--stimuli-file says what is asked for a bake: give --prompt-file too.")
    if batch_size != "auto" and not (batch_size.isdecimal() and int(batch_size)):
        raise click.UsageError("--batch-size is a number from 1, or auto.")


def _bars(as_json: bool) -> bool:
    """Whether lm-eval may show bars: on a terminal only. The libraries read these when they are imported."""
    bars = sys.stderr.isatty() and not as_json
    if not bars:
        os.environ.setdefault("TQDM_DISABLE", "1")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    return bars


def _harness(tasks: str, tasks_dir: Path | None, **limits: Any) -> Harness:
    try:
        from bakemem.evaluation.harness import Harness, Limits
    except ImportError as error:
        raise InputError(
            "`bakemem eval` needs lm-eval: install the extra with pip install 'bakemem[eval]', or in a checkout with "
            "pip install -e '.[eval]'."
        ) from error
    names = [name for part in tasks.split(",") if (name := part.strip())]
    return Harness(names, Limits(**limits), tasks_dir)


def _versions(memory: AgentMemory, asked: Sequence[str]) -> Iterator[Column]:
    """Each version as `chat` answers from it: the live one has what is pending in its prompt, a named one has not."""
    from bakemem.evaluation.scores import Column

    for name in dict.fromkeys(asked or ("base", "live")):
        if name == "live":
            title = f"live ({memory.live or 'base'})"
            yield Column(title, memory.adapter_id(memory.live), memory.pending_prompt())
        else:
            yield Column(name, memory.adapter_id(name))


def _bake_and_score(where: Place, harness: Harness, prompt: str, asked: Any) -> _Outcome:
    """The four columns; `asked` are conversations to bake with, or how many training questions to take."""
    from bakemem.evaluation.on_the_spot import BAKED, bake_prompt, stimuli_of
    from bakemem.evaluation.scores import Column
    from bakemem.opening import load_model

    config = where.config()
    stimuli = stimuli_of(harness.questions(asked) if isinstance(asked, int) else asked)
    with waiting(f"Loading the model {config.model} …"):
        base = load_model(config)
    outcome = _Outcome(config.model, prompt=prompt)
    _score(where, harness, base, [Column("base"), Column("prompted", None, prompt)], outcome)
    with shown(where.as_json) as progress:
        outcome.bake = bake_prompt(base, prompt, stimuli, config, progress)
    _score(where, harness, base, [Column("baked", BAKED), Column("both", BAKED, prompt)], outcome)
    return outcome


def _score(where: Place, harness: Harness, base: Base, columns: Sequence[Column], outcome: _Outcome) -> None:
    for column in columns:
        if not where.as_json:
            click.echo(f"asking {column.name} …", err=True)
        started = time.monotonic()
        outcome.columns[column.name] = harness.score(base, column)
        outcome.seconds[column.name] = round(time.monotonic() - started, 1)
