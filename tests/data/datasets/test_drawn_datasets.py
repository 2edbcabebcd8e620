"""Drawn data sets of each format, and damaged ones: the right labels, all leftovers counted, and no traceback.

`make test` tries 20 of each kind; with SEGVOC_EXAMPLES=300, that many are tried.
"""

import json
import os
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from xml.sax.saxutils import escape, quoteattr

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask as coco_mask

import segvoc
from segvoc.errors import InputError, SkippedShapesWarning, UsageError
from segvoc.imaging.annotations import packed_runs
from segvoc.imaging.label_maps import UNLABELED
from tests.data.datasets.published_layouts import png, save
from tests.data.datasets.published_layouts import text as _write

HEIGHT, WIDTH = 12, 16
EXAMPLES = int(os.environ.get("SEGVOC_EXAMPLES", "20"))


class Box(NamedTuple):
    """A rectangle of whole pixels with a word, written down in one of the ways that a format has."""

    word: int
    left: int
    top: int
    width: int
    height: int
    way: int

    @property
    def corners(self) -> list[list[int]]:
        right, bottom = self.left + self.width, self.top + self.height
        return [[self.left, self.top], [right, self.top], [right, bottom], [self.left, bottom]]

    @property
    def inside(self) -> np.ndarray:
        mask = np.zeros((HEIGHT, WIDTH), np.uint8)
        mask[self.top : self.top + self.height, self.left : self.left + self.width] = 1
        return mask


class Scene(NamedTuple):
    """A data set: what is drawn in each image, and how many annotations besides have no area."""

    words: Sequence[str]
    images: Sequence[Sequence[Box]]
    leftovers: Sequence[int]
    """The kind of each annotation without an area; all are in the first image."""

    def labels(self, number: int, *, larger_first: bool) -> np.ndarray:
        labels = np.full((HEIGHT, WIDTH), UNLABELED, np.uint16)
        boxes = self.images[number]
        for box in sorted(boxes, key=lambda box: -box.width * box.height) if larger_first else boxes:
            labels[box.inside > 0] = box.word
        return labels


WORDS = st.sampled_from(["cat", "no", "off", "010", "12:30", "ü x", "🐱", "a\u2028b", "stone wall", "x, y", "1.0"])


@st.composite
def boxes(draw: st.DrawFn, words: int) -> Box:
    left, top = draw(st.integers(0, WIDTH - 1)), draw(st.integers(0, HEIGHT - 1))
    size = draw(st.integers(1, WIDTH - left)), draw(st.integers(1, HEIGHT - top))
    return Box(draw(st.integers(0, words - 1)), left, top, *size, draw(st.integers(0, 3)))


@st.composite
def scenes(draw: st.DrawFn) -> Scene:
    words = draw(st.lists(WORDS, min_size=1, max_size=4, unique=True))
    some = st.lists(boxes(len(words)), max_size=4)
    first = draw(st.lists(boxes(len(words)), min_size=1, max_size=4))
    return Scene(words, [first, *draw(st.lists(some, max_size=2))], draw(st.lists(st.integers(0, 1), max_size=3)))


def _flat(box: Box) -> list[int]:
    return [value for corner in box.corners for value in corner]


# ---- writers, each of which gives the files that tell the labels


def coco(folder: Path, scene: Scene) -> list[Path]:
    def segmentation(box: Box) -> object:
        if box.way in (0, 3):  # some tools write a single polygon without the list around it
            return _flat(box) if box.way else [_flat(box)]
        runs: Any = coco_mask.encode(np.asfortranarray(box.inside))
        if box.way == 1:
            return {"size": [HEIGHT, WIDTH], "counts": runs["counts"].decode()}
        bounds = np.flatnonzero(np.diff(box.inside.T.ravel(), prepend=0))
        return {"size": [HEIGHT, WIDTH], "counts": np.diff(bounds, prepend=0, append=HEIGHT * WIDTH).tolist()}

    entries = [
        {"image_id": number, "category_id": box.word * 7, "segmentation": segmentation(box)}
        for number, of_image in enumerate(scene.images)
        for box in of_image
    ]
    entries += [
        {"image_id": 0, "category_id": 0, "segmentation": [[], [[1, 1, 5, 5]]][kind]} for kind in scene.leftovers
    ]
    images = [{"id": number, "file_name": f"{number}.png"} for number in range(len(scene.images))]
    categories = [{"id": 7 * number, "name": word} for number, word in enumerate(scene.words)]
    file = folder / "annotations/instances_default.json"
    _write(file, {"images": images, "annotations": entries, "categories": categories})
    return [file]


