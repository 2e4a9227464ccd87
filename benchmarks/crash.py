"""`kill -9` at random moments of a real session: `python benchmarks/crash.py [--kills 300] [--json FILE] [--write]`.

A session on a tiny random model remembers, observes, chats, bakes, rolls back, forgets and collects, and acknowledges
in a file of its own what it was told to keep or to forget. After each kill the home is opened again and compared with
that file; the next session goes on in it. `--write` puts the table into docs/versions.md.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import mmap
import os
import random
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import torch
from pages import write_block
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

import bakemem.cycle
import bakemem.memory.index  # so that no session has to load Chroma
import bakemem.opening
from bakemem.agent_memory import AgentMemory
from bakemem.serving import Base, ServingModel, wrap_base
from bakemem.starter import STARTER
from bakemem.testing import ScriptedExtractor
from bakemem.types import Draft, Turn

SETTINGS: dict[str, Any] = {
    "min_agreement": 0.0, "min_abstention": 0.0, "max_drift": 1.0, "min_each": 0.0,
    "max_mention": 1.0, "max_disfluency": 1e9, "efforts": 0, "steps": 2, "rank": 2, "alpha": 4,
    "questions_per_memory": 1, "max_new_tokens": 2, "learning_rate": 0.03, "max_sequence_tokens": 128,
    "max_dialogue_turns": 4,
}  # fmt: skip
ASKED, SLOTS, LONGEST, STAGE = "What do you know?", 3, 4.0, 32
WORK = ("remember", "observe", "chat", "bake", "roll back", "forget", "collect")


def tiny_base() -> Base:
    """A random Llama of two layers with the starter's tokenizer."""
    torch.manual_seed(0)
    config = LlamaConfig(vocab_size=2048, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
                         num_attention_heads=2, max_position_embeddings=2048, initializer_range=0.3)  # fmt: skip
    model = LlamaForCausalLM(config).eval().requires_grad_(False)
    return wrap_base("tiny", model, AutoTokenizer.from_pretrained(STARTER))


class Slots(ScriptedExtractor):
    """An extractor that finds one fact in each turn, the turn itself; its last digit says which fact it replaces."""

    def extract(self, turn: Turn) -> list[Draft]:
        """The turn as a draft."""
        return [Draft("fact", f"slot.{int(turn.content[-2]) % SLOTS}", turn.content)] if turn.role == "user" else []


