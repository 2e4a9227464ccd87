"""The processes that measure end with the one that runs them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

RUNNER = """
import time
from multiprocessing import get_context

from benchmarks.science import worker

def measure(ready):
    worker.begin()
    ready.set()
    time.sleep(600)

if __name__ == "__main__":
    context = get_context("spawn")
    ready = context.Event()
    context.Process(target=measure, args=(ready,)).start()
    print(ready.wait(120), flush=True)
    time.sleep(600)
"""


@pytest.mark.slow
def test_a_worker_does_not_outlive_a_runner_that_was_killed(tmp_path: Path) -> None:
    """Else it would go on measuring, with code that may have changed since. It holds the runner's output open."""
    script = tmp_path / "runner.py"
    script.write_text(RUNNER)
    root = Path(__file__).parents[2]
    with subprocess.Popen([sys.executable, script], env={"PYTHONPATH": str(root)}, stdout=subprocess.PIPE) as runner:
        assert runner.stdout
        assert runner.stdout.readline() == b"True\n"
        runner.kill()
        runner.communicate(timeout=60)
