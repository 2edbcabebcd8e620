"""`segvoc segment`: label maps, overlays and reports of images."""

import json
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click
from tqdm import tqdm

from segvoc.cli.hints import show_hints, word_hints
from segvoc.cli.model_options import ModelOptions, labelling_options
from segvoc.cli.word_options import part_options, parts_of, vocabulary_of, word_options
from segvoc.errors import InputError, SegvocError
from segvoc.imaging.result_paths import InputImage, ResultPaths, image_paths, plan_results
from segvoc.progress import Progress, print_line

if TYPE_CHECKING:
    from segvoc.inference.segmentation import Segmentation

_UNWRITTEN = 4
"""Results that may wait for the writing thread; the network waits when there are more."""


@click.command()
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...")
@word_options
@part_options
@click.option(
    "--model",
    default="tiny",
    show_default=True,
    metavar="NAME",
    help="A preset, a .safetensors of segvoc, or an exported folder.",
)
@labelling_options
@click.option("--out", default="out", show_default=True, metavar="FOLDER", help="Where the results go.")
@click.option("--json", "as_json", is_flag=True, help="Print the report of each image as one line of JSON.")
def segment(
    images: Sequence[str],
    words: str | None,
    words_file: str | None,
    parts: str | None,
    parts_file: str | None,
    model: str,
    out: str,
    as_json: bool,
    chosen: ModelOptions,
) -> int:
    """Label every pixel of each IMAGE (files, folders, patterns) with one of the words.

    For photo.jpg it writes photo.png (label map), photo.overlay.png (to look at) and photo.json (how much of each
    word); with --parts also photo.parts.png (the part at each pixel of an object). Sub-folders are kept.
    """
    asked_parts = parts_of(parts, parts_file)
    no_words = words is None and words_file is None
    vocabulary = None if no_words and asked_parts is not None else vocabulary_of(words, words_file)
    inputs = image_paths(images, skip=out)
    plans = plan_results(inputs, out, parts=asked_parts is not None)
    segmenter = chosen.open(model)
    if vocabulary is not None:
        fills_image = chosen.background is None and chosen.threshold is None and asked_parts is None
        show_hints(word_hints(vocabulary.words, from_file=words_file is not None, fills_image=fills_image))
    results = segmenter.segment_many(
        (image.path for image, paths in zip(inputs, plans, strict=True) if _problem(image, paths) is None),
        segmenter.encode(vocabulary, parts=asked_parts, background=chosen.background),
        window=chosen.window,
        keep_classes=chosen.kept,
        threshold=chosen.threshold,
        yield_errors=True,
    )
    failures = 0
    with Progress("labelling", total=len(inputs), silent=len(inputs) == 1) as progress:
        for line in write_results(inputs, plans, results, out, as_json=as_json):
            if isinstance(line, SegvocError):
                failures += 1
                print_line(f"segvoc: error: {line}")
            else:
                tqdm.write(line, file=sys.stdout)
                sys.stdout.flush()
            progress.update()
    if failures:
        print_line(f"segvoc: {failures} of {len(inputs)} images failed, the others are done")
    return 1 if failures else 0


def _problem(image: InputImage, paths: ResultPaths | None) -> str | None:
    """Why there is nothing to label, where that is known beforehand."""
    return image.problem or ("nothing to read" if paths is None else None)


def write_results(
    inputs: Sequence[InputImage],
    plans: Sequence[ResultPaths | None],
    results: "Iterator[Segmentation | InputError]",
    out: str,
    *,
    as_json: bool,
) -> Iterator[str | SegvocError]:
    """Write every result in a thread, while the network works on the next images.

    Args:
        inputs: the images.
        plans: where the results of each go; None where there is nothing to read.
        results: a result or an error for each input that has something to read.
        out: the output folder.
        as_json: give the report as a line of JSON, not a summary.

    Yields:
        for each input, in order and once its files are whole, the line to print; or the error.
    """

    def write(image: InputImage, paths: ResultPaths, result: "Segmentation") -> str:
        result.save(out, image.stem)
        return _json_line(result) if as_json else _summary(image, paths, result)

    # leaving the block waits until what was begun is written, also after Ctrl-C
    with ThreadPoolExecutor(1, thread_name_prefix="segvoc-writer") as writer:
        waiting: deque[Future[str] | SegvocError] = deque()
        for image, paths in zip(inputs, plans, strict=True):
            problem = _problem(image, paths)
            result = next(results) if problem is None else InputError(problem)
            if paths is None or isinstance(result, InputError):
                waiting.append(cast(InputError, result))
            else:
                waiting.append(writer.submit(write, image, paths, result))
            while waiting and (len(waiting) > _UNWRITTEN or _is_done(waiting[0])):
                yield _line(waiting.popleft())
        while waiting:
            yield _line(waiting.popleft())


def _is_done(entry: "Future[str] | SegvocError") -> bool:
    return isinstance(entry, SegvocError) or entry.done()


def _line(entry: "Future[str] | SegvocError") -> str | SegvocError:
    if isinstance(entry, SegvocError):
        return entry
    try:
        return entry.result()
    except SegvocError as error:
        return error


def _json_line(result: "Segmentation") -> str:
    # ASCII alone, since standard output may have any encoding
    return json.dumps(result.report(), allow_nan=False)


def _summary(image: InputImage, paths: ResultPaths, result: "Segmentation") -> str:
    """One line for people: the words and the parts with the most pixels, and where the results are."""
    report = result.report()
    kinds = [_largest(report[kind]) for kind in ("classes", "parts") if kind in report]
    return f"{image.path}: {'; parts: '.join(kinds)} -> {Path(paths.overlay)}"


def _largest(entries: Sequence[dict[str, Any]]) -> str:
    ordered = sorted(entries, key=lambda entry: -entry["pixels"])
    found = [f"{entry['name']} {entry['fraction']:.0%}" for entry in ordered if entry["pixels"]]
    more = f", and {len(found) - 6} more" if len(found) > 6 else ""
    return f"{', '.join(found[:6]) or 'nothing'}{more}"
