"""The folder of `segvoc suggest`: suggestions, images with their least certain regions, and what is done."""

import base64
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from segvoc.imaging.fonts import drawable
from segvoc.imaging.reading import read_image
from segvoc.inference.segmenter import Segmenter
from segvoc.models.digests import model_record
from segvoc.records import from_json, to_json
from segvoc.storage.atomic_writes import write_atomically, writing
from segvoc.storage.json_files import read_json, write_json
from segvoc.storage.resume import RESUME_FOLDER, ResumableWork
from segvoc.teaching.suggesting import Suggestion, Suggestions
from segvoc.teaching.uncertainty import ImageSummary, UncertainRegion
from segvoc.version import __version__

LONGEST_SIDE = 1600
"""Pixels of the longer side of an image that regions are outlined in, at most."""

SuggestWork = ResumableWork[ImageSummary]
"""The images of a call, with their summaries."""


def suggest_work(out: str | os.PathLike[str], model: Segmenter, words: tuple[str, ...]) -> SuggestWork:
    """The work of a call, which no other call does at the same time.

    Args:
        out: the folder of the results.
        model: the model.
        words: the words.

    Raises:
        UsageError: another call works there.
        OutputError: the folder can't be written.
    """
    key = {**model_record(model), "words": list(words), "segvoc": __version__}
    busy = f"another call suggests images into {os.fspath(out)!r}; wait until it ends, or give another --out"
    return ResumableWork(Path(out, RESUME_FOLDER, "suggest.jsonl"), key, decode=read_summary, busy=busy)


def summary_json(summary: ImageSummary) -> dict[str, Any]:
    """A summary as JSON."""
    regions = [to_json(region) for region in summary.regions]
    arrays = {name: _text(getattr(summary, name)) for name in ("mean", "rms")}
    plain = {name: getattr(summary, name) for name in ("image", "width", "height", "uncertainty")}
    return {**plain, "regions": regions, **arrays}


def read_summary(value: Mapping[str, Any]) -> ImageSummary:
    """A summary that `summary_json` wrote.

    Raises:
        KeyError, TypeError, ValueError: it is damaged.
    """
    return ImageSummary(
        image=str(value["image"]),
        width=int(value["width"]),
        height=int(value["height"]),
        uncertainty=float(value["uncertainty"]),
        regions=tuple(from_json(UncertainRegion, region) for region in value["regions"]),
        mean=_array(value["mean"]),
        rms=_array(value["rms"]),
    )


def suggestion_files(out: str | os.PathLike[str], count: int) -> list[Path]:
    """The files of so many suggestions: out/001.png, ..., and out/suggestions.json."""
    return [*(Path(out, f"{rank:03}.png") for rank in range(1, count + 1)), Path(out, "suggestions.json")]


def write_suggestions(out: str | os.PathLike[str], suggested: Suggestions) -> None:
    """Write out/suggestions.json, and out/001.png, ...: the images with their least certain regions outlined.

    Outlined images of an earlier call that suggested more are removed.

    Raises:
        InputError: an image has gone.
        OutputError: a file can't be written.
    """
    *drawings, listed = suggestion_files(out, len(suggested.suggestions))
    for stale in set(suggestion_files(out, _written_before(listed))) - {*drawings, listed}:
        with writing(stale):
            stale.unlink(missing_ok=True)
    for one, path in zip(suggested.suggestions, drawings, strict=True):
        drawn = outlined(read_image(one.image), one)
        # Level 1: at level 6 a photograph is hardly smaller but takes four times as long.
        write_atomically(path, lambda file, drawn=drawn: drawn.save(file, "PNG", compress_level=1))
    write_json(listed, to_json(suggested))


def _written_before(listed: Path) -> int:
    """How many suggestions an earlier call wrote."""
    try:
        return len(read_json(listed)["suggestions"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0


def outlined(pixels: np.ndarray, suggestion: Suggestion) -> Image.Image:
    """An image (H W 3) with the least certain regions outlined, each with the two words it may be."""
    image = Image.fromarray(pixels)
    image.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    scale, size = image.width / suggestion.width, max(11, min(image.size) // 30)
    draw = ImageDraw.Draw(image)
    for region in reversed(suggestion.regions):  # the most important one on top
        corners = [region.x, region.y, region.x + region.width, region.y + region.height]
        left, top, right, bottom = (round(edge * scale) for edge in corners)
        box = left, top, max(right - 1, left), max(bottom - 1, top)
        draw.rectangle(box, outline=(18, 20, 24), width=max(3, size // 4))
        draw.rectangle(box, outline=(255, 255, 255), width=max(1, size // 8))
        text, font = drawable(" / ".join(region.words), size)
        draw.text(
            (left + size // 3, top + size // 3), text, (255, 255, 255), font, stroke_width=2, stroke_fill=(18, 20, 24)
        )
    return image


def _text(array: np.ndarray) -> str:
    return base64.b64encode(array.astype("<f2").tobytes()).decode()


def _array(text: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text, validate=True), "<f2").astype(np.float16)
