"""What commands without a model cost: `python benchmarks/commands.py [--versions N] [--memories N] [--json FILE]`.

On a home of a year of made-up versions, without adapters: seconds of the processor for the whole process, the fewest of
three, and as a share of importing what a model needs, which each of them did before decision 77.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from tqdm import tqdm

from bakemem.memory import Journal
from bakemem.types import Adapter, Draft, Provenance, Report, Version

MODEL = [sys.executable, "-c", "import bakemem.agent_memory"]
COMMANDS = ("log", "memories", "recall thing", "why thing", "tag v2 good", "rollback base",
            "remember anything --key user.k1")  # fmt: skip


def fill(home: Path, n_versions: int, n_memories: int) -> None:
    """A memory and a version each night; when all memories are told, the same are baked again."""
    journal = Journal(home / "journal.db")
    for n in tqdm(range(n_versions), desc="versions", leave=False):
        if n < n_memories:
            fact = Draft("fact", f"user.k{n}", f"The user's thing {n} is called Name{n}.")
            journal.add(fact, Provenance("user", "user", "", fact.text, "explicit"))
        known = tuple(m.id for m in journal.memories(["pending", "baked"]))
        journal.commit_version(Version(
            name=f"v{n + 1}", id=f"{n:012x}", namespace="default", parent=journal.live(), status="accepted",
            created=datetime.now(UTC), memory_ids=known, prompt_sha256="", adapter=Adapter(home / f"v{n + 1}", "base"),
            report=Report(4.0, 0.05, 0.98, 0.99, 1.0, 0.0, 60, 14.5, True),
        ), accepted=True)  # fmt: skip
    journal.close()


def seconds(command: list[str]) -> float:
    """Of the processor, for a process and its children."""

    def spent() -> float:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime

    before = spent()
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    return spent() - before


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--versions", type=int, default=365)
    parser.add_argument("--memories", type=int, default=180)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        fill(Path(folder), options.versions, options.memories)
        known = [sys.executable, "-m", "bakemem"]
        asked = {"import what a model needs": MODEL,
                 **{c: [*known, *c.split(), "--home", folder] for c in COMMANDS}}  # fmt: skip
        found = {name: min(seconds(command) for _ in range(3)) for name, command in tqdm(asked.items(), leave=False)}
    base = found["import what a model needs"]
    print("| command | CPU seconds | of the import |\n|---|---|---|")
    print("\n".join(f"| {name} | {spent:.2f} | {spent / base:.0%} |" for name, spent in found.items()))
    if options.json:
        options.json.write_text(json.dumps(found, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
