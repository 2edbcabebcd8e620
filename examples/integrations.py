"""Take a result to the programs and libraries that people look at masks with.

Usage: python examples/integrations.py PHOTO OUT
"""
# pyright: strict, reportMissingTypeStubs=false, reportUnknownMemberType=false

import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import supervision
from PIL import Image

import segvoc
from segvoc.integrations.fiftyone import dataset_of, label_samples

WORDS = ["cat", "wall"]


def view(result: segvoc.Segmentation, out: Path) -> None:
    """Write what supervision draws, and the files of LabelMe and COCO."""
    counted = segvoc.with_objects(result, ["cat"])
    found = counted.to_supervision()
    Image.fromarray(supervision.MaskAnnotator().annotate(result.image.copy(), found)).save(out / "masks.jpg")
    result.to_labelme(out / "photo.json")
    content = counted.to_coco(masks="polygons", background="wall")
    print(f"{len(found)} detections, {len(content['annotations'])} annotations of COCO")


def as_transformers(photo: str) -> None:
    """Call the model as a pipeline of transformers is called."""
    segmenter = segvoc.pipeline("image-segmentation", model="tiny")
    for segment in segmenter(photo, candidate_labels=WORDS):
        share = np.mean(np.asarray(segment["mask"]) > 0)
        print(f"{segment['label']}: score {segment['score']:.2f}, {share:.0%} of the image")


def in_fiftyone(dataset: Path, images_folder: Path) -> None:
    """Make an annotated dataset FiftyOne's, with the model's labels in a field of their own."""
    images = segvoc.read_dataset(dataset, images=images_folder)
    samples = dataset_of(images, images.name)
    for error in label_samples(samples, segvoc.load("tiny"), images.vocabulary.words):
        print(error)


def main() -> None:
    """Label, look."""
    photo, place = sys.argv[1:]
    out = Path(place)
    out.mkdir(parents=True, exist_ok=True)
    view(segvoc.load("tiny").segment(photo, WORDS), out)
    as_transformers(photo)
    if find_spec("fiftyone") is not None:
        in_fiftyone(out, Path(photo).parent)


if __name__ == "__main__":
    main()
