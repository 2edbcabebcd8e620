"""One run of an ablation: train a network on some folds of the images and score it on the fold held out."""

import os
import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from segvoc.checkpoints.files import write_weights
from segvoc.data.labeled_images import LabeledImages
from segvoc.data.training.training_set import seed_of
from segvoc.encoders.efficientnet import EfficientNetLite
from segvoc.errors import UsageError
from segvoc.evaluation.metrics.confusion import Confusion
from segvoc.evaluation.protocol import evaluation_protocol
from segvoc.evaluation.runner import TaskSegmenter, segment_and_score
from segvoc.evaluation.task import EvaluationSettings, EvaluationTask
from segvoc.models.builders import NetworkConfig
from segvoc.models.headers import configuration_record
from segvoc.models.loading import load_network
from segvoc.models.network_segmenter import NetworkSegmenter
from segvoc.networks.tiny import TinyConfig
from segvoc.training.parameters import trainable_count
from segvoc.training.recipe import Recipe
from segvoc.training.run import train
from segvoc.training.run_folder import RunFolder
from segvoc.training.start import Start, build

KEPT_FILES = ("config.json", "metrics.jsonl")
"""Files of a run's folder that are kept; each set of weights would take 120 MB for tiny."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Job:
    """A run, as it is handed to a process."""

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


def train_and_score(job: Job) -> dict[str, Any]:
    """Train with the usual loop and score the held-out images as `segvoc evaluate` does.

    An interrupted run resumes from its checkpoint. Of its folder only the configuration and the metrics are kept.

    Returns:
        "miou" and "pixel_accuracy" in percent over all held-out images, "unreadable" (number of images), "losses" of
        the last step, "trainable" parameters, and "seconds" of training and evaluation.

    Raises:
        SegvocError: see `segvoc.training.run.train`.
    """
    start = time.perf_counter()
    # the loop needs an image to watch; the scores come from the evaluation
    watched = replace(job.held_out, images=job.held_out.images[:1])
    options: dict[str, Any] = {"seed": job.seed, "device": job.device, "resume": True, "progress": False}
    train(job.recipe, job.training_images, job.folder, start=job.start, watched=watched, **options)
    trained = time.perf_counter()
    model = job.folder / "model.safetensors"
    segmenter = load_network(model, device=job.device, dtype="float32")
    scores, unreadable = held_out_scores(segmenter, job.held_out, job.evaluation)
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
        if entry.name not in KEPT_FILES:
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    return result


_LOSSES = ("loss", "segmentation", "fod")


def held_out_scores(
    segmenter: NetworkSegmenter, images: LabeledImages, settings: EvaluationSettings
) -> tuple[dict[str, float], int]:
    """Mean IoU and pixel accuracy in percent over all images, and the number of images that can't be read."""
    task = EvaluationTask(name=images.name, title=images.name, images=images, classes=images.vocabulary.words)
    network = TaskSegmenter(segmenter, task, evaluation_protocol(segmenter, task, settings))
    records = task.select_images(settings.limit)
    chunks = [records[at : at + network.batch] for at in range(0, len(records), network.batch)]
    counts: list[Confusion] = []
    failures = segment_and_score(network, chunks, lambda image, truth, score: counts.append(score.confusion))
    scores = Confusion.total(counts, len(task.classes)).scores()
    return {"miou": scores.miou, "pixel_accuracy": scores.pixel_accuracy}, len(failures)


def aligned_file(job: Job) -> Path:
    """Where `align` puts the weights."""
    return job.folder.with_suffix(".safetensors")


def align(job: Job) -> None:
    """Train the common start of all cells of a seed and fold, unless it is there: tiny with new projections.

    It is trained without aggregation. The projections that ship were trained on photographs which may be held out here.

    Raises:
        UsageError: the recipe's network doesn't have tiny's projections.
    """
    file = aligned_file(job)
    if file.exists():
        return
    built = build(job.recipe, job.start, job.seed)
    recipe, network = built.recipe, built.network
    tower = network.image_encoder
    if not isinstance(tower, EfficientNetLite):
        raise UsageError(f"{job.recipe.model} has no projections to align; leave out --align")
    redraw_projections(tower, seed_of(job.seed, "projections"))
    fresh = file.with_name(f"{file.stem}.fresh.safetensors")
    if not fresh.exists():
        write_weights(fresh, network.state_dict(), recipe.model, **configuration_record(recipe.network_config()))
    watched = replace(job.held_out, images=job.held_out.images[:1])
    train(
        recipe,
        job.training_images,
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
    """Reset the projections of tiny's image encoder to random weights."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        for projection in (tower.project_head, tower.project_stages):
            projection.reset_parameters()


def aligned_start(file: Path, network: NetworkConfig) -> Start:
    """How a cell starts: with all of the aligned network's weights that it has too."""
    if isinstance(network, TinyConfig) and network.aggregation.kind == "none":
        return Start(weights=os.fspath(file))
    return Start(encoder_weights=os.fspath(file))


def device_name(device: torch.device) -> str:
    """Name of a GPU, or "cpu"."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
