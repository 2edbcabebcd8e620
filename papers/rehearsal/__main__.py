"""Rehearses the papers' experiments in small: every recipe from the downloads' archives to a table of verdicts.

    python -m papers.rehearsal [--recipes cat-seg-b,pca-seg-b] [--benchmarks a-150,pas-20] [--jobs 4] [--out DIR]

Data sets are drawn scenes in the layouts of the original downloads; networks and images are small. Each recipe runs by
`python -m papers.reproduce RECIPE --train`. The exit code is 1 if anything isn't as expected.
"""

import argparse
import multiprocessing
import os
import re
import shutil
import sys
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from tqdm import tqdm

from papers.rehearsal.networks import use_small_networks
from papers.rehearsal.starts import write_start
from papers.rehearsal.trials import REHEARSED, Trial
from papers.reproduce import reproduce
from segvoc.cli import run_command
from segvoc.runtime.progress import aligned

HEAD = ["recipe", "score", "chance", "loss", "seconds", "verdict"]


def rehearse() -> int:
    """Rehearse, print the table; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipes", default="", help="only these recipes, with commas")
    parser.add_argument("--benchmarks", default="", help="only these benchmarks, with commas")
    parser.add_argument("--steps", type=int, default=0, help="steps of each recipe, instead of its default")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)), help="processes at a time")
    parser.add_argument("--out", type=Path, default=Path("build/rehearsal"))
    arguments = parser.parse_args()
    names = [name for name in arguments.recipes.split(",") if name] or REHEARSED
    if unknown := [name for name in names if name not in REHEARSED]:
        parser.error(f"{unknown[0]!r} is not a paper's recipe; choose from {', '.join(REHEARSED)}")
    torch.set_num_threads(1)
    tqdm.monitor_interval = 0  # no thread, since the work is forked
    use_small_networks()
    out: Path = arguments.out.resolve()
    shutil.rmtree(out, ignore_errors=True)
    starts = out / "starts"
    starts.mkdir(parents=True)
    chosen = tuple(name for name in arguments.benchmarks.split(",") if name)
    folders = {name: out / re.sub("[^a-z0-9]+", "-", name.lower()) for name in names}
    trials = [Trial.of(name, folder, starts, chosen, arguments.steps) for name, folder in folders.items()]
    # forked: children have the small networks, and needn't import anything
    with multiprocessing.get_context("fork").Pool(arguments.jobs, maxtasksperchild=1) as pool:
        pool.map(_write_start, list(dict.fromkeys(trial.start for trial in trials)), chunksize=1)
        for trial, (code, seconds) in zip(trials, pool.map(_reproduce, trials, chunksize=1), strict=True):
            trial.code, trial.seconds = code, seconds
    print("\n".join(aligned([HEAD, *(trial.row() for trial in trials)])))
    failures = [f"{trial.name}: {text}" for trial in trials for text in trial.shortfalls()]
    for line in failures:
        print(f"not as expected: {line}", file=sys.stderr)
    print(f"{len(trials)} recipes, reports in {out}")
    return 1 if failures else 0


def _write_start(path: Path) -> int:
    return _logged(partial(write_start, path.stem, path), path.with_suffix(".log"))


def _reproduce(trial: Trial) -> tuple[int, float]:
    """Exit code and seconds of a trial."""
    trial.set_up()
    start = time.monotonic()

    def call() -> None:
        os.chdir(trial.folder)
        sys.argv = ["papers.reproduce", *trial.arguments()]
        run_command(reproduce, "python -m papers.reproduce")

    return _logged(call, trial.folder / "log"), time.monotonic() - start


def _logged(function: Callable[[], object], log: Path) -> int:
    """Exit code of a function, whose output goes into a file."""
    descriptor = os.open(log, os.O_CREAT | os.O_WRONLY, 0o600)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
    try:
        function()
        return 0
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except BaseException:
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(rehearse())
