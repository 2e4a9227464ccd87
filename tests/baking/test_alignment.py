"""Which positions are trained, and that the teacher's states stand at them."""

from __future__ import annotations

import copy
import dataclasses
import random
from collections import Counter
from itertools import pairwise
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from bakemem.baking.pack import Packer, pack, stretched
from bakemem.baking.rollout import Taught, prompted
from bakemem.baking.tasks import TASK
from bakemem.baking.untold import TOLD
from bakemem.baking.weights import hidden_states, output_head
from bakemem.serving import Base
from bakemem.template import ChatTemplate
from bakemem.types import Stimulus, Turn
from tests.tiny import PROMPT, TINY, MakeTaught


def asked(item: Taught, **changes: Any) -> Taught:
    """The same answer to a stimulus with these changes."""
    stimulus = dataclasses.replace(item.trajectory.stimulus, **changes)
    return dataclasses.replace(item, trajectory=dataclasses.replace(item.trajectory, stimulus=stimulus))


def test_every_answer_token_is_trained_and_no_other(tiny_base: Base, make_taught: MakeTaught) -> None:
    """Each position predicts the next token of an answer: the first one included, its end too, none of the context."""
    taught = make_taught(tiny_base, 5)
    dialogue = pack(tiny_base.template, taught, max_tokens=1024)
    predicted = [dialogue.ids[p + 1] for p in dialogue.positions.tolist()]
    assert predicted == [token for item in taught for token in item.trajectory.token_ids]
    assert len(dialogue.teacher_N_K_H) == len(predicted)


def test_the_teachers_states_give_the_teachers_distributions(tiny_base: Base, make_taught: MakeTaught) -> None:
    """State n, through the head, is what the prompted model says of answer token n."""
    head = output_head(tiny_base.model)
    for item in make_taught(tiny_base, 3):
        context = tiny_base.template.prompt_ids(prompted(item.trajectory.stimulus, PROMPT))
        ids = torch.tensor([[*context, *item.trajectory.token_ids]])
        logits = tiny_base.model(ids).logits[0, len(context) - 1 : -1]
        assert torch.allclose(head(item.hidden_N_K_H[:, -1]), logits, atol=1e-4)


@pytest.mark.parametrize(("n_layers", "inner"), [(1, []), (2, [1]), (3, [1, 2]), (4, [1, 2, 3]), (8, [2, 4, 6])])
def test_the_levels_stand_at_quarters_of_the_layers(n_layers: int, inner: list[int]) -> None:
    """Those that there are, and behind them what the output head takes."""
    model = LlamaForCausalLM(LlamaConfig(**{**TINY, "num_hidden_layers": n_layers}))
    ids = torch.arange(6)[None]
    own = model(input_ids=ids, output_hidden_states=True).hidden_states
    levels = hidden_states(model, ids)
    assert levels.shape == (1, 6, len(inner) + 1, model.config.hidden_size)
    for k, layer in enumerate([*inner, n_layers]):
        assert torch.equal(levels[:, :, k], own[layer])


def test_the_teacher_reads_the_prompt_and_the_student_does_not(tiny_base: Base, make_taught: MakeTaught) -> None:
    """The prompt is in no training sequence."""
    dialogue = pack(tiny_base.template, make_taught(tiny_base, 3), max_tokens=1024)
    assert "Bosuk" not in tiny_base.template.decode(dialogue.ids)


def test_a_callers_system_prompt_stands_before_the_memory_prompt() -> None:
    """The teacher reads both, the caller's first."""
    stimulus = Stimulus((Turn("system", "Be brief."), Turn("user", "Who?")), "direct")
    first, second = prompted(stimulus, PROMPT)
    assert first == Turn("system", f"Be brief.\n\n{PROMPT}")
    assert second == Turn("user", "Who?")


