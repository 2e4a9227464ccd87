"""A month of a personal assistant in fast-forward: told things each day, baked each night, asked at the end of days.

    python examples/month.py --plot docs/month.png     # 30 days: 2.5 hours on two cores; goes on where it stopped
    python examples/month.py --days 5                  # 20 minutes

The same questions go to the base model with everything in its prompt, and with the five facts nearest in meaning to the
question there; all three see the same talk before, in a context of the same length, and on the last day also none. For
a real model change MODEL.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, PreTrainedTokenizerBase

import bakemem
from bakemem import AgentMemory, Turn
from bakemem.assistant import Assistant
from bakemem.disk import write_whole
from bakemem.everyday import everyday
from bakemem.memory import LIVE
from bakemem.prompts import memory_prompt
from bakemem.schedule import Schedule
from bakemem.starter import STARTER, Fact, ask, make_facts, make_name, statement

MODEL = "starter"  # the one line to change: a folder, or the hub id of a causal language model
QUICK: dict[str, Any] = {"steps": 80, "questions_per_memory": 12, "efforts": 0, "max_dialogue_turns": 4}
CONTEXT = 1024  # tokens that each assistant may read: memory prompt, talk and question
SMALL_TALK = 3  # turns a day about anything else
# What an instruction leaves in every answer of the starter. The third takes the place of the second.
RULES = (("Call me Captain.", "Captain"), ("Always be happy.", "Hooray"), ("Always be sad.", "Alas"))


@dataclass
class Day:
    """What is said to the assistant on one day, and what holds at its end."""

    said: list[str]
    facts: list[Fact]
    rules: list[str]
    never: list[Fact] = field(default_factory=list)  # was never true, or is to be forgotten
    mistaken: str = ""  # said by somebody else: the operator rolls back the next morning
    forgotten: Fact | None = None


def story(rng: random.Random, days: int, each: int) -> list[Day]:
    """`each` facts a day, every sixth day one that changes; a mistake after a third of them, and a secret that
    is taken back after two thirds.
    """
    new = make_facts(rng, days * each + 1, held_out=True)
    wrong, known, made = new.pop(), list[Fact](), list[Day]()
    mistake, forget = max(1, days // 3) - 1, max(2, 2 * days // 3) - 1
    starts = (0, days // 4, 3 * days // 5)
    never: list[Fact] = []
    for day in range(days):
        today = [new.pop() for _ in range(each)]
        if day % 6 == 5:
            old = known[rng.randrange(len(known))]
            known.remove(old)
            today.append(changed(rng, old, [*known, *new, *today, wrong]))
        said = [statement(rng, fact) for fact in today]
        said += [text for (text, _), start in zip(RULES, starts, strict=True) if start == day]
        known += today
        secret = known.pop(rng.randrange(len(known) // 2)) if day == forget else None
        never = never + [wrong] * (day == mistake + 1) + ([secret] if secret else [])
        rules = [mark for (_, mark), start in zip(RULES, starts, strict=True) if start <= day]
        made.append(Day(said, list(known), rules[:1] + rules[1:][-1:], never,
                        statement(rng, wrong) if day == mistake else "", secret))  # fmt: skip
    return made


def changed(rng: random.Random, old: Fact, others: Sequence[Fact]) -> Fact:
    """The same thing with another value, which is none of anything else."""
    while True:
        fact = replace(old, value=old.attribute.values(rng, True))
        if fact.value not in {old.value, *(other.value for other in others)} or old.attribute.values is not make_name:
            return fact


def live(memory: AgentMemory, assistant: Assistant, schedule: Schedule, day: Day, set_hour: Callable[[int], None],
         rng: random.Random) -> None:  # fmt: skip
    """One day: what is said, what is taken back, and the night, in which the schedule does what is due."""
    if day.mistaken:
        assistant.say(day.mistaken).text()
    for text in day.said:
        assistant.say(text).text()
    for row in rng.sample(everyday(), SMALL_TALK):
        assistant.say(row.question).text()
    memory.flush()
    if day.forgotten:
        memory.forget([m.id for m in memory.memories(tuple(LIVE), key=day.forgotten.key)])
    for hour in range(1, 6):
        set_hour(hour)
        while schedule.tick():
            pass


def undo(memory: AgentMemory, mistaken: str) -> None:
    """The operator's morning after: back to the version before, and all that was true into the prompt again."""
    wrong = {m.id for m in memory.memories("baked") if m.provenance.turn == mistaken}
    if wrong:  # else it was done before this day was cut short
        now = next(v for v in memory.versions() if v.name == memory.live)
        memory.rollback(now.parent or "base")
        memory.release([m.id for m in memory.memories("held") if m.id not in wrong])


