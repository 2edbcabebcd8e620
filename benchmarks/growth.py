"""How time and memory grow with words, with the side of an image, and with images: a table, exponents.

    python -m benchmarks.growth [--only words side images] [--most-images 100000] [--page docs/explanation/speed.md]

Everything is done with `tiny`, and each point in a process of its own, whose largest memory is told:
- words: from a vocabulary of that many words to the labels of a photograph, encoded and labeled once
- side: a square image of that side, made of the photograph, to files in tiles of 1,024 px, with 20 words
- images: a folder of that many links to the photograph, reduced to 96 px, to files, with 20 words: planned, labeled,
  written and journaled as `segvoc segment` does. From 2,000 images on, the network's result is that of the first
  image, so what grows is everything else; these points are a curve of their own

An exponent is the slope of the line through the logarithms of the last points of a curve, where fixed costs hardly
count: 1 is linear. Rows go to results/growth.json; --page writes the table between its marks. Measure on an idle
machine.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
from PIL import Image
from tqdm import tqdm

import segvoc
from benchmarks.machine import RESULTS, update
from segvoc.cli.segment import summary_line
from segvoc.imaging.result_paths import ResultPaths, image_paths, plan_files
from segvoc.inference.label_options import LabelOptions
from segvoc.inference.segmentation import Segmentation
from segvoc.inference.segmenter import Segmenter
from segvoc.labeling.big_images import label_big_image
from segvoc.labeling.labeling import Labeling, Output, image_work, label_images
from segvoc.runtime import process_settings
from segvoc.runtime.hardware import cpu_name, peak_gigabytes
from segvoc.storage.files import read_json
from segvoc.vocabulary import Vocabulary
from tools.make_tables import markdown, with_block

ROOT = Path(__file__).parents[1]
LINKS = 50_000
"""Names that one file has, at most."""
PHOTO = ROOT / "samples" / "chelsea.jpg"
NAME = "growth"
POINTS: dict[str, tuple[int, ...]] = {
    "words": (10, 30, 100, 300, 1_000, 3_000, 10_000, 20_000),
    "side": (256, 512, 1_024, 2_048, 4_096, 8_192),
    "images": (1, 10, 100, 500),
    "simulated images": (2_000, 10_000, 30_000, 100_000),
}
LAST = 3
"""Points of a curve that its exponents are taken from."""


def word_list(number: int) -> list[str]:
    """As many words as asked for, all different."""
    return [f"thing number {index}" for index in range(number)]


def label_side(number: int) -> None:
    """One image of so many pixels a side, in tiles."""
    with Image.open(PHOTO) as opened:
        photo = np.array(opened.convert("RGB"))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "image.png")
        places = np.arange(number)
        square = photo[places % photo.shape[0]][:, places % photo.shape[1]]
        Image.fromarray(square).save(path, compress_level=1)
        del photo, square
        model = segvoc.load("tiny", device="cpu")
        options = LabelOptions(tile=1024, overlap=64)
        label_big_image(model, path, word_list(20), Output(Path(folder, "out")), options=options)


def label_folder(number: int, *, simulated: bool) -> None:
    """A folder of so many images."""
    with tempfile.TemporaryDirectory() as folder:
        images, out = Path(folder, "images"), Path(folder, "out")
        images.mkdir()
        with Image.open(PHOTO) as photo:
            photo.reduce(4).crop((0, 0, 96, 72)).save(images / "000000.jpg")
        fill(images, number)
        model = segvoc.load("tiny", device="cpu")
        words = Vocabulary(word_list(20))
        labeling = Labeling(load=lambda: model, words=words, output=Output(out, overlay=None), describe=summary_line)
        inputs = image_paths([images])
        plans = plan_files(inputs, out, lambda _, stem: ResultPaths.below(out, stem, overlay=False))
        planned = [(image.path, files) for image, files in zip(inputs, plans, strict=True) if files is not None]
        labeler = _repeating(model, images / "000000.jpg", words) if simulated else model
        with image_work(out, labeling.settings(model), [str(images)]) as work:
            done = sum(isinstance(line, str) for line in label_images(labeling, labeler, planned, work))
        assert done == number, f"{number - done} images failed"


def fill(images: Path, number: int) -> None:
    """Make so many names of the image 000000.jpg, which take no room."""
    for index in range(1, number):
        # a file has at most 65,000 names on ext4
        copied, name = images / f"{index // LINKS * LINKS:06}.jpg", images / f"{index:06}.jpg"
        if copied == name:
            shutil.copyfile(images / "000000.jpg", name)
        else:
            os.link(copied, name)


def _repeating(model: Segmenter, first: Path, words: Vocabulary) -> Segmenter:
    """What stands for a model that has seen all images before: each gets the result of the first."""
    result = model.segment(first, words)

    def results(paths: Iterator[Path], *_: object, **__: object) -> Iterator[Segmentation]:
        for path in paths:
            yield replace(result, source=str(path))

    return cast(Segmenter, SimpleNamespace(encode=model.encode, segment_many=results, batch=1))


def measure(curve: str, number: int) -> dict[str, Any]:
    """The row of a point, from a process of its own."""
    command = [sys.executable, "-m", "benchmarks.growth", "--point", curve, str(number)]
    environment = os.environ | {"PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment, cwd=ROOT)
    return {"curve": curve, "number": number, **json.loads(done.stdout.splitlines()[-1])}


def point(curve: str, number: int) -> None:
    """Measure in this process, and print what was found."""
    segvoc.load("tiny", device="cpu").segment(PHOTO, word_list(10))  # imports, and what the first call makes
    start = time.perf_counter()
    if curve == "words":
        segvoc.load("tiny", device="cpu").segment(PHOTO, word_list(number))
    elif curve == "side":
        label_side(number)
    else:
        label_folder(number, simulated=curve == "simulated images")
    print(json.dumps({"seconds": round(time.perf_counter() - start, 3), "gigabytes": round(peak_gigabytes(), 3)}))


def exponents(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """How "seconds" and "gigabytes" grow along the last points of a curve; with the side, along its pixels."""
    last = sorted(rows, key=lambda row: row["number"])[-LAST:]
    sizes = np.log([row["number"] ** (2 if row["curve"] == "side" else 1) for row in last])
    return {
        name: round(float(np.polyfit(sizes, np.log([row[name] for row in last]), 1)[0]), 2)
        for name in ("seconds", "gigabytes")
    }


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The table of a page: each curve from its first to its last point, and its exponents."""
    lines: list[tuple[object, ...]] = [("of", "from", "to", "time", "exponent", "memory", "exponent")]
    for curve in POINTS:
        if own := sorted((row for row in rows if row["curve"] == curve), key=lambda row: row["number"]):
            first, last, found = own[0], own[-1], exponents(own)
            of = {"side": "pixels (by side)", "simulated images": "images without the network"}.get(curve, curve)
            time_span = f"{first['seconds']:.2g} to {last['seconds']:.3g} s"
            memory_span = f"{first['gigabytes']:.2f} to {last['gigabytes']:.2f} GB"
            ends = (f"{first['number']:,}", f"{last['number']:,}")
            lines.append((of, *ends, time_span, found["seconds"], memory_span, found["gigabytes"]))
    return f"{markdown(iter(lines))}\n\n{cpu_name()}, two threads, `tiny`."


def main() -> None:
    """Measure, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=("words", "side", "images"), default=("words", "side", "images"))
    parser.add_argument("--most-images", type=int, default=100_000)
    parser.add_argument("--page", type=Path, help="the page whose table is written")
    parser.add_argument("--point", nargs=2, metavar=("CURVE", "NUMBER"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    process_settings.for_own_process(2)
    if arguments.point:
        return point(arguments.point[0], int(arguments.point[1]))
    curves = [curve for curve in POINTS if curve.rpartition(" ")[2] in arguments.only]
    chosen = [(curve, number) for curve in curves for number in POINTS[curve]]
    chosen = [one for one in chosen if not one[0].endswith("images") or one[1] <= arguments.most_images]
    rows = [measure(*one) for one in tqdm(chosen, unit="point")]
    update(NAME, rows, ("curve", "number"))
    shown = table(read_json(RESULTS / f"{NAME}.json")["rows"])
    print(shown)
    if arguments.page is not None:
        text = with_block(arguments.page.read_text(encoding="utf-8"), NAME, shown)
        arguments.page.write_text(text, encoding="utf-8")
    return None


if __name__ == "__main__":
    main()
