"""Teach tiny the parts of a facade by 20 photographs, and compare six others before and after.

Before, it is asked for words as somebody types them who sees the photographs; after, for the words that it was taught.

Usage: python examples/teach.py [FOLDER]

It works without PyTorch, too. FOLDER (default: out) gets the taught words and before_after.png.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before NumPy: its waiting threads slow the network's down

import numpy as np
from PIL import Image, ImageDraw, ImageFont

import segvoc

FACADES = Path(__file__).resolve().parents[1] / "samples" / "facades"
TYPED = {"plants": "tree", "background": "sky"}
"""Words that people type for classes whose names say little: the background of these facades is the sky."""
SIDE, BAR = 320, 26  # pixels of an image in the picture and of the titles
COMMANDS = """
The same with commands, which take images of your own:
  segvoc teach --images {0}/train/images --labels {0}/train/labels --classes {0}/classes.json --out {1}
  segvoc segment {0}/test/images --words-file {0}/classes.json --taught {1} --out {2}/labeled"""


def class_ious(model: segvoc.Segmenter, images: segvoc.LabeledImages, words: Sequence[str]) -> np.ndarray:
    """(K,) intersection over union of each class over all images, in percent; nan where a class occurs nowhere.

    `words` are those that the model is asked for, in the order of the classes.
    """
    confusion = np.zeros((len(words), len(words)))
    for number in range(len(images)):
        image, truth = images.read(number)
        predicted = model.segment(image, words).labels
        known = truth < len(words)  # the rest is unlabeled
        np.add.at(confusion, (truth[known], predicted[known]), 1)
    shared = confusion.diagonal()
    with np.errstate(invalid="ignore"):
        return 100 * shared / (confusion.sum(axis=0) + confusion.sum(axis=1) - shared)


def before_and_after(
    images: segvoc.LabeledImages, models: Mapping[str, tuple[segvoc.Segmenter, Sequence[str]]]
) -> Image.Image:
    """A row per image: the photograph, then the overlay of each model, asked for its words."""
    sheet = Image.new("RGB", ((1 + len(models)) * SIDE, BAR + len(images) * SIDE), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(15)
    for column, title in enumerate(("photograph", *models)):
        pen.text((column * SIDE + 8, BAR / 2), title, fill="black", font=font, anchor="lm")
    for row in range(len(images)):
        photo = Image.fromarray(images.read(row).image)
        overlays = [model.segment(photo, words).overlay(legend=False) for model, words in models.values()]
        for column, picture in enumerate((photo, *overlays)):
            sheet.paste(picture.resize((SIDE, SIDE)), (column * SIDE, BAR + row * SIDE))
    return sheet


folder = Path(sys.argv[1] if len(sys.argv) > 1 else "out")
folder.mkdir(parents=True, exist_ok=True)
train, test = (
    segvoc.LabeledImages.from_folders(FACADES / part / "images", FACADES / part / "labels", FACADES / "classes.json")
    for part in ("train", "test")
)
model = segvoc.load("tiny")
taught = segvoc.teach(model, train, on_step=lambda what, done, total: print(f"\r{what}: {done} of {total}  ", end=""))
taught.save(folder / "facades.words.safetensors")
classes = train.vocabulary.words
typed = [TYPED.get(name, name) for name in classes]
models = {"zero-shot": (model, typed), f"taught from {len(train)} photographs": (model.with_taught(taught), classes)}
print(f"\nLabeling {len(test)} other photographs before and after", flush=True)
scores = [class_ious(one, test, words) for one, words in models.values()]
print(f"IoU on {len(test)} other photographs [%]  zero-shot   taught")
names = [f"{name} (typed: {word})" if word != name else name for name, word in zip(classes, typed, strict=True)]
for name, before, after in zip([*names, "mean"], *([*one, np.nanmean(one)] for one in scores), strict=True):
    print(f"{name:36} {before:8.1f} {after:8.1f}")
print(COMMANDS.format("samples/facades", folder / "facades.words.safetensors", folder))
before_and_after(test, models).save(folder / "before_after.png")
print(f"\nLook at {folder}/before_after.png")
