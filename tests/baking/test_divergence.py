"""The baking loss against numbers worked out by hand, and its gradient against autograd."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from bakemem.baking import divergence
from bakemem.baking.divergence import prompt_mark, state_gap, tiled_loss
from bakemem.baking.losses import LossName, forward_kl, loss_named


def test_kl_of_two_tokens_is_what_a_hand_computes() -> None:
    """P = (3/4, 1/4) against Q = (1/2, 1/2): 3/4 ln 3/2 + 1/4 ln 1/2."""
    teacher, student = torch.tensor([[math.log(3.0), 0.0]]), torch.tensor([[0.0, 0.0]])
    by_hand = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    assert forward_kl(teacher, student).item() == pytest.approx(by_hand, rel=1e-6)


def test_kl_is_forward_not_reverse() -> None:
    """The teacher's distribution weighs the terms."""
    teacher, student = torch.tensor([[2.0, 0.0, 0.0]]), torch.tensor([[0.0, 0.0, 1.0]])
    p, q = torch.softmax(teacher[0], -1), torch.softmax(student[0], -1)
    assert forward_kl(teacher, student).item() == pytest.approx(float((p * (p / q).log()).sum()), rel=1e-5)
    assert forward_kl(teacher, student).item() != pytest.approx(float((q * (q / p).log()).sum()), rel=1e-2)


def test_shifting_all_logits_changes_nothing() -> None:
    """Logits are distributions only up to a constant."""
    teacher, student = torch.randn(5, 7), torch.randn(5, 7)
    assert torch.allclose(forward_kl(teacher + 3, student - 2), forward_kl(teacher, student), atol=1e-5)


@pytest.mark.parametrize("cap", [None, 5.0])
def test_gradient_is_that_of_autograd_in_float64(monkeypatch: pytest.MonkeyPatch, cap: float | None) -> None:
    """Tiled, with several tiles and a last one that is not full, also behind a soft cap."""
    monkeypatch.setattr(divergence, "TILE", 4)
    torch.manual_seed(0)
    weight = torch.randn(11, 6, dtype=torch.float64)

    def head(hidden: Tensor) -> Tensor:
        logits = hidden @ weight.T
        return logits if cap is None else torch.tanh(logits / cap) * cap

    teacher = torch.randn(10, 6, dtype=torch.float64)
    student = torch.randn(10, 6, dtype=torch.float64, requires_grad=True)
    weights = torch.rand(10, dtype=torch.float64)
    ours = tiled_loss(student, teacher, torch.zeros(10, dtype=torch.long), head, loss_named("forward"))
    (our_gradient,) = torch.autograd.grad((ours * weights).sum(), student)
    plain = forward_kl(head(teacher), head(student))
    (gradient,) = torch.autograd.grad((plain * weights).sum(), student)
    assert torch.allclose(ours, plain, rtol=1e-12)
    assert torch.allclose(our_gradient, gradient, rtol=1e-10, atol=1e-14)


def test_the_frozen_head_gets_no_gradient() -> None:
    """A gradient for the head would cost a vocabulary times a hidden size each step."""
    head = torch.nn.Linear(6, 11)
    student = torch.randn(3, 6, requires_grad=True)
    tiled_loss(
        student, torch.randn(3, 6), torch.zeros(3, dtype=torch.long), head, loss_named("forward")
    ).sum().backward()
    assert student.grad is not None
    assert head.weight.grad is None


def test_equal_states_have_no_divergence_and_no_gradient() -> None:
    """At the optimum training stands still."""
    states = torch.randn(4, 6)
    student = states.clone().requires_grad_()
    tokens, head = torch.zeros(4, dtype=torch.long), torch.nn.Linear(6, 11)
    loss = tiled_loss(student, states, tokens, head, loss_named("forward")).sum()
    loss.backward()
    assert loss.item() == pytest.approx(0.0, abs=1e-5)
    assert student.grad is not None
    assert student.grad.abs().max().item() < 1e-5


def test_the_gap_of_inner_states_is_a_share_of_the_prompts_mark() -> None:
    """The unprompted base has a gap of 1 on average, the teacher itself 0, half of the way a quarter; by hand."""
    torch.manual_seed(0)
    teacher, base = torch.randn(9, 3, 4), torch.randn(9, 3, 4)
    mark = prompt_mark(base, teacher)
    assert mark.shape == (2,)
    assert state_gap(base, teacher, mark).mean().item() == pytest.approx(1.0)
    assert state_gap((base + teacher) / 2, teacher, mark).mean().item() == pytest.approx(0.25)
    by_hand = ((base - teacher)[0, 0].square().sum() / mark[0] + (base - teacher)[0, 1].square().sum() / mark[1]) / 2
    assert state_gap(base, teacher, mark)[0].item() == pytest.approx(by_hand.item())


