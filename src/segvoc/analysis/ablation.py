"""Ablation tables: every cell of a grid is trained with several seeds and scored on held-out parts of the pictures.

    ablation = Ablation(recipe=tiny_aggregation(), pictures=LabelledImages.from_folders(...), seeds=3, folds=2)
    results = run_grids(ablation, ("aggregation", "5a"), "ablation/", workers=2)

`segvoc.analysis.ablation_table.report` makes a table of the results. All that is done stands in `runs.jsonl`, a line a
run: killed and called again, or called with more grids, seeds or folds, only what is missing is trained.
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

from segvoc.analysis.ablation_run import Alignment, Job, align, aligned_start, train_and_score
from segvoc.analysis.grids import Cell, find_grid
from segvoc.data.labelled_images import LabelledImages
from segvoc.data.training.training_set import seed_of
from segvoc.errors import InputError, SegvocError, TrainingError, UsageError
from segvoc.evaluation.task import Settings
from segvoc.networks.options import Options
from segvoc.storage.journal import Journal, read_journal
from segvoc.training.recipe import Recipe
from segvoc.training.start import Start

JOURNAL = "runs.jsonl"


@dataclass(frozen=True, kw_only=True)
class Ablation:
    """What all cells have in common.

    recipe: what cells change. pictures: divided into `folds` parts; a run learns from all but one and is scored on that
    one. seeds: runs of a cell and part; everything random is drawn by seeds 0, 1, ... evaluation: how a part is scored;
    its `limit` is of each part. start: see `Start`. align: of tiny: for each seed and part, projections that are drawn
    anew learn so many steps without aggregation, and all cells start from there; 0: they start as `start` says.
    """

    recipe: Recipe
    pictures: LabelledImages
    seeds: int = 3
    folds: int = 2
    evaluation: Settings = field(default_factory=Settings)
    start: Start = field(default_factory=Start)
    align: int = 0

    def __post_init__(self) -> None:
        if self.seeds < 1 or not 2 <= self.folds <= len(self.pictures):
            raise UsageError(
                f"seeds={self.seeds} and folds={self.folds} of {len(self.pictures)} pictures can't be; give a seed or "
                "more, and two folds or more of a picture each"
            )

    def held_out(self, fold: int) -> LabelledImages:
        """The part that is held out; the same for every seed."""
        return self.pictures.only(self._parts()[fold])

    def learnt(self, fold: int) -> LabelledImages:
        """The other parts."""
        left_out = set(self._parts()[fold])
        return self.pictures.only(index for index in range(len(self.pictures)) if index not in left_out)

    def _parts(self) -> list[list[int]]:
        generator = torch.Generator().manual_seed(seed_of("folds", self.folds))
        order = torch.randperm(len(self.pictures), generator=generator).tolist()
        return [sorted(order[fold :: self.folds]) for fold in range(self.folds)]

    def recipe_of(self, cell: Cell) -> Recipe:
        """The recipe with the cell's settings."""
        return self.recipe.with_settings(cell.settings)

    def key(self, recipe: Recipe, seed: int, fold: int) -> str:
        """A name for a run that tells everything its score depends on apart."""
        pictures = [picture.stem for picture in self.pictures.images]
        words = [*self.pictures.vocabulary.words, self.pictures.background]
        start = [self.start.weights, self.start.encoder_weights, self.align]
        evaluation = asdict(self.evaluation)
        facts = [recipe.plain(), seed, fold, self.folds, evaluation, pictures, words, start]
        return hashlib.blake2b(json.dumps(facts, sort_keys=True).encode(), digest_size=8).hexdigest()


Said = Callable[[str], object]
"""What is called with a line about each run."""


