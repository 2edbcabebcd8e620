"""The images of the README and the tutorial: photographs by `tiny`, facades taught and fine-tuned, a cut-out by clicks.

Usage: python tools/make_images.py. It takes about three minutes.
"""

import tempfile
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, ImageOps

import segvoc

ROOT = Path(__file__).resolve().parents[1]
TARGET = ROOT / "docs" / "images"
SAMPLES = ROOT / "samples"
WIDTH, HEIGHT, GAP, LINE = 400, 267, 6, 26
WORDS = {
    "china": ["temple", "trees", "sky"],
    "coffee": ["coffee cup", "red saucer", "silver spoon", "wooden table"],
    "astronaut": ["person", "striped flag", "wall", "rocket"],
}
CLICKS = {"photo": "coffee", "points": [(290, 110), (350, 330), (110, 250)], "labels": [True, False, False]}
SHOWN = (2, 3, 4)  # of the test set


def draw_samples() -> None:
    """Sample photographs, below each what `tiny` makes of it, and the words."""
    model = segvoc.load("tiny", dtype="float32")
    sheet = Image.new("RGB", (len(WORDS) * (WIDTH + GAP) - GAP, 2 * HEIGHT + GAP + LINE), "white")
    for column, (name, words) in enumerate(WORDS.items()):
        photo = Image.open(SAMPLES / f"{name}.jpg").convert("RGB")
        overlay = model.segment(photo, words).overlay(legend=False)
        left = column * (WIDTH + GAP)
        for row, image in enumerate((photo, overlay)):
            fitted = ImageOps.fit(image, (WIDTH, HEIGHT), centering=(0.5, 0))
            sheet.paste(fitted, (left, row * (HEIGHT + GAP)))
        _title(sheet, left, 2 * HEIGHT + GAP, ", ".join(words))
    sheet.save(TARGET / "samples.jpg", quality=60, optimize=True, progressive=True)


def draw_teaching() -> None:
    """Facades by text alone, after teaching and after fine-tuning."""
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
        models = {"by text": model, f"taught by {len(train)} images": taught, "fine-tuned": tuned}
        sheet = Image.new("RGB", (4 * (side + GAP) - GAP, LINE + len(SHOWN) * (side + GAP) - GAP), "white")
        for column, title in enumerate(("photograph", *models)):
            _title(sheet, column * (side + GAP), 0, title)
        for row, number in enumerate(SHOWN):
            photo = Image.fromarray(test.read(number).image)
            overlays = [one.segment(photo, test.vocabulary).overlay(legend=False) for one in models.values()]
            for column, image in enumerate((photo, *overlays)):
                sheet.paste(image.resize((side, side)), (column * (side + GAP), LINE + row * (side + GAP)))
    sheet.save(TARGET / "teach.jpg", quality=60, optimize=True, progressive=True)


def draw_clicks() -> None:
    """A photograph with three clicks, inside and outside, and the object cut out."""
    photo = Image.open(SAMPLES / f"{CLICKS['photo']}.jpg").convert("RGB")
    mask = segvoc.click(photo, CLICKS["points"], CLICKS["labels"])
    cut_out = Image.composite(photo, Image.new("RGB", photo.size, "white"), Image.fromarray(mask))
    pen = ImageDraw.Draw(photo)
    for point, inside in zip(CLICKS["points"], CLICKS["labels"], strict=True):
        pen.circle(point, 9, fill="limegreen" if inside else "red", outline="white", width=3)
    sheet = Image.new("RGB", (2 * WIDTH + GAP, HEIGHT), "white")
    sheet.paste(ImageOps.fit(photo, (WIDTH, HEIGHT)), (0, 0))
    sheet.paste(ImageOps.fit(cut_out, (WIDTH, HEIGHT)), (WIDTH + GAP, 0))
    sheet.save(TARGET / "click.jpg", quality=60, optimize=True, progressive=True)


def _title(sheet: Image.Image, left: int, top: int, text: str) -> None:
    font = ImageFont.load_default(16)
    ImageDraw.Draw(sheet).text((left + 4, top + LINE / 2), text, fill="black", font=font, anchor="lm")


if __name__ == "__main__":
    draw_samples()
    draw_teaching()
    draw_clicks()