def test_padding_and_depth_do_not_change_a_lone_dialogue(tiny_base: Base, make_taught: MakeTaught) -> None:
    """A dialogue gives the same states alone and beside a longer one."""
    taught = make_taught(tiny_base, 6)
    short, long = (pack(tiny_base.template, part, 1024) for part in (taught[:1], taught))
    width = len(long.ids)
    ids = torch.tensor([[*short.ids, *[0] * (width - len(short.ids))], list(long.ids)])
    both = hidden_states(tiny_base.model, ids)[0, short.positions]
    alone = hidden_states(tiny_base.model, torch.tensor([list(short.ids)]))[0, short.positions]
    assert torch.allclose(both, alone, atol=1e-5)


@pytest.mark.parametrize("seed", range(5))
def test_a_stretched_dialogue_skips_places_only_behind_answers(
    tiny_base: Base, make_taught: MakeTaught, seed: int
) -> None:
    """Places grow by one within a turn and its answer, may leap behind the answer, and end where the model's do."""
    plain = pack(tiny_base.template, make_taught(tiny_base, 6), max_tokens=1024)
    made = stretched(plain, 1500, random.Random(seed))
    assert (made.ids, made.items) == (plain.ids, plain.items)
    parts = plain.positions.split([len(item.hidden_N_K_H) for item in plain.items])
    answered = [int(part[-1]) + 1 for part in parts]
    leaps = {i for i, (a, b) in enumerate(pairwise(made.position_ids)) if b != a + 1}
    assert leaps
    assert leaps <= set(answered)
    assert made.position_ids[: answered[0] + 1] == tuple(range(answered[0] + 1))
    assert list(made.position_ids) == sorted(made.position_ids)
    assert made.position_ids[-1] < 1500


def test_no_room_no_stretch(tiny_base: Base, make_taught: MakeTaught) -> None:
    """A dialogue that fills the context stays as it is."""
    plain = pack(tiny_base.template, make_taught(tiny_base, 6), max_tokens=1024)
    assert stretched(plain, len(plain.ids), random.Random(0)) == plain


def test_what_stands_before_a_skipped_place_is_still_read(tiny_base: Base) -> None:
    """The library must not take the two sides of a gap for two sequences; counted places change nothing."""
    ids, position_ids = torch.arange(40, 52)[None], torch.tensor([[*range(5), *range(500, 505), 0, 0]])
    other = ids.clone()
    other[0, 1] += 1
    with torch.no_grad():
        here, there = (hidden_states(tiny_base.model, i, position_ids) for i in (ids, other))
        counted = hidden_states(tiny_base.model, ids, torch.arange(12)[None])
        plain = hidden_states(tiny_base.model, ids)
    assert not torch.allclose(here[0, 9], there[0, 9], atol=1e-4)
    assert torch.allclose(counted, plain, atol=1e-5)


@pytest.mark.parametrize("before", [
    (Turn("system", "You sing."),), (Turn("user", "You sing."), Turn("assistant", "Noted.")),
])  # fmt: skip
def test_a_dialogue_has_one_beginning_and_fits_the_limit(
    tiny_base: Base, make_taught: MakeTaught, before: tuple[Turn, ...]
) -> None:
    """Trajectories that have other turns before their questions never share a dialogue; none grows past the limit."""
    taught = make_taught(tiny_base, 12)
    for i, item in enumerate(taught[:6]):
        taught[i] = asked(item, turns=(*before, *item.trajectory.stimulus.turns))
    told = {id(item) for item in taught[:6]}
    packer = Packer(tiny_base.template, taught, max_turns=30, max_tokens=200, seed=0)
    dialogues = [d for _ in range(10) for d in packer.batch(8)]
    for dialogue in dialogues:
        kinds = {id(item) in told for item in dialogue.items}
        assert len(kinds) == 1
        assert tiny_base.template.decode(dialogue.ids).count("You sing.") == int(True in kinds)
        assert len(dialogue.ids) <= 200
    assert max(len(d.items) for d in dialogues if id(d.items[0]) in told) > 1