def run_grids(
    ablation: Ablation,
    grids: Sequence[str],
    out: str | os.PathLike[str],
    *,
    workers: int = 1,
    device: str = "auto",
    said: Said = lambda line: None,
    kept: Callable[[Mapping[str, Any]], object] = lambda results: None,
) -> dict[str, dict[str, Any]]:
    """Train and score what the journal of a folder doesn't hold yet.

    Args:
        ablation: what cells have in common.
        grids: names of `GRIDS`, in the order of training. Of each, all cells of one seed and part come together, so
            that what is done at any moment can be compared.
        out: the folder of the journal and of the runs.
        workers: processes side by side; one works in this process.
        device: of all of them: "auto", "cpu", "cuda", ...
        said: called with a line about each run that is done or has failed.
        kept: called with all results after each run.

    Returns: the results of all runs by `Ablation.key`; see `train_and_score`. A run that failed is left out.

    Raises:
        UsageError: an unknown grid, or settings that don't fit the recipe.
        OutputError: the folder can't be written.
    """
    folder = Path(out)
    wanted = list(_jobs(ablation, grids, folder, device))
    with Journal(folder / JOURNAL, exclusive=True) as journal, _executor(workers, device) as executor:
        results = read_results(folder)
        jobs = [(name, job) for name, job in wanted if job.key not in results]
        if ablation.align:
            places = sorted({(job.seed, job.fold) for _, job in jobs})
            starts = [_alignment(ablation, seed, fold, folder, device) for seed, fold in places]
            for alignment, future in _done(executor, align, {alignment: alignment.file.stem for alignment in starts}):
                future.result()
                said(f"{alignment.file.stem}: aligned")
        names = {job: f"{name}, seed {job.seed}, fold {job.fold}" for name, job in jobs}
        for number, (job, future) in enumerate(_done(executor, train_and_score, names), 1):
            try:
                result = future.result()
            except (TrainingError, InputError) as error:
                said(f"{number}/{len(jobs)} {names[job]} failed: {error}")
                continue
            journal.append(result)
            results[job.key] = result
            seconds = sum(result["seconds"].values())
            said(f"{number}/{len(jobs)} {names[job]}: mIoU {result['miou']:.2f} ({seconds:.0f} s)")
            kept(results)
    return results


def read_results(out: str | os.PathLike[str]) -> dict[str, dict[str, Any]]:
    """The results that the journal of a folder holds, by `Ablation.key`."""
    return {entry["key"]: entry for entry in read_journal(Path(out) / JOURNAL)}


def _jobs(ablation: Ablation, grids: Sequence[str], folder: Path, device: str) -> Iterator[tuple[str, Job]]:
    """Every run that the grids ask for, once, with its cell's name."""
    found = {name: find_grid(name) for name in grids}
    seen: set[str] = set()
    for name, grid in found.items():
        for seed in range(ablation.seeds):
            for fold in range(ablation.folds):
                for cell in grid.cells:
                    recipe = ablation.recipe_of(cell)
                    start = ablation.start
                    if ablation.align:
                        start = aligned_start(_aligned_file(ablation, seed, fold, folder), recipe.options)
                    job = _job(ablation, recipe, seed, fold, folder, device, start)
                    if job.key not in seen:
                        seen.add(job.key)
                        yield f"{name} {cell.name}", job


def _job(ablation: Ablation, recipe: Recipe, seed: int, fold: int, folder: Path, device: str, start: Start) -> Job:
    key = ablation.key(recipe, seed, fold)
    return Job(
        key=key,
        recipe=recipe,
        learnt=ablation.learnt(fold),
        held_out=ablation.held_out(fold),
        evaluation=ablation.evaluation,
        seed=seed,
        fold=fold,
        start=start,
        folder=folder / "runs" / key,
        device=device,
    )


def _alignment(ablation: Ablation, seed: int, fold: int, folder: Path, device: str) -> Alignment:
    file = _aligned_file(ablation, seed, fold, folder)
    job = _job(ablation, _alignment_recipe(ablation), seed, fold, folder, device, ablation.start)
    return Alignment(job=replace(job, folder=file.with_suffix("")), file=file)


def _aligned_file(ablation: Ablation, seed: int, fold: int, folder: Path) -> Path:
    key = ablation.key(_alignment_recipe(ablation), seed, fold)
    return folder / "aligned" / f"seed-{seed}-fold-{fold}-{key}.safetensors"


def _alignment_recipe(ablation: Ablation) -> Recipe:
    """The recipe without aggregation; the projections, which are all that it has, at the full rate."""
    return replace(ablation.recipe, options=Options(aggregation="none"), steps=ablation.align, fod=0.0, tower_rate=1.0)


@contextmanager
def _executor(workers: int, device: str) -> Iterator[Executor | None]:
    """Processes that take jobs; None for this one alone."""
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
    """In each process: few threads, readers of pictures that don't import PyTorch anew in every run, and no orphans."""
    torch.set_num_threads(threads)
    multiprocessing.set_forkserver_preload(["segvoc.data.training.training_set"])
    threading.Thread(target=_leave_with_parent, daemon=True).start()


def _leave_with_parent() -> None:
    """A run goes on from its checkpoint, so a process whose parent was killed may stop at any moment."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _done(
    executor: Executor | None, work: Callable[[Any], Any], items: Mapping[Any, str]
) -> Iterable[tuple[Any, Future[Any]]]:
    """Each item with what the work on it gave, as it is done."""
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