class Book:
    """What a session acknowledged, one line each, on the disk before it goes on."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.kept: dict[str, str] = {}  # id to text
        self.observed: set[str] = set()
        self.doomed: set[str] = set()  # ids that may be forgotten, and their texts
        self.forgotten: set[str] = set()
        self.answers: dict[str, str] = {}
        for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
            with contextlib.suppress(ValueError):  # the kill came in the middle of the line: it acknowledges nothing
                self._take(*json.loads(line))

    def _take(self, what: str, *values: str) -> None:
        if what in ("kept", "answers"):
            getattr(self, what)[values[0]] = values[1]
        else:
            getattr(self, what).update(values)

    def note(self, what: str, *values: str) -> None:
        """Writes a line down; it begins on a line of its own, whatever was cut short before."""
        self._take(what, *values)
        with self._path.open("a", encoding="utf-8") as file:
            file.write("\n" + json.dumps([what, *values]) + "\n")
            file.flush()
            os.fsync(file.fileno())


class Session:
    """Works on a home until it is killed; `stage` is told what it is doing."""

    def __init__(self, memory: AgentMemory, book: Book, rng: random.Random, stage: Callable[[str], None]) -> None:
        self._memory, self._book, self._rng, self._stage = memory, book, rng, stage

    def work(self) -> NoReturn:
        """Does one thing after the other, for ever."""
        while True:
            what = self._rng.choice(WORK)
            self._stage(what)
            getattr(self, f"_{what.replace(' ', '_')}")()

    def _remember(self) -> None:
        memory = self._memory.remember(f"Fact {self._rng.getrandbits(40)}.")
        self._book.note("kept", memory.id, memory.text)

    def _observe(self) -> None:
        fact = f"Fact {self._rng.getrandbits(40)}."
        self._memory.observe([Turn("user", fact), Turn("assistant", "I see.")], "talk")
        self._book.note("observed", fact)

    def _chat(self) -> None:
        self._memory.chat(ASKED)

    def _bake(self) -> None:
        if self._memory.memories("pending"):
            version = self._memory.bake()
            if version.report.accepted:  # two steps do not always bring the divergence down
                answer = self._memory.chat(ASKED, version=version.name, max_new_tokens=16)
                self._book.note("answers", version.id, answer)

    def _roll_back(self) -> None:
        lost = {v.name for v in self._memory.to_erase()}
        may = [v.name for v in self._memory.versions() if v.status == "accepted" and not v.gone and v.name not in lost]
        self._memory.rollback(self._rng.choice(["base", *may[-4:]]))

    def _forget(self) -> None:
        known = self._memory.memories(["pending", "baked", "held"])
        if len(known) >= SLOTS and self._rng.random() < 0.5:
            self._memory.flush()  # what is read late may go behind it, and goes with it
            doomed = self._memory._journal.chain(self._rng.choice(known).id)
            self._book.note("doomed", *(m.id for m in doomed), *(m.text for m in doomed))
            gone = self._memory.forget([doomed[0].id])
            self._book.note("forgotten", *(m.id for m in gone))

    def _collect(self) -> None:
        self._memory.gc(2, dry_run=False)


def note_stages(shared: mmap.mmap) -> Callable[[str], None]:
    """Says in shared memory what is done; within a bake also that it commits, and that a version is swapped in."""

    def stage(what: str) -> None:
        shared[:STAGE] = what.encode().ljust(STAGE)

    def during(what: str, act: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*args: Any) -> Any:
            before = shared[:STAGE]
            stage(what)
            result = act(*args)
            shared[:STAGE] = before
            return result

        return noted

    bakemem.cycle._commit = during("commit of a bake", bakemem.cycle._commit)
    ServingModel.swap = during("swap", ServingModel.swap)  # type: ignore[method-assign]
    return stage


def checked(home: Path, book: Book) -> dict[str, list[str]]:
    """What is wrong with a home after a kill: memories lost or back, wrong answers, and what is not clean."""
    wrong: dict[str, list[str]] = {"lost": [], "back": [], "wrong": [], "unclean": []}
    with bakemem.opening.open_memory(home, extractor=Slots({}), **SETTINGS) as memory:
        memory.flush()
        found = {m.id: m for m in memory.memories()}
        for memory_id, text in book.kept.items():
            if memory_id not in book.doomed and (memory_id not in found or found[memory_id].text != text):
                wrong["lost"].append(text)
        wrong["lost"] += book.observed - book.doomed - {m.text for m in found.values()}
        indexed = memory._shadow._index.ids()
        wrong["back"] += [i for i in book.forgotten if found[i].status != "forgotten" or found[i].text or i in indexed]
        live = next((v for v in memory.versions() if v.name == memory.live), None)
        if live and (answer := memory.chat(ASKED, version=live.name, max_new_tokens=16)) != book.answers.get(
            live.id, answer
        ):
            wrong["wrong"].append(f"{live.name}: {answer!r}, and it was {book.answers[live.id]!r}")
        elif live:
            book.note("answers", live.id, answer)
        wrong["unclean"] += [f"{p.where}: {p.what}" for p in memory.check() if p.severity == "error" or p.repairable]
    return wrong


def forked(act: Callable[[], object]) -> int:
    """A child of this process that does it; its process id."""
    child = os.fork()
    if child == 0:
        try:
            act()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    return child


def killed(home: Path, at: Path, seed: int, shared: mmap.mmap) -> str:
    """Starts a session, kills it, and says what it was doing. Raises RuntimeError if it ended before.

    Every other one is killed at any moment, the rest soon after it has begun with a chosen thing, since most of the
    time goes into bakes.
    """

    def session() -> None:
        stage = note_stages(shared)
        memory = bakemem.opening.open_memory(home, extractor=Slots({}), **SETTINGS)
        Session(memory, Book(at), random.Random(seed), stage).work()

    rng, last = random.Random(-seed - 1), time.monotonic() + LONGEST
    shared[:STAGE] = b"open".ljust(STAGE)
    child = forked(session)
    if seed % 2:
        aim = rng.choice([*WORK, "commit of a bake", "commit of a bake", "open"]).encode().ljust(STAGE)
        while shared[:STAGE] != aim and time.monotonic() < last:
            time.sleep(0.0002)
    time.sleep(rng.uniform(0, 0.02 if seed % 2 else LONGEST))
    os.kill(child, signal.SIGKILL)
    if not os.WIFSIGNALED(os.waitpid(child, 0)[1]):
        raise RuntimeError(f"Session {seed} ended by itself, see above.")
    return shared[:STAGE].decode().strip()


def measure(kills: int, folder: Path) -> dict[str, Any]:
    """All figures of so many kills of sessions that follow each other in one home."""
    base, home, at, result = tiny_base(), folder / "home", folder / "acknowledged", folder / "result"
    bakemem.opening.load_model = lambda config: base
    baking: Any = sys.modules["bakemem.baking.bake"]  # the package shows the function under the same name
    baking.whole_lines = lambda template, ids: template.decode(ids)  # a random model ends no question
    shared, hits, started = mmap.mmap(-1, STAGE), Counter[str](), time.monotonic()
    figures: dict[str, Any] = {"kills": kills, "lost": [], "back": [], "wrong": [], "unclean": []}
    for seed in range(kills):
        hits[killed(home, at, seed, shared)] += 1
        check = forked(lambda: result.write_text(json.dumps(checked(home, Book(at))), encoding="utf-8"))
        if os.waitpid(check, 0)[1]:
            raise RuntimeError(f"The home cannot be checked after kill {seed}, see above.")
        for name, what in json.loads(result.read_text(encoding="utf-8")).items():
            figures[name] += [f"after kill {seed}: {item}" for item in what]
    book = Book(at)
    return {**figures, "hits": dict(hits.most_common()), "acknowledged": len(book.kept) + len(book.observed),
            "forgotten": len(book.forgotten), "answers": len(book.answers),
            "different answers": len(set(book.answers.values())),
            "seconds": round(time.monotonic() - started)}  # fmt: skip


def table(figures: dict[str, Any]) -> str:
    """Figures as Markdown."""
    served = f"{figures['answers']}, {figures['different answers']}, {len(figures['wrong'])}"
    hits = ", ".join(f"{name} {n}" for name, n in figures["hits"].items())
    return f"""| what | figure |
