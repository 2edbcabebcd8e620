"""Small runs of networks of parts, for the tests of training."""

from dataclasses import replace
from pathlib import Path

import torch

from segvoc.data.labeled_images import LabeledImages
from segvoc.data.training.training_set import PartTrainingSet
from segvoc.distributed import Processes
from segvoc.layers.aggregation import DecoderSizes
from segvoc.networks.part_cat_seg import PartAggregation, PartAggregationConfig, PartNetwork
from segvoc.records import to_json
from segvoc.training.loop import Training
from segvoc.training.run_folder import open_together
from segvoc.training.tasks import LabelTask
from segvoc.training.training_data import class_words
from tests.inference.small_network import Letters, Patches
from tests.training.runs import RECIPE, drawn_images

SIZES = {"dim": 32, "heads": 2, "window": 4, "guidance_dim": 8, "costs": 1, "prompts": 1, "appearance_channels": None}
DECODER = DecoderSizes(lifts=(2, 4), taps=(8, 4), guidance=(4, 2), stages=(32, 16))


def network(config: PartAggregationConfig) -> PartNetwork:
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
    own = network(config).to(device, dtype)
    training_set = PartTrainingSet(images=images, augmentation=recipe.data, seed=1)
    words = class_words(own, ("{}",), training_set.vocabulary, recipe).to(torch.device(device))
    task = LabelTask(training_set=training_set, words=words, chosen=recipe.objective.num_sampled_classes, seed=1)
    folder, state = open_together(Processes(), torch.device(device), out, {"recipe": to_json(recipe)}, resume=resume)
    training = Training(network=own, task=task, recipe=recipe, folder=folder, seed=1)
    if state is not None:
        training.restore(state)
    return training
