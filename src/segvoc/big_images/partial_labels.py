"""The labels of an image that is being labeled row by row of tiles, on disk, so that a later call can go on."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Integer, UInt16

from segvoc.errors import OutputError
from segvoc.imaging.label_maps import UNLABELED, stored_dtype
from segvoc.inference.reports import LabelStatistics
from segvoc.storage.atomic_writes import writing
from segvoc.storage.json_files import digest_of
from segvoc.storage.resume import RESUME_FOLDER, Key, Stamp, StepwiseWork

BAND_BYTES = 64 << 20
"""Labels that are read at a time when all are."""


class PartialLabels(StepwiseWork):
    """The labels of the rows of tiles that are done, in a file of raw values until the results are written.

    The values are those of the label map: 8 bits with 255 for unlabeled, or 16 bits. The first step says which classes
    were selected for the image, each of the others is a row of tiles.

    Args:
        out: the folder of the results.
        stem: the stem of the image's results.
        settings: words, model and options.
        image: size and time of the image's file.
        size: height and width of the image [px].
        classes: number of words.
        resume: go on with what an earlier call has left; otherwise begin anew.

    Raises:
        UsageError: another process labels this image, or an earlier call has left labels of other settings.
        OutputError: the system refused.
    """

    def __init__(
        self,
        out: str | os.PathLike[str],
        stem: str,
        settings: Key,
        image: Stamp,
        *,
        size: tuple[int, int],
        classes: int,
        resume: bool,
    ) -> None:
        folder = Path(out, RESUME_FOLDER, f"tiles-{digest_of(stem)[:16]}")
        self.labels, self.dtype = folder / "labels", np.dtype(stored_dtype(classes))
        self.height, self.width = size
        self.rows, self.statistics, self.seconds = 0, LabelStatistics.none(), 0.0
        self.selected: tuple[int, ...] | None = None
        self.is_new = True
        self._stop = 0
        super().__init__(folder, settings, (image, size), out=out, resume=resume)

    def begin(self, selected: tuple[int, ...] | None) -> None:
        """Keep the classes that were selected for the image, before the first row."""
        with writing(self.labels):
            self.labels.touch()
        self.add({"selected": selected})

    def add_row(
        self, stop: int, labels: UInt16[np.ndarray, "h W"], statistics: LabelStatistics, seconds: float
    ) -> None:
        """Keep the next rows of the image, which a row of tiles has decided.

        Args:
            stop: the row after the last of them.
            labels: their labels; 65535 is unlabeled.
            statistics: of these labels.
            seconds: time that they took.

        Raises:
            OutputError: the system refused, for example because the disk is full.
        """
        with writing(self.labels), self.labels.open("r+b") as file:
            file.seek(self._stop * self.width * self.dtype.itemsize)
            file.write(np.ascontiguousarray(labels, self.dtype).data)
            file.flush()
            os.fsync(file.fileno())
        present = np.flatnonzero(statistics.pixels).tolist()
        self.add(
            {
                "stop": stop,
                "pixels": {str(label): int(statistics.pixels[label]) for label in present},
                "confidence": {str(label): float(statistics.confidence[label]) for label in present},
                "seconds": seconds,
            }
        )

    def read(self, rows: slice) -> Integer[np.ndarray, "h W"]:
        """The values of some rows of the image, as they are stored.

        Raises:
            OutputError: the file can't be read.
        """
        width, count = self.width, rows.stop - rows.start
        try:
            with self.labels.open("rb") as file:
                file.seek(rows.start * width * self.dtype.itemsize)
                content = file.read(count * width * self.dtype.itemsize)
            return np.frombuffer(content, self.dtype).reshape(count, width)
        except (OSError, ValueError) as error:
            raise OutputError(f"{str(self.labels)!r} can't be read ({error}); label the image again") from None

    def bands(self, multiple: int = 1) -> Iterator[tuple[slice, Integer[np.ndarray, "h W"]]]:
        """All values from top to bottom, some rows at a time: a multiple of `multiple`, but for the last ones."""
        height = self.height
        step = max(1, BAND_BYTES // (self.width * self.dtype.itemsize) // multiple) * multiple
        for start in range(0, height, step):
            rows = slice(start, min(start + step, height))
            yield rows, self.read(rows)

    def reduced(self, height: int, width: int) -> UInt16[np.ndarray, "{height} {width}"]:
        """The labels at the centers of the pixels of a smaller image; 65535 is unlabeled."""
        rows = ((np.arange(height) + 0.5) * self.height / height).astype(int)
        columns = ((np.arange(width) + 0.5) * self.width / width).astype(int)
        found = np.stack([self.read(slice(row, row + 1))[0, columns] for row in rows.tolist()]).astype(np.uint16)
        if self.dtype == np.uint8:
            found[found == np.iinfo(np.uint8).max] = UNLABELED
        return found

    def usable(self, values: list[Any]) -> list[Any]:
        """All of them, if their labels are there."""
        needed = (values[-1]["stop"] if len(values) > 1 else 0) * self.width * self.dtype.itemsize
        return values if self.labels.is_file() and self.labels.stat().st_size >= needed else []

    def take(self, value: Mapping[str, Any]) -> None:
        """See `StepwiseWork.take`."""
        self.is_new = False
        if "selected" in value:
            self.selected = None if value["selected"] is None else tuple(value["selected"])
            return
        more = LabelStatistics.none()
        for label, count in value["pixels"].items():
            more.pixels[int(label)], more.confidence[int(label)] = count, value["confidence"][label]
        self.statistics += more
        self.rows, self._stop = self.rows + 1, value["stop"]
        self.seconds += value["seconds"]
