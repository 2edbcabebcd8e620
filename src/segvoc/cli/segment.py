"""`segvoc segment`: label maps, overlays and reports of images."""

import json
import os
import re
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing, nullcontext
from functools import partial
from importlib.util import find_spec
from itertools import chain, compress
from typing import TYPE_CHECKING, Any

import click

from segvoc.cli.hints import show_hints, word_hints
from segvoc.cli.input_images import named_images, print_failures
from segvoc.cli.one_by_one import OneByOne, disk_full, print_result
from segvoc.cli.options import NETWORK_OPTIONS, ModelOptions, label_options, model_options
from segvoc.cli.segment_tiles import segment_in_tiles
from segvoc.cli.segment_video import has_videos, plan_videos, segment_videos
from segvoc.cli.tile_options import TileOptions, tile_options
from segvoc.cli.word_options import part_options, parts_of, vocabulary_of, word_options
from segvoc.errors import DiskFullError, InputError, OutputError, SegvocError, UsageError, missing_extra, one_line
from segvoc.formats.dataset import Dataset
from segvoc.formats.names import FORMAT_NAMES, FormatName
from segvoc.imaging.overlay import OverlayStyle
from segvoc.imaging.result_paths import InputImage, ResultFiles, name_case_pairs, plan_files, plan_results
from segvoc.inference.label_options import OPTION_TEXTS, LabelOptions
from segvoc.labeling.done_images import Planned, finished, image_work
from segvoc.labeling.labeling import Labeling, dataset_words, finish_dataset, label_images
from segvoc.labeling.processes import label_in_processes
from segvoc.progress import Progress, print_line

if TYPE_CHECKING:
    from segvoc.inference.segmentation import Segmentation
    from segvoc.vocabulary import PartVocabulary


@click.command()
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
@click.option("--objects", is_flag=True, help="Count things: each connected region of a word is an object.")
@click.option(
    "--least-object",
    type=click.IntRange(min=1),
    metavar="N",
    help="With --objects: fewest pixels of one; a 5,000th of the image by default.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the report of each image as one line of JSON.")
@click.option("--compact", is_flag=True, help="Report only the words that were found.")
@click.option("--overlay/--no-overlay", default=True, help="Draw overlays.")
@click.option(
    "--overlay-megapixels",
    type=click.FloatRange(min=0, min_open=True),
    default=4,
    metavar="M",
    help="Draw the overlays of larger images at this size.",
)
@click.option("--resume", is_flag=True, help="Resume: skip the images that are done, with the same settings.")
@click.option("--jobs", type=click.IntRange(min=1), default=1, metavar="N", help="Number of processes.")
@click.option("--shard", metavar="K/N", help="Label only the K-th of N shares of the images.")
@click.option(
    "--every",
    type=click.IntRange(min=1),
    metavar="N",
    help="Videos: label every N-th frame; the frames between keep its labels in the overlay video.",
)
@tile_options
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
    **of_tiles: Any,
) -> int:
    """Label every pixel of each IMAGE with one of the words. IMAGE is a file, a folder, a pattern or a video.

    For photo.jpg, writes photo.png (the label map), photo.overlay.png (to look at) and photo.json (the share of
    each word); with --parts also photo.parts.png (the part at each pixel of an object). Subfolders are kept. If
    a.jpg and a.png are in one folder, their results are named a.jpg.png, a.png.png, and so on.

    For video.mp4, writes video.overlay.mp4 (all frames), video/000000.png, ... (label maps) and video.json.

    With --objects also photo.objects.png (the number of each pixel's object), and the report counts them.

    With --format, writes one dataset of all images to FOLDER instead, for COCO's tools, LabelMe, CVAT, ...
    """
    asked_parts = parts_of(parts, parts_file)
    no_words = words is None and words_file is None
    vocabulary = None if no_words and asked_parts is not None else vocabulary_of(words, words_file)
    inputs, tiles = name_case_pairs(named_images(images, skip=out), out), TileOptions(**of_tiles)
    in_tiles = tiles.given or labels.tiling is not None
    videos = has_videos(
        inputs, labels, every, dataset_format=dataset_format, parts=asked_parts is not None, tiles=in_tiles, jobs=jobs
    )
    _check_objects(objects, least_object, instead="videos" if videos else "images in tiles" if in_tiles else None)
    dataset = None if dataset_format is None else _dataset(dataset_format, out, asked_parts, labels, copy_images)
    kinds = {"parts": asked_parts is not None, "objects": objects, "overlay": overlay}
    plans = _plans(dataset, inputs, out, videos=videos, kinds=kinds)
    work = list(compress(zip(inputs, plans, strict=True), _share(inputs, shard)))
    load = partial(chosen.open_light, model)
    segmenter = load()
    fills_image = labels.fills_image and asked_parts is None
    asked = () if vocabulary is None else vocabulary.words
    show_hints(word_hints(asked, from_file=words_file is not None, fills_image=fills_image))
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
    call = OneByOne(labeling=labeling, model=segmenter, begin=begin, as_json=as_json, resume=resume)
    if videos:
        return segment_videos(call, work, every or 1)
    if in_tiles:
        return segment_in_tiles(call, work, tiles, jobs)
    del call  # with several processes, each has a model of its own
    # a call with one image has nothing to go on with, and leaves nothing but its results
    keeps_done = resume or len(inputs) > 1 or dataset is not None
    all_words = dataset_words(labeling, segmenter)
    planned = [(image.path, paths) for image, paths in work if paths is not None]
    failures = 0
    with begin(labeling.settings(segmenter)) if keeps_done else nullcontext() as kept:
        done = finished(kept, planned) if resume and kept is not None else set()
        groups = _unfinished(planned, done, segmenter.batch)
        if min(jobs, len(groups)) > 1:
            lines = label_in_processes(labeling, segmenter, groups, jobs, kept)
            del segmenter  # each process has its own
        else:
            lines = label_images(labeling, segmenter, list(chain.from_iterable(groups)), kept)
        done -= {paths.stem for group in groups for _, paths in group}
        if done:
            print_line(f"segvoc: {len(done)} of {len(work)} images were done before")
        progress = Progress("labeling", total=len(work), done=len(done), silent=len(inputs) == 1)
        with progress, closing(lines):
            for (_, paths), line in zip(work, _in_order(work, done, lines, as_json=as_json), strict=True):
                if isinstance(line, DiskFullError):
                    raise disk_full(line, progress.done - failures, len(work), "images")
                if isinstance(line, SegvocError):
                    failures += 1
                    print_line(f"segvoc: error: {line}")
                print_result(line if isinstance(line, str) else None)
                if paths is None or paths.stem not in done:
                    progress.update()
        finish_dataset(dataset, all_words, None if kept is None else kept.key)
    print_failures(failures, len(work), "images")
    return 1 if failures else 0


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
        raise missing_extra("scikit-image", "formats")


