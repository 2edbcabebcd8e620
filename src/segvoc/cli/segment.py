"""`segvoc segment`: label maps, overlays and reports of images and videos."""

import json
import os
import re
import zlib
from collections import Counter
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from contextlib import closing, nullcontext
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from itertools import chain, compress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

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
from segvoc.cli.output import example, flag, show_hints, unquoted_hint
from segvoc.errors import DiskFullError, InputError, OutputError, SegvocError, UsageError, missing_extra, one_line
from segvoc.imaging.image_formats import MAX_PIXELS
from segvoc.imaging.label_maps import place_of
from segvoc.imaging.legend import share_text
from segvoc.imaging.overlay import OverlayStyle
from segvoc.imaging.rasters import is_raster, require_rasterio
from segvoc.imaging.result_paths import (
    InputImage,
    ResultFiles,
    ResultPaths,
    image_paths,
    passed_over_line,
    plan_files,
)
from segvoc.inference.label_options import OPTION_TEXTS, LabelOptions
from segvoc.inference.word_hints import SURE, model_hints, surroundings_hints, word_hints
from segvoc.labeling.big_images import label_big_image
from segvoc.labeling.formats.dataset import FORMAT_NAMES, Dataset, FormatName
from segvoc.labeling.labeling import (
    FolderWork,
    Labeling,
    Output,
    Planned,
    dataset_words,
    finish_dataset,
    finished,
    image_work,
    label_images,
    label_in_processes,
    result_stamp,
)
from segvoc.labeling.video_reading import is_video, require_av
from segvoc.labeling.videos import VideoResult, label_video, video_paths
from segvoc.runtime.progress import Progress, print_line
from segvoc.storage.resume import stamp_of

if TYPE_CHECKING:
    from segvoc.inference.reports import LabeledFile
    from segvoc.inference.segmentation import Segmentation
    from segvoc.inference.segmenter import Segmenter
    from segvoc.vocabulary import PartVocabulary

IMAGES, TILES, VIDEOS = "images", "images in tiles", "videos"
"""The kinds of inputs; all inputs of a call are of one kind."""

Work = Sequence[tuple[InputImage, ResultFiles | None]]
"""The inputs of a call and their result files; None if there is nothing to read."""

LabelOne = Callable[[Path, str, Progress], "LabeledFile"]
"""Labels an image in tiles, or a video, given the stem of its results, and writes the results."""

_REFUSED: Mapping[str, Mapping[str, str]] = {
    TILES: {
        "--parts": "--parts needs whole images; leave out --parts, or --tile",
        "--format": "--format needs whole images; leave out --format, or --tile",
        "--jobs": "tiles go through the network one after the other; leave out --jobs, or --tile",
        "--objects": "objects aren't counted in images in tiles; leave out --objects",
    },
    VIDEOS: {
        "--format": "--format needs images; leave out --format, or extract the video's frames first",
        "--parts": "--parts is for images only; leave it out, or the video",
        "--tile": "videos have no tiles; leave out --tile and its relatives",
        "--jobs": "frames go through the network one after the other; leave out --jobs",
        "--objects": "objects aren't counted in videos; leave out --objects",
    },
}
"""Options that inputs other than whole images don't have, with the error for each."""


