"""`segvoc train`: trains a network with a recipe and writes the results to a run folder."""

import importlib.util
import os
import platform
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from segvoc.checkpoints.files import write_weights
from segvoc.checkpoints.origins import content_hash
from segvoc.errors import UsageError
from segvoc.inference.taught.taught_words import TaughtWords
from segvoc.models.headers import CUSTOM, TRAINING, configuration_record, origin_record, taught_tensors
from segvoc.models.loading import find_device
from segvoc.models.presets import find_preset
from segvoc.networks.base import SegmentationNetwork
from segvoc.runtime.distributed import Processes, join_processes
from segvoc.runtime.process_settings import float32_products
from segvoc.runtime.progress import announced, print_line
from segvoc.runtime.suggestions import checked_call
from segvoc.runtime.version import __version__
from segvoc.storage.atomic_writes import write_atomically
from segvoc.storage.records import to_json
from segvoc.training.callbacks import RunStart
from segvoc.training.caption_task import CaptionData, CaptionFiles
from segvoc.training.cuda_passes import CudaPasses
from segvoc.training.loop import Passes, Training, TrainingTask
from segvoc.training.monitor import Monitor
from segvoc.training.recipe import Recipe
from segvoc.training.run_folder import FEATURES, MODEL_FILE, STARTED_FROM, RunFolder, open_together
from segvoc.training.start import Start, build
from segvoc.training.trackers import TensorBoard
from segvoc.training.training_data import LabelData, TrainingImages, TrainOptions, check_options
from segvoc.training.tuning import TUNED_WORDS_FILE, Tuning


@dataclass(frozen=True, kw_only=True)
class TrainingResult:
    """The result of a run."""

    weights: Path
    """The trained weights, for `segvoc.load`."""
    metrics: dict[str, Any]
    """Last step's metrics, a line of metrics.jsonl: "step", "loss" and its terms, "learning_rate", "seconds", ..."""
    validation: dict[str, Any] | None
    """The last validation scores, a line of validation.jsonl; None without a validation."""


@checked_call
def train(
    recipe: Recipe, images: TrainingImages, out: str | os.PathLike[str], **options: Unpack[TrainOptions]
) -> TrainingResult:
    """Train a network with a recipe and write it to `model.safetensors` in the run folder.

    See `segvoc.training.run_folder` for the other files in the folder.

    Args:
        recipe: the training recipe. `recipe.model` may be a file written by segvoc, which then also provides the
            initial weights.
        images: training data: labeled images, or captioned ones for a recipe that learns from captions.
        out: the run folder: a new one, or with `resume` that of an interrupted run.
        **options: the fields of `TrainOptions`: network, start, validation, object_maps, transform, seed, device,
            resume, progress, callbacks.

    Returns:
        The path of the weights, and the last metrics; the same in every process.

    Raises:
        UsageError: the recipe, weights or folder don't fit together.
        TrainingError: the loss was not finite in too many consecutive steps.
        InputError: no image can be read.
        OutputError: a file can't be written, for example because the disk is full.
        SystemExit: the process received SIGTERM or SIGINT; the run can be resumed.
    """
    check_options(options, recipe)
    start, own, progress = options.get("start") or Start(), options.get("network"), options.get("progress", True)
    resume, seed, callbacks = options.get("resume", False), options.get("seed"), options.get("callbacks")
    captioned = isinstance(images, CaptionFiles)
    if (recipe.supervision == "captions") != captioned:
        raise UsageError(f"this recipe learns from {recipe.supervision}; pass images with {recipe.supervision}")
    seed = recipe.seeds[0] if seed is None else seed
    silent = not (progress and Processes.from_environment().first)
    with announced(f"building {recipe.model} and reading its weights", silent=silent or own is not None):
        built = build(recipe, start, seed, own)
    recipe, network = built.recipe, built.network
    device = find_device(Processes.from_environment().own_device(options.get("device", "auto")))
    with _process_group(device, recipe) as processes, ExitStack() as opened:
        RunFolder.check(out, to_json(recipe) if resume else None)
        with announced("reading what the network learns from", silent=silent):
            if captioned:
                data = CaptionData.of(recipe, images, Path(out), seed=seed, processes=processes, silent=silent)
            else:
                data = LabelData.of(recipe, images, network, options, seed=seed)
        # everything that the run's results depend on
        config = {
            "recipe": to_json(recipe),
            "seed": seed,
            "start": {"weights": start.weights, "encoder_weights": start.encoder_weights},
            "weights_digest": content_hash(network),
            **data.described(),
            STARTED_FROM: list(built.started_from),
        }
        network.to(device)
        session = {**config, "session": _session(processes, device)}
        folder, state = open_together(processes, out, session, resume=resume)
        opened.enter_context(folder)
        record = {key: config[key] for key in ("recipe", "seed", "start", STARTED_FROM)}
        model = partial(built.segmenter, record)
        notes, tuning = [*folder.notes], None
        if recipe.method == "words":
            tuning = Tuning(model, data, folder.path / FEATURES, processes, notes.append, silent=silent)
            task = tuning
        else:
            with announced("encoding the classes' names", silent=silent or captioned):
                task = data.task(network, find_preset(recipe.model).templates_of(recipe.network_config()))
        if callbacks is None:
            callbacks = [TensorBoard()] if importlib.util.find_spec("tensorboard") is not None else []
        monitor = Monitor(
            folder=folder,
            recipe=recipe,
            segmenter=model if tuning is None else tuning.segmenter,
            validation=data.validation,
            processes=processes,
            progress=progress,
            callbacks=callbacks if processes.first else (),
        )
        for note in notes:
            monitor.warn(note)
        done = 0 if state is None else state["step"]
        followed = {"steps": recipe.optimizer.steps, "done": done, "kept": folder.kept(), "keep": folder.keep}
        begun = RunStart(folder=folder.path, config=config, **followed)
        with monitor.followers.session(begun, folder.path / MODEL_FILE):
            trained = network if tuning is None else tuning.network
            weights = _trained(trained, task, monitor, state, seed)
            if processes.first:
                taught = built.spec.taught
                if tuning is not None:
                    taught, weights = _tuned(tuning, weights, folder, taught), network.state_dict()
                tensors, header = taught_tensors(taught)
                metadata = data.metadata() | header | ({} if own is None else {CUSTOM: True})
                _write_model(folder, recipe, weights | tensors, metadata | {TRAINING: record})
        processes.gather(None)  # no process returns before the file exists
    metrics, validations = (folder.read_lines(name)[-1:] for name in ("metrics.jsonl", "validation.jsonl"))
    # same memory format as after loading: channels-last weights would change the last bits of results
    network.eval().to(memory_format=torch.contiguous_format)
    return TrainingResult(
        weights=folder.path / MODEL_FILE, metrics=metrics[0], validation=validations[0] if validations else None
    )


