"""Labeling an image file tile by tile, in bounded memory, with results that a later call can go on to write."""

import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Unpack

import numpy as np
from jaxtyping import UInt8

from segvoc.big_images.partial_labels import PartialLabels, write_geotiff, write_png
from segvoc.big_images.region_files import check_coordinates, write_geojson
from segvoc.errors import InputError
from segvoc.imaging.image_formats import MAX_PIXELS
from segvoc.imaging.overlay import SAVED_OVERLAY, OverlayStyle, draw_overlay
from segvoc.imaging.palette import class_colors
from segvoc.imaging.rasters import RasterImage, Stretch, is_raster, require_rasterio
from segvoc.imaging.regions import class_regions
from segvoc.imaging.result_paths import ResultPaths, refuse_overwriting
from segvoc.imaging.windowed_images import DecodedImage, WindowedImage
from segvoc.inference.label_options import LabelKeywords, LabelOptions
from segvoc.inference.reports import LabeledFile, LabelStatistics, json_text
from segvoc.inference.segmenter import Segmenter, Words
from segvoc.inference.tile_grid import Tiling
from segvoc.inference.tiled import TiledLabeling
from segvoc.models.digests import model_record
from segvoc.storage.atomic_writes import write_atomically
from segvoc.storage.resume import Key, stamp_of


@dataclass(frozen=True, kw_only=True)
class BigImageOptions:
    """How big images are read, and what is written."""

    bands: tuple[int, ...] | None = None
    """Bands of a TIFF for red, green and blue, or one for gray, from 1; None: by their color interpretation."""
    stretch: Stretch | None = None
    """Which values of a TIFF become black and white; None: by its type (`RasterImage`)."""
    polygons: bool = False
    """Whether to write the regions as GeoJSON."""
    max_pixels: int = MAX_PIXELS
    """Most pixels of images that are decoded as a whole (all but TIFF)."""
    overlay: OverlayStyle | None = SAVED_OVERLAY
    """What overlays show; None: none are drawn. Without `max_pixels`, they have 4 megapixels at most."""
    compact: bool = False
    """Whether reports list only words that were found."""

    def settings(self) -> dict[str, object]:
        """What the results depend on, by readable names."""
        return {
            "bands": None if self.bands is None else ",".join(map(str, self.bands)),
            "stretch": None if self.stretch is None else ", ".join(f"{k}={v}" for k, v in asdict(self.stretch).items()),
            "polygons": self.polygons,
        }

    def require_packages(self) -> None:
        """Check that what writes the regions is installed.

        Raises:
            UsageError: a package is missing.
        """
        if self.polygons:
            require_rasterio()


@dataclass(frozen=True, kw_only=True, eq=False)
class BigResult(LabeledFile):
    """What was found in a big image; its labels are in files."""

    tiling: Tiling
    """The tiles."""
    label_map: Path
    """`scene.tif` of a TIFF, `photo.png` of other images."""
    report_file: Path
    """`photo.json`"""
    overlay: Path | None
    """`photo.overlay.png`, if one was drawn."""
    polygons: Path | None
    """`photo.geojson`, if asked for."""

    def report(self, *, compact: bool = False) -> dict[str, Any]:
        """The contents of `photo.json`: those of `Segmentation.report`, and "tiles" (side, overlap, wrap).

        Args:
            compact: list only the words that have pixels.
        """
        report = super().report(compact=compact)
        seconds = report.pop("seconds")
        return {**report, "tiles": asdict(self.tiling), "seconds": seconds}


