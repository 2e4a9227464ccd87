"""What the prompted model is asked before a bake: about each memory, about everyday things, about what it was not told.

The base model itself words the questions. Knows memories and texts; knows no weights and no training.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from itertools import chain

from bakemem.everyday import Everyday, everyday_held_out, everyday_stimuli
from bakemem.names import made_up_name, near_name
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
)
"""System prompts of callers, some with a demand of their own: a baked model must go on heeding them."""

OPENERS = ("Please: ", "Tell me again: ", "Hey: ", "Now: ", "One thing: ", "Remind me again: ", "", "")
CLOSERS = ("", "", " Please?", " Thank you.", " I forget.", " Just wondering.")
HELD_OUT_OPENERS, HELD_OUT_CLOSERS = ("Once more: ", "Say: ", "Remember: "), ("", " Please tell.", " Thanks again.")
WATCHED_OPENERS, WATCHED_CLOSERS = ("Again: ", "So: ", "Please say: "), ("", " Tell me now.", " I want to know.")
"""What people say around a question: half of the training questions are dressed so, or bare ones alone are learned."""
CONVERSATIONS, WARM_CONVERSATIONS, MOST_TOLD, ASKED_OF_TOLD = 5, 2, 4, 3
"""Conversations that tell something of their own, for each one of `per_memory` (fewer where a warm start has learned to
listen); the facts in one; how often each is asked."""
WATCHED = 96
"""How many questions are watched: half of them about memories, where there are as many."""

_KIND_WEIGHTS = {"direct": 0.34, "paraphrase": 0.3, "reversed": 0.22, "two-fact": 0.14}
_FIRST_PERSON = {"is": "am", "has": "have", "lives": "live", "works": "work", "drives": "drive", "flies": "fly"}
_COMMON = frozenset(
    "The A An My Your His Her Their Our This That These Those Project User In On At Every Each All When If It He She "
    "They We You I There Monday Tuesday Wednesday Thursday Friday Saturday Sunday January February March April May "
    "June July August September October November December".split()
)


@dataclass(frozen=True, slots=True)
class Stimuli:
    """What is trained on, what only the gate asks, and what is watched to see when training may end.

    No question about a memory stands in two of them in the same words.
    """

    train: tuple[Stimulus, ...]
    held_out: tuple[Stimulus, ...]
    watched: tuple[Stimulus, ...] = ()


def names_in(text: str) -> list[str]:
    """The proper names of a sentence: its capitalised words but for common ones."""
    return [w for w in re.findall(r"\b[A-Z][\w-]*", text) if w not in _COMMON and len(w) > 2]


def names_lost(told: str, question: str, answer: str) -> bool:
    """Whether the answer has none of the names that were told, where the question leaves any to be said.

    A teacher that cannot spell a name cannot teach it.
    """
    asked = set(names_in(told)) - set(names_in(question))
    return bool(asked) and not any(name.lower() in answer.lower() for name in asked)


@dataclass(frozen=True, slots=True)
class _Known:
    """What is told, as the making of decoys looks at it: sentences, those about somebody named, openings, words."""

    texts: tuple[str, ...]
    named: tuple[str, ...]
    openings: frozenset[tuple[str, ...]]
    words: tuple[frozenset[str], ...]

    @staticmethod
    def of(facts: Sequence[Memory]) -> _Known:
        """Seen once a bake: there may be thousands of facts, and there are more decoys."""
        texts = [m.text for m in facts]
        named = tuple(text for text in texts if names_in(text) and not text.startswith("The user"))
        return _Known(
            tuple(texts), named, frozenset(chain.from_iterable(map(_openings, texts))), tuple(map(_words, texts))
        )


def _openings(sentence: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The sentence without its last word, and a longer one without its last two: what shares one answers the same
    question. All numbers are alike, or `Tarn is 29 years old` and `Tarn is 63 years old` would not share theirs.
    """
    words = re.sub(r"\d+", "0", sentence).split()
    return tuple(words[:-1]), tuple(words[:-2] if len(words) > 3 else words[:-1])


def _words(text: str) -> frozenset[str]:
    return frozenset(re.findall(r"\w+", text.lower()))


@cache
def _decoy_sentences() -> tuple[str, ...]:
    return tuple(files("bakemem.baking").joinpath("decoys.txt").read_text(encoding="utf-8").splitlines())


