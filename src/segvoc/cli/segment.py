"""`segvoc segment`: label maps, overlays and reports of images and videos."""

import warnings
from collections.abc import Sequence
from functools import partial
from typing import Any

import click
from click.core import ParameterSource

from segvoc.cli.options import (
    NETWORK_OPTIONS,
    FiniteRange,
    ModelOptions,
    WordOptions,
    bundle_options,
    label_options,
    model_options,
    part_options,
    word_options,
)
from segvoc.cli.output import example, unquoted_hint
from segvoc.errors import LabelingWarning, UsageError
from segvoc.imaging.map_files import MAP_NAMES, MapFormat
from segvoc.imaging.overlay import OverlayStyle
from segvoc.inference.label_options import OPTION_TEXTS, LabelOptions
from segvoc.labeling.formats.dataset import Dataset
from segvoc.labeling.formats.table import writers
from segvoc.labeling.run import LabelingRun
from segvoc.labeling.task import Labeling
from segvoc.labeling.track_files import TRACK_FORMATS
from segvoc.vocabulary import PartVocabulary


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


_OVERLAY_OPTIONS = {
    "overlay": click.option("--overlay/--no-overlay", default=True, help="Draw overlays."),
    "opacity": click.option(
        "--opacity",
        default=0.5,
        metavar="A",
        type=FiniteRange(0, 1),
        help="Weight of the colors in the overlay, from 0 to 1.",
    ),
    "names": click.option(
        "--names/--no-names", default=True, help="Write the words' names into the regions of the overlay."
    ),
    "legend": click.option("--legend/--no-legend", default=True, help="Draw the overlay's legend."),
    "overlay_megapixels": click.option(
        "--overlay-megapixels",
        type=FiniteRange(min=1e-6),
        default=4,
        metavar="M",
        help="Draw the overlays of larger images at this size.",
    ),
}


def _overlay(given: dict[str, Any]) -> OverlayStyle | None:
    pixels = round(given["overlay_megapixels"] * 1e6)
    style = OverlayStyle(alpha=given["opacity"], names=given["names"], legend=given["legend"], max_pixels=pixels)
    return style if given["overlay"] else None


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
@bundle_options(_OVERLAY_OPTIONS, "overlay", _overlay)
@click.option(
    "--format",
    "dataset_format",
    type=click.Choice([*writers(), *MAP_NAMES]),
    metavar="NAME",
    help=f"Write a dataset for other programs instead: {', '.join(writers())}; or also a map of the regions of "
    f"images with coordinates: {', '.join(MAP_NAMES)}.",
)
@click.option(
    "--simplify",
    type=FiniteRange(min=0),
    default=0,
    metavar="METERS",
    help="Maps: remove corners that change areas by less than a square of this side.",
)
@click.option("--copy-images/--no-copy-images", default=True, help="Copy the images into the dataset.")
@click.option("--json", "as_json", is_flag=True, help="Print the report of each image as one line of JSON.")
@click.option("--compact", is_flag=True, help="Report only words that have pixels.")
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
    "--track-format",
    "track_formats",
    type=click.Choice(TRACK_FORMATS),
    multiple=True,
    metavar="NAME",
    help=f"Videos: also write the tracked objects for other programs: {', '.join(TRACK_FORMATS)}.",
)
@click.option(
    "--bands",
    metavar="R,G,B",
    callback=lambda context, option, text: _band_numbers(text),
    help="Bands of a TIFF to use as red, green and blue, from 1; or a single gray band.",
)
@click.option(
    "--max-megapixels",
    "max_pixels",
    type=FiniteRange(min=1e-6),
    metavar="M",
    callback=lambda context, option, megapixels: None if megapixels is None else round(megapixels * 1e6),
    help="With tiles: maximum size of images other than TIFF; 200 by default.",
)
@click.pass_context
def segment_command(
    context: click.Context,
    images: Sequence[str],
    words: WordOptions,
    parts: PartVocabulary | None,
    model: str,
    chosen: ModelOptions,
    labels: LabelOptions,
    out: str,
    overlay: OverlayStyle | None,
    dataset_format: str | None,
    simplify: float,
    copy_images: bool,
    **fields: Any,
) -> int:
    """Label every pixel of each IMAGE with one of the words. IMAGE is a file, a folder, a pattern or a video.

    For photo.jpg, writes photo.png (the label map), photo.overlay.png (for viewing) and photo.json (the share of
    each word); with --parts also photo.parts.png (the part at each pixel of an object). Subfolders are kept. If
    a.jpg and a.png are in the same folder, their results are named a.jpg.png, a.png.png, and so on.

    For video.mp4, writes video.overlay.mp4 (all frames), video/000000.png, ... (label maps) and video.json; with
    --track also video.tracks.jsonl (each frame's objects, which keep their numbers).

    With --objects, also writes photo.objects.png (each pixel's object number) and counts the objects in the report.

    With --format, writes a dataset of all images to FOLDER instead, for COCO's tools, LabelMe, CVAT, ... For images
    with coordinates, --format geojson or gpkg also writes scene.geojson or scene.gpkg: the regions as polygons.
    """
    if len(words.words) == 1 and (hint := unquoted_hint(words.words[0], images)):
        raise UsageError(hint)
    _refuse_ignored(context)
    dataset = form = None
    if dataset_format in MAP_NAMES:
        form = MapFormat(name=dataset_format, simplify=simplify)
    elif dataset_format is not None:
        background = labels.background_name
        dataset = Dataset(folder=out, format=dataset_format, background=background, copy_images=copy_images)
    labeling = Labeling(
        inputs=images,
        load=partial(chosen.open, model),
        words=words.vocabulary(),
        parts=parts,
        options=labels,
        out=out,
        overlay=overlay if dataset is None else None,
        dataset=dataset,
        map=form,
        **fields,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("always", LabelingWarning)
        return LabelingRun(labeling).run()


def _refuse_ignored(context: click.Context) -> None:
    """Raise a `UsageError` for an option given in vain: of overlays, datasets or maps that the call doesn't write."""
    values = context.params
    given = [name for name in values if context.get_parameter_source(name) is ParameterSource.COMMANDLINE]
    is_map = values["dataset_format"] in MAP_NAMES
    is_dataset = values["dataset_format"] is not None and not is_map
    for name in given:
        shown = f"--{'no-' if values[name] is False else ''}{name.replace('_', '-')}"
        is_drawn = name in _OVERLAY_OPTIONS and (name != "overlay" or values[name])
        if is_drawn and is_dataset:
            raise UsageError(f"{shown} is for overlays, which datasets don't have; leave it out, or --format")
        if is_drawn and not values["overlay"]:
            raise UsageError(f"{shown} is for overlays; leave it out, or --no-overlay")
        if name == "copy_images" and not is_dataset:
            raise UsageError(f"{shown} is for datasets; leave it out, or add --format")
        if name == "simplify" and not is_map:
            raise UsageError(f"{shown} is for maps; leave it out, or add --format geojson or gpkg")
