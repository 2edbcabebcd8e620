"""A model of a cross-validation fold as a segmenter, and the photographs that it has not seen."""

from argparse import ArgumentParser, Namespace
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from jaxtyping import Int, UInt8
from PIL import Image
from safetensors.torch import load_file

from segvoc.checkpoints.files import write_weights
from segvoc.models.headers import configuration_record
from segvoc.models.network_segmenter import NetworkSegmenter
from segvoc.models.opening import load_network
from segvoc.networks.tiny import TinyConfig
from segvoc.storage.files import SHIPPED as SHIPPED_FILES
from tools.tiny.cross_validate import Fold
from tools.tiny.make_tiny import packed
from tools.tiny.model import SHIPPED, train
from tools.tiny.photos import Folders, Photo, command, read_photos
from tools.tiny.refinement import AGGREGATION
from tools.tiny.towers import read_training_data


@dataclass(frozen=True)
class HeldOut:
    """A photograph that a model hasn't seen."""

    photo: Photo
    pixels: UInt8[np.ndarray, "H W 3"]
    labels: Int[np.ndarray, "H W"]
    """Index into the photograph's words; 255: unlabeled."""

    def shares(self) -> dict[int, float]:
        """The share of the image of each of its words that is there."""
        labels, pixels = np.unique(self.labels, return_counts=True)
        own = zip(labels.tolist(), (pixels / self.labels.size).tolist(), strict=True)
        return {label: share for label, share in own if label < len(self.photo.words) and self.photo.words[label]}


def fold_command(description: str | None) -> ArgumentParser:
    """The command line of what is measured on a fold."""
    parser = command(description, Path("build/tiny"))
    parser.add_argument("--fold", type=int, default=0)
    parser.add_argument("--scale", type=float, required=True, help="of the logits, as cross_validate prints it")
    parser.add_argument("--bias", type=float, required=True, help="of the logits, as cross_validate prints it")
    parser.add_argument(
        "--trunk-steps", type=int, default=SHIPPED.trunks[0].steps, help="fewer for a faster, weaker model"
    )
    parser.add_argument("--aggregation-steps", type=int, default=SHIPPED.refinement.steps)
    return parser


def fold_model(arguments: Namespace) -> tuple[NetworkSegmenter, list[Photo]]:
    """The fold's model, trained or from the cache, and the photographs it hasn't seen; with them those of car parts."""
    folders = Folders.of(arguments)
    data, _ = read_training_data(folders, arguments.cache)
    fold = Fold(data, arguments.fold, 0)
    recipe = replace(
        SHIPPED,
        trunks=tuple(replace(trunk, steps=arguments.trunk_steps) for trunk in SHIPPED.trunks),
        refinement=replace(SHIPPED.refinement, steps=arguments.aggregation_steps),
    )
    model = train(data, fold.may_learn, fold.known, recipe, seed=arguments.fold)
    familiar = model.aggregation.get_submodule("skip").get_buffer("familiar")
    configuration = TinyConfig(aggregation=replace(AGGREGATION, familiar_words=len(familiar)))
    weights = packed(model, arguments.scale, arguments.bias) | load_file(SHIPPED_FILES / "minilm_l6.safetensors")
    with TemporaryDirectory() as folder:
        file = Path(folder) / "fold.safetensors"
        write_weights(file, weights, "tiny", **configuration_record(configuration))
        network = load_network("tiny", weights=file, device="cpu", dtype="float32")
    network.traits = load_network("tiny", device="cpu", dtype="float32").traits  # those of weights that ship
    photos = [data.features.photos[place] for place in fold.held_out]
    return network, [*photos, *read_photos(folders.photos / "car-parts", "car-parts")[:90]]


def opened(photos: Iterable[Photo]) -> Iterator[HeldOut]:
    """Read photographs."""
    for photo in photos:
        labels = np.asarray(Image.open(photo.label_file)).astype(int)
        yield HeldOut(photo, np.asarray(photo.pixels()), labels)