@pytest.mark.parametrize(("first", "header"), [
    ("", "[BEGIN OF user]: "), ("You are a helpful assistant. " * 20, ""),
])  # fmt: skip
def test_dialogues_fit_the_limit_whatever_the_template_adds(
    tiny_base: Base, make_taught: MakeTaught, first: str, header: str
) -> None:
    """Long headers and a prompt of its own count too; what fits is still packed."""
    tokenizer = copy.deepcopy(tiny_base.template.tokenizer)
    tokenizer.chat_template = (
        f"{first}{{% for m in messages %}}{header}{{{{ m['content'] + eos_token }}}}{{% endfor %}}"
        f"{{% if add_generation_prompt %}}{header}{{% endif %}}"
    )
    template, taught = ChatTemplate(tokenizer), make_taught(tiny_base, 30)
    alone, some, deep = (pack(template, taught[:n], 350, taught[n:]) for n in (1, 30, 4))
    for dialogue in (alone, some, deep):
        assert 250 < len(dialogue.ids) <= 350
    assert alone.items[0] is some.items[0] is deep.items[0] is taught[0]
    assert pack(template, taught, 10).items == tuple(taught[:1])


def test_a_template_may_refuse_empty_turns(tiny_base: Base, make_taught: MakeTaught) -> None:
    """What it adds to a turn is measured on one that says something."""
    tokenizer = copy.deepcopy(tiny_base.template.tokenizer)
    tokenizer.chat_template = (
        "{% for m in messages %}{% if not m['content'] %}{{ raise_exception('empty') }}{% endif %}"
        "{{ m['content'] + eos_token }}{% endfor %}"
    )
    assert len(pack(ChatTemplate(tokenizer), make_taught(tiny_base, 3), 1024).items) == 3


@pytest.mark.parametrize("seed", [0, 1])
def test_packing_follows_its_seed(tiny_base: Base, make_taught: MakeTaught, seed: int) -> None:
    """The same seed gives the same dialogues."""
    taught = make_taught(tiny_base, 8)
    first, second = (
        [d.ids for d in Packer(tiny_base.template, taught, max_turns=9, max_tokens=500, seed=seed).batch(20)]
        for _ in range(2)
    )
    assert first == second


def test_no_dialogue_asks_about_a_memory_twice(tiny_base: Base, make_taught: MakeTaught) -> None:
    """Its answer could be copied from the first one; what is put off comes in another dialogue."""
    taught = make_taught(tiny_base, 12)
    for i, ids in enumerate([("a",), ("a",), ("a",), ("b",), ("a", "b"), ("b",)]):
        taught[i] = asked(taught[i], memory_ids=ids)
    packer = Packer(tiny_base.template, taught, max_turns=30, max_tokens=2048, seed=0)
    dialogues = [d for _ in range(10) for d in packer.batch(8)]
    for dialogue in dialogues:
        about = [memory for item in dialogue.items for memory in item.trajectory.stimulus.memory_ids]
        assert len(about) == len(set(about))
    assert {id(item) for d in dialogues for item in d.items} == {id(item) for item in taught}
    assert max(len(d.items) for d in dialogues) > 6


def test_what_was_talked_about_before_is_read_and_not_trained(tiny_base: Base, make_taught: MakeTaught) -> None:
    """Positions and states are those of the answers alone, which stand behind it; of it what does not fit goes."""
    taught = make_taught(tiny_base, 8)
    alone, behind = (pack(tiny_base.template, taught[:2], 1024, before) for before in ((), taught[2:]))
    added = len(behind.ids) - len(alone.ids)
    assert added > 0
    assert added - 2 <= behind.n_before <= added  # a template may end a turn with more than its end token
    assert behind.ids[added:] == alone.ids
    assert torch.equal(behind.positions, alone.positions + added)
    assert torch.equal(behind.teacher_N_K_H, alone.teacher_N_K_H)
    assert behind.items == alone.items
    short = pack(tiny_base.template, taught[:2], 120, taught[2:])
    assert short.items == alone.items
    assert len(alone.ids) < len(short.ids) <= 120


