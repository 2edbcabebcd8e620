"""The runs of an ablation: each cell of a grid is trained with several seeds and scored by cross-validation.

    ablation = Ablation(recipe=tiny_aggregation(), images=LabeledImages.from_folders(...), seeds=3, folds=2)
    results = run_grids(ablation, {"5a": GRIDS["5a"]}, "ablation/")

Each finished run is a line in `runs.jsonl`: a call that resumes, or adds grids, seeds or folds,
trains only the missing runs. `papers.ablation` has the grids and makes the table.
"""

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from segvoc.checkpoints.files import write_weights
from segvoc.data.labeled_images import LabeledImages
from segvoc.data.training.training_set import seed_of
from segvoc.encoders.efficientnet import EfficientNetLite
from segvoc.errors import InputError, TrainingError, UsageError
from segvoc.evaluation.metrics import Confusion
from segvoc.evaluation.protocol import evaluation_protocol
from segvoc.evaluation.runner import TaskSegmenter, segment_and_score
from segvoc.evaluation.task import EvaluationSettings, EvaluationTask
from segvoc.models.headers import configuration_record
from segvoc.models.network_segmenter import NetworkSegmenter
from segvoc.models.opening import load_network
from segvoc.networks.base import NetworkConfig
from segvoc.networks.tiny import TinyConfig
from segvoc.storage.records import to_json
from segvoc.storage.resume import ResumableWork, read_done
from segvoc.training.parameters import learning_rates
from segvoc.training.recipe import Recipe
from segvoc.training.run import train
from segvoc.training.run_folder import RunFolder
from segvoc.training.start import Start, build

FINISHED_RUNS = "runs.jsonl"

KEPT_FILES = ("config.json", "metrics.jsonl")
"""Files of a run's folder that are kept; each set of weights would take 120 MB for tiny."""

_LOSSES = ("loss", "segmentation", "fod")


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One row of a table."""

    name: str
    settings: tuple[str, ...]
    """Settings as `Recipe.with_settings` reads them."""
    published: str = ""
    """Score that the paper reports for its own networks, with the benchmark's name."""


@dataclass(frozen=True, kw_only=True)
class Grid:
    """A table."""

    title: str
    cells: tuple[Cell, ...]
    """Its rows; all are compared with the first."""


@dataclass(frozen=True, kw_only=True)
class Ablation:
    """Settings shared by all cells of all grids."""

    recipe: Recipe
    """The base recipe."""
    images: LabeledImages
    """Images for training and scoring; a run trains on all folds but one and is scored on that fold."""
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
        """Check the numbers of seeds and folds."""
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


@dataclass(frozen=True, kw_only=True, eq=False)
class Job:
    """A run."""

    key: str
    """Name of the run, see `Ablation.key`."""
    recipe: Recipe
    training_images: LabeledImages
    held_out: LabeledImages
    """Images that the run is scored on."""
    evaluation: EvaluationSettings
    seed: int
    fold: int
    start: Start
    folder: Path
    device: str

    def train(self, recipe: Recipe, start: Start) -> None:
        """Train with the usual loop, from its last checkpoint if it was interrupted."""
        # the loop needs a validation image; the scores come from the evaluation
        validation = replace(self.held_out, images=self.held_out.images[:1])
        options: dict[str, Any] = {"seed": self.seed, "device": self.device, "resume": True, "progress": False}
        train(recipe, self.training_images, self.folder, start=start, validation=validation, **options)


def run_grids(
    ablation: Ablation,
    grids: Mapping[str, Grid],
    out: str | os.PathLike[str],
    *,
    device: str = "auto",
    log: Callable[[str], object] = lambda line: None,
) -> dict[str, dict[str, Any]]:
    """Train and score all unfinished runs of a folder.

    Args:
        ablation: what all cells have in common.
        grids: the grids by name, in the order of training. All cells of one seed and fold are trained before the next
            fold, so that the results can be compared at any time.
        out: folder of the runs and the list of finished runs.
        device: "auto", "cpu", "cuda", ...
        log: called with a line per finished or failed run.

    Returns:
        The results of all runs by `Ablation.key`, see `train_and_score`, without failed runs.
    """
    folder = Path(out)
    wanted = list(_jobs(ablation, grids, folder, device))
    with ResumableWork(folder / FINISHED_RUNS, {}) as work:
        results = read_results(folder)
        jobs = [(name, job) for name, job in wanted if job.key not in results]
        if ablation.align:
            for seed, fold in sorted({(job.seed, job.fold) for _, job in jobs}):
                aligned = _alignment(ablation, seed, fold, folder, device)
                align(aligned)
                log(f"{aligned.folder.name}: aligned")
        for number, (name, job) in enumerate(jobs, 1):
            told = f"{number}/{len(jobs)} {name}, seed {job.seed}, fold {job.fold}"
            try:
                result = train_and_score(job)
            except (TrainingError, InputError) as error:
                log(f"{told} failed: {error}")
                continue
            work.finish(job.key, value=result)
            results[job.key] = result
            log(f"{told}: mIoU {result['miou']:.2f} ({sum(result['seconds'].values()):.0f} s)")
    return results


