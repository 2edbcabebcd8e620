"""The image of the README: the sample photographs and, below each, what `tiny` makes of it.

Usage: python tools/make_images.py
"""

from pathlib import Path

from PIL import Image

import segvoc

ROOT = Path(__file__).resolve().parents[1]
TARGET = ROOT / "docs" / "images" / "samples.jpg"
WIDTH, HEIGHT, GAP = 320, 230, 6
WORDS = {
    "astronaut": ["astronaut", "flag", "space shuttle", "helmet", "wall"],
    "chelsea": ["cat", "blanket", "sofa", "wall"],
    "coffee": ["cup", "spoon", "table", "coffee"],
    "rocket": ["rocket", "sky", "tower", "smoke"],
}


def main() -> None:
    """Write the image."""
    model = segvoc.load("tiny", dtype="float32")
    sheet = Image.new("RGB", (len(WORDS) * WIDTH, 2 * HEIGHT), "white")
    for column, (name, words) in enumerate(WORDS.items()):
        photo = Image.open(ROOT / "samples" / f"{name}.jpg").convert("RGB")
        # names and outlines suit the size of the photograph, so it is made smaller first
        photo.thumbnail((WIDTH - GAP, HEIGHT - GAP), Image.Resampling.LANCZOS)
        left = column * WIDTH + (WIDTH - photo.width) // 2
        for row, image in enumerate((photo, model.segment(photo, words).overlay(legend=False))):
            sheet.paste(image, (left, row * HEIGHT + (HEIGHT - photo.height) // 2))
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(TARGET, quality=41, optimize=True, progressive=True)


if __name__ == "__main__":
    main()
