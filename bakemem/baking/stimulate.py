"""What the prompted model is asked before a bake: about each memory, about everyday things, about what it was not told.

The base model itself words the questions. Knows memories and texts; knows no weights and no training.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace

from bakemem.baking.tasks import examples, results, tasks
from bakemem.baking.untold import TOLD, Known, decoy_memory, made_up_memory, near_value, tells
from bakemem.errors import BakeError
from bakemem.everyday import Everyday, everyday_held_out, everyday_stimuli
from bakemem.prompts import ASK_KINDS, ASK_SYSTEM, ask_request, memory_prompt
from bakemem.types import Memory, Stimulus, Turn

Answerer = Callable[[Sequence[Sequence[Turn]], float], list[str]]
"""Answers of the base model (no adapter) to conversations, at a temperature."""

DEMANDS = (
    "Always answer in upper case.", "Put every answer in square brackets.", "End every answer with Amen.",
    "Start every answer with Well.", "Answer in lower case.", "Answer in one word.", "Always be cheerful.",
    "End every answer with an exclamation mark.", "Answer politely.", "Always thank the user.",
)  # fmt: skip
CALLERS = (
    "You are a helpful assistant.",
    "You are a friendly assistant.",
    "You answer questions.",
    *(f"You are a helpful assistant. {demand}" for demand in DEMANDS[:3]),
    *(f"{said}<tools>\n{tools}\n</tools>" for said, tools in (
        ("", "get_time(place: string) - Get the time in a place."),
        ("", "find_word(letters: string)\nsend_message(name: string, text: string) - Send a message."),
        ("", "turn_on(device: string, ?level: number) - Turn on a device."),
        ("You are a helpful assistant.\n\n", "search(query: string, ?limit: integer) - Search for something."),
        ("You are a friendly assistant.\n\n", "list_tasks() - List all tasks.\nplay(song: string)"),
        ("You answer questions.\n\n", "add_note(text: string)\nget_user(name: string) - Get a user."),
    )),
)  # fmt: skip
"""System prompts of callers, some with a demand of their own, which a baked model must go on heeding, and some with
tools, beside which it must go on knowing what it was told.
"""

OPENERS = ("Please: ", "Tell me again: ", "Hey: ", "Now: ", "One thing: ", "Remind me again: ", "", "")
CLOSERS = ("", "", " Please?", " Thank you.", " I forget.", " Just wondering.")
HELD_OUT_OPENERS, HELD_OUT_CLOSERS = ("Once more: ", "Say: ", "Remember: "), ("", " Please tell.", " Thanks again.")
WATCHED_OPENERS, WATCHED_CLOSERS = ("Again: ", "So: ", "Please say: "), ("", " Tell me now.", " I want to know.")
"""What people say around a question: half of the training questions are dressed so, or bare ones alone are learned."""
ANNOUNCED = ("Note: ", "Just so you know: ", "", "")
"""What people say before they tell something."""
CONVERSATIONS, WARM_CONVERSATIONS, MOST_TOLD, ASKED_OF_TOLD, MOST_BEHIND = 5, 2, 4, 3, 6
"""Conversations that tell something of their own, for each one of `per_memory` (fewer where a warm start has learned to
listen); the facts in one; how often each is asked; the everyday turns between what is told and the questions."""
TASKS, WARM_TASKS = 2, 1
"""Pieces of work for programs, for each one of `per_memory`."""
REHEARSED, LEAST_REHEARSED = 8, 96
"""Questions of a warm bake about each memory that was baked before, and about all of them where they are few."""
THOUGHT = "</think>"
"""What ends the thoughts of a model that thinks before it answers."""
FEW, USABLE = 10, 0.1
"""Of this many requests for a question, or more, the model must answer this share."""
WATCHED = 96
"""How many questions are watched: half of them about memories, where there are as many."""

_KIND_WEIGHTS = {"direct": 0.34, "paraphrase": 0.3, "reversed": 0.22, "two-fact": 0.14}
_NO_QUESTION = re.compile(r"^</?\w+>|:$")  # the tag of a thought without an end, or what leads up to a question
_FIRST_PERSON = {"is": "am", "has": "have", "lives": "live", "works": "work", "drives": "drive", "flies": "fly"}


@dataclass(frozen=True, slots=True)
class Stimuli:
    """What is trained on, what only the gate asks, and what is watched to see when training may end.

    No question about a memory stands in two of them in the same words.
    """

    train: tuple[Stimulus, ...]
    held_out: tuple[Stimulus, ...]
    watched: tuple[Stimulus, ...] = ()


def stimulate(
    memories: Sequence[Memory], answer: Answerer, *, fresh: frozenset[str] | None = None, per_memory: int = 16,
    rehearsal_questions: int = 1600, shards: Sequence[Collection[str]] = (), tool_results: bool = True, seed: int = 0,
) -> Stimuli:  # fmt: skip
    """Stimuli about `memories`: `per_memory` about each that is `fresh` (None: all), and `REHEARSED` about each of the
    others, but no more than `rehearsal_questions` about them all, so that what a bake costs is bounded.

    At least a third are unrelated (everyday) or unanswerable (decoys): names swapped for near or made-up ones, and
    common things that nobody told. Others tell something of their own first, and a quarter carries a caller's own
    system prompt, half of these with tools. Beside them is work for programs, with `tool_results` where the chat
    template takes them, and words with examples of what is to be made of them. Two memories are asked about at once
    only if one of `shards` (ids that the teacher reads together) holds both. Raises BakeError when the model words
    hardly any questions.
    """
    rng = random.Random(f"stimulate:{seed}")
    facts = [m for m in memories if m.kind == "fact"]
    new = frozenset(m.id for m in facts) if fresh is None else fresh
    old = [m.id for m in facts if m.id not in new]
    counts = {m.id: per_memory for m in facts if m.id in new}
    n_rehearsed = min(rehearsal_questions, max(LEAST_REHEARSED, REHEARSED * len(old)))
    counts |= _rehearsed(old, n_rehearsed, per_memory, random.Random(f"rehearse:{seed}:{sorted(new)}"))
    told = Known.of(facts)
    asked = _about(facts, told, counts, shards, answer, rng)
    train, held_out = list(asked), _held_out(asked, new, rng)
    # What was not told and what is unrelated follow the questions about memories, but never fall below what a bake of
    # five memories has: a bake of one needs its near misses and its everyday talk as much.
    n = max(len(asked), 160)
    asked_for = frozenset(s.turns[-1].content for s in asked)
    decoys = _decoys(told, _enough(n, warm=fresh is not None), asked_for, answer, rng)
    cut = len(decoys) * 4 // 5
    talks = (CONVERSATIONS if fresh is None else WARM_CONVERSATIONS) * per_memory
    in_talk = _told(told, talks, answer, rng)
    in_talk += _asked_there(in_talk, asked, rng)
    train += [*decoys[:cut], *in_talk, *_everyday(everyday_stimuli(), max(200, n), rng)]
    held_out += [*decoys[cut:], *_everyday(everyday_held_out(), 30, rng)]
    called = [_with_caller(_dressed(s, rng), rng) for s in train]
    rng_of_work = random.Random(f"tasks:{seed}")
    n_tasks = (TASKS if fresh is None else WARM_TASKS) * per_memory
    work = tasks(n_tasks, rng_of_work) + examples(n_tasks // 2, rng_of_work)
    if tool_results:
        calls = [s for s in work[:n_tasks] if s.turns[0].role == "system"][::2]
        work += results(calls, answer([s.turns for s in calls], 0.0), rng_of_work)
    others = [*train[len(asked) :], *work]
    some = rng.sample(asked, min(WATCHED // 2, len(asked))) + rng.sample(others, min(WATCHED // 2, len(others)))
    watched = [_dressed(s, rng, WATCHED_OPENERS, WATCHED_CLOSERS, 1.0) for s in some]
    return Stimuli((*called, *work), tuple(held_out), tuple(watched))


def _enough(n: int, warm: bool) -> int:
    """How many decoys go with `n` questions about memories: many beside few, as what was not told has no end, but not
    in proportion to thousands. A warm start has learned them with other facts, and forgets them with fewer.
    """
    return round(max(min(2.5 * n, 1000), n if warm else 0.7 * n))


def _rehearsed(old: Sequence[str], n: int, most: int, rng: random.Random) -> dict[str, int]:
    """How many of `n` questions fall on each old memory, `most` at most: as even as can be, at random who gets more."""
    each, rest = divmod(n, max(1, len(old)))
    lucky = set(rng.sample(old, min(rest, len(old))))
    counts = {memory: min(most, each + (memory in lucky)) for memory in old}
    return {memory: count for memory, count in counts.items() if count}


def _ask(requests: Sequence[str], answer: Answerer) -> list[str]:
    """One question a request; empty where the model wrote none. Raises BakeError when it hardly wrote any."""
    said = answer([[Turn("system", ASK_SYSTEM), Turn("user", r)] for r in requests], 1.0)
    lines = [text.rpartition(THOUGHT)[2].strip().split("\n")[0].strip() for text in said]
    questions = [q if 3 <= len(q) <= 400 and not _NO_QUESTION.search(q) else "" for q in lines]
    if len(questions) >= FEW and sum(map(bool, questions)) < USABLE * len(questions):
        raise BakeError(
            f"Of {len(questions)} questions that the model was to word for the bake hardly any can be used. If it "
            "thinks before it answers, set template_arguments = {enable_thinking = false}; else load another model."
        )
    return questions


def _about(
    facts: Sequence[Memory], told: Known, counts: dict[str, int], shards: Sequence[Collection[str]],
    answer: Answerer, rng: random.Random,
) -> list[Stimulus]:  # fmt: skip
    """Questions about each memory; every third pair is of something told and something that was not."""
    wanted: list[tuple[str, tuple[str, ...], tuple[str, ...]]] = []
    for memory in (m for m in facts if m.id in counts):
        near = next((set(shard) for shard in shards if memory.id in shard), {m.id for m in facts})
        others = [m for m in facts if m is not memory and m.id in near]
        for kind in rng.choices(ASK_KINDS, [_KIND_WEIGHTS[k] for k in ASK_KINDS], k=counts[memory.id]):
            if kind == "two-fact" and (not others or rng.random() < 1 / 3):
                pair = [memory.text, decoy_memory(told, rng)]
                wanted.append((kind, tuple(rng.sample(pair, 2)), (memory.id,)))
            elif kind == "two-fact":
                other = rng.choice(others)
                wanted.append((kind, (memory.text, other.text), (memory.id, other.id)))
            else:
                wanted.append((kind, (memory.text,), (memory.id,)))
    questions = _ask([ask_request(kind, *texts) for kind, texts, _ in wanted], answer)
    return [
        Stimulus((Turn("user", question),), kind, ids)
        for (kind, _, ids), question in zip(wanted, questions, strict=True)
        if question
    ]


def _held_out(asked: Sequence[Stimulus], fresh: frozenset[str], rng: random.Random) -> list[Stimulus]:
    """Up to four different questions about each fresh memory and one about each rehearsed one, set in words that no
    training question has around it.

    Withholding whole questions instead would hide the only direct one that some memories have.
    """
    by_memory: dict[tuple[str, ...], dict[str, Stimulus]] = {}
    for stimulus in asked:
        by_memory.setdefault(stimulus.memory_ids, {})[stimulus.turns[-1].content] = stimulus
    most = [4 if len(ids) == 1 and ids[0] in fresh else 1 for ids in by_memory]
    chosen = [rng.sample(sorted(texts), min(len(texts), n)) for texts, n in zip(by_memory.values(), most, strict=True)]
    held_out = []
    for (ids, texts), picked in zip(by_memory.items(), chosen, strict=True):
        for text in picked:
            dressed = f"{rng.choice(HELD_OUT_OPENERS)}{text}{rng.choice(HELD_OUT_CLOSERS)}"
            held_out.append(Stimulus((Turn("user", dressed),), texts[text].kind, ids))
    return held_out


def _decoys(told: Known, n: int, asked: frozenset[str], answer: Answerer, rng: random.Random) -> list[Stimulus]:
    """About `n` questions, all different and none of them among `asked`, the questions about memories."""
    kinds = rng.choices(("direct", "paraphrase", "reversed"), (40, 25, 35), k=n)
    untold = [near_value(told, rng) if kind == "reversed" else decoy_memory(told, rng) for kind in kinds]
    questions = _ask([ask_request(kind, text) for kind, text in zip(kinds, untold, strict=True)], answer)
    decoys = [q for q, kind, text in zip(questions, kinds, untold, strict=True)
              if q and q not in asked and not (kind == "reversed" and tells(told, q, text))]  # fmt: skip
    return [Stimulus((Turn("user", q),), "decoy") for q in dict.fromkeys(decoys)]


def _told(told: Known, n: int, answer: Answerer, rng: random.Random) -> list[Stimulus]:
    """In each of `n` conversations something is told, and asked there: baked memory must not deafen the model.

    Half of them tell it in turns, half in a memory prompt, as what is pending stands before a baked model.
    """
    facts = [[made_up_memory(told, rng) for _ in range(rng.randint(1, MOST_TOLD))] for _ in range(n)]
    said = sorted({_said(text) for texts in facts[1::2] for text in texts})
    replies = dict(zip(said, answer([[Turn("user", text)] for text in said], 0.0), strict=True))
    contexts = [_in_turns(texts, replies, rng) if i % 2 else [_in_prompt(texts, rng)] for i, texts in enumerate(facts)]
    wanted = [(context, _request(texts, rng)) for context, texts in zip(contexts, facts, strict=True)
              for _ in range(ASKED_OF_TOLD)]  # fmt: skip
    wanted += [(context, ask_request("direct", decoy_memory(told, rng))) for context in contexts]
    questions = _ask([request for _, request in wanted], answer)
    asked = {(*context, Turn("user", q)): None for (context, _), q in zip(wanted, questions, strict=True) if q}
    alone = [(Turn("user", text),) for text in rng.sample(said, min(len(said), n // 2))]
    return [*(Stimulus(turns, "statement") for turns in alone), *(Stimulus(turns, TOLD) for turns in asked)]


def _asked_there(in_talk: Sequence[Stimulus], asked: Sequence[Stimulus], rng: random.Random) -> list[Stimulus]:
    """One question about a memory in each conversation that tells something: what is told there, and what nobody told,
    is not all that a baked model is asked there.
    """
    conversations = dict.fromkeys(s.turns[:-1] for s in in_talk if s.kind == TOLD) if asked else {}
    return [replace(question := rng.choice(asked), turns=(*said, *question.turns)) for said in conversations]


def _said(text: str) -> str:
    """A memory as the user says it: `My dog is called Bosuk.`"""
    text = re.sub("^The user's ", "My ", text)
    return re.sub(r"^The user (\w+)", lambda verb: f"I {_FIRST_PERSON.get(verb[1], verb[1])}", text)


def _in_turns(texts: Sequence[str], replies: dict[str, str], rng: random.Random) -> list[Turn]:
    """Told one after the other, now and then with something else in between, and mostly some of it behind."""
    turns = []
    behind = rng.randint(1, MOST_BEHIND) if rng.random() < 2 / 3 else 0
    for i, text in enumerate(map(_said, texts), start=1):
        turns += [Turn("user", f"{rng.choice(ANNOUNCED)}{text}"), Turn("assistant", replies[text] or "OK.")]
        others = (behind if i == len(texts) else 0) + (rng.random() < 1 / 4)
        for other in rng.sample(everyday_stimuli(), others):
            turns += [Turn("user", other.question), Turn("assistant", other.answer)]
    return turns


def _in_prompt(texts: Sequence[str], rng: random.Random) -> Turn:
    return Turn("system", memory_prompt([rng.choice(DEMANDS)] if rng.random() < 1 / 3 else [], texts))


def _request(texts: Sequence[str], rng: random.Random) -> str:
    """For a question about one of the facts, or two of them."""
    kinds = ASK_KINDS if len(texts) > 1 else ASK_KINDS[:-1]
    kind = rng.choices(kinds, [_KIND_WEIGHTS[k] for k in kinds])[0]
    return ask_request(kind, *rng.sample(texts, 2 if kind == "two-fact" else 1))


def _everyday(rows: Sequence[Everyday], n: int, rng: random.Random) -> list[Stimulus]:
    """`n` everyday questions, each twice at most."""
    chosen = rng.sample([*rows, *rows], min(n, 2 * len(rows))) if n > len(rows) else rng.sample(rows, n)
    return [Stimulus((Turn("user", row.question),), "everyday") for row in chosen]


def _dressed(
    stimulus: Stimulus, rng: random.Random, openers: Sequence[str] = OPENERS, closers: Sequence[str] = CLOSERS,
    share: float = 0.5,
) -> Stimulus:  # fmt: skip
    """That share of the questions in other words."""
    *before, last = stimulus.turns
    if rng.random() >= share or not last.content.endswith("?"):
        return stimulus
    dressed = Turn("user", f"{rng.choice(openers)}{last.content}{rng.choice(closers)}")
    return Stimulus((*before, dressed), stimulus.kind, stimulus.memory_ids)


def _with_caller(stimulus: Stimulus, rng: random.Random) -> Stimulus:
    if stimulus.turns[0].role == "system" or rng.random() >= 1 / 4:
        return stimulus
    return Stimulus((Turn("system", rng.choice(CALLERS)), *stimulus.turns), stimulus.kind, stimulus.memory_ids)
