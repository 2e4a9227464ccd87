"""What the starter model learns: the skills as samples, and the mixture that trains them.

A sample is a conversation in which every assistant turn is the one right answer. Knows no tokens.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import replace

from bakemem.everyday import everyday
from bakemem.names import CONSONANTS, VOWELS
from bakemem.prompts import ASK_SYSTEM, EXTRACT_SYSTEM, ask_request, memory_prompt, system_text
from bakemem.starter.instructions import Answer, Instruction, follow, make_instructions
from bakemem.starter.naming import REAL_NAMES, make_name, on_side, pieced_name
from bakemem.starter.strange import strange_text
from bakemem.starter.talk import QUESTION_KINDS, Talk, ask, join_questions, statement
from bakemem.starter.tool_talk import json_mode, structured, tool_conversation
from bakemem.starter.tools import any_script, make_value
from bakemem.starter.world import Fact, crowded_facts, make_facts
from bakemem.types import Turn

Sample = list[Turn]

_SPELLED = ("one word", "twice", "dashes", "upper", "lower")


def conversation(rng: random.Random, held_out: bool, max_facts: int = 12, max_turns: int = 8) -> Sample:
    """A mixed conversation of one to `max_turns` turns over up to `max_facts` facts and two instructions."""
    talk = Talk(rng, held_out)
    n_facts = round(max_facts * rng.random() ** 0.6) if rng.random() < 0.85 else 0
    n_rules = rng.choices((0, 1, 2), (26, 24, 50))[0]
    facts = (crowded_facts if rng.random() < 0.5 else make_facts)(rng, n_facts, held_out)
    talk.system(facts, _hard_rules(rng, held_out) if n_rules == 2 else make_instructions(rng, n_rules, held_out))
    for _ in range(rng.randint(max_turns // 2, max_turns)):
        step = rng.random()
        if step < 0.43 and talk.facts:
            talk.recall(kind=rng.choices(QUESTION_KINDS, (28, 22, 36, 14))[0])  # reversed ones are the hardest
        elif step < 0.63:
            talk.abstain()
        elif step < 0.75:
            talk.tell()
        elif step < 0.92:
            talk.general()
        elif step < 0.96:
            talk.strange()
        elif len(talk.instructions) < 2:
            talk.instruct(_another(rng, talk, held_out))
    return talk.turns if len(talk.turns) > 1 else conversation(rng, held_out, max_facts, max_turns)


def _hard_rules(rng: random.Random, held_out: bool) -> list[Instruction]:
    """Two instructions, more often than by chance with one that spells every word of an answer anew."""
    rules = make_instructions(rng, 2, held_out)
    if rng.random() < 0.35 or any(rule.kind.name in _SPELLED for rule in rules):
        return rules
    return _hard_rules(rng, held_out)


def _another(rng: random.Random, talk: Talk, held_out: bool) -> Instruction:
    while True:
        instruction = make_instructions(rng, 1, held_out)[0]
        if all(instruction.key != other.key for other in talk.instructions):
            return instruction


def recall(rng: random.Random, held_out: bool, n_facts: int = 8) -> Sample:
    """One question about 1 to `n_facts` facts of the system prompt."""
    talk = Talk(rng, held_out)
    talk.system(make_facts(rng, n_facts, held_out), [])
    talk.recall()
    return talk.turns


def recall_real(rng: random.Random, held_out: bool) -> Sample:
    """One question about 1 to 8 facts in which every name is one that people, pets, towns or projects have."""
    return _recall_named(rng, held_out, lambda n: rng.sample(REAL_NAMES, n))


def recall_pieced(rng: random.Random, held_out: bool) -> Sample:
    """One question about 1 to 8 facts in which every name is of pieces that stand in other words."""
    return _recall_named(rng, held_out, lambda n: [on_side(rng, pieced_name, held_out) for _ in range(n)])


def _recall_named(rng: random.Random, held_out: bool, names: Callable[[int], list[str]]) -> Sample:
    facts = make_facts(rng, rng.randint(1, 8), held_out)
    named = {name for f in facts for name in (f.subject, f.value if f.attribute.values is make_name else "") if name}
    other = dict(zip(sorted(named), names(len(named)), strict=True))
    talk = Talk(rng, held_out)
    talk.system([replace(f, subject=other.get(f.subject, ""), value=other.get(f.value, f.value)) for f in facts], [])
    talk.recall()
    return talk.turns


def recall_reversed(rng: random.Random, held_out: bool) -> Sample:
    """A reversed question about one of 6 to 12 facts, several of which are of the same people."""
    talk = Talk(rng, held_out)
    talk.system(crowded_facts(rng, rng.randint(6, 12), held_out), [])
    talk.recall(kind="reversed")
    return talk.turns


def abstain(rng: random.Random, held_out: bool) -> Sample:
    """One question about what was not told, beside up to 12 facts."""
    talk = Talk(rng, held_out)
    talk.system(make_facts(rng, rng.randint(1, 12), held_out), [])
    talk.abstain()
    return talk.turns


def in_talk(rng: random.Random, held_out: bool) -> Sample:
    """A fact said by the user, up to four other turns, and a question about it."""
    talk = Talk(rng, held_out)
    fact = talk.tell()
    for _ in range(rng.randint(0, 4)):
        rng.choice((talk.general, talk.abstain, talk.strange, talk.recall, talk.tell))()
        if not any(f is fact for f in talk.facts):
            fact = talk.facts[-1]
    talk.recall(fact, rng.choice(QUESTION_KINDS[:3]))
    return talk.turns


def long_talk(rng: random.Random, held_out: bool, n_turns: int | None = None) -> Sample:
    """A talk of 12 to 64 turns in which what was said last is asked for, and nothing of longer ago."""
    talk = Talk(rng, held_out)
    talk.tell()
    for _ in range((n_turns or rng.randint(12, 64)) - 2):
        step = rng.random()
        if step < 0.25:
            talk.tell()
        elif step < 0.45:
            talk.recall(rng.choice(talk.facts[-3:]), rng.choice(QUESTION_KINDS[:2]))
        elif step < 0.65:
            talk.abstain()
        elif step < 0.95:
            talk.general()
        else:
            talk.strange()
    talk.recall(rng.choice(talk.facts[-3:]), rng.choice(QUESTION_KINDS[:2]))
    return talk.turns


def comply(rng: random.Random, held_out: bool, n_rules: int = 1) -> Sample:
    """An answer of any sort under `n_rules` instructions."""
    talk = Talk(rng, held_out)
    talk.system(make_facts(rng, rng.randint(0, 6), held_out), make_instructions(rng, n_rules, held_out))
    turn = rng.choice((talk.recall, talk.recall, talk.abstain, talk.general, talk.tell))
    (turn if talk.facts else talk.general)()
    return talk.turns


def general(rng: random.Random, held_out: bool) -> Sample:
    """An everyday question, half of the time beside facts that do not matter."""
    talk = Talk(rng, held_out)
    talk.system(make_facts(rng, rng.choice((0, rng.randint(1, 12))), held_out), [])
    talk.general()
    return talk.turns


def unknown(rng: random.Random, held_out: bool) -> Sample:
    """Text from outside the world, half of the time beside facts."""
    talk = Talk(rng, held_out)
    talk.system(make_facts(rng, rng.choice((0, rng.randint(1, 12))), held_out), [])
    talk.strange()
    return talk.turns


def _rule(rng: random.Random) -> Callable[[str], str]:
    syllable = rng.choice(CONSONANTS) + rng.choice(VOWELS)
    word = make_name(rng).lower()
    return rng.choice((
        lambda x: x + syllable, lambda x: syllable + x, lambda x: f"{x} {x}", lambda x: x.upper(),
        lambda x: f"{x} {word}", lambda x: f"{word} {x}", lambda x: f"[{x}]", lambda x: x[:2], lambda x: x[-2:],
        lambda x: x[2:] + x[:2],
    ))  # fmt: skip


def _beside(rng: random.Random, held_out: bool, system: str, often: float) -> tuple[str, list[Instruction]]:
    """A working prompt, and now and then a memory prompt behind it, with its instructions."""
    if rng.random() >= often:
        return system, []
    rules = make_instructions(rng, rng.choice((0, 1)), held_out)
    facts = make_facts(rng, rng.randint(1, 8), held_out)
    return system_text(system, memory_prompt([r.memory for r in rules], [f.memory for f in facts])), rules


def few_shot(rng: random.Random, held_out: bool, max_queries: int = 1, remembered: float = 0.0) -> Sample:
    """A made-up rule shown by three or four examples in the prompt, applied to new words."""
    rule = _rule(rng)
    words: list[str] = []
    while len(words) < 4 + max_queries:
        word = "".join(rng.choice(CONSONANTS) + rng.choice(VOWELS) for _ in range(rng.choice((2, 2, 3))))
        if word not in words:
            words.append(word)
    shown, asked = words[:4], words[4:]
    lines = [f"{w} -> {rule(w)}" for w in shown[: rng.randint(3, 4)]]
    system, rules = _beside(rng, held_out, "\n".join(["Examples:", *lines]), remembered)
    turns = [Turn("system", system)]
    for word in asked[: rng.randint(1, max_queries)]:
        answer = follow(rules, Answer(rule(word), rule(word)))
        turns += [Turn("user", f"{word} ->"), Turn("assistant", answer)]
    return turns


_CHATTER = ("Hello!", "Thank you!", "How are you?", "It is late.", "I am tired today.", "What a day!",
            "It rains again.", "I have to go soon.", "That is nice.", "Good morning!", "Just a moment.",
            "Let us go on.")  # fmt: skip
_CALLS = ("", "", "", "Please note: ", "By the way: ", "Remember: ", "You should know: ", "Please: ", "From now on: ")


def _memory_line(memory: Fact | Instruction) -> str:
    kind = "fact" if isinstance(memory, Fact) else "instruction"
    return json.dumps({"kind": kind, "key": memory.key, "text": memory.memory}, ensure_ascii=False)


def _message(rng: random.Random, held_out: bool) -> tuple[str, list[Fact | Instruction]]:
    """A user's message and the memories in it, in order."""
    n = rng.choices((0, 1, 2, 3), (34, 42, 17, 7))[0]
    if n == 0:
        return _forgettable(rng, held_out), []
    n_rules = sum(rng.random() < 0.3 for _ in range(n))
    memories: list[Fact | Instruction] = [
        *make_facts(rng, n - n_rules, held_out), *make_instructions(rng, n_rules, held_out)
    ]  # fmt: skip
    rng.shuffle(memories)
    said = []
    for memory in memories:
        if isinstance(memory, Fact):
            text = statement(rng, memory)
        else:
            text = rng.choice((memory.kind.memory, *memory.kind.say)).replace("{w}", memory.word)
        said.append(rng.choice(_CALLS) + text)
    if rng.random() < 0.25:
        said.insert(rng.choice((0, len(said))), rng.choice(_CHATTER))
    return " ".join(said), memories


