"""How time and memory grow with words, with the side of an image, and with images.

    python -m benchmarks.growth [--only words side images] [--most-images 100000]
    python -m benchmarks.growth batch [--most-images 10000000]

`batch` measures the process that plans `segvoc batch`: see `benchmarks.growth_of_batches`.

All else is done with `tiny`, by `segvoc segment`, and each point in a process of its own, whose peak memory counts:
- words: a photograph and so many words
- side: a square image of that side, made of the photograph, in tiles of 1,024 px, with 20 words
- images: a folder of so many links to the photograph, reduced to 96 px, with 20 words. From 2,000 images on, the
  network's result is that of the first image, so what grows is everything else; these points are a curve of their own

Rows go to results/growth.json; `python tools/make_tables.py` then renews the table of docs/explanation/speed.md, with
exponents. Measure on an idle machine.
"""

import argparse
import contextlib
import io
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from PIL import Image
from tqdm import tqdm

from benchmarks import growth_of_batches
from benchmarks.machine import alone, update
from segvoc.cli import command_line
from segvoc.inference.segmentation import Segmentation
from segvoc.inference.segmenter import Segmenter
from segvoc.runtime.hardware import cpu_name, peak_gigabytes

ROOT = Path(__file__).parents[1]
LINKS = 50_000
"""Names that one file has, at most."""
PHOTO = ROOT / "samples" / "chelsea.jpg"
POINTS: dict[str, tuple[int, ...]] = {
    "words": (10, 30, 100, 300, 1_000, 3_000, 10_000, 20_000),
    "side": (256, 512, 1_024, 2_048, 4_096, 8_192),
    "images": (1, 10, 100, 500),
    "simulated images": (2_000, 10_000, 30_000, 100_000),
}


def segment(image: Path, out: Path, *options: str, words: int = 20) -> None:
    """`segvoc segment`, without overlays."""
    names = out.with_suffix(".txt")
    names.write_text("".join(f"thing number {index}\n" for index in range(words)), encoding="utf-8")
    command = ["segment", str(image), "--words-file", str(names), "--out", str(out), "--no-overlay", *options]
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        command_line.main(command, standalone_mode=False)


def square(path: Path, side: int) -> None:
    """Tile an image of the photograph."""
    with Image.open(PHOTO) as opened:
        photo, places = np.array(opened.convert("RGB")), np.arange(side)
    square = photo[places % photo.shape[0]][:, places % photo.shape[1]]
    Image.fromarray(square).save(path, compress_level=1)


def fill(images: Path, number: int) -> None:
    """Make so many names of a small image, which take no room."""
    images.mkdir()
    with Image.open(PHOTO) as photo:
        photo.reduce(4).crop((0, 0, 96, 72)).save(images / "000000.jpg")
    for index in range(1, number):
        # a file has at most 65,000 names on ext4
        copied, name = images / f"{index // LINKS * LINKS:06}.jpg", images / f"{index:06}.jpg"
        if copied == name:
            shutil.copyfile(images / "000000.jpg", name)
        else:
            os.link(copied, name)


def first_result(plain: Callable[..., Iterator[Segmentation]]) -> Callable[..., Iterator[Segmentation]]:
    """A `segment_many` that gives each image the result of the first."""

    def results(model: Segmenter, paths: Iterator[Path], *given: Any, **options: Any) -> Iterator[Segmentation]:
        first = next(paths)
        (result,) = plain(model, [first], *given, **options)
        yield result
        for path in paths:
            yield replace(result, source=str(path))

    return results


def point(curve: str, number: int) -> dict[str, float]:
    """Time and memory of a point, in this process."""
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as changes:
        folder = Path(name)
        segment(PHOTO, folder / "first", words=10)  # imports, and what the first call makes
        if curve == "side":
            square(folder / "image.png", number)
        elif curve != "words":
            fill(folder / "images", number)
        if curve == "simulated images":
            changes.enter_context(mock.patch.object(Segmenter, "segment_many", first_result(Segmenter.segment_many)))
        start = time.perf_counter()
        if curve == "words":
            segment(PHOTO, folder / "out", words=number)
        elif curve == "side":
            segment(folder / "image.png", folder / "out", "--tile", "1024", "--overlap", "64")
        else:
            segment(folder / "images", folder / "out")
        seconds = time.perf_counter() - start
        assert len(list((folder / "out").glob("*.json"))) == (number if curve.endswith("images") else 1)
    return {"seconds": round(seconds, 3), "gigabytes": round(peak_gigabytes(), 3)}


def main() -> None:
    """Measure, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", choices=("segment", "batch"), default="segment")
    parser.add_argument("--only", nargs="+", choices=("words", "side", "images"), default=("words", "side", "images"))
    parser.add_argument("--most-images", type=int)
    arguments = parser.parse_args()
    if arguments.what == "batch":
        growth_of_batches.measure(arguments.most_images or max(growth_of_batches.POINTS))
        return
    most_images = arguments.most_images or 100_000
    curves = [curve for curve in POINTS if curve.rpartition(" ")[2] in arguments.only]
    chosen = [(curve, number) for curve in curves for number in POINTS[curve]]
    chosen = [one for one in chosen if not one[0].endswith("images") or one[1] <= most_images]
    rows = [{"curve": one[0], "number": one[1], **alone(point, *one)} for one in tqdm(chosen, unit="point")]
    update("growth", rows, ("curve", "number"), cpu=cpu_name())


if __name__ == "__main__":
    main()