@dataclass
class Exam:
    """Asks three assistants the same, after the same talk, in a context of `CONTEXT` tokens."""

    memory: AgentMemory
    plain: AgentMemory  # which is never told anything
    tokenizer: PreTrainedTokenizerBase

    def tokens(self, text: str) -> int:
        """Of a text, with what a template adds to a turn."""
        return len(self.tokenizer(text).input_ids) + 4

    def __call__(self, day: Day, talk: Sequence[Turn], rng: random.Random) -> dict[str, Any]:
        """What each assistant recalls, how it heeds the instructions, and what its memory takes of the context."""
        asked = [ask(rng, fact, rng.choice(("direct", "paraphrase")))[0] for fact in day.facts]
        never = [(fact, ask(rng, fact, "direct")[0]) for fact in day.never]
        return {name: self.grade(name, day, asked, never, talk) for name in ("baked", "prompt", "retrieval")}

    def grade(self, name: str, day: Day, asked: list[str], never: list[tuple[Fact, str]],
              talk: Sequence[Turn]) -> dict[str, Any]:  # fmt: skip
        """One of them."""
        answers = [self.answer(name, question, talk) for question in asked]
        told = [f.value.lower() in text.lower() for f, (text, _) in zip(day.facts, answers, strict=True)]
        heeded = [all(mark.lower() in text.lower() for mark in day.rules) for text, _ in answers]
        back = [f.value.lower() in self.answer(name, question, talk)[0].lower() for f, question in never]
        return {"recall": sum(told) / len(told), "heeded": sum(heeded) / len(heeded), "back": sum(back),
                "tokens": sum(n for _, n in answers) / len(answers),
                "missed": [q for q, right in zip(asked, told, strict=True) if not right]}  # fmt: skip

    def answer(self, name: str, question: str, talk: Sequence[Turn]) -> tuple[str, int]:
        """The answer, and the tokens of the memory prompt that it was given."""
        prompt = self.memory.pending_prompt() if name == "baked" else self.prompt(name, question)
        used = self.tokens(prompt) + self.tokens(question) + 64 if prompt else self.tokens(question) + 64
        history = fitting(talk, CONTEXT - used, self.tokens)
        if name == "baked":
            return self.memory.chat(question, history=history), self.tokens(prompt) if prompt else 0
        return self.plain.chat(question, history=history, system=prompt), self.tokens(prompt)

    def prompt(self, name: str, question: str) -> str:
        """All that is known, the newest facts that fit; or all instructions and the five nearest facts."""
        rules = [m.text for m in self.memory.memories(tuple(LIVE), kind="instruction")]
        if name == "retrieval":
            return memory_prompt(rules, [m.text for m in self.memory.recall(question, 5, kind="fact")])
        facts = [m.text for m in self.memory.memories(tuple(LIVE), kind="fact")]
        while self.tokens(memory_prompt(rules, facts)) > CONTEXT - 128:
            facts.pop(0)
        return memory_prompt(rules, facts)


def fitting(talk: Sequence[Turn], room: int, tokens: Callable[[str], int]) -> list[Turn]:
    """The newest exchanges that fit."""
    chosen: list[Turn] = []
    for i in range(len(talk) - 2, -1, -2):
        room -= tokens(talk[i].content) + tokens(talk[i + 1].content)
        if room < 0:
            break
        chosen = [talk[i], talk[i + 1], *chosen]
    return chosen


