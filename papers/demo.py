"""Test-time augmentation, as in the official repositories' demos."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import click
import numpy as np
import torch
from jaxtyping import Float32
from PIL import Image
from torch.nn import functional as F

from papers.view_options import ViewOptions, view_options
from segvoc.cli import run_command
from segvoc.cli.output import echo
from segvoc.errors import UsageError
from segvoc.imaging.reading import read_image
from segvoc.inference.label_options import LabelOptions
from segvoc.inference.protocols import LoaderResize
from segvoc.models.network_segmenter import NetworkSegmenter
from segvoc.vocabulary import Vocabulary

SIDES = "400,500,600,700,800,900,1000,1100,1200"
"""Detectron2's shorter sides for test-time augmentation, which CAT-Seg's and PCA-Seg's configurations keep [px]."""


@click.command()
@click.argument("image")
@view_options("window", "keep_classes")
@click.option("--sides", default=SIDES, show_default=True, metavar="N,N", help="Shorter sides of the image [px].")
@click.option("--flip/--no-flip", default=True, show_default=True, help="Mirror the image too.")
def demo(image: str, sides: str, flip: bool, view: ViewOptions) -> None:
    """Segment IMAGE with test-time augmentation: the mean over several sizes, and over mirrored images.

    Writes the files of `segvoc segment`.
    """
    try:
        chosen = [int(side) for side in sides.split(",")]
    except ValueError:
        raise UsageError(f"--sides {sides!r} must be numbers of pixels, such as 400,800") from None
    vocabulary, segmenter = view.vocabulary([image]), view.load()
    mean = augmented_probabilities(segmenter, image, vocabulary, view.labels, chosen, flip=flip)
    whole = segmenter.segment(image, vocabulary, options=view.labels)
    labels = mean.argmax(axis=0)
    confidence = np.take_along_axis(mean, labels[None], axis=0)[0]
    replace(whole, labels=labels.astype(np.uint16), confidence=confidence).save(view.folder)
    echo(view.folder / f"{Path(image).stem}.png")


def augmented_probabilities(
    segmenter: NetworkSegmenter,
    image: str | Path | np.ndarray,
    words: Vocabulary,
    options: LabelOptions,
    sides: Sequence[int],
    *,
    flip: bool,
) -> Float32[np.ndarray, "K H W"]:
    """Average each word's probability over several image sizes and, with `flip`, their mirror images."""
    pixels = read_image(image)
    height, width = pixels.shape[:2]
    total, count = np.zeros((len(words), height, width), np.float32), 0
    for side in sides:
        rows, columns = LoaderResize(shortest=side, longest=4000).size(height, width)
        resized = np.asarray(Image.fromarray(pixels).resize((columns, rows), Image.Resampling.BILINEAR))
        for mirrored in (False, True)[: 1 + flip]:
            shown = np.ascontiguousarray(resized[:, ::-1]) if mirrored else resized
            result = segmenter.segment(shown, words, options=replace(options, return_probabilities=True))
            found = torch.from_numpy(result.probabilities)
            found = F.interpolate(found[None], (height, width), mode="bilinear")[0].numpy()
            total += found[..., ::-1] if mirrored else found
            count += 1
    return total / count


if __name__ == "__main__":
    run_command(demo, "python -m papers.demo")
