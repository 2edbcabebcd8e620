"""Labeling a large image tile by tile, in bounded memory: of a file, which a later call can resume, or decoded."""

import json
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Integer, UInt16
from PIL import Image

from segvoc.errors import InputError, OutputError, UsageError
from segvoc.imaging.color_profiles import Colors
from segvoc.imaging.decoding import DecodedImage, WindowedImage, is_windowed
from segvoc.imaging.image_formats import MAX_PIXELS
from segvoc.imaging.label_maps import UNLABELED, UNLABELED_8_BIT, StoredMap, label_palette, nearest
from segvoc.imaging.map_features import LabeledMap, MapPlace, MapRows
from segvoc.imaging.overlay import SAVED_OVERLAY, OverlayStyle, class_regions, draw_overlay
from segvoc.imaging.rasters import RasterImage, gdal_writing, require_rasterio
from segvoc.imaging.result_paths import InputImage, PathLike, ResultFiles, ResultPaths, plan_files, refuse_overwriting
from segvoc.imaging.tiff_tags import is_raster
from segvoc.inference.hints import find_hints
from segvoc.inference.label_options import LabelOptions
from segvoc.inference.reports import LabeledFile, LabelStatistics, json_text
from segvoc.inference.segmenter import Segmenter, Words
from segvoc.inference.tile_grid import Tiling
from segvoc.inference.tiled import LabeledRow, Scene
from segvoc.labeling.task import Labeling, Planned, Task, label_files, refuse_unplaced
from segvoc.models.digests import model_record
from segvoc.storage.atomic_writes import check_names, write_atomically, write_path_atomically, writing
from segvoc.storage.files import digest_of
from segvoc.storage.records import from_json, to_json
from segvoc.storage.resume import RESUME_FOLDER, RunSettings, Stamp, StepwiseWork, stamp_of

BAND_BYTES = 64 << 20
"""Labels per chunk when all are read."""

BLOCK = 512
"""Side of the blocks of a GeoTIFF, and longer side of its smallest overview, about [px]."""


@dataclass(frozen=True, kw_only=True, eq=False)
class BigResult(LabeledFile):
    """The result for a big image; its labels are in files."""

    tiling: Tiling
    paths: ResultPaths
    """The label map is `scene.tif` for a TIFF, `photo.png` for other images."""

    def report(self, *, compact: bool = False) -> dict[str, Any]:
        """The contents of `photo.json`: as `Segmentation.report`, plus "tiles" (side, overlap, wrap)."""
        return super().report(compact=compact) | {"tiles": asdict(self.tiling)}


def label_big_image(
    model: Segmenter,
    path: PathLike,
    words: Words,
    labeling: Labeling | None = None,
    *,
    stem: str | None = None,
    progress: Callable[[int, int], object] = lambda done, total: None,
) -> BigResult:
    """Label an image file tile by tile, and write the results, without holding its labels in memory.

    TIFFs are read and written by windows, and keep their coordinates, so they may have any size; other formats are
    decoded as a whole. Finished rows of tiles stay in the folder `.segvoc` of the output until the results are written.

    Args:
        model: the model.
        path: the image.
        words: as for `Segmenter.segment`.
        labeling: `options`, by default in tiles of 2048 pixels, what to write, `bands` and `max_pixels`. Overlays have
            4 megapixels unless they set a limit.
        stem: common name of the results (default: the image's name without suffix).
        progress: called with the number of finished rows of tiles, and the total.

    Returns:
        The statistics, and the paths of the files.

    Raises:
        InputError: the image can't be read, or has no place on a map that is asked for.
        UsageError: words or options conflict, objects are asked for, or an earlier call left partial labels with other
            settings.
        OutputError: a result can't be written.
    """
    start, path, call = time.perf_counter(), Path(path), labeling or Labeling()
    how = call.options.in_tiles()
    _refuse_objects(how)
    prepared = model.encode(words, background=how.background)
    tiled = model.in_tiles(prepared, how)
    numbers = None if call.bands is None else ",".join(map(str, call.bands))
    place = None if call.map is None else MapPlace.of(path)
    settings = {**model_record(model), **how.record(), **prepared.record(), "bands": numbers, "maps": place is not None}
    paths = _paths(path, stem or path.stem, call)
    refuse_overwriting([path], paths)
    check_names(paths)
    stamp = stamp_of(path)
    with _opened(path, call, tiled.job.protocol.colors) as image:
        size, classes = (image.height, image.width), len(tiled.words)
        with PartialLabels(call, paths.stem, settings, stamp, size=size, classes=classes) as labels:
            rows = tiled.tiling.rows(image.height)
            if labels.is_new:
                labels.begin(tiled.look(image))
            progress(labels.rows, len(rows))
            found = tiled.rows(image, labels.scene, first_row=labels.rows, name=repr(str(path)))
            for row in found if labels.rows < len(rows) else ():
                now = time.perf_counter()
                labels.add_row(row, now - start)
                start = now
                progress(labels.rows, len(rows))
            result = BigResult(
                source=str(path),
                height=image.height,
                width=image.width,
                statistics=labels.statistics,
                seconds=labels.seconds,
                tiling=tiled.tiling,
                paths=paths,
                hints=find_hints(labels.statistics, tiled.job),
                **tiled.job.result_metadata,
            )
            stale = paths.stale()
            if call.map is not None and paths.map_file is not None and place is not None:
                call.map.write(labels.on_map(result.words, place), paths.map_file)
            _write(result, image, labels, call)
            for left in stale:
                with writing(left):
                    left.unlink(missing_ok=True)
            labels.remove()
    return result


