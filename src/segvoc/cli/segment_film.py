"""`segvoc segment film.mp4`: films, one after the other, each frame by frame."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from segvoc.cli.film_options import FrameOptions
from segvoc.cli.one_by_one import Steps, label_one_by_one
from segvoc.errors import UsageError
from segvoc.films.labelling import write_film
from segvoc.films.options import FilmOptions
from segvoc.films.reading import is_film, require_av
from segvoc.films.result import FilmPaths, FilmResult
from segvoc.imaging.result_paths import InputImage, ResultFiles, plan_files
from segvoc.labelling.journal import Settings
from segvoc.labelling.labelling import Labelling
from segvoc.progress import print_line

if TYPE_CHECKING:
    from segvoc.inference.segmenter import Segmenter


def has_films(
    inputs: Sequence[InputImage],
    frames: FrameOptions,
    *,
    dataset_format: str | None,
    parts: bool,
    tiles: bool,
    jobs: int,
) -> bool:
    """Whether a call labels films.

    Args:
        inputs: what it labels.
        frames: its options of films.
        dataset_format: its --format.
        parts: whether it has --parts.
        tiles: whether it has --tile or its relatives.
        jobs: its --jobs.

    Raises:
        UsageError: it has images and films, options of films without a film, or options that films don't have; or PyAV
            isn't installed.
    """
    named = [source for source in inputs if source.problem is None]
    films = [source for source in named if is_film(source.path)]
    if not films:
        if frames.given is not None:
            raise UsageError(f"{frames.given} is for films (.mp4, .mkv, ...); leave it out")
        return False
    if len(films) < len(named):
        image = next(source.path for source in named if not is_film(source.path))
        raise UsageError(
            f"{str(films[0].path)!r} is a film and {str(image)!r} is none; label films and images in two calls"
        )
    if dataset_format is not None:
        raise UsageError("a dataset has images; leave out --format, or make images of the film's frames first")
    if parts:
        raise UsageError("parts are looked for in images only; leave out --parts, or the film")
    if tiles:
        raise UsageError("films have no tiles; leave out --tile and its relatives")
    if jobs > 1:
        raise UsageError("frames go through the network one after the other; leave out --jobs")
    require_av()
    return True


def plan_films(inputs: Sequence[InputImage], out: str, *, overlay: bool) -> Sequence[ResultFiles | None]:
    """Where the results of each film go (`plan_files`)."""
    return plan_files(inputs, out, lambda film, stem: FilmPaths.below(out, stem, overlay=overlay))


def segment_films(
    labelling: Labelling,
    model: "Segmenter",
    work: Sequence[tuple[InputImage, ResultFiles | None]],
    frames: FrameOptions,
    *,
    as_json: bool,
    resume: bool,
) -> int:
    """Label films and print a line for each.

    Args:
        labelling: the words and options.
        model: the model.
        work: the films, and where their results go (`plan_films`); None if there is nothing to read.
        frames: which frames, and how they are smoothed.
        as_json: whether lines are reports, which are then printed of films that were done before, too.
        resume: go on with what an earlier call has done.

    Returns:
        The exit code: 1 if a film failed, or is damaged.

    Raises:
        UsageError: the options don't fit together.
    """
    options = FilmOptions(
        every=frames.every or 1,
        smooth=frames.smooth or 0.0,
        window=labelling.window,
        keep_classes=labelling.keep_classes,
        threshold=labelling.threshold,
        overlay=labelling.overlay,
        compact=labelling.compact,
    )
    words = labelling.encoded(model)
    settings: Settings = {**labelling.settings(model), **options.settings()}

    def label(film: InputImage, paths: FilmPaths, steps: Steps) -> tuple[FilmResult, bool]:
        result = write_film(
            model, words, film.path, labelling.out, paths, options, settings, resume=resume, progress=steps
        )
        _print_losses(result)
        return result, result.damage is None

    return label_one_by_one(
        [(film, paths if isinstance(paths, FilmPaths) else None) for film, paths in work],
        label,
        labelling.describe,  # pyright: ignore[reportArgumentType]
        settings,
        out=labelling.out,
        what="films",
        unit="frame",
        as_json=as_json,
        resume=resume,
    )


def _print_losses(result: FilmResult) -> None:
    for sound in result.sound:
        if not sound.copied:
            print_line(f"segvoc: {result.source!r}: MP4 can't hold its {sound.codec} sound, which is left out")
    if result.damage is not None:
        print_line(
            f"segvoc: error: {result.source!r} is damaged ({result.damage}); "
            f"its {result.number} frames that can be read are labelled"
        )
