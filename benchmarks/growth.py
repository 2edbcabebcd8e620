"""How time and memory grow with words, with the side of an image, and with images.

    python -m benchmarks.growth segment [--only words side images] [--most-images 100000]
    python -m benchmarks.growth batch [--most-images 10000000]

`segment` is `segvoc segment` with `tiny`, each point in a process of its own, whose peak memory counts:
- words: a photograph and so many words
- side: a square image of that side, made of the photograph, in tiles of 1,024 px, with 20 words
- images: a folder of so many links to the photograph, reduced to 96 px, with 20 words. From 2,000 images on, the
  network's result is that of the first image, so what grows is everything else; these points are a curve of their own

`batch` is the process that plans `segvoc batch`. The storage is simulated: keys in folders of 10,000, in pages of 1,000
that take 50 ms each, as on S3; and workers are, too: they return at once. What is measured is real: listing, comparing
with what is done, planning, recording, counting.

Rows go to results/growth.json and results/growth_batch.json; `python tools/make_tables.py` then renews the table of
docs/explanation/speed.md, with exponents. Measure on an idle machine.
"""

import argparse
import contextlib
import io
import itertools
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, cast
from unittest import mock

import numpy as np
from PIL import Image
from tqdm import tqdm

from benchmarks.machine import alone, update
from segvoc.cli import command_line
from segvoc.inference.segmentation import Segmentation
from segvoc.inference.segmenter import Segmenter
from segvoc.labeling.batch import run, storages
from segvoc.labeling.batch.done import LOG
from segvoc.labeling.batch.run import BatchRun
from segvoc.labeling.batch.sources import Shard
from segvoc.labeling.batch.storages import PAGE, Folder, Page, Unit, folder_at
from segvoc.labeling.batch.work import Batch, Join, LabeledShard, ModelFacts, TaskOutcome, WorkerTask
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

BATCHES = (10_000, 100_000, 1_000_000, 10_000_000)
IN_FOLDER, PAGE_SECONDS, IMAGE_BYTES = 10_000, 0.05, 200_000


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


class _SimulatedFolder(Folder):
    """A bucket whose name is the number of its keys."""

    def __init__(self, bucket: str, prefix: str) -> None:
        super().__init__(f"s3://{bucket}/{prefix}")
        self.number = int(bucket)

    def page(self, folder: str, token: Any = None) -> Page:
        time.sleep(PAGE_SECONDS)
        start, length = token or 0, IN_FOLDER if folder else self.number // IN_FOLDER
        places = range(start, min(start + PAGE, length))
        entries: list[Unit | str] = [f"{at:06}/" for at in places]
        if folder:
            entries = [(f"{folder}photo-{at:08}.jpg", IMAGE_BYTES + at, 10**18 + at) for at in places]
        return entries, start + PAGE if start + PAGE < length else None

    def unit(self, name: str) -> Unit | None:
        return None

    def open(self, name: str) -> BinaryIO:
        raise FileNotFoundError(name)

    def store(self, name: str, write: Callable[[BinaryIO], object]) -> None:
        raise PermissionError(name)

    def remove(self, name: str) -> None:
        raise PermissionError(name)

    @property
    def errors(self) -> tuple[type[Exception], ...]:
        return (OSError,)

    def as_os_error(self, error: Exception) -> OSError | None:
        return error if isinstance(error, OSError) else None


class InstantEngine:
    """Workers that return at once; tables are empty files."""

    workers = 1

    def __init__(self, batch: Batch) -> None:
        self.out = folder_at(batch.out)
        self.first: float | None = None
        """When the first shard was there."""
        self.peak = 0
        """Highest memory of this process between tasks [bytes]."""

    def facts(self) -> ModelFacts:
        """What no model says."""
        return ModelFacts(settings={"model": "none", "parts": None}, words=cast(Any, None), warnings=())

    def run(
        self, next_task: Callable[[], WorkerTask | None], _: ModelFacts
    ) -> Iterator[tuple[WorkerTask, TaskOutcome]]:
        """Answer every task."""
        for number in itertools.count():
            if (task := next_task()) is None:
                return
            self.first = self.first or time.perf_counter()
            if number % 100 == 0:
                self.peak = max(self.peak, resident_bytes())
            if isinstance(task, Join):
                self.out.write(task.table, b"")
                yield task, 0
            else:
                assert isinstance(task, Shard)
                yield task, LabeledShard(images=len(task.units))


def resident_bytes() -> int:
    """The memory of this process."""
    import psutil  # here, as it comes with the extra `batch`

    return psutil.Process().memory_info().rss


def labeled(number: int, out: Path, most: float) -> tuple[BatchRun, float]:
    """Run until so many images are done; the run, and the time to its first shard [s]."""
    start, rows = time.perf_counter(), min(Batch.rows_a_file, number // 20)
    with BatchRun(Batch(source=f"s3://{number}/", out=str(out), words=None, rows_a_file=rows)) as batch_run:
        for _ in batch_run:
            if batch_run.images >= most:
                break
    first = batch_run.engine.first
    return batch_run, (first or time.perf_counter()) - start


def batch_point(number: int) -> dict[str, float]:
    """A run of so many images, and one that is resumed at half of them, in this process."""
    with (
        tempfile.TemporaryDirectory() as name,
        mock.patch.object(storages, "_S3Folder", _SimulatedFolder),
        mock.patch.object(run, "_ray", InstantEngine),
    ):
        whole, half = Path(name, "whole"), Path(name, "half")
        base, start, used = resident_bytes(), time.perf_counter(), time.process_time()
        done, first = labeled(number, whole, number + 1)
        seconds, used = time.perf_counter() - start, time.process_time() - used
        assert done.images == number and not done.problems
        records = sum(file.stat().st_size for file in (whole / LOG).iterdir())
        peak = done.engine.peak
        shutil.rmtree(whole)
        before = labeled(number, half, number / 2)[0].images
        resumed, resume_seconds = labeled(number, half, before + 1)
        assert before < number and before * 0.8 < resumed.before <= before  # tables in progress aren't recorded
    return {
        "seconds_to_first_shard": round(first, 2),
        "seconds": round(seconds, 1),
        "driver_microseconds_an_image": round(1e6 * used / number, 2),
        "peak_mb": round(peak / 1e6),
        "memory_mb": round((peak - base) / 1e6, 1),
        "record_bytes_an_image": round(records / number, 2),
        "seconds_to_resume_at_half": round(resume_seconds, 1),
    }


def main() -> None:
    """Measure, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(dest="what", required=True)
    curves = ("words", "side", "images")
    kinds.add_parser("segment").add_argument("--only", nargs="+", choices=curves, default=curves)
    kinds.add_parser("batch")
    for kind, most in (("segment", 100_000), ("batch", max(BATCHES))):
        kinds.choices[kind].add_argument("--most-images", type=int, default=most)
    chosen = parser.parse_args()
    if chosen.what == "batch":
        for number in (number for number in BATCHES if number <= chosen.most_images):
            row = {"images": number, **alone(batch_point, number)}
            print(row)
            update("growth_batch", [row], ("images",), cpu=cpu_name())
        return
    points = [(curve, number) for curve, numbers in POINTS.items() for number in numbers]
    points = [(curve, number) for curve, number in points if curve.rpartition(" ")[2] in chosen.only]
    points = [one for one in points if not one[0].endswith("images") or one[1] <= chosen.most_images]
    rows = [{"curve": one[0], "number": one[1], **alone(point, *one)} for one in tqdm(points, unit="point")]
    update("growth", rows, ("curve", "number"), cpu=cpu_name())


if __name__ == "__main__":
    main()
