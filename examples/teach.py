"""Teach tiny five words by six drawn images, and compare two other images before and after.

Usage: python examples/teach.py [FOLDER]

It works without PyTorch, too. FOLDER (default: out) gets the images, the taught words and before_after.png.
"""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before NumPy: its waiting threads disturb those of the network

import numpy as np
from PIL import Image, ImageDraw, ImageFont

import segvoc
from segvoc.data.inspection_line import HEIGHT, LINE_WORDS, WIDTH, write

BAR = 26  # pixels, for the titles
COMMANDS = """
The same with commands, which take images of your own:
  segvoc teach --images {0}/teach/images --labels {0}/teach/labels --classes {0}/teach/classes.json --out {1}
  segvoc segment {0}/test/images --words "{2}" --taught {1} --out {0}/labeled"""


def intersection_over_union(model: segvoc.Segmenter, images: segvoc.LabeledImages) -> np.ndarray:
    """Of each word in all images, in percent."""
    shared, either = np.zeros(len(LINE_WORDS)), np.zeros(len(LINE_WORDS))
    for number in range(len(images)):
        image, truth = images.read(number)
        found = model.segment(image, LINE_WORDS).labels
        for index in range(len(LINE_WORDS)):
            shared[index] += ((found == index) & (truth == index)).sum()
            either[index] += ((found == index) | (truth == index)).sum()
    return 100 * shared / either


def before_and_after(images: segvoc.LabeledImages, models: Mapping[str, segvoc.Segmenter]) -> Image.Image:
    """A row for each image: itself, and what each model makes of it."""
    sheet = Image.new("RGB", ((1 + len(models)) * WIDTH, BAR + len(images) * HEIGHT), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(15)
    for column, title in enumerate(("image", *models)):
        pen.text((column * WIDTH + 8, BAR / 2), title, fill="black", font=font, anchor="lm")
    for row in range(len(images)):
        image = images.read(row).image
        overlays = [model.segment(image, LINE_WORDS).overlay() for model in models.values()]
        for column, one in enumerate((Image.fromarray(image), *overlays)):
            sheet.paste(one, (column * WIDTH, BAR + row * HEIGHT))
    return sheet


folder = Path(sys.argv[1] if len(sys.argv) > 1 else "out")
write(folder / "teach", count=6)
write(folder / "test", count=2, seed=1)
shown, others = (
    segvoc.LabeledImages.from_folders(one / "images", one / "labels", one / "classes.json")
    for one in (folder / "teach", folder / "test")
)
model = segvoc.load("tiny")
taught = model.teach(shown)  # takes seconds
taught.save(folder / "line.words.safetensors")

models = {"by text alone": model, f"taught on {len(shown)} other images": model.with_taught(taught)}
scores = [intersection_over_union(one, others) for one in models.values()]
print(f"IoU on {len(others)} other images [%]    by text   taught")
for word, before, after in zip([*LINE_WORDS, "mean"], *([*one, one.mean()] for one in scores), strict=True):
    print(f"{word:27} {before:10.1f} {after:8.1f}")
print(COMMANDS.format(folder, folder / "line.words.safetensors", ", ".join(LINE_WORDS)))
before_and_after(others, models).save(folder / "before_after.png")
print(f"\nLook at {folder}/before_after.png")
