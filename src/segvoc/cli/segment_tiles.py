"""`segvoc segment --tile`: big images, one after the other, each in tiles."""

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from segvoc.big_images.labelling import (
    DEFAULT_TILE,
    BigImageOptions,
    BigResult,
    BigResultPaths,
    label_in_tiles,
)
from segvoc.cli.tile_options import TileOptions
from segvoc.errors import InputError, SegvocError, UsageError
from segvoc.imaging.rasters import Stretch, is_raster, require_rasterio
from segvoc.imaging.reading import MAX_PIXELS
from segvoc.imaging.result_paths import InputImage, ResultPaths, refuse_overwriting
from segvoc.inference.tile_grid import Tiling
from segvoc.labelling.journal import ResultJournal, Settings, finished, stamp_of
from segvoc.labelling.labelling import Labelling
from segvoc.progress import Progress, print_line

if TYPE_CHECKING:
    from segvoc.inference.segmenter import Segmenter

Work = Sequence[tuple[InputImage, ResultPaths | None]]
"""The images of a call, and where their results go; None for one that there is nothing to read of."""


def segment_in_tiles(
    labelling: Labelling, model: "Segmenter", work: Work, tiles: TileOptions, *, resume: bool, jobs: int
) -> int:
    """Label big images and print a line for each.

    Args:
        labelling: the words and options.
        model: the model.
        work: the images.
        tiles: how they are read and cut.
        resume: go on with what an earlier call has done.
        jobs: processes that were asked for.

    Returns:
        The exit code: 1 if an image failed.

    Raises:
        UsageError: the options don't fit together.
    """
    if labelling.parts is not None:
        raise UsageError("parts are looked for in whole images only; leave out --parts, or --tile")
    if jobs > 1:
        raise UsageError("tiles go through the network one after the other; leave out --jobs, or --tile")
    options = _options(labelling, tiles)
    tiled = model.in_tiles(
        labelling.words,
        options.tiling,
        window=labelling.window,
        keep_classes=labelling.keep_classes,
        background=labelling.background,
        threshold=labelling.threshold,
    )
    paths = [
        None if files is None else BigResultPaths.of(image.path, files, polygons=options.polygons)
        for image, files in work
    ]
    refuse_overwriting(
        [image.path for image, files in work if files], [p for one in paths if one for p in one.everything]
    )
    if options.polygons or any(is_raster(image.path) for image, files in work if files is not None):
        require_rasterio()
    settings: Settings = {**labelling.settings(model), **options.settings()}
    done = _done(labelling.out, settings, work, paths) if resume else set()
    failures = 0
    keeps = resume or len(work) > 1
    for (image, _), files in zip(work, paths, strict=True):
        if files is not None and files.files.stem in done:
            print_line(f"segvoc: {str(image.path)!r} was done before")
            continue
        try:
            if files is None:
                raise InputError(image.problem or "nothing to read")
            read = stamp_of(image.path)
            with Progress("labelling", unit="row of tiles", keep=False) as progress:
                result = label_in_tiles(
                    model,
                    tiled,
                    image.path,
                    labelling.out,
                    files,
                    options,
                    settings,
                    resume=resume,
                    progress=_Steps(progress),
                )
            if keeps:
                with ResultJournal(labelling.out, settings) as journal:
                    journal.append(image.path, read, files.files)
        except InputError as error:
            failures += 1
            print_line(f"segvoc: error: {error}")
            continue
        tqdm.write(labelling.describe(result, files.files), file=sys.stdout)
        sys.stdout.flush()
    if failures:
        print_line(f"segvoc: {failures} of {len(work)} images failed, the others are done")
    return 1 if failures else 0
