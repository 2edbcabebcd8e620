"""`segvoc segment --tile`: big images, one after the other, each in tiles."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from segvoc.big_images.labelling import DEFAULT_TILE, BigImageOptions, BigResultPaths, label_in_tiles
from segvoc.cli.result_lines import Describe, print_failures, print_result
from segvoc.cli.tile_options import TileOptions
from segvoc.errors import InputError, UsageError
from segvoc.imaging.rasters import Stretch, is_raster, require_rasterio
from segvoc.imaging.reading import MAX_PIXELS
from segvoc.imaging.result_paths import InputImage, ResultFiles, ResultPaths, refuse_overwriting
from segvoc.inference.tile_grid import Tiling
from segvoc.labelling.journal import ResultJournal, Settings, finished, stamp_of
from segvoc.labelling.labelling import Labelling
from segvoc.progress import Progress, print_line
from segvoc.storage.json_files import read_json

if TYPE_CHECKING:
    from segvoc.inference.segmenter import Segmenter

Work = Sequence[tuple[InputImage, ResultFiles | None]]
"""The images of a call, and where their results would go if they were small; None if there is nothing to read."""


def segment_in_tiles(
    labelling: Labelling,
    model: "Segmenter",
    work: Work,
    tiles: TileOptions,
    describe: Describe,
    *,
    as_json: bool,
    resume: bool,
    jobs: int,
) -> int:
    """Label big images and print a line for each.

    Args:
        labelling: the words and options.
        model: the model.
        work: the images.
        tiles: how they are read and cut.
        describe: the line to print about an image.
        as_json: whether these lines are reports, which are then printed of images that were done before, too.
        resume: go on with what an earlier call has done.
        jobs: processes that were asked for.

    Returns:
        The exit code: 1 if an image failed.

    Raises:
        UsageError: the options don't fit together.
    """
    _refuse_what_has_no_tiles(labelling, jobs)
    options = _options(labelling, tiles)
    paths = _planned(work, labelling.out, options)
    tiled = model.in_tiles(
        labelling.words,
        options.tiling,
        window=labelling.window,
        keep_classes=labelling.keep_classes,
        background=labelling.background,
        threshold=labelling.threshold,
    )
    settings: Settings = {**labelling.settings(model), **options.settings()}
    planned = [(image.path, files.files) for (image, _), files in zip(work, paths, strict=True) if files is not None]
    done = finished(labelling.out, settings, planned) if resume else set()
    keeps_journal, failures = resume or len(work) > 1, 0
    for (image, _), files in zip(work, paths, strict=True):
        try:
            if files is None:
                raise InputError(image.problem or "nothing to read")
            if files.files.stem in done:
                print_line(f"segvoc: {str(image.path)!r} was done before")
                line = json.dumps(read_json(files.files.report), allow_nan=False) if as_json else None
            else:
                read = stamp_of(image.path)
                with Progress("labelling", unit="row") as progress:
                    steps = _Steps(progress)
                    result = label_in_tiles(
                        *(model, tiled, image.path, labelling.out, files, options, settings),
                        resume=resume,
                        progress=steps,
                    )
                if keeps_journal:
                    with ResultJournal(labelling.out, settings) as journal:
                        journal.append(image.path, read, files.files)
                line = describe(result, files.files)
        except InputError as error:
            failures += 1
            print_line(f"segvoc: error: {error}")
            continue
        print_result(line)
    print_failures(failures, len(work), "images")
    return 1 if failures else 0


def _refuse_what_has_no_tiles(labelling: Labelling, jobs: int) -> None:
    if labelling.parts is not None:
        raise UsageError("parts are looked for in whole images only; leave out --parts, or --tile")
    if labelling.dataset is not None:
        raise UsageError("a dataset has whole images; leave out --format, or --tile")
    if jobs > 1:
        raise UsageError("tiles go through the network one after the other; leave out --jobs, or --tile")


def _options(labelling: Labelling, tiles: TileOptions) -> BigImageOptions:
    return BigImageOptions(
        tiling=Tiling.checked(DEFAULT_TILE if tiles.tile is None else tiles.tile, tiles.overlap, wrap=tiles.wrap),
        bands=tiles.band_numbers,
        stretch=None if tiles.stretch is None else Stretch.parsed(tiles.stretch),
        polygons=tiles.polygons,
        max_pixels=MAX_PIXELS if tiles.max_megapixels is None else round(tiles.max_megapixels * 1e6),
        overlay=labelling.overlay,
        compact=labelling.compact,
    )


def _planned(work: Work, out: str, options: BigImageOptions) -> list[BigResultPaths | None]:
    """Where the results go; no package that is needed is missing, and no result is an input.

    Raises:
        UsageError: otherwise.
    """
    images = [image.path for image, files in work if files is not None]
    overlay = options.overlay is not None
    paths = [
        None
        if files is None
        else BigResultPaths.of(
            image.path, ResultPaths.below(out, files.stem, overlay=overlay), polygons=options.polygons
        )
        for image, files in work
    ]
    refuse_overwriting(images, [file for one in paths if one is not None for file in one.everything])
    if options.polygons or any(map(is_raster, images)):
        require_rasterio()
    return paths


class _Steps:
    """Shows the rows of tiles that are done."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def __call__(self, done: int, total: int) -> None:
        if self._progress.total is None:
            self._progress.done = done
            self._progress.start(total)
        else:
            self._progress.update(done - self._progress.done)
