"""`segvoc segment`: label maps, overlays and reports of pictures."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from tqdm import tqdm

from segvoc.cli.model_options import ModelOptions, model_options
from segvoc.cli.word_options import part_options, parts_of, vocabulary_of, word_options
from segvoc.errors import InputError, OutputError
from segvoc.imaging.result_paths import InputImage, ResultPaths, image_paths, plan_results

if TYPE_CHECKING:
    from segvoc.inference.segmentation import Segmentation


@click.command()
@click.argument("pictures", nargs=-1, required=True, metavar="PICTURE...")
@word_options
@part_options
@click.option(
    "--model", default="tiny", show_default=True, metavar="NAME", help="A preset or a .safetensors of segvoc."
)
@model_options
@click.option("--out", default="out", show_default=True, metavar="FOLDER", help="Where the results go.")
@click.option("--json", "as_json", is_flag=True, help="Print each picture's report as one line of JSON.")
def segment(
    pictures: Sequence[str],
    words: str | None,
    words_file: str | None,
    parts: str | None,
    parts_file: str | None,
    model: str,
    out: str,
    as_json: bool,
    chosen: ModelOptions,
) -> int:
    """Label every pixel of each PICTURE (files, folders, patterns) with one of the words.

    Writes to the results' folder, for photo.jpg: photo.png (label map), photo.overlay.png (to look at) and photo.json
    (how much of each word); with --parts also photo.parts.png, the part that each pixel of an object is. The tree of a
    folder is kept.
    """
    asked_parts = parts_of(parts, parts_file)
    no_words = words is None and words_file is None
    vocabulary = None if no_words and asked_parts is not None else vocabulary_of(words, words_file)
    way: dict[str, Any] = {
        "parts": asked_parts,
        "window": chosen.window,
        "keep_classes": chosen.kept,
        "background": chosen.background,
        "threshold": chosen.threshold,
    }
    inputs = image_paths(pictures, skip=out)
    plans = plan_results(inputs, out, parts=asked_parts is not None)
    segmenter = chosen.load(model)
    failures = 0
    with tqdm(total=len(inputs), unit="picture", disable=None if len(inputs) > 1 else True, leave=False) as progress:
        for picture, paths in zip(inputs, plans, strict=True):
            try:
                if picture.problem is not None or paths is None:
                    raise InputError(picture.problem or "nothing to read")
                result = segmenter.segment(picture.path, vocabulary, **way)
                result.save(out, picture.stem)
            except (InputError, OutputError) as error:
                failures += 1
                tqdm.write(f"segvoc: error: {error}", file=sys.stderr)
            else:
                tqdm.write(_json_line(result) if as_json else _summary(picture, paths, result), file=sys.stdout)
                sys.stdout.flush()
            progress.update()
    if failures:
        tqdm.write(f"segvoc: {failures} of {len(inputs)} pictures failed, the others are done", file=sys.stderr)
    return 1 if failures else 0


def _json_line(result: "Segmentation") -> str:
    # ASCII alone, since standard output may have any encoding
    return json.dumps(result.report(), allow_nan=False)


def _summary(picture: InputImage, paths: ResultPaths, result: "Segmentation") -> str:
    """One line for people: the words and the parts with the most pixels, and where the results are."""
    report = result.report()
    kinds = [_largest(report[kind]) for kind in ("classes", "parts") if kind in report]
    return f"{picture.path}: {'; parts: '.join(kinds)} -> {Path(paths.overlay)}"


def _largest(entries: Sequence[dict[str, Any]]) -> str:
    ordered = sorted(entries, key=lambda entry: -entry["pixels"])
    found = [f"{entry['name']} {entry['fraction']:.0%}" for entry in ordered if entry["pixels"]]
    more = f", and {len(found) - 6} more" if len(found) > 6 else ""
    return f"{', '.join(found[:6]) or 'nothing'}{more}"
