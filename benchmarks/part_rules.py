"""The rules by which a pixel gets a part, on photographs whose parts are labeled (docs/how_to/parts.md).

    python -m benchmarks.part_rules ../shared/data/photos/car-parts car "road, sky, trees, building" --images 50
    python -m benchmarks.part_rules ../shared/data/photos/clothing person "wall, floor, street, trees" --images 40

The folder has images/*.jpg, labels/*.png and classes.json, whose first class means no part. For each rule: mIoU of the
parts, right pixels, and right pixels among those that have a part in truth [%], each with its difference to the first
rule and the standard error of that (jackknife over images).
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast, get_args

import numpy as np
import torch
from PIL import Image

import segvoc
from segvoc.imaging.label_maps import UNLABELED
from segvoc.inference.part_labels import PartsAgainst
from segvoc.models.network_segmenter import NetworkSegmenter

IGNORED = 255
"""Value of unlabeled pixels in the label maps."""


def run_network_once(model: NetworkSegmenter) -> None:
    """Let the network answer from memory if it gets the previous image again."""
    plain = model.network.selected_logits
    last: list[Any] = []

    def remembered(pixels: torch.Tensor, text: Any, **settings: Any) -> Any:
        if not last or not torch.equal(last[0], pixels):
            last[:] = [pixels.clone(), plain(pixels, text, **settings)]
        return last[1]

    cast(Any, model.network).selected_logits = remembered


def confusion(truth: np.ndarray, found: np.ndarray, classes: int) -> np.ndarray:
    """Pixels by true (rows) and found class; class 0 is no part."""
    labeled = truth != IGNORED
    pairs = truth[labeled].astype(np.int64) * classes + found[labeled]
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


def scores(pixels: np.ndarray) -> np.ndarray:
    """The parts' mIoU, right pixels, and right pixels among those with a part [%]."""
    right = np.diag(pixels)
    there = pixels.sum(1)[1:] > 0
    iou = right[1:][there] / (pixels.sum(0) + pixels.sum(1) - right)[1:][there]
    return 100 * np.array([iou.mean(), right.sum() / pixels.sum(), right[1:].sum() / pixels[1:].sum()])


def standard_error(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Jackknife estimate over images of the standard error of the difference between two rules' scores."""
    total, other, number = first.sum(0), second.sum(0), len(first)
    left = np.stack([scores(total - a) - scores(other - b) for a, b in zip(first, second, strict=True)])
    return np.sqrt((number - 1) / number * ((left - left.mean(0)) ** 2).sum(0))


def measured(
    model: NetworkSegmenter, paths: Sequence[Path], words: list[str], owner: str, parts: list[str]
) -> np.ndarray:
    """Confusions by rule and image."""
    result = []
    for path in paths:
        truth = np.array(Image.open(path.parents[1] / "labels" / f"{path.stem}.png"))
        of_rule = []
        for model.parts_against in get_args(PartsAgainst):
            found = model.segment(path, words, parts={owner: parts}).part_labels
            assert found is not None
            labels = np.where(found == UNLABELED, 0, found.astype(np.int64) + 1)
            of_rule.append(confusion(truth, labels, len(parts) + 1))
        result.append(of_rule)
    return np.array(result).swapaxes(0, 1)


def main() -> None:
    """Measure, and print a line for each rule."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="photographs with labeled parts of one object")
    parser.add_argument("object", help="the object's word")
    parser.add_argument("words", help="what else the images show")
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--images", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0, help="which images")
    arguments = parser.parse_args()
    parts = json.loads((arguments.folder / "classes.json").read_text(encoding="utf-8"))[1:]
    paths = sorted((arguments.folder / "images").glob("*.jpg"))
    order = np.random.default_rng(arguments.seed).permutation(len(paths))[: arguments.images]
    model = segvoc.load(arguments.model, dtype="float32")
    run_network_once(model)
    words = [arguments.object, *map(str.strip, arguments.words.split(","))]
    of_rules = measured(model, [paths[index] for index in order], words, arguments.object, parts)
    for rule, pixels in zip(get_args(PartsAgainst), of_rules, strict=True):
        score, error = scores(pixels.sum(0)), standard_error(pixels, of_rules[0])
        above = score - scores(of_rules[0].sum(0))
        figures = zip(("mIoU", "pixels", "among parts"), score, above, error, strict=True)
        print(rule, *(f"{name} {value:.2f} ({more:+.2f} ± {by:.2f})" for name, value, more, by in figures), sep="  ")


if __name__ == "__main__":
    main()
