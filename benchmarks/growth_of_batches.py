"""How the process that plans a batch grows with the images: `python -m benchmarks.growth batch`.

The storage is simulated: keys in folders of 10,000, in pages of 1,000 that take 50 ms each, as on S3; and workers are,
too: they return at once. What is measured is real: listing, comparing with what is done, planning, recording, counting.
"""

import itertools
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast
from unittest import mock

from benchmarks.machine import alone, update
from segvoc.labeling.batch import run, storages
from segvoc.labeling.batch.done import LOG
from segvoc.labeling.batch.run import BatchRun
from segvoc.labeling.batch.sources import Shard
from segvoc.labeling.batch.storages import PAGE, Folder, Page, Unit, folder_at
from segvoc.labeling.batch.work import Batch, Join, Joined, LabeledShard, ModelFacts, TaskOutcome, WorkerTask
from segvoc.runtime.hardware import cpu_name

POINTS = (10_000, 100_000, 1_000_000, 10_000_000)
IN_FOLDER, PAGE_SECONDS, IMAGE_BYTES = 10_000, 0.05, 200_000


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
                yield task, Joined(size=0)
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


def point(number: int) -> dict[str, float]:
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


def measure(most: int) -> None:
    """Measure each point in a process of its own, and keep the rows."""
    for number in POINTS:
        if number <= most:
            row = {"images": number, **alone(point, number)}
            print(row)
            update("growth_batch", [row], ("images",), cpu=cpu_name())