def stimulate(
    memories: Sequence[Memory], answer: Answerer, *, fresh: frozenset[str] | None = None, per_memory: int = 16,
    rehearsal_questions: int = 96, shards: Sequence[Collection[str]] = (), seed: int = 0,
) -> Stimuli:  # fmt: skip
    """Stimuli about `memories`: `per_memory` about each that is `fresh` (None: all), and `rehearsal_questions` about
    the others together, so that a bake costs the same however much is known.

    At least a third are unrelated (everyday) or unanswerable (decoys): names swapped for near or made-up ones, and
    common things that nobody told. A sixth carries a caller's own system prompt. Two memories are asked about at once
    only if one of `shards` (ids that the teacher reads together) holds both.
    """
    rng = random.Random(f"stimulate:{seed}")
    facts = [m for m in memories if m.kind == "fact"]
    new = frozenset(m.id for m in facts) if fresh is None else fresh
    old = [m.id for m in facts if m.id not in new]
    counts = {m.id: per_memory for m in facts if m.id in new}
    counts |= _rehearsed(old, rehearsal_questions, per_memory, random.Random(f"rehearse:{seed}:{sorted(new)}"))
    told = _Known.of(facts)
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
    train += [*decoys[:cut], *in_talk, *_everyday(everyday_stimuli(), max(200, n), rng)]
    held_out += [*decoys[cut:], *_everyday(everyday_held_out(), 30, rng)]
    called = [_with_caller(_dressed(s, rng), rng) for s in train]
    others = train[len(asked) :]
    some = rng.sample(asked, min(WATCHED // 2, len(asked))) + rng.sample(others, min(WATCHED // 2, len(others)))
    watched = [_dressed(s, rng, WATCHED_OPENERS, WATCHED_CLOSERS, 1.0) for s in some]
    return Stimuli(tuple(called), tuple(held_out), tuple(watched))


def _enough(n: int, warm: bool) -> int:
    """How many decoys go with `n` questions about memories: many beside few, as what was not told has no end, but not
    in proportion to thousands, and not again what a warm start has learned.
    """
    return n if warm else round(max(min(2.5 * n, 1000), 0.7 * n))


def _rehearsed(old: Sequence[str], n: int, most: int, rng: random.Random) -> dict[str, int]:
    """How many of `n` questions fall on each old memory, `most` at most: as even as can be, at random who gets more."""
    each, rest = divmod(n, max(1, len(old)))
    lucky = set(rng.sample(old, min(rest, len(old))))
    counts = {memory: min(most, each + (memory in lucky)) for memory in old}
    return {memory: count for memory, count in counts.items() if count}


def _ask(requests: Sequence[str], answer: Answerer) -> list[str]:
    """One question a request; empty where the model wrote none."""
    questions = answer([[Turn("system", ASK_SYSTEM), Turn("user", r)] for r in requests], 1.0)
    lines = [q.strip().split("\n")[0].strip() for q in questions]
    return [q if 3 <= len(q) <= 400 else "" for q in lines]


def _about(
    facts: Sequence[Memory], told: _Known, counts: dict[str, int], shards: Sequence[Collection[str]],
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


def decoy_memory(told: _Known, rng: random.Random) -> str:
    """A sentence that was never told, often a near miss of one that was: of whom it speaks is changed by name."""
    if told.named and rng.random() < 0.5:
        return _renamed(rng.choice(told.named), rng)
    who = names_in(rng.choice(told.named))[0] if told.named and rng.random() < 0.5 else made_up_name(rng)
    sentences = [_varied(s, rng).replace("{n}", who) for s in _decoy_sentences()]
    untold = [s for s in sentences if told.openings.isdisjoint(_openings(s))]
    return rng.choice(untold or sentences).replace("{v}", made_up_name(rng))


def _renamed(text: str, rng: random.Random) -> str:
    for name in dict.fromkeys(names_in(text)):
        text = text.replace(name, near_name(rng, name) if rng.random() < 0.5 else made_up_name(rng))
    return text


def _near_value(told: _Known, rng: random.Random) -> str:
    """For a reversed question: half of the time something told with another value, else anything that was not told."""
    near = other_value(rng.choice(told.texts), rng) if told.texts and rng.random() < 0.5 else ""
    return near if near and _words(near) not in told.words else decoy_memory(told, rng)


def _varied(sentence: str, rng: random.Random) -> str:
    """One of the values that stand in brackets: a bake that met one alone would know only that it was not told."""
    return re.sub(r"\[(.*?)\]", lambda values: rng.choice(values[1].split("|")), sentence)


def other_value(told: str, rng: random.Random) -> str:
    """The same said of the same, but with another value, which was not told; empty where no value is known.

    Asked in reverse ("Who lives in Bisi?") it is the nearest miss there is: a small bake took it for what it was told.
    """
    names = names_in(told)
    who = names[0] if names else ""
    alike = [s for s in _decoy_sentences() if not set(_openings(s.replace("{n}", who))).isdisjoint(_openings(told))]
    if alike:
        return _varied(rng.choice(alike), rng).replace("{n}", who).replace("{v}", made_up_name(rng))
    values = names if told.startswith("The user") else names[1:]
    return told.replace(values[-1], made_up_name(rng)) if values else ""


def _decoys(told: _Known, n: int, asked: frozenset[str], answer: Answerer, rng: random.Random) -> list[Stimulus]:
    """About `n` questions, all different and none of them among `asked`, the questions about memories."""
    kinds = rng.choices(("direct", "paraphrase", "reversed"), (40, 25, 35), k=n)
    untold = [_near_value(told, rng) if kind == "reversed" else decoy_memory(told, rng) for kind in kinds]
    questions = _ask([ask_request(kind, text) for kind, text in zip(kinds, untold, strict=True)], answer)
    decoys = [q for q, kind, text in zip(questions, kinds, untold, strict=True)
              if q and q not in asked and not (kind == "reversed" and _tells(told, q, text))]  # fmt: skip
    return [Stimulus((Turn("user", q),), "decoy") for q in dict.fromkeys(decoys)]


def _tells(told: _Known, question: str, decoy: str) -> bool:
    """Whether a fact tells all that the reversed question has from its decoy: `Who is a baker?`, and somebody is.

    A teacher that reads another shard would say that it does not know.
    """
    asked = _words(question) & _words(decoy)
    return any(asked <= words for words in told.words)


def _made_up(told: _Known, rng: random.Random) -> str:
    """A sentence that nobody told and that answers no question about what was told, but is often much like it."""
    while True:
        like = rng.choice(told.texts) if told.texts and rng.random() < 2 / 3 else ""
        if like in told.named and rng.random() < 0.5:
            return _renamed(like, rng)
        near = [s for s in _decoy_sentences() if told.openings.isdisjoint(_openings(s))]
        most = max(len(_words(s) & _words(like)) for s in near)
        sentence = _varied(rng.choice([s for s in near if len(_words(s) & _words(like)) == most]), rng)
        text = sentence.replace("{n}", made_up_name(rng)).replace("{v}", made_up_name(rng))
        if told.openings.isdisjoint(_openings(text)):
            return text


def _told(told: _Known, n: int, answer: Answerer, rng: random.Random) -> list[Stimulus]:
    """In each of `n` conversations something is told, and asked there: baked memory must not deafen the model.

    Half of them tell it in turns, half in a memory prompt, as what is pending stands before a baked model.
    """
    facts = [[_made_up(told, rng) for _ in range(rng.randint(1, MOST_TOLD))] for _ in range(n)]
    said = sorted({_said(text) for texts in facts[1::2] for text in texts})
    replies = dict(zip(said, answer([[Turn("user", text)] for text in said], 0.0), strict=True))
    contexts = [_in_turns(texts, replies, rng) if i % 2 else [_in_prompt(texts, rng)] for i, texts in enumerate(facts)]
    wanted = [(context, _request(texts, rng)) for context, texts in zip(contexts, facts, strict=True)
              for _ in range(ASKED_OF_TOLD)]  # fmt: skip
    wanted += [(context, ask_request("direct", decoy_memory(told, rng))) for context in contexts]
    questions = _ask([request for _, request in wanted], answer)
    asked = {(*context, Turn("user", q)): None for (context, _), q in zip(wanted, questions, strict=True) if q}
    alone = [(Turn("user", text),) for text in rng.sample(said, min(len(said), n // 2))]
    return [Stimulus(turns, "statement") for turns in (*alone, *asked)]


def _said(text: str) -> str:
    """A memory as the user says it: `My dog is called Bosuk.`"""
    text = re.sub("^The user's ", "My ", text)
    return re.sub(r"^The user (\w+)", lambda verb: f"I {_FIRST_PERSON.get(verb[1], verb[1])}", text)


def _in_turns(texts: Sequence[str], replies: dict[str, str], rng: random.Random) -> list[Turn]:
    """Told one after the other, now and then with something else in between."""
    turns = []
    for text in map(_said, texts):
        turns += [Turn("user", text), Turn("assistant", replies[text] or "OK.")]
        if rng.random() < 1 / 4:
            other = rng.choice(everyday_stimuli())
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
    if stimulus.turns[0].role == "system" or rng.random() >= 1 / 6:
        return stimulus
    return Stimulus((Turn("system", rng.choice(CALLERS)), *stimulus.turns), stimulus.kind, stimulus.memory_ids)
