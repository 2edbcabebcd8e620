"""`segvoc click`: the mask of an object from clicks or a box."""

import os
from pathlib import Path
from typing import Any

import click
import numpy as np
from PIL import Image

from segvoc.cli.output import echo, example
from segvoc.errors import UsageError
from segvoc.imaging.image_formats import IMAGE_SUFFIXES
from segvoc.imaging.reading import read_given
from segvoc.inference.clicks import click as find_object
from segvoc.storage.atomic_writes import write_atomically

_COLOR = (30, 144, 255)
"""RGB of the object in the overlay."""


@click.command("click", epilog=example("segvoc click photo.jpg 120,80 --not 30,200 --out mask.png"))
@click.argument("image")
@click.argument("points", nargs=-1, metavar="[X,Y]...")
@click.option(
    "--not", "off_object", multiple=True, metavar="X,Y", help="A background click, off the object; repeatable."
)
@click.option("--box", metavar="X0,Y0,X1,Y1", help="A rectangle around the object.")
@click.option(
    "--out", metavar="FILE", help="The mask, a PNG: 255 on the object, 0 elsewhere; by default photo.mask.png here."
)
@click.option("--overlay", metavar="FILE", help="Also write the image with the object colored.")
def click_command(
    image: str,
    points: tuple[str, ...],
    off_object: tuple[str, ...],
    box: str | None,
    out: str | None,
    overlay: str | None,
) -> None:
    """Write the mask of the object in IMAGE at the clicks X,Y or X Y (pixels from the top left), or in a box.

    \b
    segvoc click photo.jpg 120,80 --out mask.png
    segvoc click photo.jpg 120,80 --not 200,90 --out mask.png --overlay shown.png
    segvoc click photo.jpg --box 60,40,210,160 --out mask.png
    """
    if out is None:
        out = f"{Path(image).stem}.mask.png"
    for path in (out, overlay):
        if path is not None and os.path.realpath(path) == os.path.realpath(image):
            raise UsageError(f"{path!r} is the image itself; name another file")
    if overlay is not None and os.path.realpath(overlay) == os.path.realpath(out):
        raise UsageError(f"{overlay!r} is both the mask and the overlay; name two files")
    if Path(out).suffix.lower() != ".png":
        raise UsageError(f"the mask {out!r} is a PNG; name it so")
    kind = "PNG" if overlay is None else Image.registered_extensions().get(Path(overlay).suffix.lower())
    if kind not in ("PNG", "JPEG", "WEBP"):
        raise UsageError(f"the overlay {overlay!r} is a PNG, a JPEG or a WebP; name it so")
    if box is not None and "," not in box and len(points) >= 3:  # --box 60 40 210 160
        box, points = ",".join((box, *points[:3])), points[3:]
    if len(points) % 2 == 0 and not any("," in text for text in points):
        points = tuple(map(",".join, zip(points[::2], points[1::2], strict=True)))
    places = [(_numbers(text, "X,Y"), True) for text in points]
    places += [(_numbers(text, "X,Y"), False) for text in off_object]
    rectangle = None if box is None else _numbers(box, "X0,Y0,X1,Y1")
    pixels, _ = read_given(image)
    mask = find_object(pixels, [place for place, _ in places], [label for _, label in places], rectangle)
    write_atomically(out, lambda file: Image.fromarray(mask.astype(np.uint8) * 255).save(file, "PNG"))
    if overlay is not None:
        shown = np.where(mask[..., None], pixels // 2 + np.array(_COLOR, np.uint8) // 2, pixels)
        write_atomically(overlay, lambda file: Image.fromarray(shown).save(file, kind))
    echo(f"-> {out} ({int(mask.sum())} of {mask.size} pixels)")


def _numbers(text: str, form: str) -> Any:
    try:
        numbers = tuple(float(number) for number in text.split(","))
    except ValueError:
        numbers = ()
    if len(numbers) != form.count(",") + 1:
        example = "120,80" if form == "X,Y" else "60,40,210,160"
        first = "; the image comes first" if os.path.splitext(text)[1].lower() in IMAGE_SUFFIXES else ""
        raise UsageError(f"{text!r} is not {form}; give numbers, for example {example}{first}")
    return numbers
