"""Draw the pictures of docs/how_to/viewers.md: a result in supervision, LabelMe and FiftyOne.

Usage: python tools/make_viewer_images.py [FOLDER]

Needs the environment of `make viewers-check`. LabelMe draws its window without a screen; FiftyOne's picture is drawn by
`draw_labeled_image`, since its app needs a MongoDB server.
"""

import os
import sys
import warnings
from pathlib import Path
from typing import Any

from PIL import Image

import segvoc
from segvoc.inference.segmentation import Segmentation
from segvoc.integrations.fiftyone import label_samples
from tests.integrations.conftest import use_memory_database

ROOT = Path(__file__).resolve().parents[1]
PHOTO = ROOT / "samples" / "coffee.jpg"
WORDS = ("cup of coffee", "wooden table")
WIDTH = 480
"""Width of a picture [px]."""


def supervision_picture(result: Segmentation) -> Image.Image:
    """Masks, boxes and names, by the library's annotators."""
    with warnings.catch_warnings(action="ignore"):  # it says that OpenCV isn't there
        import supervision
    found = result.to_supervision()
    scene = supervision.MaskAnnotator(opacity=0.45).annotate(result.image.copy(), found)
    scene = supervision.BoxAnnotator().annotate(scene, found)
    sure: Any = found.confidence
    words: Any = found["class_name"]
    names = [f"{word} {confidence:.2f}" for word, confidence in zip(words, sure, strict=True)]
    place = supervision.Position.CENTER_OF_MASS
    return Image.fromarray(
        supervision.LabelAnnotator(text_position=place, smart_position=True).annotate(scene, found, names)
    )


def labelme_picture(result: Segmentation, folder: Path) -> Image.Image:
    """LabelMe's window with the file open."""
    os.environ["QT_QPA_PLATFORM"] = "offscreen"
    from labelme.app import MainWindow  # pyright: ignore[reportMissingImports]
    from PyQt5 import QtCore, QtWidgets  # pyright: ignore[reportMissingImports]

    result.to_labelme(folder / "coffee.json")
    app: Any = QtWidgets.QApplication(sys.argv[:1])
    window: Any = MainWindow(file_or_dir=str(folder / "coffee.json"))
    window.resize(1000, 620)
    window.show()

    def finish() -> None:
        window.grab().save(str(folder / "labelme.png"))
        app.quit()

    QtCore.QTimer.singleShot(3000, finish)
    app.exec_()
    return Image.open(folder / "labelme.png").convert("RGB")


def fiftyone_picture(model: segvoc.Segmenter, folder: Path) -> Image.Image:
    """The predictions of a sample, by FiftyOne's own drawing."""
    use_memory_database()
    import fiftyone  # pyright: ignore[reportMissingImports]
    from fiftyone.utils.annotations import draw_labeled_image  # pyright: ignore[reportMissingImports]

    dataset = fiftyone.Dataset()
    dataset.add_sample(fiftyone.Sample(filepath=str(PHOTO)))
    label_samples(dataset, model, ("cup of coffee", "table of wood"), kind="detections")  # wood is stuff
    draw_labeled_image(dataset.first(), str(folder / "fiftyone.png"), label_fields=["segvoc"])
    return Image.open(folder / "fiftyone.png").convert("RGB")


def main() -> None:
    """Draw all three."""
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "images" / "viewers"
    scratch = ROOT / "build" / "viewer_images"
    for folder in (out, scratch):
        folder.mkdir(parents=True, exist_ok=True)
    model = segvoc.load("tiny", device="cpu")
    result = model.segment(PHOTO, WORDS)
    pictures = {
        "supervision": supervision_picture(result),
        "labelme": labelme_picture(result, scratch),
        "fiftyone": fiftyone_picture(model, scratch),
    }
    for name, picture in pictures.items():
        shown = picture.resize((WIDTH, round(picture.height * WIDTH / picture.width)), Image.Resampling.LANCZOS)
        shown.save(out / f"{name}.jpg", quality=80)


if __name__ == "__main__":
    main()
