"""Rehearses the papers' experiments in small: every recipe from the downloads' archives to one page of verdicts.

python -m rehearsal [--recipes cat-seg-b,pca-seg-b] [--benchmarks a-150,pas-20] [--kills 10] [--jobs 4] [--out DIR]

Data sets are drawn scenes in the layouts of the original downloads; networks and images are small. Each recipe runs by
`segvoc reproduce RECIPE --train`. Some run once more, are killed at random moments and called again, and must give the
same numbers. The exit code is 1 if anything isn't as expected.
"""

import argparse
import os
import random
import re
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from tqdm import tqdm

from rehearsal.children import Child, command
from rehearsal.networks import use_small_networks
from rehearsal.page import Verdicts, write_page
from rehearsal.starts import write_start
from rehearsal.trials import ROWS, Trial, benchmarks_of, rehearsed_recipes
from segvoc.errors import UsageError
from segvoc.evaluation.report.summary import aligned
from segvoc.reproduction.subjects import trained_subject
from segvoc.training.start import Start

KILLED = ("cat-seg-b", "pca-seg-b", "err-seg-b", "pca-part-b", "syn-seg-b")
"""Recipes that run once more and are killed; one of each kind."""

LATEST = 0.9
"""Share of a whole run's time after which no kill comes, so that each comes in time."""

Work = Iterator[Child]
"""What is to be done one after the other; each child has ended when the next is asked for."""


def main() -> None:
    """Rehearse, write the page, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipes", default="", help="only these recipes, with commas")
    parser.add_argument("--benchmarks", default="", help="only these benchmarks, with commas")
    parser.add_argument("--steps", type=int, default=0, help="steps of each recipe, in place of its own")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0, help="of the moments of the kills")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)), help="processes at a time")
    parser.add_argument("--out", type=Path, default=Path("build/rehearsal"))
    arguments = parser.parse_args()
    start = time.monotonic()
    torch.set_num_threads(1)
    tqdm.monitor_interval = 0  # no thread, since the work is forked
    use_small_networks()
    names = [name for name in arguments.recipes.split(",") if name] or [*rehearsed_recipes(), *ROWS]
    if unknown := [name for name in names if name not in (*rehearsed_recipes(), *ROWS)]:
        raise UsageError(f"{unknown[0]!r} is no recipe of a paper; they are {', '.join(rehearsed_recipes())}")
    out: Path = arguments.out.resolve()
    shutil.rmtree(out, ignore_errors=True)
    (out / "starts").mkdir(parents=True)
    chosen = [name for name in arguments.benchmarks.split(",") if name]
    trials = [_trial(name, out / re.sub("[^a-z0-9]+", "-", name.lower()), chosen, arguments.steps) for name in names]
    _run([_start(path) for path in dict.fromkeys(trial.start for trial in trials)], arguments.jobs)
    _run([_whole(trial) for trial in trials], arguments.jobs)
    killed = _killed(trials, out, arguments.kills, random.Random(arguments.seed), arguments.jobs)
    verdicts = Verdicts(trials=trials, killed=killed, minutes=(time.monotonic() - start) / 60)
    write_page(out / "index.html", verdicts)
    print("\n".join(aligned(verdicts.rows())))
    for line in verdicts.failures():
        print(f"not as expected: {line}", file=sys.stderr)
    print(f"{sum(len(trial.kills) for trial in killed)} kills, {verdicts.minutes:.1f} minutes -> {out / 'index.html'}")
    sys.exit(1 if verdicts.failures() else 0)


def _trial(name: str, folder: Path, chosen: Sequence[str], steps: int = 0) -> Trial:
    start = folder.parent / f"starts/{_start_of(name)}.safetensors"
    benchmarks = tuple(chosen) or benchmarks_of(name)
    return Trial(name=name, folder=folder, start=start, benchmarks=benchmarks, steps=steps)


def _start_of(name: str) -> str:
    """The preset whose weights a recipe starts from: encoders that several networks share are trained once."""
    shared = {
        "pca-seg-clip": "cat-seg",
        "cat-seg-eva": "pca-seg",
        "pca-part-b": "part-cat-seg-b",
        "err-seg-vit-b": "cat-seg-b",
    }
    recipe = trained_subject(name, Start(), (), None).recipe
    model = "" if recipe is None else recipe.model
    for own, other in shared.items():
        if model.startswith(own):
            return model.replace(own, other)
    return model


def _start(path: Path) -> Work:
    yield Child(function=partial(write_start, path.stem, path), log=path.with_suffix(".log"))


def _whole(trial: Trial) -> Work:
    trial.set_up()
    child = _call(trial)
    yield child
    _note(trial, child)


def _interrupted(trial: Trial, moments: Sequence[float]) -> Work:
    """Calls that are killed after so many seconds each, and one that isn't.

    If one ends before it is killed, since the machine has become quicker, all begins again with half the seconds.
    """
    factor = 1.0
    while len(trial.kills) < len(moments):
        trial.set_up()
        trial.kills.clear()
        for moment in moments:
            child = _call(trial)
            child.kill_after = factor * moment
            yield child
            _note(trial, child)
            if not child.was_killed:
                break
            trial.kills.append(child.seconds)
        factor /= 2
    child = _call(trial)
    yield child
    _note(trial, child)


def _killed(trials: Sequence[Trial], out: Path, kills: int, generator: random.Random, jobs: int) -> list[Trial]:
    """Repeat some of the trials with so many kills altogether, at moments drawn from all of their time."""
    whole = [trial for trial in trials if trial.name in KILLED and trial.code in (0, 1)] or list(trials[:1])
    killed = [replace(_fresh(trial), folder=out / f"{trial.name}-killed") for trial in whole[:kills]]
    works = []
    for place, (trial, again) in enumerate(zip(whole, killed, strict=False)):
        count = len(range(place, kills, len(killed)))
        moments = sorted(generator.uniform(0, LATEST * trial.seconds) for _ in range(count))
        works.append(
            _interrupted(again, [after - before for before, after in zip([0.0, *moments], moments, strict=False)])
        )
    _run(works, jobs)
    return killed


def _fresh(trial: Trial) -> Trial:
    return replace(trial, kills=[], seconds=0.0, cpu_seconds=0.0, code=None)


def _call(trial: Trial) -> Child:
    call = command(trial.arguments())

    def inside() -> None:
        os.chdir(trial.folder)
        call()

    return Child(function=inside, log=trial.folder / "log")


def _note(trial: Trial, child: Child) -> None:
    trial.code, trial.seconds = child.code, trial.seconds + child.seconds
    trial.cpu_seconds += child.cpu_seconds


def _run(works: Sequence[Work], jobs: int) -> None:
    """Do all works, so many at a time."""
    waiting, running = list(works), dict[int, tuple[Work, Child]]()
    while waiting or running:
        while waiting and len(running) < jobs:
            _go_on(waiting.pop(0), running)
        time.sleep(0.02)
        for pid, (work, child) in list(running.items()):
            if child.poll():
                del running[pid]
                _go_on(work, running)


def _go_on(work: Work, running: dict[int, tuple[Work, Child]]) -> None:
    child = next(work, None)
    if child is not None:
        child.start()
        running[child.pid] = work, child


if __name__ == "__main__":
    main()
