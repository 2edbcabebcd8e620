"""The images of the README and the tutorial: photographs by `tiny`; drawn images by text, taught and fine-tuned.

Usage: python tools/make_images.py. It takes about two minutes.
"""

import tempfile
from pathlib import Path

from PIL import Image

import segvoc
from segvoc.data import inspection_line

ROOT = Path(__file__).resolve().parents[1]
TARGET = ROOT / "docs" / "images"
WIDTH, HEIGHT, GAP = 320, 230, 6
WORDS = {
    "astronaut": ["astronaut", "flag", "space shuttle", "helmet", "wall"],
    "chelsea": ["cat", "blanket", "sofa", "wall"],
    "coffee": ["cup", "spoon", "table", "coffee"],
    "rocket": ["rocket", "sky", "tower", "smoke"],
}


def draw_samples() -> None:
    """The sample photographs and, below each, what `tiny` makes of it."""
    model = segvoc.load("tiny", dtype="float32")
    sheet = Image.new("RGB", (len(WORDS) * WIDTH, 2 * HEIGHT), "white")
    for column, (name, words) in enumerate(WORDS.items()):
        photo = Image.open(ROOT / "samples" / f"{name}.jpg").convert("RGB")
        # names and outlines suit the size of the photograph, so it is made smaller first
        photo.thumbnail((WIDTH - GAP, HEIGHT - GAP), Image.Resampling.LANCZOS)
        left = column * WIDTH + (WIDTH - photo.width) // 2
        for row, image in enumerate((photo, model.segment(photo, words).overlay(legend=False))):
            sheet.paste(image, (left, row * HEIGHT + (HEIGHT - photo.height) // 2))
    sheet.save(TARGET / "samples.jpg", quality=41, optimize=True, progressive=True)


def draw_teaching() -> None:
    """Two drawn images, and their labels by text alone, after teaching and after fine-tuning."""
    model = segvoc.load("tiny", dtype="float32")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shown, others = drawn(folder / "line", 20, 0), drawn(folder / "test", 2, 1)
        words = list(shown.vocabulary.words)
        taught = model.with_taught(model.teach(shown))
        segvoc.train(segvoc.recipes.finetune("tiny", images=len(shown)), shown, folder / "run")
        tuned = segvoc.load(folder / "run" / "model.safetensors", dtype="float32")
        rows = [
            [Image.fromarray(image), *(one.segment(image, words).overlay() for one in (model, taught, tuned))]
            for image in (others.read(number).image for number in range(len(others)))
        ]
    width, height = (side + GAP for side in rows[0][0].size)
    sheet = Image.new("RGB", (len(rows[0]) * width - GAP, len(rows) * height - GAP), "white")
    for row, images in enumerate(rows):
        for column, image in enumerate(images):
            sheet.paste(image, (column * width, row * height))
    sheet.save(TARGET / "teach.jpg", quality=60, optimize=True, progressive=True)


def drawn(folder: Path, count: int, seed: int) -> segvoc.LabeledImages:
    """Drawn images with their labels."""
    inspection_line.write(folder, count, seed)
    return segvoc.LabeledImages.from_folders(folder / "images", folder / "labels", folder / "classes.json")


if __name__ == "__main__":
    draw_samples()
    draw_teaching()
