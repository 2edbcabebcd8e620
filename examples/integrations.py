"""Take a result to other programs, and train on rows of Hugging Face's `datasets` with a transform of your own.

Usage: python examples/integrations.py PHOTO OUT [NAME=VALUE ...]

NAME=VALUE changes the recipe: steps=500 ... The functions for FiftyOne are shown on docs/how_to/viewers.md.
"""
# pyright: strict, reportMissingTypeStubs=false, reportUnknownMemberType=false
# (`datasets` has no types; all of segvoc is checked)

import sys
from pathlib import Path

import datasets
import numpy as np
import supervision
from PIL import Image

import segvoc

WORDS = ["cat", "wall"]


def darker(image: np.ndarray, labels: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Less light, by a random factor."""
    return (image * rng.uniform(0.5, 1)).astype(np.uint8), labels


def view(result: segvoc.Segmentation, out: Path) -> None:
    """Write what supervision draws, and the files of LabelMe and COCO."""
    counted = segvoc.with_objects(result, ["cat"])
    found = counted.to_supervision()
    Image.fromarray(supervision.MaskAnnotator().annotate(result.image.copy(), found)).save(out / "masks.jpg")
    result.to_labelme(out / "photo.json")
    content = counted.to_coco(masks="polygons", background="wall")
    print(f"{len(found)} detections, {len(content['annotations'])} annotations of COCO")


def rows_of(result: segvoc.Segmentation) -> datasets.Dataset:
    """A dataset of two rows, which stands for yours."""
    content = {"image": [result.image] * 2, "labels": [result.labels.astype(np.uint8)] * 2}
    kinds = datasets.Features({"image": datasets.Image(), "labels": datasets.Image()})
    return datasets.Dataset.from_dict(content, features=kinds)


def main() -> None:
    """Label, look, train."""
    photo, place, *settings = sys.argv[1:]
    out = Path(place)
    out.mkdir(parents=True, exist_ok=True)
    result = segvoc.load("tiny").segment(photo, WORDS)
    view(result, out)
    images = segvoc.read_huggingface(rows_of(result), WORDS, name="cats")
    recipe = segvoc.recipes.finetune("tiny", images=len(images)).with_settings(settings)
    trained = segvoc.train(recipe, images, out / "run", transform=darker)
    print(f"trained: {trained.weights}")


if __name__ == "__main__":  # the data loader starts processes, which import this file
    main()
