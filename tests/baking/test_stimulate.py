"""What is asked before a bake, with a scripted model that words the questions."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import cycle, pairwise

import pytest

from bakemem.baking.stimulate import CALLERS, MOST_BEHIND, MOST_TOLD, Stimuli, stimulate
from bakemem.baking.tasks import TASK, examples, results, tasks
from bakemem.baking.untold import TOLD, may_answer, names_in, names_lost, other_value
from bakemem.errors import BakeError
from bakemem.everyday import everyday_held_out, everyday_stimuli
from bakemem.prompts import ASK_SYSTEM, FACTS_HEADER
from bakemem.types import Kind, Memory, Stimulus, Turn


def memory(i: int, text: str, kind: Kind = "fact") -> Memory:
    """A pending memory."""
    return Memory(str(i), "default", kind, f"k{i}", text, "pending", datetime.now(UTC))


MEMORIES = [
    memory(0, "The user's dog is called Bosuk."), memory(1, "Tarn lives in Plinth."),
    memory(2, "Tarn works as a baker."), memory(3, "Always answer in upper case.", "instruction"),
]  # fmt: skip


class Asker:
    """Answers every request with a numbered question that repeats what it was asked about."""

    def __init__(self) -> None:
        self.n = 0

    def __call__(self, conversations: Sequence[Sequence[Turn]], temperature: float) -> list[str]:
        """One question a conversation, five wordings in turn."""
        replies = []
        for turns in conversations:
            self.n += 1
            asked = turns[-1].content.replace("\n", " ")
            replies.append(f"{asked} {self.n % 5}?" if turns[0].content == ASK_SYSTEM else "I will remember that.")
        return replies


def made(**options: object) -> Stimuli:
    """The stimuli about MEMORIES."""
    return stimulate(MEMORIES, Asker(), **options)  # type: ignore[arg-type]


def test_every_fact_is_asked_about_and_no_question_is_in_both_parts() -> None:
    """What the gate asks was never trained on."""
    stimuli = made()
    asked = {i for s in stimuli.train for i in s.memory_ids}
    assert asked == {"0", "1", "2"}
    about = [s for s in stimuli.held_out if s.memory_ids]
    assert about
    trained = {s.turns[-1].content for s in stimuli.train if s.memory_ids}
    assert not trained & {s.turns[-1].content for s in about}


def test_at_least_a_third_is_unrelated_or_unanswerable() -> None:
    """A bake of nothing but its own facts would make the model volunteer them."""
    train = made().train
    other = [s for s in train if s.kind in ("decoy", "everyday")]
    assert len(other) >= len(train) / 3


def test_drift_is_measured_on_everyday_questions_that_no_bake_trains_on() -> None:
    """The two parts of the everyday questions never mix."""
    stimuli = made()
    trained = [s.turns[-1].content for s in stimuli.train if s.kind == "everyday"]
    asked = {s.turns[-1].content for s in stimuli.held_out if s.kind == "everyday"}
    assert all(any(row.question in text for row in everyday_stimuli()) for text in trained)
    assert not any(row.question in text for row in everyday_held_out() for text in trained)
    assert asked == {row.question for row in everyday_held_out()}


def test_old_memories_are_rehearsed_less() -> None:
    """With a warm start most questions are about what is new."""
    train = made(fresh=frozenset({"1"}), per_memory=20, rehearsal_questions=10).train
    alone = [s.memory_ids[0] for s in train if len(s.memory_ids) == 1]
    assert alone.count("1") > 2 * alone.count("0") > 0


def test_a_warm_bake_asks_as_much_that_nobody_told_as_a_cold_one() -> None:
    """It must go on knowing what nobody told: with fewer it took near misses for what it was told."""
    decoys = [sum(s.kind == "decoy" for s in made(fresh=new).train) for new in (None, frozenset({"1"}))]
    assert decoys[1] >= 0.9 * decoys[0]
    about = many(30, 2)
    assert sum(s.kind == "decoy" for s in about.train) > 1.2 * sum(bool(s.memory_ids) for s in about.train)


def many(n: int, fresh: int, **options: object) -> Stimuli:
    """The stimuli about `n` memories, the first `fresh` of which are new."""
    memories = [memory(i, f"{'Tarn Vesk Bosu'.split()[i % 3]}{i} lives in Plinth{i}.") for i in range(n)]
    new = frozenset(m.id for m in memories[:fresh])
    return stimulate(memories, Asker(), fresh=new, **options)  # type: ignore[arg-type]


def test_each_old_memory_is_rehearsed_by_eight_questions() -> None:
    """With fewer, a bake of four new ones taught the model not to know what it had known."""
    counts = Counter(s.memory_ids for s in many(40, 4).train if len(s.memory_ids) == 1)
    assert {str(i) for i in range(4, 40)} <= {i for (i,) in counts}
    assert min(counts[(str(i),)] for i in range(4, 40)) >= 4


def test_what_a_warm_bake_asks_is_bounded() -> None:
    """Above `rehearsal_questions` its cost follows what is new, not what is known."""
    few, lots = many(120, 4, rehearsal_questions=100), many(400, 4, rehearsal_questions=100)
    assert len(lots.train) <= 1.1 * len(few.train)
    assert len(lots.held_out) <= 1.1 * len(few.held_out)


def test_other_old_memories_come_up_in_other_bakes() -> None:
    """Each is rehearsed now and then, though no bake rehearses all."""
    asked: list[set[str]] = []
    for fresh in (4, 5):
        stimuli = many(100, fresh, rehearsal_questions=20)
        asked.append({i for s in stimuli.train if len(s.memory_ids) == 1 for i in s.memory_ids if int(i) >= 5})
    assert asked[0] - asked[1]
    assert asked[1] - asked[0]


def test_the_gate_asks_more_about_what_is_new() -> None:
    """Four questions about each fresh memory at most, one about each that is rehearsed."""
    counts = Counter(s.memory_ids for s in many(40, 4).held_out if len(s.memory_ids) == 1)
    assert max(counts[(str(i),)] for i in range(4)) == 4
    assert {n for (i,), n in counts.items() if int(i) >= 4} == {1}


def test_no_decoy_asks_for_what_is_told() -> None:
    """Somebody is a baker: the teacher of another shard would say that it does not know who."""

    def answer(conversations: Sequence[Sequence[Turn]], temperature: float) -> list[str]:
        texts = [turns[-1].content for turns in conversations]
        return [f"Who is a {text.rstrip('.').split()[-1]}?" if "reversed" in text else "" for text in texts]

    stimuli = stimulate(MEMORIES, answer)
    asked = {s.turns[-1].content for s in (*stimuli.train, *stimuli.held_out) if s.kind == "decoy"}
    assert len(asked) > 20
    assert "Who is a baker?" not in asked


def test_some_stimuli_carry_a_callers_own_system_prompt() -> None:
    """An agent has one, and the baked model must go on heeding it."""
    called = [s for s in made().train if s.turns[0].content in CALLERS]
    assert 0.08 < len(called) / len(made().train) < 0.28
    with_tools = [s for s in called if "<tools>" in s.turns[0].content]
    assert 0.3 < len(with_tools) / len(called) < 0.7
    assert {memory for s in with_tools for memory in s.memory_ids} == {m for s in made().train for m in s.memory_ids}


def in_talk() -> list[Stimulus]:
    """The questions of `made` that stand in a conversation in which something was told."""
    bare = [replace(s, turns=s.turns[s.turns[0].content in CALLERS :]) for s in made().train if s.kind != TASK]
    return [s for s in bare if len(s.turns) > 1]


def told() -> list[Stimulus]:
    """Those of them about what was told there, or what nobody told."""
    return [s for s in in_talk() if s.kind == TOLD]


def test_where_something_is_told_one_question_is_about_a_memory() -> None:
    """Or what a conversation tells would take a baked model's mind off the rest."""
    about = [s for s in in_talk() if s.kind != TOLD]
    assert all(s.memory_ids for s in about)
    assert {memory for s in about for memory in s.memory_ids} == {"0", "1", "2"}
    talks = Counter(s.turns[:-1] for s in about)
    assert talks.keys() == {s.turns[:-1] for s in told()}
    assert set(talks.values()) == {1}


