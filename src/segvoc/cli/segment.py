"""`segvoc segment`: label maps, overlays and reports of images."""

import json
import os
import re
import zlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from itertools import chain, compress
from typing import TYPE_CHECKING, Any, TypeVar

import click

from segvoc.big_images import BigResult, label_big_image
from segvoc.cli.options import (
    NETWORK_OPTIONS,
    ModelOptions,
    label_options,
    model_options,
    part_options,
    parts_of,
    vocabulary_of,
    word_options,
    words_or_own,
)
from segvoc.cli.output import example, model_hints, show_hints, unquoted_hint, word_hints
from segvoc.errors import DiskFullError, InputError, OutputError, SegvocError, UsageError, missing_extra, one_line
from segvoc.formats.dataset import FORMAT_NAMES, Dataset, FormatName
from segvoc.imaging.image_formats import MAX_PIXELS
from segvoc.imaging.overlay import OverlayStyle
from segvoc.imaging.rasters import is_raster, require_rasterio
from segvoc.imaging.result_paths import (
    InputImage,
    PathLike,
    ResultFiles,
    ResultPaths,
    image_paths,
    name_case_pairs,
    passed_over_line,
    plan_files,
    plan_results,
    refuse_overwriting,
)
from segvoc.inference.label_options import OPTION_TEXTS, LabelOptions
from segvoc.labeling.labeling import (
    BeginWork,
    Labeling,
    Planned,
    dataset_words,
    finish_dataset,
    finished,
    image_work,
    label_images,
    label_in_processes,
    result_stamp,
)
from segvoc.progress import Progress, print_line
from segvoc.storage.resume import Key, stamp_of
from segvoc.videos.labeling import label_video
from segvoc.videos.reading import is_video, require_av
from segvoc.videos.result import VideoPaths, VideoResult, check_every

if TYPE_CHECKING:
    from segvoc.inference.segmentation import Segmentation
    from segvoc.inference.segmenter import Segmenter
    from segvoc.vocabulary import PartVocabulary, Vocabulary


_Files = TypeVar("_Files", bound=ResultFiles)

Work = Sequence[tuple[InputImage, ResultFiles | None]]
"""The images of a call and their result files if they were small; None if there is nothing to read."""


@click.command(epilog=example('segvoc segment photo.jpg --words "cat, sofa, wall" --out labels'))
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...")
@word_options
@part_options
@click.option(
    "--model",
    default="tiny",
    metavar="NAME",
    help="A preset, a segvoc .safetensors file, an exported folder, or OWNER/NAME.",
)
@model_options(*NETWORK_OPTIONS, "network", "taught", dtype="auto")
@label_options(*OPTION_TEXTS)
@click.option("--out", default="out", metavar="FOLDER", help="Folder for the results.")
@click.option(
    "--opacity",
    default=0.5,
    metavar="A",
    type=click.FloatRange(0, 1),
    help="Weight of the colors in the overlay, from 0 to 1.",
)
@click.option("--names/--no-names", default=True, help="Write the words' names into the regions of the overlay.")
@click.option("--legend/--no-legend", default=True, help="Draw the overlay's legend.")
@click.option(
    "--format",
    "dataset_format",
    type=click.Choice(FORMAT_NAMES),
    metavar="NAME",
    help=f"Write a dataset for other programs instead: {', '.join(FORMAT_NAMES)}.",
)
@click.option("--copy-images/--no-copy-images", default=True, help="Copy the images into the dataset.")
@click.option("--objects", is_flag=True, help="Count objects: the connected components of each word.")
@click.option(
    "--least-object",
    type=click.IntRange(min=1),
    metavar="N",
    help="With --objects: minimum size in pixels; by default 1/5,000 of the image.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the report of each image as one line of JSON.")
