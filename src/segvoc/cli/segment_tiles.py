"""`segvoc segment --tile`: big images, one after the other, each in tiles."""

from collections.abc import Sequence

from segvoc.big_images.labeling import BigImageOptions, BigResult, BigResultPaths, label_in_tiles
from segvoc.cli.one_by_one import OneByOne, Steps
from segvoc.cli.tile_options import TileOptions
from segvoc.errors import UsageError
from segvoc.imaging.image_formats import MAX_PIXELS
from segvoc.imaging.rasters import Stretch, is_raster, require_rasterio
from segvoc.imaging.result_paths import InputImage, ResultFiles, ResultPaths, refuse_overwriting
from segvoc.labeling.labeling import Labeling

Work = Sequence[tuple[InputImage, ResultFiles | None]]
"""The images of a call, and where their results would go if they were small; None if there is nothing to read."""


def segment_in_tiles(call: OneByOne, work: Work, tiles: TileOptions, jobs: int) -> int:
    """Label big images and print a line for each.

    Args:
        call: the words and options.
        work: the images.
        tiles: how they are read.
        jobs: processes that were asked for.

    Returns:
        The exit code: 1 if an image failed.

    Raises:
        UsageError: the options don't fit together.
    """
    labeling, model = call.labeling, call.model
    _refuse_what_has_no_tiles(labeling, jobs)
    options = _options(labeling, tiles)
    paths = _planned(work, labeling.out, options)
    tiled = model.in_tiles(labeling.words, labeling.options)
    settings = {**labeling.settings(model), **options.settings()}

    def label(image: InputImage, files: BigResultPaths, steps: Steps) -> tuple[BigResult, bool]:
        how = {"resume": call.resume, "progress": steps}
        return label_in_tiles(model, tiled, image.path, labeling.out, files, options, settings, **how), True

    planned = [(image, files) for (image, _), files in zip(work, paths, strict=True)]
    return call.label(planned, label, settings, what="images", unit="row")


def _refuse_what_has_no_tiles(labeling: Labeling, jobs: int) -> None:
    if labeling.parts is not None:
        raise UsageError("parts are looked for in whole images only; leave out --parts, or --tile")
    if labeling.dataset is not None:
        raise UsageError("a dataset has whole images; leave out --format, or --tile")
    if jobs > 1:
        raise UsageError("tiles go through the network one after the other; leave out --jobs, or --tile")


def _options(labeling: Labeling, tiles: TileOptions) -> BigImageOptions:
    return BigImageOptions(
        bands=tiles.band_numbers,
        stretch=None if tiles.stretch is None else Stretch.parsed(tiles.stretch),
        polygons=tiles.polygons,
        max_pixels=MAX_PIXELS if tiles.max_megapixels is None else round(tiles.max_megapixels * 1e6),
        overlay=labeling.overlay,
        compact=labeling.compact,
    )


def _planned(work: Work, out: str, options: BigImageOptions) -> list[BigResultPaths | None]:
    """Where the results go; no package that is needed is missing, and no result is an input."""
    images = [image.path for image, files in work if files is not None]
    overlay = options.overlay is not None
    paths = [
        None
        if files is None
        else BigResultPaths.of(image.path, ResultPaths.below(out, files.stem, overlay=overlay), options)
        for image, files in work
    ]
    refuse_overwriting(images, [file for one in paths if one is not None for file in one])
    options.require_packages()
    if any(map(is_raster, images)):
        require_rasterio()
    return paths