def _plans(
    dataset: Dataset | None, inputs: Sequence[InputImage], out: str, *, videos: bool, kinds: Mapping[str, bool]
) -> Sequence[ResultFiles | None]:
    """Where the results of each image, or video, go; `kinds` are those that there may be."""
    if videos:
        return plan_videos(inputs, out, overlay=kinds["overlay"])
    if dataset is None:
        return plan_results(inputs, out, **kinds)
    dataset.refuse_inputs(inputs)
    return plan_files(inputs, out, lambda image, stem: dataset.files(stem, image.path))


def _share(inputs: Sequence[InputImage], shard: str | None) -> list[bool]:
    """Whether each image is in the share K/N: by its name alone, whatever other images there are."""
    if shard is None:
        return [True] * len(inputs)
    found = re.fullmatch(r"(\d{1,9})/(\d{1,9})", shard)
    number, of = map(int, found.groups()) if found else (0, 0)
    if not 1 <= number <= of:
        raise UsageError(f"--shard {shard!r} is not a share; give its number and how many there are, for example 1/4")
    names = (image.stem + image.path.suffix if image.stem else str(image.path) for image in inputs)
    return [zlib.crc32(os.fsencode(name)) % of == number - 1 for name in names]


def _unfinished(planned: Sequence[Planned], done: Collection[str], batch: int) -> list[Sequence[Planned]]:
    """Images to label, in groups that go through the network together.

    A group is done as a whole or not at all, since the images of a batch change the last bits of one another's results.
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
    """For each image the line to print, or its error; None for one that was done before, whose summary was printed."""
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
        return OutputError(
            f"{str(paths.report)!r}, which was done before, can't be read ({one_line(error)}); try again"
        )


def json_line(result: "Segmentation", paths: ResultFiles, *, compact: bool) -> str:
    """The report as one line of JSON; ASCII alone, since standard output may have any encoding."""
    return json.dumps(result.report(compact=compact), allow_nan=False)


def summary_line(result: "Segmentation", paths: ResultFiles) -> str:
    """One line for people: the words and the parts with the most pixels, and where the results are."""
    report = result.report(compact=True)
    kinds = [_largest(report[kind]) for kind in ("classes", "parts") if kind in report]
    return f"{result.source}: {'; parts: '.join(kinds)} -> {paths.shown}"


def _largest(entries: Sequence[dict[str, Any]]) -> str:
    ordered = sorted(entries, key=lambda entry: -entry["pixels"])
    found = [f"{entry['name']} {entry['fraction']:.0%}{_count(entry)}" for entry in ordered]
    more = f", and {len(found) - 6} more" if len(found) > 6 else ""
    return f"{', '.join(found[:6]) or 'nothing'}{more}"


def _count(entry: Mapping[str, Any]) -> str:
    count = entry.get("objects")
    return f" ({count} {'object' if count == 1 else 'objects'})" if count else ""