@click.option("--compact", is_flag=True, help="Report only words that have pixels.")
@click.option("--overlay/--no-overlay", default=True, help="Draw overlays.")
@click.option(
    "--overlay-megapixels",
    type=click.FloatRange(min=0, min_open=True),
    default=4,
    metavar="M",
    help="Draw the overlays of larger images at this size.",
)
@click.option("--resume", is_flag=True, help="Skip images already done with the same settings.")
@click.option("--jobs", type=click.IntRange(min=1), default=1, metavar="N", help="Number of processes.")
@click.option("--shard", metavar="K/N", help="Label only the K-th of N shares of the images.")
@click.option(
    "--every",
    type=click.IntRange(min=1),
    metavar="N",
    help="Videos: label every N-th frame; the frames between keep its labels in the overlay video.",
)
@click.option(
    "--bands",
    metavar="R,G,B",
    callback=lambda context, option, text: _band_numbers(text),
    help="Bands of a TIFF to use as red, green and blue, from 1; or a single gray band.",
)
@click.option(
    "--max-megapixels",
    type=click.FloatRange(min=0, min_open=True),
    metavar="M",
    help="With tiles: maximum size of images other than TIFF; 200 by default.",
)
def segment(
    images: Sequence[str],
    words: str | None,
    words_file: str | None,
    parts: str | None,
    parts_file: str | None,
    model: str,
    out: str,
    opacity: float,
    names: bool,
    legend: bool,
    dataset_format: FormatName | None,
    copy_images: bool,
    objects: bool,
    least_object: int | None,
    as_json: bool,
    compact: bool,
    overlay: bool,
    overlay_megapixels: float,
    resume: bool,
    jobs: int,
    shard: str | None,
    chosen: ModelOptions,
    labels: LabelOptions,
    every: int | None,
    bands: tuple[int, ...] | None,
    max_megapixels: float | None,
) -> int:
    """Label every pixel of each IMAGE with one of the words. IMAGE is a file, a folder, a pattern or a video.

    For photo.jpg, writes photo.png (the label map), photo.overlay.png (for viewing) and photo.json (the share of
    each word); with --parts also photo.parts.png (the part at each pixel of an object). Subfolders are kept. If
    a.jpg and a.png are in the same folder, their results are named a.jpg.png, a.png.png, and so on.

    For video.mp4, writes video.overlay.mp4 (all frames), video/000000.png, ... (label maps) and video.json.

    With --objects, also writes photo.objects.png (each pixel's object number) and counts the objects in the report.

    With --format, writes a dataset of all images to FOLDER instead, for COCO's tools, LabelMe, CVAT, ...
    """
    asked_parts, vocabulary = parts_of(parts, parts_file), _vocabulary(words, words_file, images)
    inputs = name_case_pairs(_named_images(images, skip=out), out)
    stretched_in_tiles = dataset_format is None and asked_parts is None and jobs == 1 and _are_stretched(inputs, labels)
    in_tiles = labels.tiling is not None or {bands, max_megapixels} != {None} or stretched_in_tiles
    videos = _has_videos(
        inputs, labels, every, dataset_format=dataset_format, parts=asked_parts is not None, tiles=in_tiles, jobs=jobs
    )
    _check_objects(objects, least_object, instead="videos" if videos else "images in tiles" if in_tiles else None)
    dataset = None if dataset_format is None else _dataset(dataset_format, out, asked_parts, labels, copy_images)
    kinds = {"parts": asked_parts is not None, "objects": objects, "overlay": overlay}
    plans = _plans(dataset, inputs, out, videos=videos, kinds=kinds)
    work = list(compress(zip(inputs, plans, strict=True), _share(inputs, shard)))
    load = partial(chosen.open_light, model)
    segmenter = load()
    if asked_parts is None:
        vocabulary, labels = words_or_own(vocabulary, segmenter, labels)
    fills_image = labels.fills_image and asked_parts is None
    asked = () if vocabulary is None else vocabulary.words
    hints = word_hints(asked, from_file=words_file is not None, fills_image=fills_image)
    show_hints([*hints, *model_hints(asked, segmenter.own_words)])
    style = OverlayStyle(alpha=opacity, names=names, legend=legend, max_pixels=round(overlay_megapixels * 1e6))
    labeling = Labeling(
        load=load,
        words=vocabulary,
        parts=asked_parts,
        options=labels.in_tiles() if in_tiles else labels,
        out=out,
        overlay=style if overlay and dataset is None else None,
        compact=compact,
        dataset=dataset,
        objects=objects,
        least_object=least_object,
        describe=partial(json_line, compact=compact) if as_json else summary_line,
    )
    begin = partial(image_work, out, sources=images, shard=shard)
    call = _OneByOne(labeling=labeling, model=segmenter, begin=begin, as_json=as_json, resume=resume)
    if videos:
        return _segment_videos(call, work, every or 1)
    if in_tiles:
        most = MAX_PIXELS if max_megapixels is None else round(max_megapixels * 1e6)
        return _segment_in_tiles(call, work, {"bands": bands, "max_pixels": most}, jobs)
    del call  # each of several processes loads its model
    # a call with one image has nothing to resume, so it leaves only its results
    keeps_done = resume or len(inputs) > 1 or dataset is not None
    all_words = dataset_words(labeling, segmenter)
    planned = [(image.path, paths) for image, paths in work if paths is not None]
    failures = 0
    with begin(labeling.settings(segmenter)) if keeps_done else nullcontext() as kept:
        done = finished(kept, planned) if resume and kept is not None else set()
        groups = _unfinished(planned, done, segmenter.batch)
        if min(jobs, len(groups)) > 1:
            lines = label_in_processes(labeling, segmenter, groups, jobs, kept)
            del segmenter  # each process loads its model
        else:
            lines = label_images(labeling, segmenter, list(chain.from_iterable(groups)), kept)
        done -= {paths.stem for group in groups for _, paths in group}
        if done:
            print_line(f"segvoc: {len(done)} of {len(work)} images were already done")
        progress = Progress("labeling", total=len(work), done=len(done), silent=len(inputs) == 1)
        with progress, closing(lines):
            for (_, paths), line in zip(work, _in_order(work, done, lines, as_json=as_json), strict=True):
                if isinstance(line, DiskFullError):
                    raise _disk_full(line, progress.done - failures, len(work), "images")
                if isinstance(line, SegvocError):
                    failures += 1
                    print_line(f"segvoc: error: {line}")
                _print_result(line if isinstance(line, str) else None)
                if paths is None or paths.stem not in done:
                    progress.update()
        finish_dataset(dataset, all_words, None if kept is None else kept.key)
    _print_failures(failures, len(work), "images")
    return 1 if failures else 0