def cvat(folder: Path, scene: Scene) -> list[Path]:
    def element(box: Box) -> str:
        label = f"label={quoteattr(scene.words[box.word])}"
        (left, top), _, (right, bottom), _ = box.corners
        if box.way == 0:
            return f'<box {label} xtl="{left}" ytl="{top}" xbr="{right}" ybr="{bottom}.00" occluded="0"/>'
        if box.way == 1:
            place = f'left="{left}" top="{top}" width="{box.width}" height="{box.height}"'
            return f'<mask {label} rle="0, {box.width * box.height}" {place} z_order="0"/>'
        return f'<polygon {label} points="{";".join(f"{x}.0,{y}" for x, y in box.corners)}"/>'

    label = quoteattr(scene.words[0])
    others = [f'<points label={label} points="1,1"/>', f'<polyline label={label} points="1,1;2,2"/>']
    lines = [
        f'<image id="{number}" name="{number}.png" width="{WIDTH}" height="{HEIGHT}">{"".join(map(element, of_image))}'
        f"{''.join(others[kind] for kind in scene.leftovers) if number == 0 else ''}</image>"
        for number, of_image in enumerate(scene.images)
    ]
    labels = "".join(f"<label><name>{escape(word)}</name></label>" for word in scene.words)
    file = folder / "annotations.xml"
    _write(file, f"<annotations><meta><job><labels>{labels}</labels></job></meta>{''.join(lines)}</annotations>")
    return [file]


def yolo(folder: Path, scene: Scene) -> list[Path]:
    files = [folder / "data.yaml"]
    for number, of_image in enumerate(scene.images):
        lines = ["0 0.5 0.5 0.1 0.1" if kind else "0 0.5 0.5" for kind in scene.leftovers if number == 0]
        for box in of_image:
            corners = (f"{value:.9g}" for x, y in box.corners for value in (x / WIDTH, y / HEIGHT))
            lines.append(" ".join([str(float(box.word) if box.way else box.word), *corners]))
        files.append(folder / f"labels/{number}.txt")
        _write(files[-1], "\n".join(lines))
    quoted = ("'" + word.replace("\u2028", "\\L") + "'" if "\u2028" not in word else '"a\\Lb"' for word in scene.words)
    _write(files[0], f"train: images\nnames: [{', '.join(quoted)}]\n")
    return files


def labelme(folder: Path, scene: Scene) -> list[Path]:
    def shape(box: Box) -> dict[str, object]:
        kinds = ("polygon", "rectangle", "rotation", "mask")
        points: list[list[int]] = [box.corners, box.corners[::2], box.corners, [[box.left, box.top], [0, 0]]][box.way]
        mask = png(np.ones((box.height, box.width), bool)) if box.way == 3 else None
        return {"label": scene.words[box.word], "shape_type": kinds[box.way], "points": points, "mask": mask}

    files = [folder / "labels.txt"]
    _write(files[0], "\n".join(scene.words))
    for number, of_image in enumerate(scene.images):
        others = [("point", [[1, 1]]), ("line", [[1, 1], [2, 2]])]
        shapes = [shape(box) for box in of_image]
        for kind, points in (others[kind] for kind in scene.leftovers if number == 0):
            shapes.append({"label": scene.words[0], "shape_type": kind, "points": points})
        files.append(folder / f"{number}.json")
        _write(files[-1], {"shapes": shapes, "imagePath": f"images\\{number}.png", "imageHeight": HEIGHT})
    return files