def test_half_of_the_batches_ask_behind_a_long_talk(tiny_base: Base, make_taught: MakeTaught) -> None:
    """Or what is baked would be learned near the beginning alone; no memory is talked about before."""
    taught = make_taught(tiny_base, 40)
    for i, memory in enumerate("abcd" * 5):
        taught[i] = asked(taught[i], memory_ids=(memory,))
    packer = Packer(tiny_base.template, taught, max_turns=20, max_tokens=2048, seed=0)
    whole = {tiny_base.template.decode(pack(tiny_base.template, [t], 2048).ids): t for t in taught}
    batches = [packer.batch(4) for _ in range(40)]
    behind = [[d for d in dialogues if d.n_before] for dialogues in batches]
    assert 10 < sum(map(len, behind)) < 30
    for talks in behind:
        assert len(talks) <= 1
        for talk in talks:
            assert len(talk.items) <= 5
            assert int(talk.positions[0]) > 200
            text = tiny_base.template.decode(talk.ids)
            said = [t for words, t in whole.items() if words in text]
            about = [m for t in said for m in t.trajectory.stimulus.memory_ids]
            assert len(about) == len(set(about))


def told_in(item: Taught, n: int) -> Taught:
    """The same question behind turns in which something is told."""
    turns = (Turn("user", f"Tarn{n} lives in Plinth."), Turn("assistant", "Noted."))
    return asked(item, turns=(*turns, *item.trajectory.stimulus.turns), kind=TOLD)


def test_what_is_told_stands_before_its_question(tiny_base: Base, make_taught: MakeTaught) -> None:
    """With other questions between, in which nobody is asked for it; where the telling has no room, it is not asked."""
    one, two, *others = make_taught(tiny_base, 5)
    one = told_in(one, 0)
    telling = one.trajectory.stimulus.turns[:-1]
    dialogue = pack(tiny_base.template, [two, telling, others[0], one], 1024)
    assert dialogue.items == (two, others[0], one)
    answers = [(i, item.trajectory.token_ids) for i, item in ((1, two), (5, others[0]), (7, one))]
    turns = [turn for item in (two, telling, others[0], one)
             for turn in (item if isinstance(item, tuple) else
                          (item.trajectory.stimulus.turns[-1], Turn("assistant", item.trajectory.answer)))]  # fmt: skip
    assert list(dialogue.ids) == tiny_base.template.dialogue_ids(turns, dict(answers))[0]
    assert pack(tiny_base.template, [two, one, others[0]], 1024).items == (two, others[0])
    short = len(pack(tiny_base.template, [two], 1024).ids) + 3
    assert pack(tiny_base.template, [two, telling, one], short).items == (two,)


@pytest.mark.parametrize("max_tokens", [64, 100, 160])
def test_what_is_told_may_be_longer_than_a_dialogue(
    tiny_base: Base, make_taught: MakeTaught, max_tokens: int
) -> None:  # fmt: skip
    """Where only the first question has room, it alone is trained."""
    taught = make_taught(tiny_base, 12)
    long = Turn("user", "Tarn lives in Plinth. " * 20)
    for i in range(4):
        taught[i] = asked(taught[i], turns=(long, *taught[i].trajectory.stimulus.turns), kind=TOLD)
    packer = Packer(tiny_base.template, taught, max_turns=8, max_tokens=max_tokens, seed=0, deep=1.0)
    dialogues = [d for _ in range(10) for d in packer.batch(2)]
    assert all(d.items for d in dialogues)
    assert any(d.n_before for d in dialogues) == (max_tokens > 64)


def test_what_no_fact_matters_to_is_read_as_the_base_reads_it(tiny_base: Base, make_taught: MakeTaught) -> None:
    """All but what is trained; nowhere in a dialogue that asks for what a fact matters to."""
    plain, other, *some = make_taught(tiny_base, 5)
    told = [told_in(item, 0) for item in some]
    dialogue = pack(tiny_base.template, told, 1024)
    at = sorted([*dialogue.read.tolist(), *dialogue.positions.tolist()])
    assert at == list(range(len(dialogue.ids)))
    assert len(pack(tiny_base.template, [asked(plain, kind=TASK)], 1024).read) > 3
    assert not len(pack(tiny_base.template, [plain, other], 1024).read)
    assert not len(pack(tiny_base.template, [plain, told[0].trajectory.stimulus.turns[:-1], *told], 1024).read)