class TileTask(Task):
    """Images labeled tile by tile: larger than memory, or panoramas, whose edges meet."""

    is_stream = False
    refused: ClassVar[Mapping[str, str]] = {
        **Task.refused,
        "--parts": "--parts needs whole images; leave out --parts, or --tile",
        "--format": "--format needs whole images; leave out --format, or --tile",
        "--jobs": "tiles go through the network one after the other; leave out --jobs, or --tile",
        "--objects": "objects aren't counted in images in tiles; leave out --objects",
    }

    def plan(self, images: Sequence[InputImage]) -> list[ResultFiles | None]:
        """See `Task.plan`; `UsageError` also without rasterio, if an image is a TIFF."""
        if any(is_windowed(image.path) for image in images):
            require_rasterio()
        call = self.labeling
        refuse_unplaced(images, call)
        return plan_files(images, call.out, lambda image, stem: _paths(image.path, stem, call))

    def settings(self, model: Segmenter) -> RunSettings:
        """See `Task.settings`."""
        bands = self.labeling.bands
        return {**super().settings(model), "bands": None if bands is None else list(bands)}

    def label(self, model: Segmenter, planned: Iterable[Planned]) -> Iterator[LabeledFile | InputError | OutputError]:
        """See `Task.label`; the results are written, too."""
        words = self.labeling.encoded(model)
        model.in_tiles(words, self.labeling.options)  # checks the options before any work
        return label_files(planned, "row", partial(label_big_image, model, words=words, labeling=self.labeling))


def _paths(path: Path, stem: str, labeling: Labeling) -> ResultPaths:
    placed = is_windowed(path) or (labeling.bands is not None and is_raster(path))
    kinds = {"overlay": labeling.overlay is not None, "map_format": labeling.map_name}
    return ResultPaths.below(labeling.out, stem, placed=placed, **kinds)


def _opened(path: Path, labeling: Labeling, colors: Colors) -> AbstractContextManager[WindowedImage]:
    stretch, bands = labeling.options.value_range, labeling.bands
    if is_windowed(path) or (bands is not None and is_raster(path)):
        return RasterImage(path, bands=bands, stretch=stretch, colors=colors)
    if bands is not None:
        raise InputError(f"{str(path)!r} is not a TIFF; leave out bands, which are for TIFFs")
    most = MAX_PIXELS if labeling.max_pixels is None else labeling.max_pixels
    return nullcontext(DecodedImage(path, most, stretch, colors))


def _write(result: BigResult, image: WindowedImage, labels: "PartialLabels", labeling: Labeling) -> None:
    """Write the results; the report comes last."""
    if isinstance(image, RasterImage):
        _write_geotiff(result, labels, image)
    else:
        # like `write_label_map`; holds it in memory once
        label_map = Image.fromarray(labels.read(slice(0, labels.height)))
        if labels.dtype == np.uint8:
            label_map.putpalette(label_palette(result.colors).tobytes())
        write_atomically(result.paths.label_map, lambda file: label_map.save(file, "PNG", compress_level=4))
    if result.paths.overlay is not None and labeling.overlay is not None:
        drawn = reduced_overlay(image, labels.reduced, result, labeling.overlay)
        write_atomically(result.paths.overlay, lambda file: drawn.save(file, "PNG", compress_level=1))
    write_atomically(result.paths.report, lambda file: file.write(json_text(result.report(compact=labeling.compact))))