def _are_stretched(inputs: Sequence[InputImage], labels: LabelOptions) -> bool:
    """Whether all images are TIFFs and --stretch is given."""
    return labels.stretch is not None and all(is_raster(image.path) for image in inputs)


def _vocabulary(words: str | None, words_file: str | None, images: Sequence[str]) -> "Vocabulary | None":
    """The words, if any are given."""
    if words is not None and (hint := unquoted_hint(words, images)):
        raise UsageError(hint)
    return None if words is None and words_file is None else vocabulary_of(words, words_file)


def _dataset(
    name: FormatName, out: str, parts: "PartVocabulary | None", labels: LabelOptions, copy_images: bool
) -> Dataset:
    if parts is not None:
        raise UsageError(f"{name} has no place for parts; leave out --format, or --parts")
    return Dataset(folder=out, format=name, background=labels.background, copy_images=copy_images)


def _check_objects(objects: bool, least: int | None, *, instead: str | None) -> None:
    if least is not None and not objects:
        raise UsageError("--least-object is for --objects; add it, or leave both out")
    if objects and instead is not None:
        raise UsageError(f"objects aren't counted in {instead}; leave out --objects")
    if objects and find_spec("skimage") is None:
        raise missing_extra("scikit-image", "data")


def _plans(
    dataset: Dataset | None, inputs: Sequence[InputImage], out: str, *, videos: bool, kinds: Mapping[str, bool]
) -> Sequence[ResultFiles | None]:
    """The result files of each image or video; `kinds` are the possible kinds of files."""
    if videos:
        return plan_files(inputs, out, lambda video, stem: VideoPaths.below(out, stem, overlay=kinds["overlay"]))
    if dataset is None:
        return plan_results(inputs, out, **kinds)
    dataset.refuse_inputs(inputs)
    return plan_files(inputs, out, lambda image, stem: dataset.files(stem, image.path))


