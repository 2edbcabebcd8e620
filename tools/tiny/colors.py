"""Score words for things in several colors: by the network alone, and where pixels decide between them.

    python -m tools.tiny.colors --photos ../shared/data/photos

Cars whose color is clear (`car_colors.json`, judged by eye) are asked for in all colors; three cars side by side, which
touch, in their own; and things of the sample photographs, painted in each color, in all. A thing counts if most of what
the words win at its place has its color. The results go to benchmarks/results/tiny_colors.json.
"""

import json
import random
import warnings
from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image

import segvoc
from segvoc.encoders.lexicon import COLORS
from segvoc.errors import LabelingWarning
from segvoc.storage.files import write_json

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks/results/tiny_colors.json"
CARS = json.loads(Path(__file__).with_name("car_colors.json").read_text(encoding="utf-8"))
"""Photographs of car-parts by the color of their car."""

PAINTS = {
    "black": (35, 33, 36), "gray": (120, 120, 122), "white": (255, 255, 255), "red": (230, 30, 30),
    "orange": (255, 140, 20), "brown": (120, 75, 40), "yellow": (255, 225, 40), "green": (40, 180, 60),
    "blue": (40, 70, 230), "purple": (130, 50, 170), "pink": (255, 150, 190),
}  # fmt: skip
PAINTED = {
    "coffee": ("cup", "table"),
    "chelsea": ("cat", "floor"),
    "flower": ("flower", "leaf"),
    "dogs": ("dog", "wall"),
}
"""A thing of each sample, and what is around it."""

AROUND = ("road", "tree", "grass")
PANEL = (426, 400)
"""Width and height of one of three cars [px]."""


class Case(NamedTuple):
    """An image, what to ask for, and the color of the thing at each of its places, from the left."""

    image: UInt8[np.ndarray, "H W 3"]
    colors: Sequence[str]
    thing: str
    others: Sequence[str]
    truth: Sequence[str]


def cars(photos: Path) -> Iterator[Case]:
    """Cars alone."""
    for color, stems in CARS.items():
        for stem in stems:
            yield Case(_pixels(photos / f"{stem}.jpg"), COLORS, "car", AROUND, [color])


def touching(photos: Path) -> Iterator[Case]:
    """Three cars side by side."""
    drawn, common = random.Random(0), [color for color, stems in CARS.items() if len(stems) >= 5]
    for _ in range(24):
        colors = drawn.sample(common, 3)
        panels = [_pixels(photos / f"{drawn.choice(CARS[color])}.jpg", PANEL) for color in colors]
        yield Case(np.concatenate(panels, axis=1), colors, "car", AROUND, colors)


def painted(model: segvoc.Segmenter) -> Iterator[Case]:
    """Things of the samples, whose shades are kept."""
    for sample, (thing, around) in PAINTED.items():
        image = _pixels(ROOT / f"samples/{sample}.jpg")
        inside = model.segment(image, [thing, around]).labels == 0
        shade = image.mean(axis=2, keepdims=True)
        shade *= 0.85 / np.percentile(shade[inside], 80)
        for color, paint in PAINTS.items():
            found = np.where(inside[..., None], shade * np.array(paint), image)
            yield Case(found.clip(0, 255).astype(np.uint8), COLORS, thing, [around], [color])


def score(model: segvoc.Segmenter, case: Case) -> int:
    """Places whose thing has the right color."""
    labels = model.segment(case.image, [f"{color} {case.thing}" for color in case.colors] + [*case.others]).labels
    right = 0
    for place, color in zip(np.array_split(labels, len(case.truth), axis=1), case.truth, strict=True):
        counts = np.bincount(place[place < len(case.colors)], minlength=len(case.colors))
        right += case.colors[int(counts.argmax())] == color
    return right


def _pixels(path: Path, size: tuple[int, int] | None = None) -> UInt8[np.ndarray, "H W 3"]:
    image = Image.open(path).convert("RGB")
    return np.asarray(image if size is None else image.resize(size))


def main() -> None:
    """Score all cases in both ways, and write the table."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=Path, required=True)
    photos = parser.parse_args().photos / "car-parts/images"
    warnings.simplefilter("ignore", LabelingWarning)
    model = segvoc.load("tiny")
    compared = model.traits
    alone = replace(compared, decision=replace(compared.decision, compares_colors=False))
    rows: list[dict[str, object]] = []
    for name, cases in (("cars", cars(photos)), ("touching cars", touching(photos)), ("painted", painted(model))):
        found = list(cases)
        row: dict[str, object] = {"things": name, "number": sum(len(case.truth) for case in found)}
        for way, traits in (("network alone", alone), ("pixels decide", compared)):
            model.traits = traits
            row[way] = sum(score(model, case) for case in found)
        rows.append(row)
        print(row, flush=True)
    write_json(RESULTS, {"rows": rows})


if __name__ == "__main__":
    main()
