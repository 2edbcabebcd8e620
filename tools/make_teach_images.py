"""The image of docs/tutorials/own_model.md: drawn images by text, taught and fine-tuned.

Usage: python tools/make_teach_images.py. It takes about two minutes.
"""

import tempfile
from pathlib import Path

from PIL import Image

import segvoc
from segvoc.data import inspection_line

ROOT = Path(__file__).resolve().parents[1]
TARGET = ROOT / "docs" / "images"
GAP = 6


def labeled(folder: Path, count: int, seed: int) -> segvoc.LabeledImages:
    """Drawn images with their labels."""
    inspection_line.write(folder, count, seed)
    return segvoc.LabeledImages.from_folders(folder / "images", folder / "labels", folder / "classes.json")


def main() -> None:
    """Write the image."""
    model = segvoc.load("tiny", dtype="float32")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shown, others = labeled(folder / "line", 20, 0), labeled(folder / "test", 2, 1)
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


if __name__ == "__main__":
    main()
