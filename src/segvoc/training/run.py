"""`segvoc train`: trains a network with a recipe and writes the results to a run folder."""

import os
import platform
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from segvoc.checkpoints.files import FORMAT, write_weights
from segvoc.checkpoints.origins import content_hash
from segvoc.data.labeled_images import LabeledImages
from segvoc.data.training.augmentations import OwnTransform, Transform
from segvoc.errors import UsageError
from segvoc.evaluation.task import EvaluationTask
from segvoc.inference.taught.taught_words import TaughtWords
from segvoc.layers.precision import lowest_precision
from segvoc.models.headers import CUSTOM, TRAINING, configuration_record, taught_tensors
from segvoc.models.loading import find_device, segmenter_of
from segvoc.models.network_segmenter import NetworkSegmenter
from segvoc.models.presets import find_preset
from segvoc.networks.base import SegmentationNetwork
from segvoc.runtime.distributed import Processes, join_processes
from segvoc.runtime.process_settings import float32_products
from segvoc.runtime.progress import announced, print_line
from segvoc.runtime.version import __version__
from segvoc.storage.atomic_writes import write_atomically
from segvoc.storage.records import to_json
from segvoc.training.callbacks import Callback, Followers, RunStart
from segvoc.training.caption_task import CaptionFiles
from segvoc.training.loop import Training
from segvoc.training.monitor import Monitor
from segvoc.training.recipe import Recipe
from segvoc.training.run_folder import FEATURES, MODEL_FILE, STARTED_FROM, RunFolder, open_together
from segvoc.training.start import Start, build
from segvoc.training.trackers import default_callbacks
from segvoc.training.training_data import CaptionTrainingData, LabelTrainingData, training_data_of
from segvoc.training.tuning import TUNED_WORDS_FILE, Tuning, open_tuning


@dataclass(frozen=True, kw_only=True)
class TrainingResult:
    """The result of a run."""

    weights: Path
    """The trained weights, for `segvoc.load`."""
    metrics: dict[str, Any]
    """Last step's metrics, a line of metrics.jsonl: "step", "loss" and its terms, "learning_rate", "seconds", ..."""
    validation: dict[str, Any] | None
    """The last validation scores, a line of watched.jsonl; None without a validation."""


