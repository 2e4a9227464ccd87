"""The month, as five days with smaller bakes; in a file of its own, so that it runs beside the other examples."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.test_examples import run_example

pytestmark = pytest.mark.slow


def test_five_days_of_the_month(tmp_path: Path) -> None:
    """Nights bake, the mistake is rolled back, the secret does not come back, and the memory costs no tokens."""
    args = ("--days", "5", "--facts", "1", "--every", "5", "--home", str(tmp_path), "--json", "--quick")
    days = json.loads(run_example("month.py", *args))
    assert len(days) == 5
    assert days[-1]["version"] != days[0]["version"]
    assert days[-1]["baked"]["back"] == 0
    assert days[-1]["baked"]["tokens"] < days[-1]["prompt"]["tokens"]
    assert json.loads(run_example("month.py", *args)) == days  # it goes on where it stopped: at the end