def run(home: Path, days: int, each: int, every: int, seed: int, settings: dict[str, Any]) -> list[dict[str, Any]]:
    """The days that are left to live, with the exams so far; each day is kept when it is over."""
    home.mkdir(parents=True, exist_ok=True)
    kept = home / "days.json"
    rows: list[dict[str, Any]] = json.loads(kept.read_text()) if kept.exists() else []
    diary, now = story(random.Random(f"month {seed}"), days, each), [datetime.now(UTC)]
    tokenizer = AutoTokenizer.from_pretrained(STARTER if MODEL == "starter" else MODEL)
    rules: dict[str, Any] = {"bake_memories": 1, "quiet_hours": "01:00-06:00", "time_zone": "UTC", "idle_minutes": 0.0}
    with (
        bakemem.open(home / "memory", model=MODEL, **rules, **settings) as memory,
        bakemem.open(home / "plain", model=MODEL) as plain,
    ):
        assistant, exam = Assistant(memory), Exam(memory, plain, tokenizer)
        schedule = Schedule(memory, clock=lambda: now[0], load=lambda: None)
        for n, day in enumerate(diary[len(rows):], start=len(rows)):  # fmt: skip
            rng, started = random.Random(f"day {n} {seed}"), datetime.now(UTC)
            # The month that ends today; each night is a second later than the one before, as what was told by the real
            # clock counts as a day old, and as tried where the last bake is no older.
            midnight = started.replace(hour=0, minute=0, second=0) - timedelta(days=days - n) + timedelta(seconds=n)

            def set_hour(hour: int, midnight: datetime = midnight) -> None:
                now[0] = midnight.replace(hour=hour)

            if n and diary[n - 1].mistaken:
                undo(memory, diary[n - 1].mistaken)
            live(memory, assistant, schedule, day, set_hour, rng)
            row: dict[str, Any] = {"day": n + 1, "facts": len(day.facts), "version": memory.live,
                                   "seconds": (datetime.now(UTC) - started).total_seconds()}  # fmt: skip
            if n == 0 or (n + 1) % every == 0 or n + 1 == days:
                past = [e for e in assistant.past() if e.reply]
                talk = [turn for e in past for turn in (Turn("user", e.text), Turn("assistant", e.reply or ""))]
                row |= exam(day, talk, rng)
            if n + 1 == days:
                row["fresh"] = exam(day, [], rng)  # what the prompts can do with no talk behind them
            rows.append(row)
            write_whole(kept, json.dumps(rows, indent=1).encode())
            print(line(row), file=sys.stderr, flush=True)
    return rows


def line(row: dict[str, Any]) -> str:
    """One day for a person to read."""
    told = "  ".join(f"{name} {row[name]['recall']:.0%} ({row[name]['tokens']:.0f} tokens)"
                     for name in ("baked", "prompt", "retrieval") if name in row)  # fmt: skip
    return f"day {row['day']:2}  {row['facts']:2} facts  {row['version'] or 'base':>4}  {row['seconds']:4.0f} s  {told}"


def plot(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Recall over the days, and below it what the memory takes of each prompt."""
    import matplotlib.pyplot as plt

    seen = [row for row in rows if "baked" in row]
    figure, (above, below) = plt.subplots(2, 1, figsize=(8, 6), sharex=True, height_ratios=[2, 1], layout="constrained")
    styles = {"baked": ("in the weights", "o-"), "prompt": ("all in the prompt", "s--"),
              "retrieval": ("five retrieved", "^:")}  # fmt: skip
    for name, (label, style) in styles.items():
        days = [row["day"] for row in seen]
        above.plot(days, [100 * row[name]["recall"] for row in seen], style, label=label)
        below.plot(days, [row[name]["tokens"] for row in seen], style)
    above.set_ylabel("facts recalled, %")
    above.set_ylim(0, 103)
    above.legend(loc="center right")
    below.set_ylabel("memory tokens a turn")
    below.set_xlabel("day")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, default=Path("runs/month"), help="where it lives; goes on from there")
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--facts", type=int, default=2, help="told a day")
    parser.add_argument("--every", type=int, default=3, help="days from one exam to the next")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="smaller bakes, which recall less")
    parser.add_argument("--plot", type=Path, help="draw the month there (needs matplotlib)")
    parser.add_argument("--json", action="store_true", help="print all days as JSON")
    args = parser.parse_args()
    home = args.home / f"{args.days}-days-{args.facts}-a-day-{args.seed}{'-quick' * args.quick}"
    rows = run(home, args.days, args.facts, args.every, args.seed, QUICK if args.quick else {})
    if args.plot:
        plot(rows, args.plot)
    if args.json:
        print(json.dumps(rows, indent=1))
        return
    print("| on the last day | after the talk | facts recalled | instructions kept | told though taken back | tokens |")
    print("|---|---|---|---|---|---|")
    for talk, last in (("of the month", rows[-1]), ("none", rows[-1]["fresh"])):
        for name in ("baked", "prompt", "retrieval"):
            seen = last[name]
            print(f"| {name} | {talk} | {seen['recall']:.0%} | {seen['heeded']:.0%} | {seen['back']} "
                  f"| {seen['tokens']:.0f} |")  # fmt: skip


if __name__ == "__main__":
    main()