def read_results(out: str | os.PathLike[str]) -> dict[str, dict[str, Any]]:
    """Read the results of the finished runs in a folder, by `Ablation.key`."""
    return {key: result for key, _, result in read_done([Path(out) / FINISHED_RUNS], {}, dict)}


def _jobs(ablation: Ablation, grids: Mapping[str, Grid], folder: Path, device: str) -> Iterator[tuple[str, Job]]:
    """The runs of some grids, each once, with the name of its cell."""
    seen: set[str] = set()
    for name, grid in grids.items():
        for seed in range(ablation.seeds):
            for fold in range(ablation.folds):
                for cell in grid.cells:
                    recipe, start = ablation.recipe_of(cell), ablation.start
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
    """Training without aggregation; only the projections train, at the full learning rate."""
    settings = {"aggregation": "none", "steps": ablation.align, "fod_weight": 0.0, "encoder_lr_scale": 1.0}
    job = _job(ablation, ablation.recipe.with_settings(**settings), seed, fold, folder, device, ablation.start)
    return replace(job, folder=folder / "aligned" / f"seed-{seed}-fold-{fold}-{job.key}")


def train_and_score(job: Job) -> dict[str, Any]:
    """Train with the usual loop and score the held-out images like `segvoc evaluate`.

    An interrupted run resumes from its checkpoint. Only the configuration and the metrics of its folder are kept.

    Returns:
        "miou" and "pixel_accuracy" in percent over all held-out images, "unreadable" (number of images), "losses" of
        the last step, "trainable" parameters, and "seconds" of training and evaluation.
    """
    start = time.perf_counter()
    job.train(job.recipe, job.start)
    trained = time.perf_counter()
    segmenter = load_network(job.folder / "model.safetensors", device=job.device, dtype="float32")
    scores, unreadable = held_out_scores(segmenter, job.held_out, job.evaluation)
    last = RunFolder(job.folder).read_lines("metrics.jsonl")[-1]
    device, network = segmenter.device, segmenter.network
    result = {
        "key": job.key,
        "seed": job.seed,
        "fold": job.fold,
        **scores,
        "unreadable": unreadable,
        "losses": {name: value for name, value in last.items() if name in _LOSSES or name.startswith("fod_")},
        "trainable": sum(network.get_parameter(name).numel() for name in learning_rates(network, job.recipe)),
        "seconds": {"train": trained - start, "evaluate": time.perf_counter() - trained},
        "on": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
    }
    for entry in job.folder.iterdir():
        if entry.name not in KEPT_FILES:
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    return result


def held_out_scores(
    segmenter: NetworkSegmenter, images: LabeledImages, settings: EvaluationSettings
) -> tuple[dict[str, float], int]:
    """Mean IoU and pixel accuracy in percent over all images, and the number of images that can't be read."""
    task = EvaluationTask(name=images.name, title=images.name, images=images, classes=images.vocabulary.words)
    network = TaskSegmenter(segmenter, task, evaluation_protocol(segmenter, task, settings))
    batches, counts = network.batches(task.select_images(settings.limit)), list[Confusion]()
    failures = segment_and_score(network, batches, lambda *result: counts.append(result[-1].confusion))
    scores = Confusion.total(counts, len(task.classes)).scores()
    return {"miou": scores.miou, "pixel_accuracy": scores.pixel_accuracy}, len(failures)


def aligned_file(job: Job) -> Path:
    """Weights file written by `align`."""
    return job.folder.with_suffix(".safetensors")


def align(job: Job) -> None:
    """Train the common start of all cells of a seed and fold, unless it exists: tiny with new projections.

    It is trained without aggregation. The shipped projections were trained on photographs that may be held out here.
    """
    file = aligned_file(job)
    if file.exists():
        return
    built = build(job.recipe, job.start, job.seed)
    recipe, network = built.recipe, built.network
    tower = network.image_encoder
    if not isinstance(tower, EfficientNetLite):
        raise UsageError(f"{job.recipe.model} has no projections to align; leave out --align")
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed_of(job.seed, "projections"))
        for projection in (tower.project_head, tower.project_stages):
            projection.reset_parameters()
    fresh = file.with_name(f"{file.stem}.fresh.safetensors")
    if not fresh.exists():
        write_weights(fresh, network.state_dict(), recipe.model, **configuration_record(recipe.network_config()))
    job.train(recipe, Start(weights=os.fspath(fresh)))
    (job.folder / "model.safetensors").replace(file)
    fresh.unlink()
    shutil.rmtree(job.folder)


def aligned_start(file: Path, network: NetworkConfig) -> Start:
    """The start of a cell: all weights that it shares with the aligned network."""
    if isinstance(network, TinyConfig) and network.aggregation.kind == "none":
        return Start(weights=os.fspath(file))
    return Start(encoder_weights=os.fspath(file))