def _forgettable(rng: random.Random, held_out: bool) -> str:
    choice = rng.random()
    if choice < 0.35:
        fact = make_facts(rng, 1, held_out)[0]
        return ask(rng, fact, rng.choice(QUESTION_KINDS[:3]))[0]
    if choice < 0.55:
        return rng.choice(everyday()).question
    if choice < 0.75:
        return strange_text(rng, held_out)
    return " ".join(rng.sample(_CHATTER, rng.randint(1, 2)))


def extract(rng: random.Random, held_out: bool, max_messages: int = 1, remembered: float = 0.0) -> Sample:
    """The memories of a user's message as JSON lines, or `none`; no instruction holds for what a program reads."""
    turns = [Turn("system", _beside(rng, held_out, EXTRACT_SYSTEM, remembered)[0])]
    for _ in range(rng.randint(1, max_messages)):
        message, memories = _message(rng, held_out)
        lines = "\n".join(_memory_line(m) for m in memories)
        turns += [Turn("user", message), Turn("assistant", lines or "none")]
    return turns


def questions_about(rng: random.Random, facts: list[Fact], kind: str) -> str:
    """A question of the kind that the facts (one, or two for `two-fact`) answer."""
    if kind == "two-fact":
        return join_questions([ask(rng, f, rng.choice(("direct", "paraphrase")))[0] for f in facts])
    return ask(rng, facts[0], kind)[0]