def _share(inputs: Sequence[InputImage], shard: str | None) -> list[bool]:
    """Whether each image is in shard K/N, by a hash of its name: independent of the other images."""
    if shard is None:
        return [True] * len(inputs)
    found = re.fullmatch(r"(\d{1,9})/(\d{1,9})", shard)
    number, of = map(int, found.groups()) if found else (0, 0)
    if not 1 <= number <= of:
        raise UsageError(f"--shard {shard!r} is invalid; give K/N, for example 1/4")
    names = (image.stem + image.path.suffix if image.stem else str(image.path) for image in inputs)
    return [zlib.crc32(os.fsencode(name)) % of == number - 1 for name in names]


def _unfinished(planned: Sequence[Planned], done: Collection[str], batch: int) -> list[Sequence[Planned]]:
    """Images to label, in batches.

    A batch is redone as a whole, since its images affect the last bits of each other's results.
    """
    groups = [planned[start : start + batch] for start in range(0, len(planned), batch)]
    return [group for group in groups if not all(paths.stem in done for _, paths in group)]


def _in_order(
    work: Sequence[tuple[InputImage, ResultFiles | None]],
    done: Collection[str],
    lines: Iterator[str | SegvocError],
    *,
    as_json: bool,
) -> Iterator[str | SegvocError | None]:
    """For each image the line to print, or its error; None if it was done and printed by an earlier call."""
    for image, paths in work:
        if paths is None:
            yield InputError(image.problem or "nothing to read")
        elif paths.stem not in done:
            yield next(lines)
        else:
            yield _report_again(paths) if as_json else None


def _report_again(paths: ResultFiles) -> str | SegvocError:
    try:
        return json.dumps(paths.read_report(), allow_nan=False)
    except (OSError, ValueError) as error:
        return OutputError(f"{str(paths.report)!r} of an earlier run can't be read ({one_line(error)}); try again")


def json_line(result: "Segmentation", paths: ResultFiles, *, compact: bool) -> str:
    """The report as one line of JSON; ASCII only, since standard output may have any encoding."""
    return json.dumps(result.report(compact=compact), allow_nan=False)


def summary_line(result: "Segmentation", paths: ResultFiles) -> str:
    """The human-readable summary: words and parts with the most pixels, absent words, and the result files.

    A second line warns if perhaps none of the words is in the image.
    """
    report = result.report(compact=True)
    kinds = [_largest(report[kind]) for kind in ("classes", "parts") if kind in report]
    line = f"{result.source}: {'; '.join(['; parts: '.join(kinds), *result.notes()])} -> {paths.shown}"
    if not report["unsure"]:
        return line
    mean = report["mean_confidence"]
    return f"{line}\n  unsure nearly everywhere ({mean:.2f}): perhaps none of these words is in the image"


def _largest(entries: Sequence[dict[str, Any]]) -> str:
    ordered = sorted(entries, key=lambda entry: -entry["pixels"])
    found = [f"{entry['name']} {entry['fraction']:.0%}{_count(entry)}" for entry in ordered]
    more = f", and {len(found) - 6} more" if len(found) > 6 else ""
    return f"{', '.join(found[:6]) or 'nothing'}{more}"


def _count(entry: Mapping[str, Any]) -> str:
    count = entry.get("objects")
    return f" ({count} {'object' if count == 1 else 'objects'})" if count else ""


def _named_images(arguments: Iterable[PathLike], skip: PathLike | None = None) -> list[InputImage]:
    """Resolve arguments to images with `image_paths`; prints a line on skipped files that aren't images."""
    passed_over: Counter[str] = Counter()
    found = image_paths(arguments, skip, passed_over)
    if (line := passed_over_line(passed_over)) is not None:
        print_line(f"segvoc: {line}")
    return found


