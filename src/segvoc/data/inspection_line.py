"""Drawn images of an inspection line with their label maps, to try teaching and fine-tuning without images of your own.

python -m segvoc.data.inspection_line FOLDER [COUNT [SEED]]
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from segvoc.errors import SegvocError
from segvoc.storage.atomic_writes import write_bytes, writing

LINE_WORDS = ["conveyor belt", "metal plate", "screw", "label", "scratch"]
WIDTH, HEIGHT = 384, 288
PLACED = ["screw", "label", "scratch", "screw", "screw", "", "scratch", "screw", "", "", "", ""]


def draw(random: np.random.Generator) -> tuple[Image.Image, Image.Image]:
    """An image of HEIGHT x WIDTH pixels and its label map, which has the index of each pixel's word."""
    image, labels = Image.new("RGB", (WIDTH, HEIGHT), (44, 47, 52)), Image.new("L", (WIDTH, HEIGHT), 0)
    pen, marks = ImageDraw.Draw(image), ImageDraw.Draw(labels)
    for x in range(int(random.integers(24)), WIDTH, 24):
        pen.line((x, 0, x - 12, HEIGHT), fill=(33, 35, 39), width=5)

    left, top, right, bottom = random.integers((18, 18, WIDTH - 60, HEIGHT - 60), (60, 60, WIDTH - 18, HEIGHT - 18))
    pen.rounded_rectangle((left + 5, top + 6, right + 5, bottom + 6), 16, fill=(24, 25, 28))  # its shadow
    pen.rounded_rectangle((left, top, right, bottom), 16, fill=(168, 174, 182))
    marks.rounded_rectangle((left, top, right, bottom), 16, fill=1)

    # a grid of places on the plate, so that nothing covers anything else
    free = [(x, y) for y in range(top + 44, bottom - 34, 74) for x in range(left + 42, right - 34, 76)]
    for thing, place in zip(PLACED, random.permutation(len(free)), strict=False):
        x, y = (value + int(random.integers(-6, 7)) for value in free[place])
        match thing:
            case "screw":
                radius, angle = int(random.integers(17, 23)), random.uniform(0, np.pi)
                pen.circle((x, y), radius, fill=(122, 112, 92), outline=(58, 52, 42), width=3)
                marks.circle((x, y), radius, fill=2)
                for turn in (angle, angle + np.pi / 2):
                    dx, dy = 0.65 * radius * np.cos(turn), 0.65 * radius * np.sin(turn)
                    pen.line((x - dx, y - dy, x + dx, y + dy), fill=(48, 43, 35), width=5)
            case "label":
                box = (x - 32, y - 25, x + 32, y + 25)
                pen.rectangle(box, fill=(236, 231, 205), outline=(150, 140, 110))
                marks.rectangle(box, fill=3)
                for column in range(x - 25, x + 24, 5):
                    pen.line((column, y - 17, column, y + 16), fill=(30, 30, 30), width=int(random.integers(1, 5)))
            case "scratch":
                slope = random.uniform(-0.7, 0.7)
                jagged = [(x + step, y + slope * step + random.uniform(-4, 4)) for step in range(-30, 31, 10)]
                pen.line(jagged, fill=(92, 62, 50), width=9, joint="curve")
                pen.line(jagged, fill=(222, 214, 206), width=3, joint="curve")
                marks.line(jagged, fill=4, width=10, joint="curve")
    light = np.linspace(random.uniform(0.88, 1.1), random.uniform(0.88, 1.1), WIDTH)[:, None]
    pixels = np.asarray(image.filter(ImageFilter.GaussianBlur(0.8))) * light
    pixels += random.normal(0, 5, size=(HEIGHT, WIDTH, 1))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8)), labels


def write(folder: Path, count: int = 20, seed: int = 0) -> None:
    """Write FOLDER/images, FOLDER/labels and FOLDER/classes.json; the same seed draws the same images.

    Raises:
        OutputError: the folder can't be written.
    """
    random = np.random.default_rng(seed)
    with writing(folder):
        for name in ("images", "labels"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            image, labels = draw(random)
            image.save(folder / "images" / f"{number:03}.png")
            labels.save(folder / "labels" / f"{number:03}.png")
    write_bytes(folder / "classes.json", json.dumps(LINE_WORDS).encode())


def draw_from_shell(arguments: Sequence[str]) -> None:
    """Draw what the command line asks for."""
    usage = "usage: python -m segvoc.data.inspection_line FOLDER [COUNT [SEED]]"
    if not 1 <= len(arguments) <= 3 or not all(number.isdecimal() for number in arguments[1:]):
        sys.exit(usage)
    try:
        write(Path(arguments[0]), *map(int, arguments[1:]))
    except SegvocError as error:
        sys.exit(f"error: {error}")
    sys.stdout.write(f"look at {Path(arguments[0]) / 'images'}\n")


if __name__ == "__main__":
    draw_from_shell(sys.argv[1:])
