"""The images of the README and the tutorial: photographs by `tiny`, facades taught and tuned, a cut-out by a click.

Usage: python tools/make_images.py. It takes about three minutes of two cores.
"""

import json
import random
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import shapely
from PIL import Image, ImageDraw, ImageFont

import segvoc
from segvoc.imaging.label_maps import UNLABELED
from segvoc.imaging.map_features import LabeledMap, MapPlace, MapRows
from segvoc.imaging.palette import word_colors

ROOT = Path(__file__).resolve().parents[1]
TARGET = ROOT / "docs" / "images"
SAMPLES = ROOT / "samples"
HEIGHT, SIDE, GAP, LINE = 300, 288, 6, 26
WORDS = {"mountains": ["sky", "mountain", "trees", "grass"], "dogs": ["dog"]}
TYPED = {
    "astronaut": ["astronaut", "space suit", "flag", "space shuttle"],
    "chelsea": ["cat", "blanket"],
    "china": ["temple", "trees", "sky"],
    "coffee": ["coffee cup", "saucer", "spoon", "table"],
    "dogs": ["dog", "wall", "window", "door"],
    "flower": ["flower", "leaves"],
    "mountains": ["sky", "mountain", "trees", "grass"],
    "rocket": ["rocket", "launch tower", "clouds", "lawn"],
}
"""Words as somebody types them who sees a photograph of `samples/`; on the facades there, the words of their labels."""

MAP_WORDS = ("field", "forest", "water", "road")
DRAWN = 10
POOR = {"coffee": ["coffee cup", "red saucer", "silver spoon", "wooden table"], "china": ["temple", "trees", "sky"]}
CLICK = (225, 240)  # on the head of the first of the dogs
EACH = (CLICK, (305, 425))  # on each dog
SHOWN = (2, 3, 4)  # of the test set
FACADES = {"plants": "tree", "background": "sky"}
"""Words as somebody types them for classes of the facades; the others are typed as they are called."""


def draw_samples(target: str, samples: Mapping[str, Sequence[str]]) -> None:
    """Whole photographs, below each what `tiny` makes of it, and the words; or for a click, what it cuts out."""
    model = segvoc.load("tiny", dtype="float32")
    columns: list[tuple[str, Image.Image, Image.Image]] = []
    for name, words in samples.items():
        photo = Image.open(SAMPLES / f"{name}.jpg").convert("RGB")
        result = model.segment(photo, words)
        print(f"{target}: {name}, {result}", *result.hints, sep="\n")
        columns.append((", ".join(words), photo, result.overlay(legend=False)))
    if "dogs" in samples:
        photo = Image.open(SAMPLES / "dogs.jpg").convert("RGB")
        cut = Image.new("RGB", photo.size, "white")
        cut.paste(photo, mask=Image.fromarray(segvoc.click(photo, [CLICK])))
        ImageDraw.Draw(photo).circle(CLICK, 12, fill="limegreen", outline="white", width=4)
        columns.append(("one click", photo, cut))
    widths = [round(photo.width * HEIGHT / photo.height) for _, photo, _ in columns]
    sheet = Image.new("RGB", (sum(widths) + (len(columns) - 1) * GAP, 2 * HEIGHT + GAP + LINE), "white")
    left = 0
    for (title, *images), width in zip(columns, widths, strict=True):
        for row, image in enumerate(images):
            sheet.paste(image.resize((width, HEIGHT)), (left, row * (HEIGHT + GAP)))
        _title(sheet, left, 2 * HEIGHT + GAP, title)
        left += width + GAP
    sheet.save(TARGET / target, quality=75, optimize=True, progressive=True)