@click.command("segment", epilog=example('segvoc segment photo.jpg --words "cat, sofa, wall" --out labels'))
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
@click.option(
    "--objects",
    is_flag=True,
    help="Count objects: the connected components of each word. Touching objects count as one.",
)
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
def segment_command(
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
    if words is not None and (hint := unquoted_hint(words, images)):
        raise UsageError(hint)
    asked_parts, vocabulary = parts_of(parts, parts_file), vocabulary_of(words, words_file)
    inputs = _named_images(images, out)
    tiles = {"bands": bands, "max_pixels": MAX_PIXELS if max_megapixels is None else round(max_megapixels * 1e6)}
    used = {"--parts": asked_parts, "--format": dataset_format, "--jobs": jobs > 1, "--objects": objects}
    kind = _kind(inputs, labels, every, used, tiled=labels.tiling is not None or {bands, max_megapixels} != {None})
    if least_object is not None and not objects:
        raise UsageError("--least-object is for --objects; add it, or leave both out")
    if objects and find_spec("skimage") is None:
        raise missing_extra("scikit-image", "data")
    dataset = None if dataset_format is None else _dataset(dataset_format, out, asked_parts, labels, copy_images)
    kinds = {"parts": asked_parts is not None, "objects": objects, "overlay": overlay}
    work = list(compress(zip(inputs, _plans(kind, inputs, out, dataset, kinds), strict=True), _share(inputs, shard)))
    load = partial(chosen.open, model)
    segmenter = load()
    if asked_parts is None:
        vocabulary, labels = words_or_own(vocabulary, segmenter, labels)
    asked = () if vocabulary is None else vocabulary.words
    place = "line" if words_file is None else "file"
    hints = word_hints(asked, place, fills_image=labels.fills_image and asked_parts is None, option=flag)
    show_hints([*hints, *model_hints(asked, segmenter.own_words)])
    style = OverlayStyle(alpha=opacity, names=names, legend=legend, max_pixels=round(overlay_megapixels * 1e6))
    labeling = Labeling(
        load=load,
        words=vocabulary,
        parts=asked_parts,
        options=labels.in_tiles() if kind == TILES else labels,
        output=Output(out, overlay=style if overlay and dataset is None else None, compact=compact, resume=resume),
        dataset=dataset,
        objects=objects,
        least_object=least_object,
        describe=partial(_json_line, compact=compact) if as_json else summary_line,
    )
    settings, label_one, damaged = dict(labeling.settings(segmenter)), None, list[str]()
    if kind == TILES:
        settings["bands"] = bands and list(bands)
        label_one = _labeler(label_big_image, labeling, segmenter, **tiles)
    elif kind == VIDEOS:
        settings["every"] = every or 1
        label_one = _labeler(label_video, labeling, segmenter, every=every or 1)
    planned = [(image.path, files) for image, files in work if files is not None]
    all_words = dataset_words(labeling, segmenter)
    # a call with one input has nothing to resume, so it leaves only its results
    keeps_done = resume or len(inputs) > 1 or dataset is not None
    with image_work(out, settings, images, shard) if keeps_done else nullcontext() as kept:
        done = finished(kept, planned) if resume and kept is not None else set()
        groups = _unfinished(planned, done, 1 if label_one is not None else segmenter.batch)
        unfinished = list(chain.from_iterable(groups))
        if label_one is not None:
            lines = _one_by_one(labeling, unfinished, label_one, kept, damaged)
        elif min(jobs, len(groups)) > 1:
            lines = label_in_processes(labeling, segmenter, groups, jobs, kept)
            segmenter = None  # each process loads its model
        else:
            lines = label_images(labeling, segmenter, unfinished, kept)
        done -= {files.stem for _, files in unfinished}
        with closing(lines):
            failures = _print_all(kind, work, done, lines, as_json=as_json, silent=len(inputs) == 1)
        finish_dataset(dataset, all_words, None if kept is None else kept.key)
    may_miss = kind == IMAGES and asked_parts is None and unfinished and not _is_sure(unfinished[0][1])
    if segmenter is not None and vocabulary is not None and may_miss:
        share = segmenter.share_of_surroundings(unfinished[0][0], vocabulary, labels)
        show_hints(surroundings_hints(share, flag))
    return 1 if failures or damaged else 0


def _named_images(arguments: Sequence[str], skip: str) -> list[InputImage]:
    """The images of the arguments; prints a line about skipped files that aren't images."""
    passed_over: Counter[str] = Counter()
    named = image_paths(arguments, skip, passed_over)
    if (line := passed_over_line(passed_over)) is not None:
        print_line(f"segvoc: {line}")
    return named


def _kind(
    inputs: Sequence[InputImage], labels: LabelOptions, every: int | None, used: Mapping[str, object], *, tiled: bool
) -> str:
    """The kind of the inputs; raises `UsageError` for options that inputs of this kind don't have."""
    named = [source.path for source in inputs if source.problem is None]
    videos = [path for path in named if is_video(path)]
    if videos and len(videos) < len(named):
        image = next(path for path in named if not is_video(path))
        raise UsageError(f"{str(videos[0])!r} is a video, {str(image)!r} is not; label videos and images in two calls")
    if not videos and (every is not None or labels.smooth):
        option = "--every" if every is not None else "--smooth"
        raise UsageError(f"{option} is for videos (.mp4, .mkv, ...); leave it out")
    # only a TIFF in tiles is stretched by all of its values
    is_stretched = labels.stretch is not None
    needs_whole = any(used[option] for option in ("--parts", "--format", "--jobs"))
    tiled |= is_stretched and (bool(videos) or (not needs_whole and all(is_raster(image.path) for image in inputs)))
    kind = VIDEOS if videos else TILES if tiled else IMAGES
    for option, error in _REFUSED.get(kind, {}).items():
        if {**used, "--tile": tiled}[option]:
            raise UsageError(error)
    return kind


def _dataset(
    name: FormatName, out: str, parts: "PartVocabulary | None", labels: LabelOptions, copy_images: bool
) -> Dataset:
    if parts is not None:
        raise UsageError(f"{name} has no place for parts; leave out --format, or --parts")
    return Dataset(folder=out, format=name, background=labels.background_name, copy_images=copy_images)


def _plans(
    kind: str, inputs: Sequence[InputImage], out: str, dataset: Dataset | None, kinds: Mapping[str, bool]
) -> Sequence[ResultFiles | None]:
    """The result files of each input, None without one; `kinds` are the possible kinds of files of an image."""
    if dataset is not None:
        dataset.refuse_inputs(inputs)
        return plan_files(inputs, out, lambda image, stem: dataset.files(stem, image.path))
    if kind == VIDEOS:
        require_av()
        return plan_files(inputs, out, lambda _, stem: video_paths(out, stem, overlay=kinds["overlay"]))
    if kind == TILES and any(is_raster(image.path) for image in inputs):
        require_rasterio()
    has_place = is_raster if kind == TILES else place_of
    return plan_files(
        inputs, out, lambda image, stem: ResultPaths.below(out, stem, placed=bool(has_place(image.path)), **kinds)
    )


def _share(inputs: Sequence[InputImage], shard: str | None) -> list[bool]:
    """Whether each image is in shard K/N, by a hash of its name: independent of the other images."""
    if shard is None:
        return [True] * len(inputs)
    match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", shard)
    number, of = map(int, match.groups()) if match else (0, 0)
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


def _print_all(
    kind: str, work: Work, done: Collection[str], lines: Iterator[str | SegvocError], *, as_json: bool, silent: bool
) -> int:
    """Print the line or error of each input, those of earlier calls included; returns the number of errors."""
    what, failures, one_by_one = VIDEOS if kind == VIDEOS else IMAGES, 0, kind != IMAGES
    if done and not one_by_one:
        print_line(f"segvoc: {len(done)} of {len(work)} images were already done")
    with Progress("labeling", total=len(work), done=len(done), silent=silent or one_by_one) as progress:
        for image, files in work:
            is_done = files is not None and files.stem in done
            if files is None:
                line = InputError(image.problem or "nothing to read")
            elif is_done:
                line = _report_again(files) if as_json else None
            else:
                line = next(lines)
            if isinstance(line, DiskFullError):
                done_so_far = f"{progress.done - failures} of {len(work)} {what} are done"
                more = "" if len(work) == 1 else f"; {done_so_far}; run again with --resume for the others"
                raise DiskFullError(f"{line}{more}")
            if is_done and one_by_one:
                print_line(f"segvoc: {str(image.path)!r} was already done")
            if isinstance(line, SegvocError):
                failures += 1
                print_line(f"segvoc: error: {line}")
            elif line is not None:
                print_line(line, err=False)
            progress.update(not is_done)
    if failures and len(work) > 1:
        rest = "" if failures == len(work) else ", the others are done"
        print_line(f"segvoc: {failures} of {len(work)} {what} failed{rest}")
    return failures


def _is_sure(files: ResultFiles) -> bool:
    """Whether the words of an image are likely, by its report; False without one."""
    try:
        return (files.read_report()["mean_confidence"] or 0) >= SURE
    except (OSError, ValueError, KeyError):
        return False


def _report_again(files: ResultFiles) -> str | SegvocError:
    try:
        return json.dumps(files.read_report(), allow_nan=False)
    except (OSError, ValueError) as error:
        return OutputError(f"{str(files.report)!r} of an earlier run can't be read ({one_line(error)}); try again")


def _labeler(label: Callable[..., Any], labeling: Labeling, model: "Segmenter", **options: Any) -> LabelOne:
    """A function that labels one video, or one image in tiles, with `label_video` or `label_big_image`."""
    words = labeling.encoded(model)
    if labeling.options.tiling is not None:
        model.in_tiles(words, labeling.options)  # checks the options before any work
    how = {"options": labeling.options, **options}
    return lambda path, stem, progress: label(
        model, path, words, replace(labeling.output, stem=stem), progress=progress.reach, **how
    )


def _one_by_one(
    labeling: Labeling, planned: Sequence[Planned], label: LabelOne, kept: FolderWork | None, damaged: list[str]
) -> Generator[str | SegvocError, None, None]:
    """Label images in tiles, or videos, like `label_images`; adds those that end early to `damaged`."""
    for path, files in planned:
        read = stamp_of(path)
        try:
            with Progress("labeling", unit="frame" if is_video(path) else "row") as progress:
                result = label(path, files.stem, progress)
            if isinstance(result, VideoResult) and _is_damaged(result):
                damaged.append(result.source)
            elif kept is not None:
                kept.finish(files.stem, result_stamp(path, read, files))
        except (InputError, OutputError) as error:
            yield error
        else:
            yield labeling.describe(result, files)


def _is_damaged(result: VideoResult) -> bool:
    """Whether a video ends early; prints what is lost of it."""
    for sound in result.sound:
        if not sound.copied:
            print_line(f"segvoc: {result.source!r}: MP4 can't hold its {sound.codec} sound, which is left out")
    if result.damage is not None:
        print_line(
            f"segvoc: error: {result.source!r} is damaged ({result.damage}); "
            f"its {len(result.times)} frames that can be read are labeled"
        )
    return result.damage is not None


def _json_line(result: "Segmentation | LabeledFile", paths: ResultFiles, *, compact: bool) -> str:
    """The report as one line of JSON; ASCII only, since standard output may have any encoding."""
    return json.dumps(result.report(compact=compact), allow_nan=False)


def summary_line(result: "Segmentation | LabeledFile", paths: ResultFiles) -> str:
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
    shares = [f"{entry['name'].split(', ')[0]} {share_text(entry['fraction'])}{_count(entry)}" for entry in ordered]
    more = f", and {len(shares) - 6} more" if len(shares) > 6 else ""
    return f"{', '.join(shares[:6]) or 'nothing'}{more}"


def _count(entry: Mapping[str, Any]) -> str:
    count = entry.get("objects")
    return f" ({count} {'object' if count == 1 else 'objects'})" if count else ""


def _band_numbers(text: str | None) -> tuple[int, ...] | None:
    """The bands for red, green and blue, or for gray."""
    if text is None:
        return None
    try:
        numbers = tuple(int(number) for number in text.split(","))
    except ValueError:
        numbers = ()
    if len(numbers) not in (1, 3) or min(numbers) < 1:
        raise UsageError(f"--bands {text!r} is invalid; give one number from 1, or three such as 3,2,1")
    return numbers
