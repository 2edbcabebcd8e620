"""Small runs for the tests of training: a network of a few thousand parameters, drawn images."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from segvoc.data.labeled_images import LabeledImages
from segvoc.data.training.training_set import TrainingSet
from segvoc.encoders.vocabulary_encoder import VocabularyEncoder
from segvoc.networks.base import SegmentationNetwork
from segvoc.runtime.distributed import Processes
from segvoc.storage.records import to_json
from segvoc.training.loop import Training, TrainingTask
from segvoc.training.recipe import Recipe
from segvoc.training.run_folder import RunFolder, open_together
from segvoc.training.training_data import LabelTask
from tests.inference.small_network import small_network

RECIPE = Recipe(model="small").with_settings(
    trainable="all",
    trainable_encoders="image",
    encoder_lr_scale=0.1,
    steps=6,
    batch_size=4,
    lr=1e-2,
    loss="masked",
    fod_weight=0.01,
    dataset="",
    short_sides=(40, 48),
    crop_size=32,
    sync_batch_norm=False,
    num_workers=0,
    save_every=2,
    eval_every=0,
)


def drawn_images(root: Path, count: int = 5, labeled: Sequence[int] | None = None) -> LabeledImages:
    """Images of three classes: two discs on a ground, noisy; of all but those `labeled` only a few rows have labels."""
    for folder in ("images", "labels"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    (root / "classes.json").write_text('["ground", "red disc", "blue disc"]')
    generator = np.random.default_rng(0)
    y, x = np.mgrid[:48, :64]
    colors = np.array([(120, 140, 110), (220, 50, 40), (40, 60, 220)])
    for number in range(count):
        labels = np.zeros((48, 64), np.uint8)
        for disc in (1, 2):
            row, column = generator.integers(8, 40), generator.integers(8, 56)
            labels[(y - row) ** 2 + (x - column) ** 2 < generator.integers(60, 200)] = disc
        noise = generator.integers(-30, 30, (48, 64, 3))
        Image.fromarray((colors[labels] + noise).clip(0, 255).astype(np.uint8)).save(root / f"images/{number}.png")
        labels[0] = 255
        if labeled is not None and number not in labeled:
            labels[:20], labels[24:] = 255, 255
        Image.fromarray(labels).save(root / f"labels/{number}.png")
    return LabeledImages.from_folders(root / "images", root / "labels", root / "classes.json")


def begun(
    out: Path,
    recipe: Recipe,
    network: SegmentationNetwork,
    task: TrainingTask,
    *,
    resume: bool = False,
    processes: Processes | None = None,
    warn: Callable[[str], None] = lambda line: None,
) -> Training:
    """A run, ready to go on."""
    processes = processes or Processes()
    folder, state = open_together(processes, out, {"recipe": to_json(recipe)}, resume=resume)
    training = Training(
        network=network, task=task, recipe=recipe, folder=folder, seed=1, processes=processes, warn=warn
    )
    if state is not None:
        training.restore(state)
    return training


def open_run(
    images: LabeledImages,
    out: Path,
    *,
    network: SegmentationNetwork | None = None,
    dtype: torch.dtype = torch.float32,
    device: str = "cpu",
    resume: bool = False,
    processes: Processes | None = None,
    warn: Callable[[str], None] = lambda line: None,
    **changes,
) -> Training:
    """A run of the small network, ready to go on."""
    recipe = RECIPE.with_settings(**changes)
    network = (network or small_network()).to(device, dtype)
    training_set = TrainingSet(images=images, augmentation=recipe.data, seed=1)
    with torch.no_grad():
        words = VocabularyEncoder(network.text_encoder, ("{}",))(training_set.vocabulary).to(device)
    task = LabelTask(training_set=training_set, words=words, chosen=recipe.objective.num_sampled_classes)
    return begun(out, recipe, network, task, resume=resume, processes=processes, warn=warn)


class Killed(BaseException):
    """Stands for the death of the process."""


def kill(training: Training, step: int) -> None:
    """Run until the metrics of a step are written, the last line of which may be cut anywhere."""
    note = training.folder.note

    def killed(name: str, entry: Mapping[str, Any]) -> None:
        if entry["step"] == step:
            with (training.folder.path / name).open("a") as file:
                file.write('{"step": ')
            raise Killed
        note(name, entry)

    training.folder.note = killed
    with pytest.raises(Killed):
        training.run()


def losses(out: Path) -> list[tuple[int, float, float]]:
    """Step, loss and gradient norm of each line of the metrics."""
    return [(line["step"], line["loss"], line["gradient_norm"]) for line in RunFolder(out).read_lines("metrics.jsonl")]