def draw_objects() -> None:
    """Two dogs that touch: their connected component, and the masks of a click on each."""
    result = segvoc.load("tiny", dtype="float32").segment(SAMPLES / "dogs.jpg", ["dog"], objects=True)
    numbers = np.zeros(result.labels.shape, np.uint16)
    for number, place in enumerate(EACH, 1):
        numbers[segvoc.click(result.image, [place])] = number
    clicked = replace(result, labels=np.where(numbers > 0, 0, UNLABELED).astype(np.uint16), object_map=numbers)
    parts = [one.overlay(legend=False).crop((60, 140, 480, 580)) for one in (result, clicked)]
    sheet = Image.new("RGB", (2 * parts[0].width + GAP, parts[0].height + LINE), "white")
    for column, (part, title) in enumerate(zip(parts, ("objects=True", "a click on each dog"), strict=True)):
        sheet.paste(part, (column * (part.width + GAP), 0))
        _title(sheet, column * (part.width + GAP), part.height, title)
    sheet.save(TARGET / "touching.jpg", quality=75, optimize=True, progressive=True)


def draw_tracks() -> None:
    """A cat and a dog that pass each other in front of a mountain, in a video made of photographs."""
    model = segvoc.load("tiny", dtype="float32")
    scene = Image.open(SAMPLES / "mountains.jpg").convert("RGB").resize((480, 320))
    cat = model.segment(SAMPLES / "chelsea.jpg", ["cat"]).crop("cat")
    dog = model.segment(SAMPLES / "dogs.jpg", ["dog"]).crop("dog")
    frames = []
    for number in range(13):
        frame = scene.copy()
        for animal, height, left in ((cat, 130, 10 + 24 * number), (dog, 190, 330 - 22 * number)):
            small = animal.resize((round(animal.width * height / animal.height), height))
            frame.paste(small, (left, 320 - height), small)
        frames.append(np.asarray(frame))
    results = [*model.segment_many(frames, ["cat", "dog", "mountain", "sky", "trees"], track=True)]
    print("tracks.jpg", *({(one.word, one.track) for one in result.objects} for result in results), sep="\n")
    sheet = Image.new("RGB", (4 * 300 + 3 * GAP, 200), "white")
    for column, result in enumerate(results[::4]):
        sheet.paste(result.overlay(legend=False).resize((300, 200)), (column * (300 + GAP), 0))
    sheet.save(TARGET / "tracks.jpg", quality=75, optimize=True, progressive=True)


def draw_drawn() -> None:
    """The first ten of a draw of all photographs in `samples/`, with labels, words and the expected accuracy."""
    model = segvoc.load("tiny", dtype="float32")
    facades = sorted((SAMPLES / "facades" / "test" / "images").iterdir())
    words = json.loads((SAMPLES / "facades" / "classes.json").read_text(encoding="utf-8"))[:-1]  # without "background"
    photos = {SAMPLES / f"{name}.jpg": typed for name, typed in TYPED.items()} | dict.fromkeys(facades, words)
    drawn = random.Random(0).sample(list(photos), len(photos))[:DRAWN]
    columns, side = DRAWN // 2, 400
    sheet = Image.new("RGB", (columns * (side + GAP) - GAP, 2 * (side + LINE)), "white")
    for number, path in enumerate(drawn):
        result = model.segment(path, photos[path])
        print(f"drawn: {path.name}, {result}", *result.hints, sep="\n")
        left, top = number % columns * (side + GAP), number // columns * (side + LINE)
        shown = result.overlay()
        shown.thumbnail((side, side))
        sheet.paste(shown, (left, top + LINE))
        _title(sheet, left, top, f"expected accuracy {100 * (result.quality or 0):.0f} %")
    sheet.save(TARGET / "drawn.jpg", quality=70, optimize=True, progressive=True)


