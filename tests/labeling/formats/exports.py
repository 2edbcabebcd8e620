"""Small exports of other programs: an image of one color with annotations, and what reading them gives."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import segvoc
from segvoc.errors import SkippedShapesWarning, UsageError
from segvoc.imaging.label_maps import UNLABELED
from tests.labeling.formats.published_layouts import text as write

HEIGHT, WIDTH = 30, 40


def image(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (WIDTH, HEIGHT), (10, 200, 30)).save(path)


def full(value: Any) -> np.ndarray:
    return np.full((HEIGHT, WIDTH), value, np.uint8)


def corners(left: float, top: float, right: float, bottom: float) -> list[list[float]]:
    return [[left, top], [right, top], [right, bottom], [left, bottom]]


def flat(*box: float) -> list[float]:
    return [value for point in corners(*box) for value in point]


def pixels(path: Path, **options: Any) -> tuple[dict[str, int], str]:
    """How many pixels each word has in all images, and what was said of annotations that aren't drawn."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", SkippedShapesWarning)
        dataset = segvoc.read_dataset(path, **options)
    counts = np.zeros(UNLABELED + 1, int)
    for index in range(len(dataset)):
        counts += np.bincount(dataset.read(index).labels.ravel(), minlength=UNLABELED + 1)
    words = dataset.vocabulary.words
    return dict(zip(words, counts[: len(words)].tolist(), strict=True)), "; ".join(str(one.message) for one in caught)


def refused(path: Path, said: str, **options: Any) -> None:
    with pytest.raises(UsageError, match=said):
        segvoc.read_dataset(path, **options)


INSTANCES = "annotations/instances.json"


def coco(*annotations: dict[str, Any], names: tuple[str, ...] = ("photo.png",), categories: Any = None) -> Any:
    listed = [{"id": number, "file_name": name, "width": WIDTH, "height": HEIGHT} for number, name in enumerate(names)]
    entries = [{"id": number, "image_id": 0, "category_id": 1} | entry for number, entry in enumerate(annotations)]
    named = categories or [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
    return {"images": listed, "annotations": entries, "categories": named}


def write_coco(root: Path, *annotations: dict[str, Any], place: str = INSTANCES, **others: Any) -> None:
    """COCO's file, and an image beside it."""
    image(root / "photo.png")
    write(root / place, coco(*annotations, **others))


SQUARE_10 = {"segmentation": [flat(5, 5, 15, 15)]}
ONLY_CAT = {"cat": 100, "dog": 0}


def cvat(*images: tuple[str, str, str], labels: str = "") -> str:
    """CVAT's file of images: name, subset and shapes of each."""
    named = labels or "".join(f"<label><name>{word}</name></label>" for word in ("cat", "dog"))
    elements = "".join(
        f'<image id="{number}" name="{name}" subset="{subset}" width="{WIDTH}" height="{HEIGHT}">{shapes}</image>'
        for number, (name, subset, shapes) in enumerate(images)
    )
    return f"<annotations><meta><task><labels>{named}</labels></task></meta>{elements}</annotations>"


def yolo_line(label: object, *box: float) -> str:
    return " ".join([str(label), *(str(value) for x, y in corners(*box) for value in (x / WIDTH, y / HEIGHT))])


def yolo(root: Path, *lines: str, names: str = "[cat]") -> None:
    image(root / "images/photo.png")
    write(root / "labels/photo.txt", "\n".join(lines))
    write(root / "data.yaml", f"train: images\nnames: {names}\n")


def labelme(root: Path, *shapes: dict[str, Any], path: str = "photo.png", data: str | None = None) -> None:
    size = {"imageHeight": HEIGHT, "imageWidth": WIDTH}
    write(root / "photo.json", {"shapes": shapes, "imagePath": path, "imageData": data, **size})
