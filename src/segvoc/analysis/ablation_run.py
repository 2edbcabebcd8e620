"""One run of an ablation: a network is trained on some pictures and scored on others, in a process of its own."""

import os
import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from segvoc.checkpoints.files import write_weights
from segvoc.data.labelled_images import LabelledImages
from segvoc.data.training.training_set import seed_of
from segvoc.encoders.efficientnet import EfficientNetLite
from segvoc.errors import UsageError
from segvoc.evaluation.metrics.confusion import Confusion
from segvoc.evaluation.runner import Network, label_and_score
from segvoc.evaluation.score_journal import ScoreJournal, read_scores
from segvoc.evaluation.task import Settings, Task
from segvoc.inference.segmenter import Segmenter
from segvoc.models.loading import load
from segvoc.networks.options import Options
from segvoc.training.parameters import trainable_count
from segvoc.training.recipe import Recipe
from segvoc.training.run import train
from segvoc.training.run_folder import RunFolder
from segvoc.training.start import Start, build

KEPT = ("config.json", "metrics.jsonl")
"""What stays of a run's folder: a network of tiny's size is 120 MB."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Job:
    """What a run needs.

    learnt, held_out: pictures to learn from and to be scored on. evaluation: how. folder: of the run.
    """

    key: str
    recipe: Recipe
    learnt: LabelledImages
    held_out: LabelledImages
    evaluation: Settings
    seed: int
    fold: int
    start: Start
    folder: Path
    device: str


def train_and_score(job: Job) -> dict[str, Any]:
    """Train by the ordinary loop and score the held-out pictures as `segvoc evaluate` does.

    A run that was broken off goes on from its checkpoint. Of its folder only the configuration and the metrics stay.

    Returns: "miou" and "pixel_accuracy" in percent of all held-out pictures together, "unreadable" pictures, the
        "losses" of the last step, "trainable" parameters, "seconds" of training and evaluation.

    Raises:
        SegvocError: see `segvoc.training.run.train`.
    """
    start = time.perf_counter()
    # one held-out picture to look at: the loop wants some, and the scores come from the evaluation
    watched = replace(job.held_out, images=job.held_out.images[:1])
    options: dict[str, Any] = {"seed": job.seed, "device": job.device, "resume": True, "progress": False}
    train(job.recipe, job.learnt, job.folder, start=job.start, watched=watched, **options)
    trained = time.perf_counter()
    model = job.folder / "model.safetensors"
    segmenter = load(model, device=job.device)
    scores, unreadable = held_out_scores(segmenter, job.held_out, job.evaluation, job.folder / "evaluation")
    last = RunFolder(job.folder).read_lines("metrics.jsonl")[-1]
    result = {
        "key": job.key,
        "seed": job.seed,
        "fold": job.fold,
        **scores,
        "unreadable": unreadable,
        "losses": {name: value for name, value in last.items() if name in _LOSSES or name.startswith("fod_")},
        "trainable": trainable_count(segmenter.network, job.recipe),
        "seconds": {"train": trained - start, "evaluate": time.perf_counter() - trained},
        "on": device_name(segmenter.device),
    }
    for entry in job.folder.iterdir():
        if entry.name not in KEPT:
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    return result


_LOSSES = ("loss", "segmentation", "fod")


def held_out_scores(
    segmenter: Segmenter, pictures: LabelledImages, settings: Settings, folder: Path
) -> tuple[dict[str, float], int]:
    """Mean IoU and pixel accuracy of all pictures together, in percent, and how many can't be read."""
    shutil.rmtree(folder, ignore_errors=True)  # a run that was broken off is scored anew
    task = Task(name=pictures.name, title=pictures.name, images=pictures, classes=pictures.vocabulary.words)
    network, records = Network(segmenter, task, settings), task.pictures(settings.limit)
    chunks = [records[at : at + network.batch] for at in range(0, len(records), network.batch)]
    with ScoreJournal(folder, {}) as journal:
        failures = label_and_score(network, chunks, journal, lambda picture, problem: None)
    counts = {score.stem: score.confusion for score in read_scores(folder)}
    scores = Confusion.total(counts.values(), len(task.classes)).scores()
    return {"miou": scores.miou, "pixel_accuracy": scores.pixel_accuracy}, len(failures)


@dataclass(frozen=True, kw_only=True, eq=False)
class Alignment:
    """The start of a seed's and fold's cells: tiny's projections, drawn anew, after some steps without aggregation.

    Those that ship have learnt from photographs that may be held out here. job: of that training. file: its result.
    """

    job: Job
    file: Path


def align(alignment: Alignment) -> None:
    """Train the projections, unless that is done.

    Raises:
        UsageError: the recipe's network has no projections of tiny.
    """
    job, file = alignment.job, alignment.file
    if file.exists():
        return
    recipe, _, network = build(job.recipe, job.start, job.seed)
    tower = network.image_encoder
    if not isinstance(tower, EfficientNetLite):
        raise UsageError(f"{job.recipe.model} has no projections to align; leave out --align")
    redraw_projections(tower, seed_of(job.seed, "projections"))
    fresh = file.with_name(f"{file.stem}.fresh.safetensors")
    if not fresh.exists():
        write_weights(fresh, network.state_dict(), recipe.model, options=recipe.options.chosen())
    watched = replace(job.held_out, images=job.held_out.images[:1])
    train(
        recipe,
        job.learnt,
        job.folder,
        start=Start(weights=os.fspath(fresh)),
        watched=watched,
        seed=job.seed,
        device=job.device,
        resume=True,
        progress=False,
    )
    (job.folder / "model.safetensors").replace(file)
    fresh.unlink()
    shutil.rmtree(job.folder)


def redraw_projections(tower: EfficientNetLite, seed: int) -> None:
    """Give tiny's tower projections that have learnt nothing."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        for projection in (tower.project_head, tower.project_stages):
            projection.reset_parameters()


def aligned_start(file: Path, options: Options) -> Start:
    """What a cell begins with: of an aligned network all that it has too, the towers and the sum of costs."""
    if options.aggregation == "none":
        return Start(weights=os.fspath(file))
    return Start(encoder_weights=os.fspath(file))


def device_name(device: torch.device) -> str:
    """A GPU's name, or "cpu"."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