def train(
    recipe: Recipe,
    images: LabeledImages | CaptionFiles,
    out: str | os.PathLike[str],
    *,
    network: SegmentationNetwork | None = None,
    start: Start | None = None,
    watched: LabeledImages | EvaluationTask | None = None,
    object_maps: LabeledImages | None = None,
    transform: Transform | None = None,
    seed: int | None = None,
    device: str = "auto",
    resume: bool = False,
    progress: bool = True,
    callbacks: Sequence[Callback] | None = None,
) -> TrainingResult:
    """Train a network with a recipe and write it to `model.safetensors` in the run folder.

    See `segvoc.training.run_folder` for the other files in the folder.

    Args:
        recipe: the training recipe. `recipe.model` may be a file written by segvoc, which then also provides the
            initial weights.
        images: training data: labeled images, or captioned ones for a recipe that learns from captions.
        out: the run folder: a new one, or with `resume` that of an interrupted run.
        network: a custom network with its weights, used instead of the recipe's model; for example, a preset with a
            different aggregation. It is trained in place and is in evaluation mode afterwards. Image sizes and prompts
            are those of the recipe's model. `segvoc.load(..., network=...)` loads the result.
        start: the initial weights; omit it if you pass `network`.
        watched: the validation set, scored as in `segvoc evaluate`. None:
            `recipe.data.num_val_images` of `images`, or a few of the training images.
        object_maps: label maps of the objects, for a part network whose part label maps don't imply the object.
        transform: a custom transform, `image, labels = transform(image, labels, rng)`, applied to training images
            before the recipe's augmentation; see `segvoc.data.training.augmentations`.
        seed: seed of all random numbers; None: the recipe's first.
        device: "auto", "cpu", "cuda", ...; under `torchrun` each process uses its own GPU.
        resume: continue from the last checkpoint, or start a new run if there is none.
        progress: whether to show progress: a bar on a terminal, otherwise an occasional line.
        callbacks: `segvoc.training.trackers`, or your own `segvoc.Callback`. None: TensorBoard files in the run
            folder, if the package is installed.

    Returns:
        The path of the weights, and the last metrics; the same in every process.

    Raises:
        UsageError: the recipe, weights or folder don't fit together.
        TrainingError: the loss was not finite in too many consecutive steps.
        InputError: no image can be read.
        OutputError: a file can't be written, for example because the disk is full.
        SystemExit: the process received SIGTERM or SIGINT; the run can be resumed.
    """
    own = None if transform is None else OwnTransform(function=transform)
    _check_call(recipe, images, network, start, own)
    seed = recipe.seeds[0] if seed is None else seed
    custom, quiet = network is not None, not (progress and Processes.from_environment().first)
    taught: tuple[TaughtWords, ...] = ()
    if network is None:
        with announced(f"building {recipe.model} and reading its weights", silent=quiet):
            built = build(recipe, start or Start(), seed)
        recipe, preset, network, started_from = built.recipe, built.preset, built.network, built.started_from
        taught = built.taught
    else:
        preset, started_from = find_preset(recipe.model), ()
    where = find_device(Processes.from_environment().own_device(device))
    if where.index is not None and where.type == "cuda":
        torch.cuda.set_device(where)  # NCCL and CUDA graphs use the current device
    configuration = recipe.network_config()
    templates = preset.templates_of(configuration)
    on_gpu = where.type == "cuda"
    # all crops have the same size, so cuDNN benchmarks its algorithms once
    products = float32_products(tf32=on_gpu and recipe.runtime.tf32, benchmark=on_gpu)
    with join_processes("nccl" if on_gpu else "gloo") as processes, products, ExitStack() as opened:
        RunFolder.check(out, to_json(recipe) if resume else None)
        with announced("reading what the network learns from", silent=quiet):
            data = training_data_of(
                recipe, images, watched, object_maps, seed, Path(out), processes, silent=quiet, transform=own
            )
        config = _config(recipe, start or Start(), data, seed, network) | {STARTED_FROM: list(started_from)}
        network = network.to(where)
        config["session"] = _session(processes, where)
        folder, state = open_together(processes, out, config, resume=resume)
        opened.enter_context(folder)

        def model(step: int) -> NetworkSegmenter:
            found = segmenter_of(f"step {step}", preset, network, configuration, _training_record(config))
            found.taught = taught
            return found

        monitor = Monitor(
            folder=folder,
            recipe=recipe,
            segmenter=model,
            watched=data.watched,
            processes=processes,
            progress=progress,
        )
        tuning = None
        if recipe.method == "words":
            tuning = open_tuning(model, data, folder.path / FEATURES, processes, monitor.warn, silent=quiet)
            task, monitor.segmenter = tuning, tuning.segmenter
        else:
            with announced("encoding the classes' names", silent=quiet or isinstance(data, CaptionTrainingData)):
                task = data.task(network, templates, monitor.warn)
        for note in folder.notes:
            monitor.warn(note)
        if processes.first:
            chosen = default_callbacks() if callbacks is None else callbacks
            monitor.followers = Followers(chosen, monitor.warn)
        start_of_run = RunStart(
            folder=folder.path,
            config={key: value for key, value in config.items() if key != "session"},
            steps=recipe.optimizer.steps,
            done=0 if state is None else state["step"],
            kept=folder.kept(),
            keep=folder.keep,
        )
        with monitor.followers.session(start_of_run, folder.path / MODEL_FILE):
            # not kept in a variable: a wrapped network must not outlive the process group
            weights = _trained(
                Training(
                    network=network if tuning is None else tuning.network,
                    task=task,
                    recipe=recipe,
                    folder=folder,
                    seed=seed,
                    processes=processes,
                    on_step=monitor.step,
                    warn=monitor.warn,
                    watch=monitor.watch,
                ),
                state,
                monitor,
            )
            if processes.first:
                if tuning is not None:
                    taught, weights = _tuned(tuning, weights, folder, taught), network.state_dict()
                tensors, header = taught_tensors(taught)
                metadata = data.metadata() | header | ({CUSTOM: True} if custom else {})
                _write_model(folder, recipe, metadata, weights | tensors, config)
        processes.gather(None)  # no process returns before the file exists
    metrics, watched_lines = (folder.read_lines(name)[-1:] for name in ("metrics.jsonl", "watched.jsonl"))
    # same memory format as after loading: channels-last weights would change the last bits of results
    network.eval().to(memory_format=torch.contiguous_format)
    return TrainingResult(
        weights=folder.path / MODEL_FILE,
        metrics=metrics[0],
        validation=watched_lines[0] if watched_lines else None,
    )


