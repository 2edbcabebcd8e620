"""A small network of every kind of recipe, ready to be trained: what holds for one has to hold for all."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from segvoc.data.labeled_images import LabeledImages
from segvoc.data.training.training_set import PartTrainingSet, ShardedSampler
from segvoc.layers.aggregation import DecoderSizes
from segvoc.networks.part_cat_seg import PCA_PART, PartAggregation, PartAggregationConfig, PartNetwork
from segvoc.runtime.distributed import Processes
from segvoc.training.caption_task import CaptionBatch, CaptionTask
from segvoc.training.loop import ForwardPass, Training
from segvoc.training.recipe import Recipe
from segvoc.training.training_data import LabelTask, class_words
from tests.inference.small_network import Letters, Patches
from tests.networks.small_syn_seg import small_syn_seg
from tests.training.runs import RECIPE, begun, drawn_images, open_run

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


def open_parts(
    images: LabeledImages,
    out: Path,
    config: PartAggregationConfig,
    *,
    dtype: torch.dtype = torch.float32,
    device: str = "cpu",
    resume: bool = False,
    **changes,
) -> Training:
    """A run of a small network of parts, ready to go on."""
    recipe = RECIPE.with_settings(
        **{"trainable": "all", "trainable_encoders": "image", "encoder_lr_scale": 1.0} | changes
    )
    own = part_network(config).to(device, dtype)
    training_set = PartTrainingSet(images=images, augmentation=recipe.data, seed=1)
    words = class_words(own, ("{}",), training_set.vocabulary, recipe).to(torch.device(device))
    task = LabelTask(training_set=training_set, words=words, chosen=recipe.objective.num_sampled_classes)
    return begun(out, recipe, own, task, resume=resume)


CAPTIONS = Recipe(model="small", supervision="captions").with_settings(
    trainable="none",
    steps=5,
    batch_size=2,
    lr=1e-2,
    max_grad_norm=1.0,
    dataset="",
    num_workers=0,
    save_every=2,
    eval_every=0,
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
    """A run of the small SynSeg, ready to go on."""
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
