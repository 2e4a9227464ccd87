"""The benchmark that kills sessions, in its short form."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent / "benchmarks" / "crash.py"


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="kill -9 and fork are POSIX")
def test_a_few_kills_of_a_real_session_lose_nothing(tmp_path: Path) -> None:
    """After each kill all that was acknowledged is there, nothing forgotten, and the live version answers as ever."""
    kept = tmp_path / "figures.json"
    command = [sys.executable, str(SCRIPT), "--kills", "6", "--json", str(kept)]
    alone = {**os.environ, "OMP_NUM_THREADS": "1"}
    ran = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120, env=alone)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    figures = json.loads(kept.read_text())
    assert sum(figures["hits"].values()) == figures["kills"] == 6
    assert figures["acknowledged"] > 0
    assert not any(figures[name] for name in ("lost", "back", "wrong", "unclean"))