def _print_failures(failures: int, total: int, what: str) -> None:
    """Print how many of several images failed."""
    if total > 1 and failures:
        print_line(
            f"segvoc: {failures} of {total} {what} failed" + ("" if failures == total else ", the others are done")
        )


def _band_numbers(text: str | None) -> tuple[int, ...] | None:
    """The bands for red, green and blue, or for gray."""
    if text is None:
        return None
    try:
        numbers = tuple(int(one) for one in text.split(","))
    except ValueError:
        numbers = ()
    if len(numbers) not in (1, 3) or min(numbers) < 1:
        raise UsageError(f"--bands {text!r} is invalid; give one number from 1, or three such as 3,2,1")
    return numbers


def _disk_full(error: DiskFullError, done: int, total: int, what: str) -> DiskFullError:
    """The error for a full disk, with the number of finished images or videos."""
    if total == 1:
        return error
    return DiskFullError(f"{error}; {done} of {total} {what} are done; run again with --resume for the others")


def _print_result(line: str | None) -> None:
    """Print a line to standard output, above any progress bar; None prints nothing."""
    if line is not None:
        print_line(line, err=False)


class _Steps:
    """Progress within one image or video: called with the finished (by earlier calls too) and total steps."""

    def __init__(self, progress: Progress) -> None:
        self._progress, self._has_begun = progress, False

    def __call__(self, done: int, total: int | None) -> None:
        """Show that `done` rows or frames of `total` are done."""
        if not self._has_begun:
            self._has_begun, self._progress.done = True, done
            if total is not None:
                self._progress.start(total)
        else:
            self._progress.update(done - self._progress.done)


@dataclass(frozen=True, kw_only=True)
class _OneByOne:
    """A call of `segvoc segment` with big images or videos."""

    labeling: Labeling
    model: "Segmenter"
    begin: BeginWork
    """Starts or resumes the work, with everything that the results depend on."""
    as_json: bool
    """Whether to print JSON reports, also of images done before."""
    resume: bool
    """Whether to resume an earlier call."""

    def label(
        self,
        work: Sequence[tuple[InputImage, _Files | None]],
        label: Callable[[InputImage, _Files, _Steps], tuple[Any, bool]],
        settings: Key,
        *,
        what: str,
        unit: str,
    ) -> int:
        """Label images or videos, print a line for each, and record which are done; returns the exit code.

        `label` labels one input, writes its results, and returns its result and whether all of it could be read.
        """
        planned = [(source.path, files) for source, files in work if files is not None]
        failures, damaged = 0, 0
        with self.begin(settings) if self.resume or len(work) > 1 else nullcontext() as kept:
            done = finished(kept, planned) if self.resume and kept is not None else set()
            for number, (source, files) in enumerate(work):
                try:
                    if files is None:
                        raise InputError(source.problem or "nothing to read")
                    if files.stem in done:
                        print_line(f"segvoc: {str(source.path)!r} was already done")
                        line = json.dumps(files.read_report(), allow_nan=False) if self.as_json else None
                    else:
                        read = stamp_of(source.path)
                        with Progress("labeling", unit=unit) as progress:
                            result, whole = label(source, files, _Steps(progress))
                        damaged += not whole
                        if kept is not None and whole:
                            kept.finish(files.stem, result_stamp(source.path, read, files))
                        line = self.labeling.describe(result, files)
                except InputError as error:
                    failures += 1
                    print_line(f"segvoc: error: {error}")
                    continue
                except DiskFullError as error:
                    raise _disk_full(error, number - failures, len(work), what) from None
                _print_result(line)
        _print_failures(failures, len(work), what)
        return 1 if failures or damaged else 0