@dataclass(frozen=True, kw_only=True)
class BigResultPaths:
    """The files of a big image."""

    files: ResultPaths
    """As for other images, but the label map of a TIFF is one, too (`scene.tif`)."""
    polygons: Path | None
    """`scene.geojson`, if asked for."""

    @classmethod
    def of(cls, path: str | os.PathLike[str], files: ResultPaths, options: BigImageOptions) -> "BigResultPaths":
        """Those of an image.

        Args:
            path: the image.
            files: where its results would go if it weren't big.
            options: what is written.

        Raises:
            UsageError: one of them is the image itself.
        """
        if is_raster(path):
            files = replace(files, label_map=files.label_map.with_suffix(".tif"))
        found = cls(
            files=files,
            polygons=files.report.with_suffix(".geojson") if options.polygons else None,
        )
        refuse_overwriting([path], found)
        return found

    @property
    def stem(self) -> str:
        """See `ResultFiles`."""
        return self.files.stem

    @property
    def report(self) -> Path:
        """See `ResultFiles`."""
        return self.files.report

    @property
    def shown(self) -> Path:
        """The overlay, or without one the label map."""
        return self.files.shown

    def __iter__(self) -> Iterator[Path]:
        """In the order of writing: once the report is there, the others are too."""
        *others, report = self.files
        return iter([*others, *([] if self.polygons is None else [self.polygons]), report])

    def read_report(self) -> Any:
        """See `ResultFiles.read_report`."""
        return self.files.read_report()


def label_big_image(
    model: Segmenter,
    path: str | os.PathLike[str],
    words: Words,
    out: str | os.PathLike[str] = "out",
    *,
    options: LabelOptions | None = None,
    bands: Sequence[int] | None = None,
    polygons: bool = False,
    max_pixels: int = MAX_PIXELS,
    overlay: OverlayStyle | None = SAVED_OVERLAY,
    compact: bool = False,
    resume: bool = False,
    stem: str | None = None,
    **changes: Unpack[LabelKeywords],
) -> BigResult:
    """Label an image file tile by tile, and write the results, without holding its labels in memory.

    TIFFs are read and written by windows, and keep their coordinates, so they may have any size; other formats are
    decoded as a whole. Every row of tiles that is done is kept on disk, in the folder `.segvoc` below `out`, until the
    results are written.

    Args:
        model: the model.
        path: the image.
        words: as for `Segmenter.segment`.
        out: the folder of the results.
        options: how to label; by default, in tiles of 2048 pixels.
        bands: bands of a TIFF for red, green and blue, or one for gray, from 1 (default: by color interpretation).
        polygons: also write the regions as GeoJSON, in longitude and latitude.
        max_pixels: most pixels of an image that isn't a TIFF.
        overlay: what the overlay shows; None: don't draw one.
        compact: list only words that were found in the report.
        resume: go on where an earlier call with the same settings was stopped.
        stem: common name of the results, by default the image's own name without suffix.
        changes: single options of `LabelOptions`, in place of those in `options`; of a TIFF, `stretch` is the one of
            `RasterImage` by default.

    Returns:
        The statistics, and the paths of the files.

    Raises:
        InputError: the image can't be read.
        UsageError: words or options don't fit together, or another call has left labels of other settings.
        OutputError: a result can't be written.
    """
    labels = LabelOptions.of(options, changes).in_tiles()
    how = BigImageOptions(
        bands=None if bands is None else tuple(bands),
        stretch=labels.value_range,
        polygons=polygons,
        max_pixels=max_pixels,
        overlay=overlay,
        compact=compact,
    )
    prepared = model.encode(words, background=labels.background)
    tiled = model.in_tiles(prepared, labels)
    settings = {**model_record(model), **labels.record(), **prepared.record(), **how.settings()}
    files = ResultPaths.below(out, stem or Path(path).stem, overlay=overlay is not None)
    paths = BigResultPaths.of(path, files, how)
    return label_in_tiles(model, tiled, Path(path), out, paths, how, settings, resume=resume)


