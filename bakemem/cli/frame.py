"""What all commands share: where the memory is, its common options, and how errors become exit codes.

Knows no command. Heavy libraries are imported when a memory is opened, never before.
"""

from __future__ import annotations

import functools
import gc
import math
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from bakemem.cli.text import count, one_line, print_error
from bakemem.errors import BakememError, InputError
from bakemem.opening import home_folder

if TYPE_CHECKING:
    from bakemem.agent_memory import AgentMemory
    from bakemem.config import Config
    from bakemem.memory import Journal
    from bakemem.versioned import Versioned

HOME = "./memory"
FAILED, REFUSED, INTERRUPTED, TERMINATED = 1, 3, 130, 143
MAX_INPUT = 16 << 20

AnyFunction = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Place:
    """Which memory a command is about, with which model, and how it answers."""

    home: Path
    namespace: str
    as_json: bool
    model: str | None = None
    device: str | None = None
    seed: int | None = None

    def config(self) -> Config:
        """The settings that the memory has with these options. Raises ConfigError."""
        from bakemem.config import load_config

        return load_config(self.home, model=self.model, device=self.device, seed=self.seed)

    @contextmanager
    def journal(self) -> Iterator[Journal]:
        """The journal to read, beside whoever writes; needs no model. Raises HomeError when there is no home."""
        from bakemem.opening import read_journal

        journal = read_journal(self.home, self.namespace)
        try:
            yield journal
        finally:
            journal.close()

    @contextmanager
    def records(self, *, must_exist: bool = True) -> Iterator[Versioned]:
        """What needs no model, owned for writing; without `must_exist` a new home is made."""
        from bakemem.opening import open_records

        if must_exist:
            with self.journal():
                pass
        with open_records(self.home, self.namespace) as records:
            yield records

    @contextmanager
    def memory(self, *, must_exist: bool = False, warm: bool = False, **config: Any) -> Iterator[AgentMemory]:
        """The memory, owned for writing; `must_exist` makes no new home, and `warm` loads the model at once."""
        if must_exist:
            with self.journal():
                pass
        # Their bars and warnings would run into our answers; whoever wants them back sets these.
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
        with waiting("Opening the memory …"):
            import bakemem

            memory = bakemem.open(self.home, model=self.model, namespace=self.namespace, device=self.device,
                                  seed=self.seed, **config)  # fmt: skip
        with memory:
            if warm:
                with waiting(f"Loading the model {memory.config.model} …"):
                    _ = memory.base
            yield memory


class Terminated(SystemExit):
    """A SIGTERM: no mere Ctrl-C, which a conversation outlives."""


class Command(click.Command):
    """A command whose errors are one clear line, or one JSON object, and an exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        """Runs the command; exits with 1 for an error of ours, with 130 for Ctrl-C and with 143 for SIGTERM."""
        try:
            with _terminable():
                return super().invoke(ctx)
        except BakememError as error:
            _fail(ctx, type(error).__name__, one_line(str(error)), FAILED)
        except (KeyboardInterrupt, Terminated) as stop:
            gc.freeze()  # or Python walks once more over all that torch made, for a second or two, before it ends
            click.echo(err=True)
            message = f"Stopped. Nothing was lost: {_what_is_live(ctx)}."
            _fail(ctx, *(("Terminated", message, TERMINATED) if isinstance(stop, Terminated)
                         else ("Interrupted", message, INTERRUPTED)))  # fmt: skip


@contextmanager
def _terminable() -> Iterator[None]:
    """Inside, SIGTERM raises Terminated, as Ctrl-C raises KeyboardInterrupt; only the main thread gets signals."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # some send it twice, and the second would hit the tidying up
        raise Terminated(TERMINATED)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


def _fail(ctx: click.Context, kind: str, message: str, code: int) -> None:
    if ctx.params.get("as_json"):
        print_error(kind, message)
    else:
        click.echo(f"bakemem: {message}", err=True)
    ctx.exit(code)