def reduced_overlay(
    image: WindowedImage,
    labels: Callable[[int, int], UInt16[np.ndarray, "_ _"]],
    result: LabeledFile,
    style: OverlayStyle = SAVED_OVERLAY,
) -> Image.Image:
    """The overlay of a reduced image; `labels` gives those of an image of this height and width."""
    most = style.max_pixels or SAVED_OVERLAY.max_pixels or 1
    scale = min(1.0, math.sqrt(most / (image.height * image.width)))
    pixels = image.overview(max(1, round(max(image.height, image.width) * scale)))
    regions = class_regions(labels(pixels.shape[0], pixels.shape[1]), result.words, result.colors)
    return draw_overlay(pixels, regions, style)


@dataclass(frozen=True, kw_only=True, eq=False)
class LargeResult(LabeledFile):
    """The result for a decoded image, without confidences, which would take more memory than all else."""

    labels: UInt16[np.ndarray, "H W"]
    """As in `Segmentation`."""
    pixels: DecodedImage
    confidence = probabilities = part_labels = None
    """A `Segmentation` may have them."""

    def overlay(self) -> Image.Image:
        """The overlay, reduced as a saved one is."""
        return reduced_overlay(self.pixels, lambda *size: nearest(self.labels, size), self)


def label_large_image(model: Segmenter, image: DecodedImage, words: Words, options: LabelOptions) -> LargeResult:
    """Label a decoded image tile by tile: 2 bytes per pixel beside the image, and a row of tiles.

    `InputError` if the network's output is not finite; `UsageError` if words and options conflict, or ask for objects.
    """
    _refuse_objects(options)
    start, tiled = time.perf_counter(), model.in_tiles(words, options)
    labels, statistics = np.empty((image.height, image.width), np.uint16), LabelStatistics.none()
    for row in tiled.rows(image, tiled.look(image)):
        labels[row.rows] = row.labels
        statistics += row.statistics
    return LargeResult(
        source="",
        height=image.height,
        width=image.width,
        statistics=statistics,
        seconds=time.perf_counter() - start,
        labels=labels,
        pixels=image,
        hints=find_hints(statistics, tiled.job),
        **tiled.job.result_metadata,
    )


def _refuse_objects(options: LabelOptions) -> None:
    if options.objects:
        raise UsageError("objects need an image that is labeled as a whole; make it smaller, or leave out objects")


