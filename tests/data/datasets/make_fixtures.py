"""Writes `made_by_tools/`, with the tools themselves, which don't go into the lock.

uv venv /tmp/tools && uv pip install --python /tmp/tools datumaro==1.13.12 labelme==6.3.1 label-studio-sdk==2.1.2
/tmp/tools/bin/python tests/data/datasets/make_fixtures.py
"""

import json
import shutil
from pathlib import Path

import datumaro
import numpy as np
from datumaro.components.annotation import Mask, Polygon
from datumaro.components.media import Image as Media
from label_studio_sdk.converter import brush
from labelme._label_file import LabelFile
from labelme.utils import shapes_to_label
from PIL import Image

OUT = Path(__file__).parent / "made_by_tools"
WORDS = ("cat", "sofa")
HEIGHT, WIDTH = 12, 16


def labels() -> np.ndarray:
    """A cat with a hole before a sofa; -1 is unlabeled."""
    found = np.full((HEIGHT, WIDTH), -1)
    found[6:11, 1:15] = 1
    found[2:9, 4:12] = 0
    found[4:6, 6:9] = -1
    return found


def datasets() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    image = Media.from_numpy(data=pixels)
    masks = [Mask(labels() == label, label=label, group=label + 1, id=label + 1) for label in range(len(WORDS))]
    square = Polygon([2.0, 3.0, 9.0, 3.0, 9.0, 8.0, 2.0, 8.0], label=0, group=1, id=1)
    for name, format_, annotations in (
        ("coco-instances", "coco_instances", masks),
        ("coco-panoptic", "coco_panoptic", masks),
        ("voc", "voc_segmentation", masks),
        ("cvat", "cvat", [square]),
    ):
        item = datumaro.DatasetItem(id="sub/photo", subset="train", media=image, annotations=annotations)
        dataset = datumaro.Dataset.from_iterable([item], categories=list(WORDS), media_type=Media)
        options = {"label_map": "source"} if name == "voc" else {}
        dataset.export(str(OUT / f"datumaro-{name}"), format_, save_media=True, image_ext=".png", **options)


def labelme() -> None:
    folder = OUT / "labelme"
    folder.mkdir()
    Image.new("RGB", (WIDTH, HEIGHT), (9, 99, 200)).save(folder / "photo.png")
    shapes = [
        {"label": "sofa", "points": [[1.2, 2.4], [13.6, 3.1], [12.0, 9.7], [2.5, 10.2]], "shape_type": "polygon"},
        {"label": "cat", "points": [[8.0, 6.0], [10.5, 6.0]], "shape_type": "circle"},
        {"label": "cat", "points": [[2.0, 0.5], [5.0, 2.5]], "shape_type": "rectangle"},
    ]
    common = {"group_id": None, "description": "", "flags": {}, "mask": None}
    shapes = [common | shape for shape in shapes]
    content = {"version": "6.3.1", "flags": {}, "shapes": shapes, "imagePath": "photo.png", "imageData": None}
    content |= {"imageHeight": HEIGHT, "imageWidth": WIDTH}
    (folder / "photo.json").write_text(json.dumps(content, indent=2), encoding="utf-8")
    assert len(LabelFile(str(folder / "photo.json")).shapes) == 3
    drawn = shapes_to_label((HEIGHT, WIDTH, 3), shapes, {"cat": 1, "sofa": 2})
    np.save(OUT / "labelme.npy", (drawn[0] if isinstance(drawn, tuple) else drawn).astype(np.int8) - 1)


def label_studio() -> None:
    folder = OUT / "label-studio"
    (folder / "images").mkdir(parents=True)
    Image.new("RGB", (WIDTH, HEIGHT), (9, 99, 200)).save(folder / "images/photo.png")
    results = []
    for label, word in enumerate(WORDS):
        runs = brush.mask2rle((labels() == label).astype(np.uint8) * 255)
        value = {"format": "rle", "rle": runs, "brushlabels": [word]}
        size = {"original_width": WIDTH, "original_height": HEIGHT, "image_rotation": 0}
        results.append({"type": "brushlabels", "from_name": "tag", "to_name": "image", "value": value, **size})
    task = {"id": 1, "data": {"image": "/data/upload/1/12ab34cd-photo.png"}, "annotations": [{"result": results}]}
    (folder / "tasks.json").write_text(json.dumps([task]), encoding="utf-8")


if __name__ == "__main__":
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir()
    datasets()
    labelme()
    label_studio()