def _has_videos(
    inputs: Sequence[InputImage],
    labels: LabelOptions,
    every: int | None,
    *,
    dataset_format: str | None,
    parts: bool,
    tiles: bool,
    jobs: int,
) -> bool:
    """Whether a call labels videos; then all of its options and inputs must be for videos."""
    named = [source for source in inputs if source.problem is None]
    videos = [source for source in named if is_video(source.path)]
    if not videos:
        if every is not None or labels.smooth:
            given = "--every" if every is not None else "--smooth"
            raise UsageError(f"{given} is for videos (.mp4, .mkv, ...); leave it out")
        return False
    if len(videos) < len(named):
        image = next(source.path for source in named if not is_video(source.path))
        raise UsageError(
            f"{str(videos[0].path)!r} is a video, {str(image)!r} is not; label videos and images in two calls"
        )
    if dataset_format is not None:
        raise UsageError("--format needs images; leave out --format, or extract the video's frames first")
    if parts:
        raise UsageError("--parts is for images only; leave it out, or the video")
    if tiles or labels.stretch is not None:
        raise UsageError("videos have no tiles; leave out --tile and its relatives")
    if jobs > 1:
        raise UsageError("frames go through the network one after the other; leave out --jobs")
    require_av()
    return True


def _segment_videos(call: _OneByOne, work: Work, every: int) -> int:
    """Label every `every`-th frame of videos (None: nothing to read), print a line for each; returns the exit code."""
    labeling, model = call.labeling, call.model
    check_every(every)
    words = labeling.encoded(model)
    how = {"options": labeling.options, "overlay": labeling.overlay, "compact": labeling.compact, "resume": call.resume}

    def label(video: InputImage, paths: VideoPaths, steps: _Steps) -> tuple[VideoResult, bool]:
        result = label_video(
            model, video.path, words, labeling.out, every=every, stem=paths.stem, progress=steps, **how
        )
        _print_losses(result)
        return result, result.damage is None

    planned = [(video, paths if isinstance(paths, VideoPaths) else None) for video, paths in work]
    return call.label(planned, label, {**labeling.settings(model), "every": every}, what="videos", unit="frame")


def _print_losses(result: VideoResult) -> None:
    for sound in result.sound:
        if not sound.copied:
            print_line(f"segvoc: {result.source!r}: MP4 can't hold its {sound.codec} sound, which is left out")
    if result.damage is not None:
        print_line(
            f"segvoc: error: {result.source!r} is damaged ({result.damage}); "
            f"its {result.number} frames that can be read are labeled"
        )


def _segment_in_tiles(call: _OneByOne, work: Work, reading: Mapping[str, Any], jobs: int) -> int:
    """Label big images by `label_big_image`, and print a line for each; returns the exit code."""
    labeling, model = call.labeling, call.model
    if labeling.parts is not None:
        raise UsageError("--parts needs whole images; leave out --parts, or --tile")
    if labeling.dataset is not None:
        raise UsageError("--format needs whole images; leave out --format, or --tile")
    if jobs > 1:
        raise UsageError("tiles go through the network one after the other; leave out --jobs, or --tile")
    paths = _planned(work, labeling.out, overlay=labeling.overlay is not None)
    words = labeling.encoded(model)
    model.in_tiles(words, labeling.options)
    how = {"options": labeling.options, "overlay": labeling.overlay, "compact": labeling.compact, "resume": call.resume}

    def label(image: InputImage, files: ResultPaths, steps: _Steps) -> tuple[BigResult, bool]:
        result = label_big_image(
            model, image.path, words, labeling.out, stem=files.stem, progress=steps, **how, **reading
        )
        return result, True

    planned = [(image, files) for (image, _), files in zip(work, paths, strict=True)]
    settings = {**labeling.settings(model), "bands": reading["bands"] and list(reading["bands"])}
    return call.label(planned, label, settings, what="images", unit="row")


def _planned(work: Work, out: str, *, overlay: bool) -> list[ResultPaths | None]:
    """Plan the result files; checks that required packages are installed and no result overwrites an input."""
    images = [image.path for image, files in work if files is not None]
    paths = [
        None if files is None else ResultPaths.below(out, files.stem, overlay=overlay, placed=is_raster(image.path))
        for image, files in work
    ]
    refuse_overwriting(images, [file for one in paths if one is not None for file in one])
    if any(map(is_raster, images)):
        require_rasterio()
    return paths