def test_behind_a_long_talk_what_was_told_some_turns_before_is_asked(
    tiny_base: Base, make_taught: MakeTaught
) -> None:  # fmt: skip
    """With something else between, now and then; and nobody is asked there for something untold that was just told, nor
    twice about a memory.
    """
    taught = make_taught(tiny_base, 54)
    for i in range(8):
        taught[i] = told_in(taught[i], i // 2)
    for i in range(48, 52):
        ids = ("a", "b") if i < 50 else ("c", str(i))
        taught[i] = asked(told_in(taught[i], i - 48), kind="direct", memory_ids=ids)
    for i in range(52, 54):
        taught[i] = asked(taught[i], memory_ids=("b", "c"))
    for i in range(8, 12):
        taught[i] = asked(taught[i], turns=(Turn("user", f"Where does Tarn{i - 8} live?"),))
    packer = Packer(tiny_base.template, taught, max_turns=20, max_tokens=4096, seed=0, deep=1.0)
    talks = [d for _ in range(30) for d in packer.batch(2) if d.n_before]
    assert len(talks) == 30
    gaps: Counter[bool] = Counter()
    asked_there = 0
    for talk in talks:
        own = [item for item in talk.items if item.trajectory.stimulus.kind == TOLD]
        assert len(own) == 4
        about = [memory for item in talk.items for memory in item.trajectory.stimulus.memory_ids]
        assert len(about) == len(set(about))
        others = [item.trajectory.stimulus for item in talk.items if item.trajectory.stimulus.kind != TOLD]
        elsewhere = [s for s in others if not s.turns[0].content.startswith("Tarn")]
        assert 0 < len(elsewhere) <= 5
        asked_there += len(others) - len(elsewhere)
        text = tiny_base.template.decode(talk.ids[talk.n_before :])
        for name in {item.trajectory.stimulus.turns[0].content.split()[0] for item in own}:
            assert text.count(f"{name} lives") == 1
            assert f"does {name} live" not in text
            first = next(item for item in own if item.trajectory.stimulus.turns[0].content.startswith(name))
            between = text.partition(f"{name} lives")[2].partition(first.trajectory.stimulus.turns[-1].content)[0]
            gaps["Question" in between] += 1
    assert min(gaps.values()) > 10
    assert asked_there > 15


@pytest.mark.parametrize(("deep", "batches"), [(0.0, 0), (1.0, 10)])
def test_none_or_all_of_the_batches_ask_behind_a_long_talk(
    tiny_base: Base, make_taught: MakeTaught, deep: float, batches: int
) -> None:
    """As `deep` has it."""
    packer = Packer(tiny_base.template, make_taught(tiny_base, 40), max_turns=8, max_tokens=2048, seed=0, deep=deep)
    assert sum(any(d.n_before for d in packer.batch(4)) for _ in range(10)) == batches


def test_what_the_student_answers_well_comes_again_seldom(tiny_base: Base, make_taught: MakeTaught) -> None:
    """After a first pass over all, the badly answered ones are drawn in every pass and the others now and then."""
    taught = make_taught(tiny_base, 12)
    hard = {id(item) for item in taught[:3]}
    packer = Packer(tiny_base.template, taught, max_turns=4, max_tokens=1024, seed=0)
    drawn: Counter[bool] = Counter()
    for n in range(200):
        for dialogue in packer.batch(4):
            drawn.update(id(item) in hard for item in dialogue.items if n > 20)
            kl = [float(id(item) in hard) for item in dialogue.items for _ in item.hidden_N_K_H]
            packer.note([dialogue], torch.tensor(kl))
            assert len({id(item) for item in dialogue.items}) == len(dialogue.items)
    each = drawn[True] / 3, drawn[False] / 9
    assert 3 < each[0] / each[1] < 8
