"""The labels of an image that is being labeled row by row of tiles, on disk, so that a later call can go on."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Integer, UInt8, UInt16
from PIL import Image

from segvoc.errors import OutputError
from segvoc.imaging.label_maps import UNLABELED, UNLABELED_8_BIT, label_palette, stored_dtype
from segvoc.imaging.rasters import RasterImage, gdal_writing, require_rasterio
from segvoc.inference.reports import LabelStatistics
from segvoc.storage.atomic_writes import write_atomically, write_path_atomically, writing
from segvoc.storage.files import digest_of
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


BLOCK = 512
"""Side of the blocks of a GeoTIFF [px]."""

SMALLEST_OVERVIEW = 512
"""Overviews are added to a GeoTIFF until their longer side is about this [px]."""


def write_png(path: Path, labels: PartialLabels, colors: UInt8[np.ndarray, "K 3"]) -> None:
    """Write a label map as `segvoc.imaging.label_maps.write_label_map` does; as a whole it is in memory once.

    Raises:
        OutputError: the file can't be written.
    """
    image = Image.fromarray(labels.read(slice(0, labels.height)))
    if labels.dtype == np.uint8:
        image.putpalette(label_palette(colors).tobytes())
    write_atomically(path, lambda file: image.save(file, "PNG", compress_level=4))


def write_geotiff(
    path: Path, labels: PartialLabels, raster: RasterImage, words: Sequence[str], colors: UInt8[np.ndarray, "K 3"]
) -> None:
    """Write a label map with the coordinates of an image, a color table and overviews.

    It has one band, compressed in blocks, of 8 bits (255: nodata), or of 16 (65535: nodata) beyond 255 words. The
    tag SEGVOC_WORDS holds the words as JSON.

    Raises:
        OutputError: the file can't be written.
    """
    rasterio, source = require_rasterio(), raster.dataset
    nodata = UNLABELED_8_BIT if labels.dtype == np.uint8 else UNLABELED
    profile = {
        "driver": "GTiff",
        "height": raster.height,
        "width": raster.width,
        "count": 1,
        "dtype": labels.dtype.name,
        "nodata": nodata,
        "tiled": True,
        "blockxsize": BLOCK,
        "blockysize": BLOCK,
        "compress": "deflate",
        "photometric": "palette",
        "bigtiff": "if_safer",
    }
    points, their_crs = source.gcps
    if source.crs is not None:
        profile["crs"] = source.crs
    if not source.transform.is_identity:
        profile["transform"] = source.transform

    def write(temporary: Path) -> None:
        with rasterio.open(temporary, "w", **profile) as file:
            if points:
                file.gcps = (points, their_crs)
            if source.rpcs is not None:
                file.rpcs = source.rpcs
            table = {number: (*color, 255) for number, color in enumerate(colors.tolist())}
            file.write_colormap(1, {**table, nodata: (0, 0, 0, 0)})
            file.update_tags(SEGVOC_WORDS=json.dumps(list(words)))
            for rows, values in labels.bands(BLOCK):
                file.write(values, 1, window=((rows.start, rows.stop), (0, raster.width)))
        longer, factors = max(raster.height, raster.width), [2]
        while longer / factors[-1] > SMALLEST_OVERVIEW:
            factors.append(2 * factors[-1])
        if longer > 2 * SMALLEST_OVERVIEW:
            with rasterio.open(temporary, "r+") as file:
                file.build_overviews(factors, rasterio.enums.Resampling.nearest)

    with gdal_writing(path):
        write_path_atomically(path, write)