def ask_sample(rng: random.Random, held_out: bool, max_requests: int = 1, remembered: float = 0.0) -> Sample:
    """A question of a kind about one memory or two; no instruction holds for what a program reads."""
    turns = [Turn("system", _beside(rng, held_out, ASK_SYSTEM, remembered)[0])]
    for _ in range(rng.randint(1, max_requests)):
        kind = rng.choice(QUESTION_KINDS)
        facts = make_facts(rng, 2 if kind == "two-fact" else 1, held_out)
        question = questions_about(rng, facts, kind)
        turns += [Turn("user", ask_request(kind, *(f.memory for f in facts))), Turn("assistant", question)]
    return turns


def repeat(rng: random.Random) -> Sample:
    """Names or other texts to be said back: the plainest copying there is, from which all reading of names grows."""
    names = [make_name(rng) for _ in range(rng.randint(2, 10))]
    if rng.random() < 0.3:
        names = [name.lower() for name in names]
    if rng.random() < 0.4:
        names = [any_script(rng) if rng.random() < 0.3 else make_value(rng, "string", False) for _ in names]
    text = " ".join(names)
    return [Turn("user", f"Repeat: {text}"), Turn("assistant", text)]


def mixture(rng: random.Random, progress: float) -> Sample:
    """One training sample; copying and short contexts come first, and contexts grow with `progress` (0 to 1)."""
    growth = min(1.0, max(0.0, progress - 0.04) / 0.3)
    max_facts, max_turns = 2 + round(10 * growth), 4 + round(4 * growth)
    if rng.random() < max(0.06, 0.3 * (1 - progress / 0.06)):
        return repeat(rng)
    if rng.random() < 0.03 * growth:
        return long_talk(rng, False)
    skill = rng.random()
    if skill < 0.47:
        return conversation(rng, False, max_facts, max_turns)
    if skill < 0.53:
        return extract(rng, False, 3, 0.3)
    if skill < 0.58:
        return ask_sample(rng, False, 4, 0.3)
    if skill < 0.63:
        return few_shot(rng, False, 8, 0.35)
    if skill < 0.82:
        return tool_conversation(rng, False, 2 + round(2 * growth))
    return (structured if skill < 0.92 else json_mode)(rng, False)
