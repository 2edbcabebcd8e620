"""Small datasets laid out as the published ones are, with the words and labels that they stand for.

Each image has 12 x 10 pixels. A square of one class lies in pixels of a second one, and a column is unlabeled.
"""

import base64
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from tests.data.original_files import runs_of

HEIGHT, WIDTH = 10, 12


class Layout(NamedTuple):
    """A dataset that `write` makes, and what reading it has to give."""

    format: str
    """Its format, which its files tell."""
    write: Callable[[Path], None]
    square: str
    rest: str
    words: int
    """How many classes it has."""
    split: str | None = None
    """The set to read, if it has several."""
    objects: int | None = None
    """How many objects the square is; None: the dataset has none."""
    start: str = ""
    """What to give, below the folder."""


def values(square: int, rest: int, unlabeled: int, kind: type = np.uint8) -> np.ndarray:
    """Values of a map: the square, what is around it, and the column on the left."""
    drawn = np.full((HEIGHT, WIDTH), rest, kind)
    drawn[2:6, 3:7] = square
    drawn[:, 0] = unlabeled
    return drawn


def colored(square: tuple[int, ...], rest: tuple[int, ...], unlabeled: tuple[int, ...]) -> np.ndarray:
    """The same in colors."""
    return np.array([square, rest, unlabeled], np.uint8)[values(0, 1, 2)]