def _what_is_live(ctx: click.Context) -> str:
    """Asked of the journal: a Ctrl-C may come just before or just after a change is made."""
    home, namespace = ctx.params.get("home"), ctx.params.get("namespace")
    if home is None or namespace is None:
        return "no memory was touched"
    try:
        from bakemem.versions import VersionStore

        folder = home_folder(home)
        with Place(folder, namespace, False).journal() as journal:
            live, n = journal.live(), len(journal.memories("pending"))
    except BakememError:
        return "no version was touched"
    except Exception:  # Ctrl-C in the middle of an import leaves half of a library
        return "`bakemem log` tells which version is live"
    waits = f"{count(n, 'memory')} {'waits' if n == 1 else 'wait'}"
    said = f"{live or 'base'} is live, and {waits} in the prompt"
    if ctx.command.name == "bake" and VersionStore(folder, namespace).unfinished():
        said += "; `bakemem bake` goes on where it stopped"
    return said


def place(function: AnyFunction) -> AnyFunction:
    """Gives a command --home, --namespace and --json, and calls it with a Place."""
    return _HOME(_NAMESPACE(_JSON(_with_place(function))))


def place_and_model(function: AnyFunction) -> AnyFunction:
    """As `place`, with --model, --device and --seed."""
    return _HOME(_NAMESPACE(_JSON(_MODEL(_DEVICE(_SEED(_with_place(function)))))))


def _with_place(function: AnyFunction) -> AnyFunction:
    @functools.wraps(function)
    def call(
        home: str, namespace: str, as_json: bool, model: str | None = None, device: str | None = None,
        seed: int | None = None, **rest: Any,
    ) -> Any:  # fmt: skip
        return function(Place(home_folder(home), namespace, as_json, model, device, seed), **rest)

    return call


_HOME = click.option("--home", default=HOME, envvar="BAKEMEM_HOME", show_envvar=True, show_default=True,
                     metavar="PATH", help="The folder of the memory.")  # fmt: skip
_NAMESPACE = click.option("--namespace", default="default", show_default=True, metavar="NAME",
                          help="Whose memory: each user's is kept apart.")  # fmt: skip
_JSON = click.option("--json", "as_json", is_flag=True, help="Answer with one JSON value.")
_MODEL = click.option("--model", metavar="NAME",
                      help="starter, a folder, or a hub id.  [default: as configured, else starter]")  # fmt: skip
_DEVICE = click.option("--device", metavar="NAME", help="auto, cpu, cuda …  [default: as configured, else auto]")
_SEED = click.option("--seed", type=click.IntRange(0, 2**32 - 1), metavar="N",
                     help="Of everything random.  [default: as configured, else 0; replies: any]")  # fmt: skip


class Finite(click.FloatRange):
    """A float in a range; NaN, which compares false with everything, is in none."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number. Fails with a usage error."""
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value} is no finite number.", param, ctx)
        return number


@contextmanager
def waiting(text: str) -> Iterator[None]:
    """Shows on a terminal that something takes a while."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(text):
        yield


def read_text(source: str) -> str:
    """The UTF-8 text of a file, or of standard input for `-`. Raises InputError, with the line that is at fault."""
    name = "standard input" if source == "-" else source
    try:
        if source == "-":
            raw = sys.stdin.buffer.read(MAX_INPUT + 1)
        else:
            with Path(source).open("rb") as file:
                raw = file.read(MAX_INPUT + 1)
    except OSError as error:
        raise InputError(f"{name} cannot be read: {error.strerror or error}. Name a text file, or -.") from error
    if len(raw) > MAX_INPUT:
        raise InputError(f"{name} is larger than {MAX_INPUT >> 20} MiB: split it.")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise InputError(f"{name}, line {line}: this is not UTF-8 text (byte {raw[error.start]:#04x}).") from error
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise InputError(f"{name}, line {line}: there is a NUL byte, so this is a binary file and not a text.")
    return text
