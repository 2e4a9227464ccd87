"""The gate's verdict on answers written by hand."""

from __future__ import annotations

from dataclasses import replace

from bakemem.baking import Thresholds
from bakemem.baking.gate import Beside, Trained, judge
from bakemem.types import Probe, Recalled, Report, Turn

KINDS = ["direct"] * 6 + ["decoy"] * 2 + ["everyday"] * 2
TEACHER = [f"answer {i}" for i in range(10)]
TRAINED = Trained(kl_before=3.0, kl_after=0.1, steps=60, seconds=10.0)
ALL = Thresholds(0.9, 0.9, 0.05)
NOTHING = Beside()


def verdict(student: list[str], trained: Trained = TRAINED, beside: Beside = NOTHING) -> Report:
    """The report of a student's answers."""
    probes = [Probe((Turn("user", f"{i}?"),), kind, ("m1",) if kind == "direct" else (), TEACHER[i], student[i])
              for i, kind in enumerate(KINDS)]  # fmt: skip
    return judge(probes, trained, beside, ALL)


def test_a_perfect_student_is_accepted() -> None:
    """All shares are whole, and there is no reason against it."""
    report = verdict([f" answer  {i} " for i in range(10)])
    assert (report.agreement, report.recall, report.abstention, report.drift) == (1.0, 1.0, 1.0, 0.0)
    assert report.accepted
    assert report.reasons == ()


def test_one_wrong_decoy_is_counted_as_lost_abstention_and_refused() -> None:
    """Half of two decoys; the reason names it."""
    report = verdict([*TEACHER[:6], "Bosuk", *TEACHER[7:]])
    assert report.abstention == 0.5
    assert report.recall == 1.0
    assert not report.accepted
    assert "not told" in report.reasons[0]


def test_a_changed_everyday_answer_is_drift() -> None:
    """Half of two."""
    report = verdict([*TEACHER[:9], "something else"])
    assert report.drift == 0.5
    assert any("everyday" in reason for reason in report.reasons)


def test_a_student_that_answers_nothing_is_refused_for_its_agreement() -> None:
    """An adapter that broke the model never serves."""
    report = verdict([""] * 10)
    assert report.agreement == 0.0
    assert not report.accepted


def test_a_bake_that_did_not_converge_is_refused() -> None:
    """Also when its divergence is not a number."""
    for kl_after in (3.5, float("nan")):
        report = verdict(TEACHER, replace(TRAINED, kl_after=kl_after))
        assert not report.accepted
        assert "divergence" in report.reasons[0]


def test_a_memory_that_is_lost_is_named_with_what_was_asked_about_it() -> None:
    """One of six own questions is right: below a quarter."""
    report = verdict([TEACHER[0], *["Bosuk"] * 5, *TEACHER[6:]])
    assert report.recalls == (Recalled("m1", "direct", 1, 6),)
    assert report.failed == ("m1",)
    assert any("m1" in reason for reason in report.reasons)


def test_memories_brought_up_unasked_and_broken_language_are_refused() -> None:
    """Also a disfluency that is not a number."""
    assert any("unasked" in reason for reason in verdict(TEACHER, beside=Beside(mention=0.03)).reasons)
    for nats in (0.6, float("nan")):
        assert any("less likely" in reason for reason in verdict(TEACHER, beside=Beside(disfluency=nats)).reasons)
    assert verdict(TEACHER, beside=Beside(mention=0.02, disfluency=0.5)).accepted