def save(path: Path, pixels: np.ndarray, *, palette: bool = False) -> None:
    """Write an image; `palette` makes it one of 256 colors."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(pixels)
    if palette:
        image.putpalette(np.random.default_rng(0).integers(0, 256, 768).astype(np.uint8).tobytes())
    image.save(path)


def turn(file: Any) -> None:
    """Turn the pixels of an image, and say in its EXIF data how to turn them back."""
    exif = Image.Exif()
    exif[0x0112] = 6
    with Image.open(file) as image:
        format, turned = image.format, image.transpose(Image.Transpose.ROTATE_90)
    if isinstance(file, io.BytesIO):
        file.seek(0)
        file.truncate()
    turned.save(file, format, exif=exif)


def png(pixels: np.ndarray) -> str:
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG")
    return base64.b64encode(content.getvalue()).decode()


def photo(path: Path) -> None:
    save(path, np.full((HEIGHT, WIDTH, 3), 90, np.uint8))


def text(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")


def _ade_challenge(folder: Path) -> None:
    for split, name in (("training", "ADE_train_00000001"), ("validation", "ADE_val_00000001")):
        photo(folder / f"images/{split}/{name}.jpg")
        save(folder / f"annotations/{split}/{name}.png", values(13, 3, 0))
    names = ["wall", "building, edifice", "sky", *(f"thing {index}" for index in range(4, 13)), "person, individual"]
    lines = [f"{index}\t0.1\t99\t9\t{name}" for index, name in enumerate(names, 1)]
    text(folder / "objectInfo150.txt", "\n".join(["Idx\tRatio\tTrain\tVal\tName", *lines]))
    text(folder / "sceneCategories.txt", "ADE_train_00000001 airport_terminal\n")


CAMVID = {"square": (64, 0, 128), "rest": (128, 64, 128), "unlabeled": (0, 0, 0)}


def _camvid_csv(folder: Path) -> None:
    for split in ("train", "val", "test"):
        photo(folder / split / "0001TP_006690.png")
        save(folder / f"{split}_labels/0001TP_006690_L.png", colored(**CAMVID))
    text(folder / "class_dict.csv", "name,r,g,b\nAnimal,64,128,64\nCar,64,0,128\nRoad,128,64,128\nVoid,0,0,0\n")


def _stuff_maps(folder: Path) -> None:
    for split in ("train2017", "val2017"):
        photo(folder / f"{split}/000000000139.jpg")
        save(folder / f"stuffthingmaps/{split}/000000000139.png", values(2, 168, 255))


def _stuff_annotations(folder: Path) -> None:
    for split in ("train2017", "val2017"):
        photo(folder / f"images/{split}/000000000139.jpg")
        save(folder / f"annotations/{split}/000000000139.png", values(2, 168, 11))
        save(folder / f"annotations/{split}/000000000139_labelTrainIds.png", values(2, 155, 255))


def _stuff_json(folder: Path) -> None:
    drawn = values(95, 171, 0)
    categories = [{"id": 95, "name": "bridge"}, {"id": 171, "name": "wall-brick"}]
    annotations = [
        {"id": label, "image_id": 139, "category_id": label, "iscrowd": 0}
        | {"segmentation": {"size": [HEIGHT, WIDTH], "counts": runs_of(drawn == label)}}
        for label in (95, 171)
    ]
    images = [{"id": 139, "file_name": "000000000139.jpg", "width": WIDTH, "height": HEIGHT}]
    for split in ("train2017", "val2017"):
        photo(folder / f"{split}/000000000139.jpg")
        content = {"images": images, "categories": categories, "annotations": annotations}
        text(folder / f"annotations/stuff_{split}.json", content)


def _cityscapes(folder: Path) -> None:
    for split in ("train", "val"):
        save(folder / f"leftImg8bit/{split}/ulm/a_leftImg8bit.png", np.zeros((HEIGHT, WIDTH, 3), np.uint8))
        save(folder / f"gtFine/{split}/ulm/a_gtFine_labelIds.png", values(26, 7, 0))
        save(folder / f"gtFine/{split}/ulm/a_gtFine_instanceIds.png", values(26_000, 7, 0, np.uint16))


def _masks_beside_images(table: str, content: str, ending: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        for split in ("train", "valid"):
            photo(folder / split / f"one{ending}.jpg")
            save(folder / split / "one_mask.png", _INDICES if ending == "" else _COLORS)
            text(folder / split / table, content)

    return write


def _masks(table: str, content: object, pixels: np.ndarray, *, palette: bool = False) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        photo(folder / "images/sub/one.jpg")
        save(folder / "masks/sub/one.png", pixels, palette=palette)
        save(folder / "masks/sub/one_preview.png", colored((9, 9, 9), (8, 8, 8), (7, 7, 7)))
        text(folder / table, content)

    return write


def _masks_in_sets(folder: Path) -> None:
    for split in ("train", "val"):
        photo(folder / split / "images/one.jpg")
        save(folder / split / "masks/one_mask.png", values(7, 4, 255))
    text(folder / "names.json", {"4": "road", "7": "car"})


_INDICES, _COLORS = values(7, 4, 255), colored((0, 0, 142), (128, 64, 128), (0, 0, 0))

_OBJECTS = [
    {"title": 1, "name": "car", "color": "#00008e"},
    {"name": "road", "color": [128, 64, 128]},
    {"name": "void", "color": [0, 0, 0]},
]
_ROBOFLOW = _masks_beside_images("_classes.csv", "Pixel Value, Class\n4, road\n7, car\n", "")
_DEEP_GLOBE = _masks_beside_images(
    "class_dict.csv", "name,r,g,b\nroad,128,64,128\n3060,0,0,142\nunknown,0,0,0\n", "_sat"
)
_INDEX_LINES = _masks("classes.txt", "# all\n4 road\n7: car\n", _INDICES, palette=True)
_INDEX_CSV = _masks("classes.csv", 'id;name\n4;"road; track"\n7;car\n9;void\n', _INDICES)
_COLOR_LINES = _masks("classes.txt", "0,0,0,unlabeled\n128,64,128,road\n0,0,142,car\n", _COLORS)
_NAME_LINES = _masks("classes.txt", "class 0\nroad\ncar\n", np.stack([values(2, 1, 255)] * 3, axis=-1))

LAYOUTS = {
    "cityscapes": Layout("cityscapes", _cityscapes, "car", "road", 19, "val", objects=1),
    "ade20k": Layout("ade20k", _ade_challenge, "person, individual", "sky", 13, "validation"),
    "camvid in CSV": Layout("masks", _camvid_csv, "Car", "Road", 3, "val"),
    "stuff": Layout("coco-stuff", _stuff_maps, "car", "tree", 171, "val2017"),
    "stuff 164k": Layout("coco-stuff", _stuff_annotations, "car", "tree", 171, "val2017"),
    "stuff in JSON": Layout("coco-instances", _stuff_json, "bridge", "wall-brick", 2, "val2017", objects=0),
    "masks in sets": Layout("masks", _masks_in_sets, "car", "road", 2, "train", start="names.json"),
    "masks of Roboflow": Layout("masks", _ROBOFLOW, "car", "road", 2, "valid"),
    "masks of DeepGlobe": Layout("masks", _DEEP_GLOBE, "3060", "road", 2, "valid"),
    "indices": Layout("masks", _INDEX_LINES, "car", "road", 2),
    "indices in CSV": Layout("masks", _INDEX_CSV, "car", "road; track", 2),
    "colors": Layout("masks", _COLOR_LINES, "car", "road", 2),
    "objects": Layout("masks", _masks("classes.json", _OBJECTS, _COLORS), "car", "road", 2),
    "names, gray in three channels": Layout("masks", _NAME_LINES, "car", "road", 3),
}
