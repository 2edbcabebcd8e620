"""Images of more pixels than the service decodes at once: read, labeled and reported in tiles."""

import time
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt16
from PIL import Image

from segvoc.imaging.label_maps import nearest
from segvoc.imaging.reading import DecodedImage
from segvoc.inference.label_options import LabelOptions
from segvoc.inference.prepared_vocabulary import PreparedVocabulary
from segvoc.inference.reports import LabeledFile, LabelStatistics
from segvoc.inference.segmenter import Segmenter
from segvoc.labeling.big_images import reduced_overlay


@dataclass(frozen=True, kw_only=True, eq=False)
class LargeResult(LabeledFile):
    """A large image's labels, without confidences, which would take more memory than all else."""

    labels: UInt16[np.ndarray, "H W"]
    """As in `Segmentation`."""
    pixels: DecodedImage
    """The image."""
    confidence = probabilities = part_labels = None
    """A `Segmentation` may have them."""

    def overlay(self) -> Image.Image:
        """The overlay, reduced as a saved one is."""
        return reduced_overlay(self.pixels, lambda *size: nearest(self.labels, size), self)


def label_large_image(
    model: Segmenter, image: DecodedImage, words: PreparedVocabulary, options: LabelOptions
) -> LargeResult:
    """Label a decoded image tile by tile: 2 bytes per pixel beside the image, and a few tiles.

    Raises:
        InputError: the network's output is not finite.
        UsageError: words and options conflict.
    """
    start, tiled = time.perf_counter(), model.in_tiles(words, options)
    labels, statistics = np.empty((image.height, image.width), np.uint16), LabelStatistics.none()
    for cell in tiled.cells(image, tiled.select(image)):
        labels[cell.rows, cell.columns] = cell.labels
        statistics += LabelStatistics.of(cell.labels, cell.confidence)
    return LargeResult(
        source="",
        height=image.height,
        width=image.width,
        words=tiled.words,
        background=tiled.job.query.background_name,
        statistics=statistics,
        model=model.name,
        dtype=model.dtype,
        unsure_below=model.traits.unsure_below,
        seconds=time.perf_counter() - start,
        labels=labels,
        pixels=image,
    )
