"""The forgetting curve repeats the prompt where it is asked to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from bakemem.demo import curve
from bakemem.demo.curve import Probes, forgetting_curve
from bakemem.demo.story import Question
from bakemem.serving import Base


def test_the_prompt_stands_before_every_kth_turn(tiny_base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    """After each k turns, before what is kept of the talk and never before a probe."""
    said: list[tuple[str, bool]] = []

    class Talk:
        def __init__(self, model: Any, template: Any, systems: Sequence[str], *rest: Any) -> None:
            self.systems = systems

        def say(self, texts: Sequence[str], keep: bool = True) -> list[str]:
            said.append((texts[0], keep))
            return ["right" for _ in texts]

    monkeypatch.setattr(curve, "LongConversations", Talk)
    asked = [Question(f"question {i}", "right", "known", "right") for i in range(16)]
    points = forgetting_curve(tiny_base, None, "u", Probes(asked, asked, asked, asked), turns=(1, 5), conversations=2,
                              repeat_every=2)  # fmt: skip
    assert [text.startswith("u\n\n") for text, keep in said if keep] == [False, False, True, False, True]
    assert not any(text.startswith("u\n\n") for text, keep in said if not keep)
    assert [(p.turn, p.facts, p.adherence) for p in points] == [(1, 1.0, 1.0), (5, 1.0, 1.0)]