def test_a_level_that_the_prompt_hardly_touches_adds_nothing() -> None:
    """However far the student is from it there; the others count as if it were none, and without any the gap is 0."""
    torch.manual_seed(0)
    teacher, base, student = (torch.randn(9, 4, 4) for _ in range(3))
    base[:, 1] = teacher[:, 1] * (1 + 1e-3)
    gap = state_gap(student, teacher, prompt_mark(base, teacher))
    seen = [0, 2, 3]
    assert torch.equal(gap, state_gap(student[:, seen], teacher[:, seen], prompt_mark(base[:, seen], teacher[:, seen])))
    student.requires_grad_()
    unseen = state_gap(student[:, 1:3], teacher[:, 1:3], prompt_mark(base[:, 1:3], teacher[:, 1:3]))
    assert unseen.tolist() == [0.0] * 9
    (gradient,) = torch.autograd.grad(unseen.sum(), student)
    assert not gradient.any()


def test_the_last_level_has_no_gap_and_a_shallow_model_none_at_all() -> None:
    """What the output head takes is the KL's business; a model of one layer has no level before it."""
    teacher, student = torch.randn(5, 2, 4), torch.randn(5, 2, 4)
    student[:, 0] = teacher[:, 0]
    assert state_gap(student, teacher, torch.ones(1)).tolist() == [0.0] * 5
    one = torch.randn(5, 1, 4)
    assert state_gap(one, one + 1, prompt_mark(one, one + 1)).tolist() == [0.0] * 5


def test_the_other_losses_are_what_a_hand_computes() -> None:
    """P = (3/4, 1/4) against Q = (1/2, 1/2), the answer's own token the second."""
    teacher, student = torch.tensor([[math.log(3.0), 0.0]]), torch.tensor([[0.0, 0.0]])
    token = torch.tensor([1])
    reverse = 0.5 * math.log(0.5 / 0.75) + 0.5 * math.log(0.5 / 0.25)
    middle = (0.625, 0.375)
    jsd = 0.5 * sum(p * math.log(p / m) for p, m in zip((0.75, 0.25), middle, strict=True)) + 0.5 * sum(
        q * math.log(q / m) for q, m in zip((0.5, 0.5), middle, strict=True)
    )
    assert loss_named("reverse")(teacher, student, token).item() == pytest.approx(reverse, rel=1e-5)
    assert loss_named("jsd")(teacher, student, token).item() == pytest.approx(jsd, rel=1e-5)
    assert loss_named("tokens")(teacher, student, token).item() == pytest.approx(math.log(2), rel=1e-5)


def test_a_cut_teacher_keeps_its_likeliest_tokens_and_k_of_all_is_the_whole() -> None:
    """Cut to one token the loss is that token's negative log-likelihood; cut to all it is eq. 1."""
    torch.manual_seed(0)
    teacher, student, tokens = torch.randn(5, 9), torch.randn(5, 9), torch.zeros(5, dtype=torch.long)
    likeliest = -torch.log_softmax(student, -1).gather(-1, teacher.argmax(-1, keepdim=True))[:, 0]
    assert torch.allclose(loss_named("forward", 1)(teacher, student, tokens), likeliest, atol=1e-6)
    assert torch.allclose(loss_named("forward", 9)(teacher, student, tokens), forward_kl(teacher, student), atol=1e-6)


@pytest.mark.parametrize(("name", "k"), [("reverse", 5), ("tokens", 1), ("forward", 0)])
def test_a_cut_that_means_nothing_is_refused(name: LossName, k: int) -> None:
    """Only the forward divergence is cut, and to at least one token."""
    with pytest.raises(ValueError, match="top_k"):
        loss_named(name, k)


@pytest.mark.parametrize("name", ["forward", "reverse", "jsd"])
def test_at_several_temperatures_it_is_the_mean_of_each_times_its_square(name: LossName) -> None:
    """Of the same loss between softened distributions, and zero where they are the same."""
    torch.manual_seed(0)
    teacher, student, tokens = torch.randn(5, 9), torch.randn(5, 9), torch.zeros(5, dtype=torch.long)
    plain, several = loss_named(name), loss_named(name, temperatures=(1.0, 2.0))
    by_hand = (plain(teacher, student, tokens) + 4 * plain(teacher / 2, student / 2, tokens)) / 2
    assert torch.allclose(several(teacher, student, tokens), by_hand, rtol=1e-5)
    assert several(teacher, teacher, tokens).abs().max().item() < 1e-5


@pytest.mark.parametrize(("name", "temperatures"), [("forward", ()), ("forward", (1.0, 0.0)), ("tokens", (1.0, 2.0))])
def test_temperatures_that_mean_nothing_are_refused(name: LossName, temperatures: tuple[float, ...]) -> None:
    """Some above zero; single tokens have no distribution to soften."""
    with pytest.raises(ValueError, match="emperatures"):
        loss_named(name, temperatures=temperatures)
