"""Small runs for the tests of training: networks of a few thousand parameters, drawn images and captions."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from segvoc.data.labeled_images import LabeledImages
from segvoc.data.training.training_set import PartTrainingSet, ShardedSampler, TrainingSet
from segvoc.layers.aggregation import DecoderSizes
from segvoc.networks.base import SegmentationNetwork
from segvoc.networks.part_cat_seg import PCA_PART, PartAggregation, PartAggregationConfig, PartNetwork
from segvoc.runtime.distributed import Processes
from segvoc.storage.records import to_json
from segvoc.training.caption_task import CaptionBatch, CaptionTask
from segvoc.training.cuda_passes import CudaPasses
from segvoc.training.loop import ForwardPass, Passes, Training, TrainingTask
from segvoc.training.recipe import Recipe
from segvoc.training.run_folder import RunFolder, open_together
from segvoc.training.training_data import LabelTask, class_words
from tests.hardening.faults import Killed
from tests.inference.small_network import Letters, Patches, small_network
from tests.networks.aggregation_contract import small_syn_seg

_RUNTIME = {"num_workers": 0, "save_every": 2, "eval_every": 0}
_LEARNS = {"trainable": "all", "trainable_encoders": "image", "encoder_lr_scale": 0.1, "sync_batch_norm": False}
_SEES = {"dataset": "", "short_sides": (40, 48), "crop_size": 32}
RECIPE = Recipe(model="small").with_settings(
    **_LEARNS, **_SEES, **_RUNTIME, steps=6, batch_size=4, lr=1e-2, loss="masked", fod_weight=0.01
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
    processes = processes or Processes()
    folder, state = open_together(processes, out, {"recipe": to_json(recipe)}, resume=resume)
    runner = CudaPasses if next(network.parameters()).device.type == "cuda" else Passes
    training = Training(
        network=network, task=task, recipe=recipe, folder=folder, seed=1, processes=processes, runner=runner, warn=warn
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
    recipe = RECIPE.with_settings(**changes)
    network = (network or small_network()).to(device, dtype)
    kind = PartTrainingSet if isinstance(network, PartNetwork) else TrainingSet
    training_set = kind(images=images, augmentation=recipe.data, seed=1)
    words = class_words(network, ("{}",), training_set.vocabulary, recipe).to(torch.device(device))
    task = LabelTask(training_set=training_set, words=words, chosen=recipe.objective.num_sampled_classes)
    return begun(out, recipe, network, task, resume=resume, processes=processes, warn=warn)


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
    return [(line["step"], line["loss"], line["gradient_norm"]) for line in RunFolder(out).read_lines("metrics.jsonl")]


SIZES = {"dim": 32, "heads": 2, "window": 4, "guidance_dim": 8, "costs": 1, "prompts": 1, "appearance_channels": None}
DECODER = DecoderSizes(lifts=(2, 4), taps=(8, 4), guidance=(4, 2), stages=(32, 16))


def part_network(config: PartAggregationConfig) -> PartNetwork:
    torch.manual_seed(0)
    sized = replace(config, **SIZES, blocks=1, decoder_sizes=DECODER)
    return PartNetwork(Patches(), Letters(), PartAggregation(sized, 12, (12, 12)))


def drawn_parts(root: Path, count: int = 5) -> LabeledImages:
    """Discs as parts of a sign, on a ground that is none of them."""
    if not root.exists():
        drawn_images(root, count)
    rules = {"background": "ground", "owner": "sign"}
    return LabeledImages.from_folders(root / "images", root / "labels", root / "classes.json", **rules)


def open_parts(images: LabeledImages, out: Path, config: PartAggregationConfig, **changes) -> Training:
    return open_run(images, out, network=part_network(config), **{"encoder_lr_scale": 1.0} | changes)


CAPTIONS = Recipe(model="small", supervision="captions").with_settings(
    **_RUNTIME, trainable="none", steps=5, batch_size=2, lr=1e-2, max_grad_norm=1.0, dataset=""
)


class CaptionsInMemory:
    """Captioned images with random features, which their places in the training order seed."""

    objective = CaptionTask.objective

    def __init__(self, *, readable: bool = True, dtype: torch.dtype = torch.float32) -> None:
        self.readable, self.dtype = readable, dtype

    def __len__(self) -> int:
        return 7

    def batches(self, sampler: ShardedSampler, workers: int, **options: object) -> Iterator[CaptionBatch]:
        for row in sampler:
            nothing = CaptionBatch((), torch.empty(0, 0), torch.empty(0, dtype=torch.int64), ("'a.jpg' is gone",))
            yield self.batch(row) if self.readable else nothing

    def batch(self, row: list[int]) -> CaptionBatch:
        generators = [torch.Generator().manual_seed(place) for place in row]
        taps = [torch.stack([torch.randn(1 + 9, 64, generator=own) for own in generators]).half() for _ in range(3)]
        counts = [1 + place % 3 for place in row]
        phrases = [torch.randn(count, 32, generator=own) for count, own in zip(counts, generators, strict=True)]
        owner = torch.arange(len(row)).repeat_interleave(torch.tensor(counts))
        return CaptionBatch(tuple(taps), torch.cat(phrases), owner, ())

    def inputs(
        self, batch: CaptionBatch, number: ForwardPass, device: torch.device
    ) -> tuple[tuple[Tensor, ...], Tensor, Tensor]:
        taps, phrases, owner = CaptionTask.inputs(self, batch, number, device)
        return tuple(tap.to(self.dtype) for tap in taps), phrases.to(self.dtype), owner


def open_captions(
    out: Path,
    *,
    dtype: torch.dtype = torch.float32,
    device: str = "cpu",
    task: CaptionsInMemory | None = None,
    resume: bool = False,
    processes: Processes | None = None,
    **changes,
) -> Training:
    torch.manual_seed(3)
    network, task = small_syn_seg().to(device, dtype), task or CaptionsInMemory(dtype=dtype)
    return begun(out, CAPTIONS.with_settings(**changes), network, task, resume=resume, processes=processes)


def labels(root, out, **changes):
    return open_run(drawn_images(root), out, **changes)


def parts(root, out, **changes):
    return open_parts(drawn_parts(root), out, PCA_PART, **changes)


RUNS = {
    "parallel": labels,
    "released loss": partial(labels, loss="released", fod_weight=0.0),
    "sampled classes": partial(labels, num_sampled_classes=2),
    "kept classes": partial(labels, num_kept_classes=2, loss="competing"),
    "parts": parts,
    "captions": lambda root, out, **changes: open_captions(out, **changes),
}
"""Small networks, trained as by the recipes."""