def label_in_tiles(
    model: Segmenter,
    tiled: TiledLabeling,
    path: Path,
    out: str | os.PathLike[str],
    paths: BigResultPaths,
    options: BigImageOptions,
    settings: Key,
    *,
    resume: bool = False,
    progress: Callable[[int, int], object] = lambda done, total: None,
) -> BigResult:
    """Do the work of `label_big_image`.

    Args:
        model: the model.
        tiled: the words and options, made by the model.
        path: the image.
        out: the folder of the results.
        paths: the files to write.
        options: how to read and write.
        settings: all that the labels depend on but the image.
        resume: go on with rows of tiles that an earlier call with the same settings has done.
        progress: called with the number of rows of tiles that are done, and of all.

    Raises:
        InputError: the image can't be read.
        UsageError: an earlier call has left labels of other settings, or a package is missing.
        OutputError: a result can't be written.
    """
    start, stamp = time.perf_counter(), stamp_of(path)
    options.require_packages()
    with _opened(path, options) as image:
        if options.polygons and isinstance(image, RasterImage):
            check_coordinates(image, repr(str(path)))
        reading = time.perf_counter() - start
        size, classes = (image.height, image.width), len(tiled.words)
        with PartialLabels(out, paths.stem, settings, stamp, size=size, classes=classes, resume=resume) as labels:
            _label_rows(image, tiled, labels, progress, source=str(path), before=reading)
            result = BigResult(
                source=str(path),
                height=image.height,
                width=image.width,
                words=tiled.words,
                statistics=labels.statistics,
                model=model.name,
                dtype=model.dtype,
                seconds=labels.seconds,
                tiling=tiled.tiling,
                label_map=paths.files.label_map,
                report_file=paths.report,
                overlay=paths.files.overlay,
                polygons=paths.polygons,
            )
            stale = paths.files.stale()
            _write(result, image, labels, options)
            for left in stale:
                left.unlink(missing_ok=True)
            labels.remove()
    return result


def _opened(path: Path, options: BigImageOptions) -> AbstractContextManager[WindowedImage]:
    if is_raster(path):
        return RasterImage(path, bands=options.bands, stretch=options.stretch)
    if options.bands is not None:
        raise InputError(f"{str(path)!r} is not a TIFF; leave out bands, which are for those")
    return nullcontext(DecodedImage(path, options.max_pixels, options.stretch))


def _label_rows(
    image: WindowedImage,
    tiled: TiledLabeling,
    labels: PartialLabels,
    progress: Callable[[int, int], object],
    *,
    source: str,
    before: float,
) -> None:
    """Label the rows of tiles that aren't done yet."""
    start, rows = time.perf_counter() - before, tiled.tiling.rows(image.height)
    if labels.is_new:
        labels.begin(tiled.select(image))
    progress(labels.rows, len(rows))
    if labels.rows == len(rows):
        return
    columns = len(tiled.tiling.columns(image.width))
    row, found, statistics = np.empty((0, image.width), np.uint16), 0, LabelStatistics.none()
    for cell in tiled.cells(image, labels.selected, first_row=labels.rows, source=source):
        if not found:
            row = np.empty((cell.rows.stop - cell.rows.start, image.width), np.uint16)
        row[:, cell.columns] = cell.labels
        statistics, found = statistics + LabelStatistics.of(cell.labels, cell.confidence), found + 1
        if found == columns:
            now = time.perf_counter()
            labels.add_row(cell.rows.stop, row, statistics, now - start)
            start, found, statistics = now, 0, LabelStatistics.none()
            progress(labels.rows, len(rows))


def _write(result: BigResult, image: WindowedImage, labels: PartialLabels, options: BigImageOptions) -> None:
    """Write the results; the report comes last."""
    colors = class_colors(len(result.words))
    if isinstance(image, RasterImage):
        write_geotiff(result.label_map, labels, image, result.words, colors)
    else:
        write_png(result.label_map, labels, colors)
    if result.overlay is not None and options.overlay is not None:
        drawn = _overlay(image, labels, result.words, colors, options.overlay)
        write_atomically(result.overlay, lambda file: drawn.save(file, "PNG", compress_level=1))
    if result.polygons is not None:
        try:
            write_geojson(result.polygons, result.label_map, result.words, colors, name=repr(result.source))
        except InputError:
            for path in (result.label_map, result.overlay):  # without a report they would be half a result
                if path is not None:
                    path.unlink(missing_ok=True)
            raise
    report = json_text(result.report(compact=options.compact))
    write_atomically(result.report_file, lambda file: file.write(report))


def _overlay(
    image: WindowedImage,
    labels: PartialLabels,
    words: Sequence[str],
    colors: UInt8[np.ndarray, "K 3"],
    style: OverlayStyle,
) -> Any:
    most = style.max_pixels or SAVED_OVERLAY.max_pixels or 1
    scale = min(1.0, math.sqrt(most / (image.height * image.width)))
    pixels = image.overview(max(1, round(max(image.height, image.width) * scale)))
    regions = class_regions(labels.reduced(pixels.shape[0], pixels.shape[1]), words, colors)
    return draw_overlay(pixels, regions, alpha=style.alpha, names=style.names, legend=style.legend)
