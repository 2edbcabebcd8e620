"""Take results to other programs, train on rows of `datasets` with your own transform and callback, share the model.

Usage: python examples/integrations.py PHOTO OUT [owner/name] [NAME=VALUE ...]

The trained model is uploaded to owner/name on the Hugging Face hub if that is given. NAME=VALUE changes the recipe:
steps=500 ...
"""
# pyright: strict, reportMissingTypeStubs=false, reportUnknownMemberType=false
# (`datasets` has no types; all of segvoc is checked)

import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import supervision
from PIL import Image

import segvoc
from segvoc.integrations.fiftyone import dataset_of, label_samples
from segvoc.training.callbacks import RunEnd

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


def as_transformers(photo: str) -> None:
    """Call the model as a pipeline of transformers is called."""
    segmenter = segvoc.pipeline("image-segmentation", model="tiny")
    for segment in segmenter(photo, candidate_labels=WORDS):
        print(
            f"{segment['label']}: {segment['score']:.2f}, {np.mean(np.asarray(segment['mask']) > 0):.0%} of the image"
        )


def in_fiftyone(images: segvoc.LabeledImages) -> None:
    """Make a data set of FiftyOne, with the model's labels beside the true ones, where FiftyOne is installed."""
    if find_spec("fiftyone") is None:
        return
    dataset = dataset_of(images, images.name)
    for error in label_samples(dataset, segvoc.load("tiny"), WORDS):
        print(error)


class LossPrinter(segvoc.Callback):
    """Prints the loss at each tenth step, and how the run has ended."""

    def on_step(self, metrics: Mapping[str, Any]) -> None:
        """Print the loss."""
        if metrics["step"] % 10 == 0:
            print(f"step {metrics['step']}: loss {metrics['loss']:.3f}")

    def on_end(self, end: RunEnd) -> None:
        """Print where the weights are."""
        print(f"{end.status} after {end.step} steps: {end.weights}")


def main() -> None:
    """Label, look, train, share."""
    photo, place, *settings = sys.argv[1:]
    repository = settings.pop(0) if settings and "=" not in settings[0] else None
    out = Path(place)
    out.mkdir(parents=True, exist_ok=True)
    result = segvoc.load("tiny").segment(photo, WORDS)
    view(result, out)
    as_transformers(photo)
    images = segvoc.read_huggingface(rows_of(result), WORDS, name="cats")
    in_fiftyone(images)
    recipe = segvoc.recipes.finetune("tiny", images=len(images)).with_settings(settings)
    followers = [segvoc.trackers.TensorBoard(), LossPrinter()]
    trained = segvoc.train(recipe, images, out / "run", transform=darker, callbacks=followers)
    if repository is not None:
        print(segvoc.load(trained.weights).push_to_hub(repository, private=True))


if __name__ == "__main__":  # the data loader starts processes, which import this file
    main()