class PartialLabels(StepwiseWork):
    """The labels of the finished rows of tiles, in a file of raw values until the results are written.

    The values are those of the label map: 8 bits with 255 for unlabeled, or 16 bits. For a map, another file has the
    confidences, of 8 bits. The first step records what all tiles share (`Scene`); each later step is a row of tiles.
    See `StepwiseWork` for arguments and errors.
    """

    def __init__(
        self, labeling: Labeling, stem: str, key: RunSettings, image: Stamp, *, size: tuple[int, int], classes: int
    ) -> None:
        folder = Path(labeling.out, RESUME_FOLDER, f"tiles-{digest_of(stem)[:16]}")
        self.labels, self.dtype = folder / "labels", np.dtype(np.uint16 if classes > UNLABELED_8_BIT else np.uint8)
        self.confidences = None if labeling.map is None else folder / "confidences"
        self.height, self.width = size
        self.rows, self.statistics, self.seconds = 0, LabelStatistics.none(), 0.0
        self.scene = Scene()
        self.is_new = True
        self._stop = 0
        super().__init__(folder, key, (image, size), out=labeling.out, resume=labeling.resume)

    def begin(self, scene: Scene) -> None:
        """Store what is the same in all tiles, before the first row."""
        for path in filter(None, (self.labels, self.confidences)):
            with writing(path):
                path.touch()
        self.add(to_json(scene))

    def add_row(self, row: LabeledRow, seconds: float) -> None:
        """Store the next row of tiles."""
        self._put(self.labels, np.ascontiguousarray(row.labels, self.dtype))
        if self.confidences is not None:
            self._put(self.confidences, row.confidence)
        self.add({"stop": row.rows.stop, "labels": row.statistics.by_label(), "seconds": seconds})

    def read(self, rows: slice) -> Integer[np.ndarray, "h W"]:
        """Read rows of the image, as stored."""
        return self._get(self.labels, self.dtype, rows)

    def on_map(self, words: Sequence[str], place: MapPlace) -> LabeledMap:
        """The labels at their place; only of a call with a map."""
        confidences = self.confidences
        assert confidences is not None

        def read(rows: slice) -> MapRows:
            confidence = self._get(confidences, np.dtype(np.uint8), rows) / np.float32(255)
            return MapRows(StoredMap(self.read(rows)).labels(None, str(self.labels)), confidence)

        return LabeledMap(height=self.height, width=self.width, words=words, read=read, place=place)

    def _put(self, path: Path, values: Integer[np.ndarray, "h W"]) -> None:
        with writing(path), path.open("r+b") as file:
            file.seek(self._stop * self.width * values.itemsize)
            file.write(values.data)
            file.flush()
            os.fsync(file.fileno())

    def _get(self, path: Path, dtype: np.dtype[Any], rows: slice) -> Integer[np.ndarray, "h W"]:
        count, offset = rows.stop - rows.start, rows.start * self.width * dtype.itemsize
        try:
            return np.fromfile(path, dtype, count * self.width, offset=offset).reshape(count, self.width)
        except (OSError, ValueError) as error:
            raise OutputError(f"{str(path)!r} can't be read ({error}); label the image again") from None

    def bands(self) -> Iterator[tuple[slice, Integer[np.ndarray, "h W"]]]:
        """Read all values from top to bottom, in bands of whole blocks (except for the last)."""
        step = max(1, BAND_BYTES // (self.width * self.dtype.itemsize) // BLOCK) * BLOCK
        for start in range(0, self.height, step):
            rows = slice(start, min(start + step, self.height))
            yield rows, self.read(rows)

    def reduced(self, height: int, width: int) -> UInt16[np.ndarray, "{height} {width}"]:
        """The labels at the centers of the pixels of a smaller image; 65535 is unlabeled."""
        rows = ((np.arange(height) + 0.5) * self.height / height).astype(int)
        columns = ((np.arange(width) + 0.5) * self.width / width).astype(int)
        values = np.stack([self.read(slice(row, row + 1))[0, columns] for row in rows.tolist()])
        return StoredMap(values).labels(None, str(self.labels))

    def usable(self, values: list[Any]) -> list[Any]:
        """Keep the steps if their labels still exist."""
        pixels = (values[-1]["stop"] if len(values) > 1 else 0) * self.width
        needed = {self.labels: pixels * self.dtype.itemsize, self.confidences: pixels}
        is_whole = (path.is_file() and path.stat().st_size >= size for path, size in needed.items() if path is not None)
        return values if all(is_whole) else []

    def replay_step(self, value: Mapping[str, Any]) -> None:
        """See `StepwiseWork.replay_step`."""
        self.is_new = False
        if "offsets" in value:
            self.scene = from_json(Scene, value)
            return
        self.statistics.add(value["labels"])
        self.rows, self._stop = self.rows + 1, value["stop"]
        self.seconds += value["seconds"]


def _write_geotiff(result: BigResult, labels: PartialLabels, raster: RasterImage) -> None:
    """Write a label map with the coordinates of an image, a color table and overviews.

    It has a single band, compressed in blocks, of 8 bits (255: nodata), or 16 bits (65535: nodata) beyond 255 words.
    The tag SEGVOC_WORDS holds the words as JSON.
    """
    rasterio, source = require_rasterio(), raster.dataset
    nodata = UNLABELED_8_BIT if labels.dtype == np.uint8 else UNLABELED
    profile = {"driver": "GTiff", "height": raster.height, "width": raster.width, "count": 1, "bigtiff": "if_safer"}
    profile |= {"dtype": labels.dtype.name, "nodata": nodata, "photometric": "palette", "compress": "deflate"}
    profile |= {"tiled": True, "blockxsize": BLOCK, "blockysize": BLOCK}
    points, their_crs = source.gcps
    places = {"crs": source.crs, "transform": None if source.transform.is_identity else source.transform}
    profile |= {name: value for name, value in places.items() if value is not None}

    def write(temporary: Path) -> None:
        with rasterio.open(temporary, "w", **profile) as file:
            if points:
                file.gcps = (points, their_crs)
            if source.rpcs is not None:
                file.rpcs = source.rpcs
            table = {number: (*color, 255) for number, color in enumerate(result.colors.tolist())}
            file.write_colormap(1, {**table, nodata: (0, 0, 0, 0)})
            file.update_tags(SEGVOC_WORDS=json.dumps(list(result.words)))
            for rows, values in labels.bands():
                file.write(values, 1, window=((rows.start, rows.stop), (0, raster.width)))
        longer, factors = max(raster.height, raster.width), [2]
        while longer / factors[-1] > BLOCK:
            factors.append(2 * factors[-1])
        if longer > 2 * BLOCK:
            with rasterio.open(temporary, "r+") as file:
                file.build_overviews(factors, rasterio.enums.Resampling.nearest)

    with gdal_writing(result.paths.label_map):
        write_path_atomically(result.paths.label_map, write)