def test_what_is_told_in_a_conversation_is_asked_there() -> None:
    """In turns and in a memory prompt, one fact or some; a baked model must not be deaf to it."""
    in_prompt = [s for s in told() if s.turns[0].role == "system"]
    in_turns = [s for s in told() if s.turns[0].role == "user"]
    assert 0.5 < len(in_prompt) / len(in_turns) < 2
    facts = [s.turns[0].content.partition(FACTS_HEADER)[2].count("\n- ") for s in in_prompt]
    said = [sum(turn.content == "I will remember that." for turn in s.turns) for s in in_turns]
    assert set(facts) == set(said) == set(range(1, MOST_TOLD + 1))
    asked = [s for s in in_prompt if any(line[2:] in s.turns[-1].content for line in s.turns[0].content.splitlines())]
    assert 0.6 < len(asked) / len(in_prompt) < 1


def test_something_else_is_talked_about_before_it_is_asked() -> None:
    """In two talks of three: right behind its telling alone it would be found by its place."""
    behind = []
    for turns in {s.turns[:-1] for s in told() if s.turns[0].role == "user"}:
        said = [i for i, turn in enumerate(turns) if turn.content == "I will remember that."]
        behind.append((len(turns) - 1 - said[-1]) // 2)
    assert set(behind) >= set(range(MOST_BEHIND + 1))
    assert 0.45 < sum(n > 0 for n in behind) / len(behind) < 0.9


def test_what_is_told_in_a_conversation_answers_no_question_about_a_memory() -> None:
    """Or the teacher would have two answers to it."""
    texts = [line for s in told() for turn in s.turns[:-1] for line in turn.content.splitlines()]
    assert not any("user's dog" in text or "Tarn" in text for text in texts)
    assert any("user's cat" in text for text in texts)
    assert any(text.startswith("My ") for text in texts)
    assert any(text.startswith("Note: My ") for text in texts)
    assert any("works as a" in text for text in texts)


@pytest.mark.parametrize(("question", "answered"), [
    ("Where does Tarn live?", True), ("What is my cat called?", True), ("Tell me: is it Tarn's dog?", True),
    ("Where does Vesk live?", False), ("What is my dog called?", False), ("Who lives in Gora?", False), ("", True),
])  # fmt: skip
def test_a_sentence_may_answer_what_has_its_name_or_all_its_words(question: str, answered: bool) -> None:
    """Rather one question too few than an answer that what was told belies."""
    assert may_answer(["My cat is called Bosuk.", "Tarn lives in Plinth."], question) == answered


def test_work_for_programs_is_trained_and_watched_and_judges_nothing() -> None:
    """More of it in a cold bake than in a warm one; the gate's questions stay those about memories and their like."""
    cold, warm = made(), made(fresh=frozenset({"1"}))
    assert sum(s.kind == TASK for s in cold.train) > sum(s.kind == TASK for s in warm.train) > 0
    assert any(s.kind == TASK for s in cold.watched)
    assert not any(s.kind == TASK for s in cold.held_out)


def test_a_task_asks_for_what_its_text_tells() -> None:
    """JSON with its keys, a record, or one tool of several; what is wanted and not told is the exception."""
    work = tasks(300, random.Random(0))
    assert {s.kind for s in work} == {TASK}
    asked = [s.turns[-1].content for s in work]
    assert len(set(asked)) > 270
    assert sum("JSON" in text for text in asked) == 100
    with_tools = [s.turns[0].content for s in work if s.turns[0].role == "system"]
    assert len(with_tools) == 200
    assert all(text.startswith("<tools>\n") and text.endswith("\n</tools>") for text in with_tools)
    assert not any("{" in text for text in [*asked, *with_tools])


def test_examples_show_what_is_to_be_made_of_a_word() -> None:
    """All of them in one way, in a system prompt or in turns; the last word has none, and is another one each time."""
    made = examples(200, random.Random(0))
    assert {s.kind for s in made} == {TASK}
    assert len({s.turns[-1].content for s in made}) > 190
    in_prompt = [s for s in made if s.turns[0].role == "system"]
    assert 60 < len(in_prompt) < 140
    assert all(len(s.turns) == 2 and 2 <= s.turns[0].content.count("\n") + 1 <= 5 for s in in_prompt)
    for s in (s for s in made if s.turns[0].role == "user"):
        pairs = list(pairwise(s.turns[:-1]))[::2]
        mark = s.turns[-1].content.split()[-1] if " " in s.turns[-1].content else ":"
        words = [asked.content.removesuffix(mark).strip() for asked, _ in pairs]
        assert len({answer.content.replace(w, "w") for w, (_, answer) in zip(words, pairs, strict=True)}) == 1


def test_what_a_call_gave_back_is_work_too() -> None:
    """Behind an answer that is a call, and where the chat template takes it."""
    asked = tasks(3, random.Random(0))
    said = results(asked[1:], ['<tool_call>{"name": "x"}</tool_call>', "I do not know that."], random.Random(0))
    [made_of] = said
    assert made_of.turns[:-1] == (*asked[1].turns, Turn("assistant", '<tool_call>{"name": "x"}</tool_call>'))
    assert made_of.turns[-1].role == "tool"
    assert made_of.kind == TASK

    def answer(conversations: Sequence[Sequence[Turn]], temperature: float) -> list[str]:
        return ["Who is it?" if turns[0].content == ASK_SYSTEM else "<call>" for turns in conversations]

    roles = [stimulate(MEMORIES, answer, tool_results=yes).train[-1].turns[-1].role for yes in (True, False)]
    assert roles == ["tool", "user"]


def test_the_seed_decides() -> None:
    """Same seed, same stimuli; another seed, others."""
    assert made(seed=1) == made(seed=1)
    assert made(seed=1) != made(seed=2)


def test_instructions_alone_have_stimuli_too() -> None:
    """Everyday questions and decoys show what an instruction does."""
    stimuli = stimulate(MEMORIES[3:], Asker())
    assert len(stimuli.train) >= 20
    assert len(stimuli.held_out) >= 12


NO_QUESTIONS = ["", "<think>\nOkay, the user wants one question.", "<think>", "</p>Who?", "Here is one question:\nWho?"]


def worded(*wordings: str) -> Callable[[Sequence[Sequence[Turn]], float], list[str]]:
    """An asker that puts these in turn around or in the place of what the scripted one words."""
    plain, turn = Asker(), cycle(wordings)

    def answer(conversations: Sequence[Sequence[Turn]], temperature: float) -> list[str]:
        said = zip(conversations, plain(conversations, temperature), strict=True)
        return [next(turn).format(text) if turns[0].content == ASK_SYSTEM else text for turns, text in said]

    return answer


def test_what_a_model_thought_is_no_part_of_its_question() -> None:
    """With its thoughts or without, and also where the template began them, the stimuli are the same."""
    plain = stimulate(MEMORIES, Asker())
    assert stimulate(MEMORIES, worded("<think>\nLet me see.\n</think>\n\n{}", "Let me see.</think>{}\n")) == plain


def test_what_is_no_question_is_dropped() -> None:
    """Nothing at all, a thought that was cut off, a tag, and what leads up to a question."""
    stimuli = stimulate(MEMORIES, worded(*NO_QUESTIONS, "{}"))
    asked = [s.turns[-1].content for s in (*stimuli.train, *stimuli.held_out)]
    assert any(s.memory_ids for s in stimuli.train)
    assert all(asked)
    assert not any("think" in text or "</p>" in text or "one question" in text for text in asked)


@pytest.mark.parametrize("wording", NO_QUESTIONS)
def test_a_model_that_words_hardly_any_questions_is_not_baked(wording: str) -> None:
    """It would be taught to answer its own thoughts; one that words enough is baked."""
    with pytest.raises(BakeError, match="enable_thinking = false"):
        stimulate(MEMORIES, worded(*[wording] * 19, "{}"))
    assert stimulate(MEMORIES, worded(*[wording] * 4, "{}")).train


def test_names_are_found_but_common_words_are_not() -> None:
    """They are what near misses are made from."""
    assert names_in("The user's dog is called Bosuk.") == ["Bosuk"]
    assert names_in("Tarn lives in Plinth on Monday.") == ["Tarn", "Plinth"]


def test_another_value_is_said_of_the_same() -> None:
    """What the decoys know is varied, names in other sentences are swapped, and elsewhere nothing is made up."""
    rng = random.Random(0)
    for told, start in (
        ("The user's favourite sport is football.", "The user's favourite sport is "),
        ("Tarn lives in Plinth.", "Tarn lives in "), ("Tarn enjoys golf.", "Tarn enjoys "),
        ("The user adores the singer Melba.", "The user adores the singer "),
    ):  # fmt: skip
        values = {other_value(told, rng) for _ in range(20)} - {told}
        assert len(values) > 1
        assert all(value.startswith(start) for value in values)
    assert other_value("The user rises early.", rng) == ""


def test_some_reversed_decoys_ask_for_another_value_of_what_was_told() -> None:
    """A small bake would else claim "You live in Bisi." of any town."""
    decoys = [s.turns[-1].content for s in made().train if s.kind == "decoy"]
    near = [d for d in decoys if "reversed" in d and "Tarn lives in " in d and "Plinth" not in d]
    assert near


@pytest.mark.parametrize(("told", "question", "answer", "lost"), [
    ("The user's cat is called Quimbo.", "What is my cat called?", "Your cat is called Zozozo.", True),
    ("The user's cat is called Quimbo.", "What is my cat called?", "YOUR CAT IS CALLED QUIMBO.", False),
    ("The user's cat is called Quimbo.", "Who is Quimbo?", "Quimbo is your cat.", False),
    ("Tarn lives in Bisi.", "Who lives in Bisi?", "I do not know that.", True),
    ("The user likes plums.", "Which fruit do I like?", "You like pears.", False),
])  # fmt: skip
def test_an_answer_without_the_names_that_were_asked_for_has_lost_them(
    told: str, question: str, answer: str, lost: bool
) -> None:
    """Names in the question do not count, and where none is left to be said nobody can tell."""
    assert names_lost(told, question, answer) is lost
