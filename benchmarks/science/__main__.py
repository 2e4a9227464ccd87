"""All experiments, then docs/science.md: `python -m benchmarks.science [--only NAME …]`, or `make science`.

Units run two at a time, the first seed of every experiment before the second; each is kept in runs/science when it is
done, so that Ctrl-C loses only what is running, and the next call goes on.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from concurrent.futures import FIRST_EXCEPTION, Future, ProcessPoolExecutor, wait
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path

NAMES = ("fidelity", "strength", "instructions", "few_shot", "news", "forgetting", "pursuit", "side_effects",
         "sequence", "capacity", "order", "ablations", "injection")  # fmt: skip


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.science", description=__doc__)
    parser.add_argument("--model", default="starter", help="starter, a folder, or a hub id")
    parser.add_argument("--seeds", type=int, default=1, help="of each experiment, most have 3  [default: 1]")
    parser.add_argument("--only", nargs="+", choices=NAMES, default=NAMES)
    parser.add_argument(
        "--quick", action="store_true", help="one seed, two rows, a few steps: shows that all of it runs"
    )
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--out", type=Path, help="where units are kept")
    parser.add_argument("--page", action="store_true", help="run nothing; write the page from what is kept")
    args = parser.parse_args()
    from bakemem.serving import load_base
    from bakemem.starter import STARTER
    from benchmarks.science.experiment import is_kept, runs_of, unit_file
    from benchmarks.science.page import write

    starter = args.model == "starter"
    base = load_base(str(STARTER)).fingerprint if starter else ""  # of other models it goes by the name alone
    out = args.out or runs_of(args.model, args.quick)
    experiments = [import_module(f"benchmarks.science.{name}").EXPERIMENT for name in args.only]
    waiting = sorted(
        (seed, i, row)
        for i, experiment in enumerate(experiments)
        for row in (experiment.rows[:2] if args.quick else experiment.rows)
        for seed in range(min(1 if args.quick else args.seeds, experiment.seeds))
        if not is_kept(unit_file(out, experiment, row, seed), base)
    )
    if waiting and not args.page:
        jobs = [(experiments[i].name, args.model, row, seed, args.quick, out) for seed, i, row in waiting]
        _run(jobs, args.jobs)
    everything = [import_module(f"benchmarks.science.{name}").EXPERIMENT for name in NAMES]
    write(out, everything, base, docs=starter and not args.quick)


def _run(jobs: list[tuple[str, str, str, int, bool, Path]], n_jobs: int) -> None:
    os.environ.update(OMP_NUM_THREADS="1", TOKENIZERS_PARALLELISM="false", HF_HUB_DISABLE_PROGRESS_BARS="1")
    started, done = time.monotonic(), 0

    def tell(future: Future[tuple[str, float]]) -> None:
        nonlocal done
        if not future.cancelled() and future.exception() is None:
            what, seconds = future.result()
            done += 1
            left = (time.monotonic() - started) / done * (len(jobs) - done)
            print(f"{done}/{len(jobs)}  {what}: {seconds:.0f} s  (about {left / 60:.0f} min left)", file=sys.stderr)

    from benchmarks.science import worker

    with ProcessPoolExecutor(n_jobs, mp_context=get_context("spawn"), initializer=worker.begin) as pool:
        futures = [pool.submit(worker.unit, *job) for job in jobs]
        for future in futures:
            future.add_done_callback(tell)
        finished, _ = wait(futures, return_when=FIRST_EXCEPTION)
        for future in futures:
            future.cancel()
        for future in finished:
            future.result()


if __name__ == "__main__":
    main()