def label_studio(folder: Path, scene: Scene) -> list[Path]:
    def regions(box: Box, id: str) -> list[dict[str, Any]]:
        percent = [[x * 100 / WIDTH, y * 100 / HEIGHT] for x, y in box.corners]
        word = [scene.words[box.word]]
        if box.way == 0:
            return [{"type": "polygonlabels", "value": {"points": percent, "polygonlabels": word}}]
        if box.way == 1:
            bounds = np.flatnonzero(np.diff(box.inside.ravel(), prepend=0, append=0))
            runs = packed_runs(bounds, HEIGHT * WIDTH).tolist()
            return [{"id": id, "type": "brushlabels", "value": {"rle": runs, "format": "rle", "brushlabels": word}}]
        if box.way == 2:
            url = "data:image/png;base64," + png(box.inside * np.uint8(255))
            return [{"id": id, "type": "bitmasklabels", "value": {"imageDataURL": url, "bitmasklabels": word}}]
        (x, y), _, (right, bottom), _ = percent
        value = {"x": x, "y": y, "width": right - x, "height": bottom - y, "rotation": 0}
        return [
            {"id": id, "type": "rectangle", "value": value},
            {"id": id, "type": "labels", "value": value | {"labels": word}},
        ]

    others: list[dict[str, Any]] = [
        {"type": "keypointlabels", "value": {"x": 5, "y": 5, "width": 1, "keypointlabels": [scene.words[0]]}},
        {"type": "vectorlabels", "value": {"vertices": [], "closed": False, "vectorlabels": [scene.words[0]]}},
    ]
    tasks = []
    for number, of_image in enumerate(scene.images):
        found = [region for place, box in enumerate(of_image) for region in regions(box, f"r{place}")]
        found += [others[kind] for kind in scene.leftovers if number == 0]
        size = {"original_width": WIDTH, "original_height": HEIGHT}
        answer = {"result": [size | region for region in found]}
        tasks.append({"data": {"image": f"/data/local-files/?d=images/{number}.png"}, "annotations": [answer]})
    config = "".join(f"<Label value={quoteattr(word)}/>" for word in scene.words)
    files = [folder / "tasks.json", folder / "label_config.xml"]
    _write(files[0], tasks)
    _write(files[1], f"<View>{config}</View>")
    return files


def voc(folder: Path, scene: Scene) -> list[Path]:
    files = [folder / "labelmap.txt"]
    words = [word.replace(":", ";") for word in scene.words]
    _write(files[0], "\n".join(f"{word}:{number},9,7::" for number, word in enumerate(words)))
    (folder / "SegmentationClass").mkdir(parents=True)
    (folder / "images").rename(folder / "JPEGImages")
    for number in range(len(scene.images)):
        labels = scene.labels(number, larger_first=False)
        files.append(folder / f"SegmentationClass/{number}.png")
        if number % 2:
            colors = np.dstack([labels, labels * 0 + 9, labels * 0 + 7]).astype(np.uint8)
            colors[labels == UNLABELED] = 224, 224, 192
            Image.fromarray(colors).save(files[-1])
        else:
            Image.fromarray(labels.astype(np.uint8)).save(files[-1])
    return files


def masks(folder: Path, scene: Scene) -> list[Path]:
    files = [folder / "classes.json"]
    _write(files[0], [{"name": word, "id": 3 * number} for number, word in enumerate(scene.words)])
    (folder / "masks").mkdir()
    for number in range(len(scene.images)):
        labels = scene.labels(number, larger_first=False)
        ending = ("", ".png")[len(scene.leftovers) % 2]
        files.append(folder / f"masks/{number}{ending}.png")
        Image.fromarray(np.where(labels == UNLABELED, 255, labels * 3).astype(np.uint8)).save(files[-1])
    return files


