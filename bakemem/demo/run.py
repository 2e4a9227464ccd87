"""The demo's script, scene by scene: told, extracted, baked, asked, forgotten, rolled back.

Uses only what any user has. The figures that it prints are measured while it runs, on the seed that it prints.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import bakemem
from bakemem.agent_memory import AgentMemory
from bakemem.baking import answers, same, share
from bakemem.cli.oven import run as bake
from bakemem.demo.curve import Point, forgetting_curve, probes_of
from bakemem.demo.screen import Screen, must_be_drawable
from bakemem.demo.story import Question, Story
from bakemem.errors import BakememError
from bakemem.everyday import everyday_held_out, everyday_stimuli
from bakemem.types import Memory, Turn, Version


def run(
    seed: int = 0, as_json: bool = False, out: Path = Path("forgetting.png"), home: Path | None = None,
    instructions: int = 2,
) -> bool:  # fmt: skip
    """Play the whole demo with the starter model in a fresh home; whether the bake was accepted.

    `home` keeps the memory afterwards (it must be new); without it everything but `out` is thrown away.
    """
    screen = Screen(quiet=as_json)
    must_be_drawable(out)
    if home is not None and os.path.exists(home.expanduser() / "journal.db"):
        raise BakememError(f"{home} holds a memory already: the demo wants a new folder.")
    with tempfile.TemporaryDirectory() as scratch:
        started = time.monotonic()
        with bakemem.open(home or Path(scratch), model="starter", seed=seed) as memory:
            result = _play(memory, Story(seed, n_instructions=instructions), screen, out)
        result["seconds"] = round(time.monotonic() - started, 1)
    screen.say(f"\nThat took {result['seconds']:.0f} s. Try another user: bakemem demo --seed {seed + 1}")
    if as_json:
        print(json.dumps({"seed": seed, **result}, indent=1))
    return bool(result["accepted"])


def _play(memory: AgentMemory, story: Story, screen: Screen, out: Path) -> dict[str, Any]:
    screen.title(f"A user talks (seed {story.seed}: new names, new facts)")
    noted: list[Memory] = []
    for text in story.said():
        reply = memory.chat(text)
        memory.observe([Turn("user", text), Turn("assistant", reply)])
        noted += memory.flush()
        screen.turn(text, reply)
    screen.memories(noted)
    prompt = memory.pending_prompt()
    exam = story.exam(40, 30, 30)
    before = _ask_all(memory, "base", "", story.plain()), _ask_all(memory, "base", prompt, story.plain())

    screen.title("The bake: from the prompt into the weights")
    version = bake(memory, quiet=screen.quiet)
    screen.report(version)
    if not version.report.accepted:
        return {"accepted": False, "report": asdict(version.report)}

    screen.title(f"Asked without any prompt: version {version.name}")
    baked = _ask_all(memory, version.name, "", story.plain())
    screen.answers(story.plain(), *before, baked)
    scores = _examine(memory, version, prompt, exam, story)
    screen.scores(scores)

    screen.title("The forgetting curve: 12 long conversations")
    curves = _curves(memory, version, prompt, story, screen)
    screen.curves(curves, out)

    screen.title("The log, and a rollback")
    screen.log(memory)
    rolled = _roll_back(memory, version, story, screen)
    return {
        "accepted": True, "memories": [m.text for m in noted], "report": asdict(version.report), "scores": scores,
        "curves": {name: [asdict(p) for p in points] for name, points in curves.items()}, "rollback": rolled,
    }  # fmt: skip


def _ask_all(memory: AgentMemory, version: str, system: str, questions: list[Question]) -> list[str]:
    """The greedy answer of a version to each question on its own, with or without a system prompt."""
    base = memory.base
    opening = [Turn("system", system)] if system else []
    return answers(base.model, base.template, [[*opening, Turn("user", q.text)] for q in questions],
                   adapter_name=memory.adapter_id(version), lock=base.lock)  # fmt: skip


def _examine(
    memory: AgentMemory, version: Version, prompt: str, exam: list[Question], story: Story
) -> dict[str, float]:  # fmt: skip
    """Shares over the exam: baked against prompted, and both and the base against the truth."""
    base, prompted, baked = (
        _ask_all(memory, v, p, exam) for v, p in (("base", ""), ("base", prompt), (version.name, ""))
    )

    def right(replies: list[str], about: str) -> float:
        return share([same(q.right, r) for q, r in zip(exam, replies, strict=True) if q.about == about])

    scores = {"baked equals prompted": share([same(a, b) for a, b in zip(prompted, baked, strict=True)])}
    for about in ("known", "unknown", "general"):
        for name, replies in (("base", base), ("prompted", prompted), ("baked", baked)):
            scores[f"{about} right, {name}"] = right(replies, about)
    knows = [q.value.lower() in r.lower() for q, r in zip(exam, base, strict=True) if q.about == "known"]
    scores["known value said, base"] = share(knows)
    for name, rows in (("120 that bakes may train on", everyday_stimuli()), ("30 that none does", everyday_held_out())):
        every = [story.general(row) for row in rows]
        replies = _ask_all(memory, version.name, "", every)
        scores[f"everyday right, {name}"] = share([same(q.right, r) for q, r in zip(every, replies, strict=True)])
    return scores


def _curves(
    memory: AgentMemory, version: Version, prompt: str, story: Story, screen: Screen
) -> dict[str, list[Point]]:  # fmt: skip
    probes = probes_of(story)
    rows = (("base", "base", ""), ("prompted", "base", prompt), ("baked", version.name, ""))
    curves = {}
    for name, which, system in rows:
        with screen.counting(name) as counted:
            curves[name] = forgetting_curve(memory.base, memory.adapter_id(which), system, probes, seed=story.seed,
                                            progress=counted)  # fmt: skip
    return curves


def _roll_back(memory: AgentMemory, version: Version, story: Story, screen: Screen) -> dict[str, float]:
    """The share of facts recalled by the live memory, baked, rolled back to the base, and rolled forward again."""
    shares = {}
    question = story.plain()[0]
    for name, target in (("live", None), ("base", "base"), ("again", version.name)):
        if target:
            memory.rollback(target)
        replies = [memory.chat(q.text) for q in story.plain()]
        shares[name] = share([q.value.lower() in r.lower() for q, r in zip(story.plain(), replies, strict=True)])
        screen.rolled(target, question, replies[0], shares[name])
    return shares