def _check_call(
    recipe: Recipe,
    images: LabeledImages | CaptionFiles,
    network: SegmentationNetwork | None,
    start: Start | None,
    transform: OwnTransform | None,
) -> None:
    """Refuse arguments of `train` that don't fit together."""
    if (recipe.supervision == "captions") != isinstance(images, CaptionFiles):
        raise UsageError(f"this recipe learns from {recipe.supervision}; pass images with {recipe.supervision}")
    if os.environ.get("OMP_DYNAMIC", "").strip().lower() in ("1", "true"):
        # oneDNN kernels wait forever for threads that OpenMP hasn't started
        raise UsageError("OMP_DYNAMIC makes training hang; unset it before Python starts")
    if network is not None and start is not None:
        raise UsageError("a custom network already has weights; leave out `start`")
    if network is not None and lowest_precision(network).itemsize < torch.float32.itemsize:
        kind = str(lowest_precision(network)).removeprefix("torch.")
        raise UsageError(f"the network's weights were rounded to {kind}; train it loaded with dtype='float32'")
    if transform is not None and recipe.supervision == "captions":
        raise UsageError("a recipe that learns from captions takes no transform; leave it out")
    if transform is not None and recipe.runtime.num_workers:
        transform.check_sendable()


def _tuned(
    tuning: Tuning, weights: dict[str, Tensor], folder: RunFolder, taught: tuple[TaughtWords, ...]
) -> tuple[TaughtWords, ...]:
    """The words taught before and the tuned ones; the latter are also written separately, with images."""
    words, best = tuning.finish(weights, folder.read_lines("watched.jsonl"))
    if words is None:
        print_line("segvoc: warning: no better on held-out images than by text alone, so the words keep it")
        return taught
    words.save(folder.path / TUNED_WORDS_FILE)
    _compare_in_images(folder.path, best)
    return (*taught, words)


def _compare_in_images(run: Path, best: int) -> None:
    """Write before_after/NAME.png for six validation images: overlays before training and at the best step."""
    before, after = (run / "images" / f"step_{step:06d}" for step in (0, best))
    for path in sorted(before.rglob("*.png"))[:6]:
        name = path.relative_to(before)
        if not (after / name).exists():
            continue
        with Image.open(path) as one, Image.open(after / name) as other:
            pair = Image.new("RGB", (one.width + 8 + other.width, max(one.height, other.height)), "white")
            pair.paste(one, (0, 0))
            pair.paste(other, (one.width + 8, 0))
        write_atomically(run / "before_after" / name, lambda file, pair=pair: pair.save(file, "PNG"))


def _trained(training: Training, state: dict[str, Any] | None, monitor: Monitor) -> dict[str, Tensor]:
    """Run all remaining steps; returns the final weights."""
    if state is not None:
        training.restore(state)
    with monitor.session(training.step):
        training.run()
        return training.weights()


def _config(
    recipe: Recipe, start: Start, data: LabelTrainingData | CaptionTrainingData, seed: int, network: SegmentationNetwork
) -> dict[str, Any]:
    """Everything that the run's results depend on."""
    return {
        "recipe": to_json(recipe),
        "seed": seed,
        "start": {"weights": start.weights, "encoder_weights": start.encoder_weights},
        "weights_digest": content_hash(network),
        **data.described(),
    }


def _session(processes: Processes, device: torch.device) -> dict[str, Any]:
    """Time, command and machine of a start or resume. Entries of "machine" can change the last bits of results."""
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": sys.argv,
        "machine": {
            "threads": torch.get_num_threads(),
            "instruction_set": torch.backends.cpu.get_cpu_capability(),
            "processes": processes.count,
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
            "segvoc": __version__,
            "torch": torch.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
    }


def _training_record(config: dict[str, Any]) -> dict[str, Any]:
    return {key: config[key] for key in ("recipe", "seed", "start", STARTED_FROM)}


def _write_model(
    folder: RunFolder, recipe: Recipe, metadata: dict[str, Any], weights: dict[str, Tensor], config: dict[str, Any]
) -> None:
    record: dict[str, Any] = {
        "format": FORMAT,
        "origin": "trained by segvoc train",
        "license": "that of the weights it started from and of its images",
        "version": __version__,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        TRAINING: _training_record(config),
        **metadata,
    }
    record |= configuration_record(recipe.network_config())
    write_weights(folder.path / MODEL_FILE, weights, recipe.model, **record)