def panoptic(folder: Path, scene: Scene) -> list[Path]:
    entries, files = [], [folder / "annotations/panoptic_default.json"]
    for number in range(len(scene.images)):
        labels = scene.labels(number, larger_first=False)
        ids = np.where(labels == UNLABELED, 0, labels.astype(int) * 300 + 1)
        files.append(folder / f"annotations/panoptic_default/{number}.png")
        files[-1].parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.dstack([ids % 256, ids // 256, ids * 0]).astype(np.uint8)).save(files[-1])
        segments = [{"id": word * 300 + 1, "category_id": word} for word in range(len(scene.words))]
        entries.append({"image_id": number, "file_name": f"{number}.png", "segments_info": segments})
    images = [{"id": number, "file_name": f"{number}.png"} for number in range(len(scene.images))]
    categories = [{"id": number, "name": word, "isthing": number % 2} for number, word in enumerate(scene.words)]
    _write(files[0], {"images": images, "annotations": entries, "categories": categories})
    return files


WRITERS: dict[str, tuple[Callable[[Path, Scene], list[Path]], tuple[str, ...]]] = {
    "coco-instances": (coco, ("box", "line")),
    "coco-panoptic": (panoptic, ()),
    "cvat": (cvat, ("points", "polyline")),
    "yolo-seg": (yolo, ("point", "box")),
    "labelme": (labelme, ("point", "line")),
    "label-studio": (label_studio, ("keypointlabels", "vectorlabels")),
    "voc": (voc, ()),
    "masks": (masks, ()),
}
"""With the kinds of annotations without an area; maps have none."""


def _written(folder: Path, name: str, scene: Scene) -> list[Path]:
    for number in range(len(scene.images)):
        save(folder / f"images/{number}.png", np.full((HEIGHT, WIDTH, 3), (9, 99, 199), np.uint8))
    return WRITERS[name][0](folder, scene)


@pytest.mark.parametrize("name", WRITERS)
@settings(max_examples=EXAMPLES)
@given(scene=scenes())
def test_drawn_datasets(name: str, scene: Scene) -> None:
    with tempfile.TemporaryDirectory() as place, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", SkippedShapesWarning)
        _written(Path(place), name, scene)
        dataset = segvoc.read_dataset(place)
        told = [str(one.message) for one in caught]
        kinds = Counter(WRITERS[name][1][kind] for kind in scene.leftovers if WRITERS[name][1])
        skipped = f"({', '.join(f'{number} {kind}' for kind, number in kinds.most_common())}): {kinds.total()};"
        assert [skipped in line for line in told] == [True] * bool(kinds)
        words = scene.words if name != "voc" else [word.replace(":", ";") for word in scene.words]
        assert list(dataset.vocabulary.words) == words and len(dataset) == len(scene.images)
        for number, image in enumerate(dataset.images):
            labels = image.read(len(scene.words)).labels
            np.testing.assert_array_equal(labels, scene.labels(number, larger_first=name == "yolo-seg"))
            image.read_objects((HEIGHT, WIDTH))


JUNK = st.sampled_from(
    [None, True, -1, 0, 7, 1e308, 10**30, "", "x", "\0", "../x", [], [[]], {}, [1, 2], {"a": []}, "🐱", "255", "1e999"]
)


def _damaged_json(draw: Callable[..., Any], content: Any) -> Any:
    """The content with a value somewhere in it that doesn't belong there, or without it."""
    at, key = content, None
    while isinstance(at, list | dict) and at and (key is None or draw(st.integers(0, 3))):
        key = draw(st.sampled_from(sorted(at) if isinstance(at, dict) else range(len(at))))
        holder, at = at, at[key]
    if key is None:
        return draw(JUNK)
    if draw(st.booleans()):
        holder[key] = draw(JUNK)
    else:
        del holder[key]
    return content


@pytest.mark.parametrize("name", WRITERS)
@settings(max_examples=EXAMPLES)
@given(scene=scenes(), data=st.data())
def test_damaged_datasets(name: str, scene: Scene, data: st.DataObject) -> None:
    """Each gives labels or an error of one line, and the images that aren't damaged keep theirs."""
    with tempfile.TemporaryDirectory() as place, warnings.catch_warnings():
        warnings.simplefilter("ignore", SkippedShapesWarning)
        file = data.draw(st.sampled_from(_written(Path(place), name, scene)))
        content = file.read_bytes()
        if file.suffix == ".json" and data.draw(st.booleans()):
            file.write_text(json.dumps(_damaged_json(data.draw, json.loads(content))), encoding="utf-8")
        else:
            start = data.draw(st.integers(0, len(content)))
            end = data.draw(st.integers(start, min(len(content), start + 40)))
            file.write_bytes(content[:start] + data.draw(st.binary(max_size=4)) + content[end:])
        try:
            dataset = segvoc.read_dataset(place, name)
        except UsageError as error:
            assert "\n" not in str(error)
            return
        for image in dataset.images:
            try:
                labels = image.read(len(dataset.vocabulary)).labels
                assert labels.shape == (HEIGHT, WIDTH)
                image.read_objects((HEIGHT, WIDTH))
            except InputError as error:
                assert "\n" not in str(error)
