"""Any prompt baked on the spot, to be compared with itself in the context: no memories, no home, no version.

Knows prompts and questions; knows no benchmark.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bakemem.baking import StageProgress, Stimuli, bake
from bakemem.config import Config
from bakemem.cycle import settings_of
from bakemem.errors import InputError
from bakemem.serving import Base
from bakemem.types import Prompt, Report, Stimulus, Turn

BAKED = "baked"
HELD_OUT = 8
"""One of so many questions is kept from the training, to judge it by."""


def stimuli_of(conversations: Sequence[Sequence[Turn]]) -> Stimuli:
    """All different conversations as stimuli; one in eight is held out. Raises InputError when there are too few."""
    asked = [Stimulus(turns, "question") for turns in dict.fromkeys(map(tuple, conversations))]
    if len(asked) < HELD_OUT:
        raise InputError(
            f"{len(asked)} different questions are too few to bake a prompt with: give {HELD_OUT} or more."
        )
    return Stimuli(tuple(s for i, s in enumerate(asked) if i % HELD_OUT), tuple(asked[::HELD_OUT]))


def bake_prompt(base: Base, prompt: str, stimuli: Stimuli, config: Config, progress: StageProgress) -> Report:
    """Bake the prompt and leave it attached to the base as the adapter `baked`, whatever the gate says of it."""
    settings = replace(settings_of(config, base, ()), max_new_tokens=config.max_new_tokens)
    with base.baking:
        baked = bake(base.model, base.template, (), [Prompt(prompt, ())], settings, stimuli=stimuli, lock=base.lock,
                     progress=progress)  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        baked.save(Path(folder))
        base.adapters.detach(BAKED)  # that of another prompt: an id names its content
        base.adapters.attach(BAKED, Path(folder))
    return baked.report
