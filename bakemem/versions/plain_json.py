"""JSON that means one thing only: no key twice, and no NaN where numbers count.

Knows nothing of what the values are for.
"""

from __future__ import annotations

import json
from typing import Any


def plain_json(text: str, *, finite: bool = True) -> Any:
    """The value of a JSON text. Raises ValueError for a repeated key and, with `finite`, for NaN and the infinities.

    Readers differ in which of two equal keys they take, so a checked file could be read as another one.
    """
    return json.loads(text, object_pairs_hook=_no_key_twice, parse_constant=_refuse if finite else float)


def _no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key, value in pairs:
        if key in values:
            raise ValueError(f"the key {key[:80]!r} is there twice")
        values[key] = value
    return values


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no number of JSON")
