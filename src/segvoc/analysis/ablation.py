"""Ablation tables: each cell of a grid is trained with several seeds and scored by cross-validation.

    ablation = Ablation(recipe=tiny_aggregation(), images=LabeledImages.from_folders(...), seeds=3, folds=2)
    results = run_grids(ablation, ("aggregation", "5a"), "ablation/", workers=2)

`segvoc.analysis.ablation_table.ablation_table` makes a table of the results. Each finished run is a line in
`runs.jsonl`: a call that repeats an interrupted one, or adds grids, seeds or folds, trains only what is missing.
"""

import hashlib
import json
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from segvoc.analysis.ablation_run import Job, align, aligned_file, aligned_start, train_and_score
from segvoc.analysis.grids import Cell, find_grid
from segvoc.data.labeled_images import LabeledImages
from segvoc.data.training.training_set import seed_of
from segvoc.errors import InputError, SegvocError, TrainingError, UsageError
from segvoc.evaluation.task import EvaluationSettings
from segvoc.process_settings import WORKER_START
from segvoc.records import to_json
from segvoc.storage.resume import ResumableWork, read_done
from segvoc.training.recipe import Recipe
from segvoc.training.start import Start

FINISHED_RUNS = "runs.jsonl"


@dataclass(frozen=True, kw_only=True)
class Ablation:
    """What all cells of all grids have in common.

    Raises:
        UsageError: there is no seed, or there are fewer than two folds or more folds than images.
    """

    recipe: Recipe
    """The recipe that the cells change."""
    images: LabeledImages
    """Images for training and scoring; a run is trained on all folds but one and scored on that one."""
    seeds: int = 3
    """Runs of each cell and fold, with the seeds 0, 1, ..."""
    folds: int = 2
    """Number of folds that the images are divided into."""
    evaluation: EvaluationSettings = field(default_factory=EvaluationSettings)
    """How a fold is scored; `limit` applies to each fold."""
    start: Start = field(default_factory=Start)
    align: int = 0
    """For tiny: for each seed and fold, train new projections for this many steps without aggregation, and start all
    cells from them. 0: start as `start` says."""

    def __post_init__(self) -> None:
        if self.seeds < 1 or not 2 <= self.folds <= len(self.images):
            raise UsageError(
                f"seeds={self.seeds} and folds={self.folds} don't work for {len(self.images)} images; use at least one "
                "seed, and from two folds to one for each image"
            )

    def held_out(self, fold: int) -> LabeledImages:
        """The images of a fold, which don't depend on the seed."""
        return self.images.only(self._folds()[fold])

    def training_images(self, fold: int) -> LabeledImages:
        """The images of all other folds."""
        left_out = set(self._folds()[fold])
        return self.images.only(index for index in range(len(self.images)) if index not in left_out)

    def _folds(self) -> list[list[int]]:
        generator = torch.Generator().manual_seed(seed_of("folds", self.folds))
        order = torch.randperm(len(self.images), generator=generator).tolist()
        return [sorted(order[fold :: self.folds]) for fold in range(self.folds)]

    def recipe_of(self, cell: Cell) -> Recipe:
        """The recipe with a cell's settings."""
        return self.recipe.with_settings(cell.settings)

    def key(self, recipe: Recipe, seed: int, fold: int) -> str:
        """Name of a run: a hash of everything that its score depends on."""
        stems = [image.stem for image in self.images.images]
        words = [*self.images.vocabulary.words, self.images.background]
        start = [self.start.weights, self.start.encoder_weights, self.align]
        evaluation = asdict(self.evaluation)
        facts = [to_json(recipe), seed, fold, self.folds, evaluation, stems, words, start]
        return hashlib.blake2b(json.dumps(facts, sort_keys=True).encode(), digest_size=8).hexdigest()


def run_grids(
    ablation: Ablation,
    grids: Sequence[str],
    out: str | os.PathLike[str],
    *,
    workers: int = 1,
    device: str = "auto",
    log: Callable[[str], object] = lambda line: None,
    on_result: Callable[[Mapping[str, Any]], object] = lambda results: None,
) -> dict[str, dict[str, Any]]:
    """Train and score all runs that aren't finished in a folder yet.

    Args:
        ablation: what all cells have in common.
        grids: names of `GRIDS`, in the order of training. All cells of one seed and fold are trained before the next
            fold, so that the results can be compared at any time.
        out: folder of the runs and of the list of those that are finished.
        workers: number of processes; with one, this process does the work.
        device: device of all processes: "auto", "cpu", "cuda", ...
        log: called with a line about each run that has finished or failed.
        on_result: called with all results after each run.

    Returns:
        The results of all runs by `Ablation.key`, see `train_and_score`; those that failed are left out.

    Raises:
        UsageError: an unknown grid, or settings that don't fit the recipe.
        OutputError: the folder can't be written.
    """
    folder = Path(out)
    wanted = list(_jobs(ablation, grids, folder, device))
    with ResumableWork(folder / FINISHED_RUNS, {}) as work, _executor(workers, device) as executor:
        results = read_results(folder)
        jobs = [(name, job) for name, job in wanted if job.key not in results]
        if ablation.align:
            pairs = sorted({(job.seed, job.fold) for _, job in jobs})
            starts = [_alignment(ablation, seed, fold, folder, device) for seed, fold in pairs]
            for job, future in _done(executor, align, {start: start.folder.name for start in starts}):
                future.result()
                log(f"{job.folder.name}: aligned")
        names = {job: f"{name}, seed {job.seed}, fold {job.fold}" for name, job in jobs}
        for number, (job, future) in enumerate(_done(executor, train_and_score, names), 1):
            try:
                result = future.result()
            except (TrainingError, InputError) as error:
                log(f"{number}/{len(jobs)} {names[job]} failed: {error}")
                continue
            work.finish(job.key, value=result)
            results[job.key] = result
            seconds = sum(result["seconds"].values())
            log(f"{number}/{len(jobs)} {names[job]}: mIoU {result['miou']:.2f} ({seconds:.0f} s)")
            on_result(results)
    return results