@contextmanager
def _process_group(device: torch.device, recipe: Recipe) -> Iterator[Processes]:
    """The processes of `torchrun`, with the recipe's precision of products on a GPU."""
    on_gpu = device.type == "cuda"
    if on_gpu and device.index is not None:
        torch.cuda.set_device(device)  # NCCL and CUDA graphs use the current device
    # all crops have the same size, so cuDNN benchmarks its algorithms once
    products = float32_products(tf32=on_gpu and recipe.runtime.tf32, benchmark=on_gpu)
    with join_processes("nccl" if on_gpu else "gloo") as processes, products:
        yield processes


def _tuned(
    tuning: Tuning, weights: dict[str, Tensor], folder: RunFolder, taught: tuple[TaughtWords, ...]
) -> tuple[TaughtWords, ...]:
    """The words taught before and the tuned ones; the latter are also written separately, with images."""
    words, best = tuning.finish(weights, folder.read_lines("validation.jsonl"))
    if words is None:
        print_line("segvoc: warning: no better on held-out images than zero-shot, so the words keep it")
        return taught
    words.save(folder.path / TUNED_WORDS_FILE)
    _compare_in_images(folder.path, best)
    return (*taught, words)


def _compare_in_images(run: Path, best: int) -> None:
    """Write before_after/NAME.png for six validation images: overlays before training and at the best step."""
    before, after = (run / "images" / f"step_{step:06d}" for step in (0, best))
    names = (path.relative_to(before) for path in sorted(before.rglob("*.png"))[:6])
    for name in (name for name in names if (after / name).exists()):
        with Image.open(before / name) as one, Image.open(after / name) as other:
            pair = Image.new("RGB", (one.width + 8 + other.width, max(one.height, other.height)), "white")
            pair.paste(one, (0, 0))
            pair.paste(other, (one.width + 8, 0))
        write_atomically(run / "before_after" / name, lambda file, pair=pair: pair.save(file, "PNG"))


def _trained(
    network: SegmentationNetwork, task: TrainingTask, monitor: Monitor, state: dict[str, Any] | None, seed: int
) -> dict[str, Tensor]:
    """Run all remaining steps, from a checkpoint's state; returns the final weights."""
    # gone at the end: a wrapped network must not outlive the process group
    training = Training(
        network=network,
        task=task,
        recipe=monitor.recipe,
        folder=monitor.folder,
        seed=seed,
        processes=monitor.processes,
        runner=CudaPasses if next(network.parameters()).device.type == "cuda" else Passes,
        on_step=monitor.step,
        warn=monitor.warn,
        validate=monitor.validate,
    )
    if state is not None:
        training.restore(state)
    with monitor.session(training.step):
        training.run()
        return training.weights()


def _write_model(folder: RunFolder, recipe: Recipe, weights: dict[str, Tensor], metadata: dict[str, Any]) -> None:
    record = origin_record("trained by segvoc train", "that of the weights it started from and of its images")
    record |= metadata | configuration_record(recipe.network_config())
    write_weights(folder.path / MODEL_FILE, weights, recipe.model, **record)


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
