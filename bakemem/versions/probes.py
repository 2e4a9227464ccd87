"""The gate's held-out questions as they are kept beside an adapter. Knows JSON; knows no model and no folder."""

from __future__ import annotations

import json

from bakemem.errors import HomeCorruptError
from bakemem.types import Probe, Turn


def probes_of(text: str) -> list[Probe]:
    """The probes in their JSON, as a bake writes them. Raises HomeCorruptError when it is damaged."""
    try:
        return [
            Probe(
                turns=tuple(Turn(turn["role"], turn["content"]) for turn in probe["turns"]), kind=probe["kind"],
                memory_ids=tuple(probe["memory_ids"]), expected=probe["expected"], given=probe["given"],
            )
            for probe in json.loads(text)
        ]  # fmt: skip
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise HomeCorruptError(f"A version's probes are damaged ({error!r}): run `bakemem check`.") from error