def read_results(out: str | os.PathLike[str]) -> dict[str, dict[str, Any]]:
    """The results of the finished runs in a folder, by `Ablation.key`."""
    return {key: result for key, _, result in read_done([Path(out) / FINISHED_RUNS], {}, _result)}


def _result(value: dict[str, Any]) -> dict[str, Any]:
    """What `train_and_score` returns, from the value of an entry."""
    fits = isinstance(value["on"], str)
    fits &= all(isinstance(value[name], int | float) for name in ("miou", "pixel_accuracy", "trainable"))
    if not fits or not all(isinstance(value[name], dict) for name in ("seconds", "losses")):
        raise TypeError
    return value


def _jobs(ablation: Ablation, grids: Sequence[str], folder: Path, device: str) -> Iterator[tuple[str, Job]]:
    """The runs of some grids, each once, with the name of its cell."""
    found = {name: find_grid(name) for name in grids}
    seen: set[str] = set()
    for name, grid in found.items():
        for seed in range(ablation.seeds):
            for fold in range(ablation.folds):
                for cell in grid.cells:
                    recipe = ablation.recipe_of(cell)
                    start = ablation.start
                    if ablation.align:
                        aligned = aligned_file(_alignment(ablation, seed, fold, folder, device))
                        start = aligned_start(aligned, recipe.network_config())
                    job = _job(ablation, recipe, seed, fold, folder, device, start)
                    if job.key not in seen:
                        seen.add(job.key)
                        yield f"{name} {cell.name}", job


def _job(ablation: Ablation, recipe: Recipe, seed: int, fold: int, folder: Path, device: str, start: Start) -> Job:
    key = ablation.key(recipe, seed, fold)
    return Job(
        key=key,
        recipe=recipe,
        training_images=ablation.training_images(fold),
        held_out=ablation.held_out(fold),
        evaluation=ablation.evaluation,
        seed=seed,
        fold=fold,
        start=start,
        folder=folder / "runs" / key,
        device=device,
    )


def _alignment(ablation: Ablation, seed: int, fold: int, folder: Path, device: str) -> Job:
    """Training without aggregation; the projections, all that is left to train, have the full learning rate."""
    settings = {"aggregation": "none", "steps": ablation.align, "fod_weight": 0.0, "encoder_lr_scale": 1.0}
    job = _job(ablation, ablation.recipe.with_settings(**settings), seed, fold, folder, device, ablation.start)
    return replace(job, folder=folder / "aligned" / f"seed-{seed}-fold-{fold}-{job.key}")


@contextmanager
def _executor(workers: int, device: str) -> Iterator[Executor | None]:
    """A pool of processes; None for one worker, which is this process."""
    if workers <= 1:
        yield None
        return
    threads = 1 if device.startswith("cuda") else max(1, (os.cpu_count() or 1) // workers)
    context = multiprocessing.get_context("spawn")  # CUDA does not survive a fork
    executor = ProcessPoolExecutor(workers, context, _set_up, (threads,))
    try:
        yield executor
    finally:
        executor.shutdown(cancel_futures=True)


def _set_up(threads: int) -> None:
    """Prepare a process: its share of the threads, data loaders that start fast, and an end with its parent."""
    torch.set_num_threads(threads)
    if WORKER_START == "forkserver":
        multiprocessing.set_forkserver_preload(["segvoc.data.training.training_set"])
    threading.Thread(target=_leave_with_parent, daemon=True).start()


def _leave_with_parent() -> None:
    """End the process if its parent is killed; the run can resume from its checkpoint."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _done(
    executor: Executor | None, work: Callable[[Any], Any], items: Mapping[Any, str]
) -> Iterable[tuple[Any, Future[Any]]]:
    """Each item with the result of `work`, as they finish."""
    if executor is None:
        for item in items:
            future: Future[Any] = Future()
            try:
                future.set_result(work(item))
            except SegvocError as error:
                future.set_exception(error)
            yield item, future
        return
    futures = {executor.submit(work, item): item for item in items}
    for future in as_completed(futures):
        yield futures[future], future
