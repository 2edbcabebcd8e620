"""The images of the README and the tutorial: photographs by `tiny`, facades taught and tuned, a cut-out by a click.

Usage: python tools/make_images.py. It takes about three minutes.
"""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, ImageOps

import segvoc

ROOT = Path(__file__).resolve().parents[1]
TARGET = ROOT / "docs" / "images"
SAMPLES = ROOT / "samples"
WIDTH, HEIGHT, GAP, LINE = 400, 267, 6, 26
WORDS = {
    "mountains": ["sky", "mountain", "trees", "grass"],
    "dogs": ["dog", "wall", "window", "wooden door"],
}
POOR = {"coffee": ["coffee cup", "red saucer", "silver spoon", "wooden table"], "china": ["temple", "trees", "sky"]}
CLICK = (225, 240)  # on the head of the first of the dogs
SHOWN = (2, 3, 4)  # of the test set


def draw_samples(target: str, samples: Mapping[str, Sequence[str]]) -> None:
    """Photographs, below each what `tiny` makes of it, and the words; or for a click, what it cuts out."""
    model = segvoc.load("tiny", dtype="float32")
    columns = [(name, ", ".join(words)) for name, words in samples.items()]
    columns += [("dogs", "one click: segvoc click")] if "dogs" in samples else []
    sheet = Image.new("RGB", (len(columns) * (WIDTH + GAP) - GAP, 2 * HEIGHT + GAP + LINE), "white")
    for column, (name, title) in enumerate(columns):
        photo = Image.open(SAMPLES / f"{name}.jpg").convert("RGB")
        if column < len(samples):
            result = model.segment(photo, title).overlay(legend=False)
        else:
            result = Image.new("RGB", photo.size, "white")
            result.paste(photo, mask=Image.fromarray(segvoc.click(photo, [CLICK])))
            ImageDraw.Draw(photo).circle(CLICK, 9, fill="limegreen", outline="white", width=3)
        left = column * (WIDTH + GAP)
        for row, image in enumerate((photo, result)):
            fitted = ImageOps.fit(image, (WIDTH, HEIGHT), centering=(0.5, 0.4))
            sheet.paste(fitted, (left, row * (HEIGHT + GAP)))
        _title(sheet, left, 2 * HEIGHT + GAP, title)
    sheet.save(TARGET / target, quality=60, optimize=True, progressive=True)


def draw_teaching() -> None:
    """Facades zero-shot, after teaching and after fine-tuning."""
    side = 288
    model = segvoc.load("tiny", dtype="float32")
    root = SAMPLES / "facades"
    train, test = (
        segvoc.LabeledImages.from_folders(root / part / "images", root / part / "labels", root / "classes.json")
        for part in ("train", "test")
    )
    with tempfile.TemporaryDirectory() as run:
        taught = model.with_taught(segvoc.teach(model, train))
        segvoc.train(segvoc.recipes.finetune("tiny", images=len(train)), train, run)
        tuned = segvoc.load(Path(run) / "model.safetensors", dtype="float32")
        models = {"by text": model, f"taught from {len(train)} images": taught, "fine-tuned": tuned}
        sheet = Image.new("RGB", (4 * (side + GAP) - GAP, LINE + len(SHOWN) * (side + GAP) - GAP), "white")
        for column, title in enumerate(("photograph", *models)):
            _title(sheet, column * (side + GAP), 0, title)
        for row, number in enumerate(SHOWN):
            photo = Image.fromarray(test.read(number).image)
            # by text, the sky has a word, too: a fair start
            asked = [[*test.vocabulary.words, "sky"], test.vocabulary, test.vocabulary]
            results = (one.segment(photo, words) for one, words in zip(models.values(), asked, strict=True))
            overlays = [result.overlay(legend=False) for result in results]
            for column, image in enumerate((photo, *overlays)):
                sheet.paste(image.resize((side, side)), (column * (side + GAP), LINE + row * (side + GAP)))
    sheet.save(TARGET / "teach.jpg", quality=60, optimize=True, progressive=True)


def _title(sheet: Image.Image, left: int, top: int, text: str) -> None:
    font = ImageFont.load_default(16)
    ImageDraw.Draw(sheet).text((left + 4, top + LINE / 2), text, fill="black", font=font, anchor="lm")


if __name__ == "__main__":
    draw_samples("samples.jpg", WORDS)
    draw_samples("poor.jpg", POOR)
    draw_teaching()