def draw_map() -> None:
    """A drawn label map of one-meter pixels with the borders of its regions: all of their corners, and simplified."""
    rng, size, scale = np.random.default_rng(4), (48, 60), 6
    rows, columns = np.indices(size)
    heights = rng.uniform(size=(9, 2)) * size
    nearest = np.hypot(rows[..., None] - heights[:, 0], columns[..., None] - heights[:, 1]).argmin(-1)
    labels = np.where(abs(rows - 30 + columns / 4) < 2, 3, nearest % 3).astype(np.uint16)
    confidence = np.ones(size, np.float32)
    labeled = LabeledMap(
        height=size[0],
        width=size[1],
        words=MAP_WORDS,
        read=lambda some: MapRows(labels[some], confidence[some]),
        place=MapPlace(crs=None, transform=(scale, 0, 0, 0, scale, 0), pixel_area=1.0, is_faithful=True),
    )
    colors = word_colors(MAP_WORDS)
    sheet = Image.new("RGB", (2 * size[1] * scale + GAP, size[0] * scale), "white")
    for number, side in enumerate((0.0, 3.0)):
        shown = Image.fromarray(colors[labels].repeat(scale, 0).repeat(scale, 1))
        pen = ImageDraw.Draw(shown)
        for found in labeled.features(simplify=side):
            for ring in shapely.get_rings(found.polygons):
                corners = shapely.get_coordinates(ring).ravel().tolist()
                pen.line(corners, fill="white", width=2)
        sheet.paste(shown, (number * (size[1] * scale + GAP), 0))
    sheet.save(TARGET / "maps.png", optimize=True)


def draw_teaching() -> None:
    """Facades zero-shot with typed words, taught and fine-tuned, and the mean IoU on all test photographs."""
    model = segvoc.load("tiny", dtype="float32")
    root = SAMPLES / "facades"
    train, test = (
        segvoc.LabeledImages.from_folders(root / part / "images", root / part / "labels", root / "classes.json")
        for part in ("train", "test")
    )
    words = test.vocabulary.words
    asked = [FACADES.get(word, word) for word in words]
    typed = segvoc.LabeledImages.from_folders(root / "test" / "images", root / "test" / "labels", asked)
    sheet = Image.new("RGB", (4 * (SIDE + GAP) - GAP, LINE + len(SHOWN) * (SIDE + GAP) + LINE), "white")
    _title(sheet, 0, 0, "photograph")
    for row, number in enumerate(SHOWN):
        _place(sheet, row, 0, Image.fromarray(test.read(number).image))
    with tempfile.TemporaryDirectory() as run:
        taught = model.with_taught(segvoc.teach(model, train))
        segvoc.train(segvoc.recipes.finetune("tiny", images=len(train)), train, run)
        tuned = segvoc.load(Path(run) / "model.safetensors", dtype="float32")
        models = {
            "zero-shot, typed words": (model, typed),
            f"taught from {len(train)} images": (taught, test),
            "fine-tuned": (tuned, test),
        }
        for column, (title, (one, images)) in enumerate(models.items(), 1):
            score = segvoc.evaluate(one, images, Path(run) / f"report_{column}")["miou"]
            _title(sheet, column * (SIDE + GAP), 0, f"{title}: mIoU {score:.0f} %")
            for row, number in enumerate(SHOWN):
                result = one.segment(test.read(number).image, images.vocabulary)
                _place(sheet, row, column, result.overlay(legend=False))
    left = 0
    for word, color in zip(words, word_colors(words, None).tolist(), strict=True):
        top = LINE + len(SHOWN) * (SIDE + GAP)
        ImageDraw.Draw(sheet).rectangle((left + 4, top + 6, left + 16, top + 18), fill=tuple(color))
        left = _title(sheet, left + 18, top, word) + 8
    sheet.save(TARGET / "teach.jpg", quality=70, optimize=True, progressive=True)


def _place(sheet: Image.Image, row: int, column: int, image: Image.Image) -> None:
    sheet.paste(image.resize((SIDE, SIDE)), (column * (SIDE + GAP), LINE + row * (SIDE + GAP)))


def _title(sheet: Image.Image, left: int, top: int, text: str) -> int:
    """Write a line; returns where it ends."""
    font = ImageFont.load_default(15)
    ImageDraw.Draw(sheet).text((left + 4, top + LINE / 2), text, fill="black", font=font, anchor="lm")
    return left + 4 + round(font.getlength(text))


if __name__ == "__main__":
    draw_samples("samples.jpg", WORDS)
    draw_samples("poor.jpg", POOR)
    draw_objects()
    draw_tracks()
    draw_drawn()
    draw_map()
    draw_teaching()
