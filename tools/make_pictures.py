"""The picture of the README: the sample photographs and, below each, what `tiny` makes of it.

Usage: python tools/make_pictures.py
"""

from pathlib import Path

from PIL import Image

import segvoc

ROOT = Path(__file__).resolve().parents[1]
TARGET = ROOT / "docs" / "images" / "samples.jpg"
WIDTH, HEIGHT = 420, 300
WORDS = {
    "astronaut": ["astronaut", "flag", "space shuttle", "helmet", "wall"],
    "chelsea": ["cat", "blanket", "sofa", "wall"],
    "coffee": ["cup", "spoon", "table", "coffee"],
    "rocket": ["rocket", "sky", "tower", "smoke"],
}


def main() -> None:
    """Write the picture."""
    model = segvoc.load_network("tiny", dtype="float32")
    sheet = Image.new("RGB", (len(WORDS) * WIDTH, 2 * HEIGHT), "white")
    for column, (name, words) in enumerate(WORDS.items()):
        photo = Image.open(ROOT / "samples" / f"{name}.jpg").convert("RGB")
        for row, picture in enumerate((photo, model.segment(photo, words).overlay())):
            sheet.paste(_filled(picture), (column * WIDTH, row * HEIGHT))
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(TARGET, quality=85, optimize=True)


def _filled(picture: Image.Image) -> Image.Image:
    """The picture on a white cell of the sheet, as large as fits."""
    cell = Image.new("RGB", (WIDTH, HEIGHT), "white")
    picture = picture.copy()
    picture.thumbnail((WIDTH - 8, HEIGHT - 8), Image.Resampling.LANCZOS)
    cell.paste(picture, ((WIDTH - picture.width) // 2, (HEIGHT - picture.height) // 2))
    return cell


if __name__ == "__main__":
    main()