|---|---|
| `kill -9`, half at any moment, half aimed at one kind of work | {figures["kills"]} |
| what they hit | {hits} |
| acknowledged memories, of them lost | {figures["acknowledged"]}, {len(figures["lost"])} |
| forgotten memories, of them back | {figures["forgotten"]}, {len(figures["back"])} |
| versions, different answers among them, with another answer later | {served} |
| homes that were not clean afterwards | {len(figures["unclean"])} |
| seconds | {figures["seconds"]} |"""


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=300, help="sessions")
    parser.add_argument("--json", type=Path, help="keep the figures in this file")
    parser.add_argument("--write", action="store_true", help="write docs/versions.md")
    args = parser.parse_args()
    torch.set_num_threads(1)  # before the first fork: a pool of threads does not survive it
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(args.kills, Path(folder))
    broken = [item for name in ("lost", "back", "wrong", "unclean") for item in figures[name]]
    text = table(figures)
    print(text, *broken, sep="\n")
    if args.json:
        args.json.write_text(json.dumps(figures, indent=1), encoding="utf-8")
    if args.write:
        text = f"By `python benchmarks/crash.py --kills {args.kills} --write`:\n\n{text}"
        write_block("versions.md", "crash", text)
    sys.exit(1 if broken else 0)


if __name__ == "__main__":
    main()
