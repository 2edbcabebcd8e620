"""The settings of one call of a segmenter, and what takes the place of a result that is not finite."""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import UInt8

from segvoc.encoders.word_encoder import EncodedWords
from segvoc.errors import InputError, UsageError
from segvoc.inference.label_options import LabelOptions
from segvoc.inference.prepared_vocabulary import ClassQuery
from segvoc.inference.protocols import Protocol
from segvoc.inference.smoothing import Smoothing
from segvoc.inference.view_logits import ViewLogits
from segvoc.teaching.taught_words import TaughtQuery


@dataclass(frozen=True)
class LabelingJob:
    """Settings of one call, shared by all of its images.

    Raises:
        UsageError: there are parts or groups, which tiles and smoothed frames don't have.
    """

    options: LabelOptions
    query: ClassQuery
    text: EncodedWords
    protocol: Protocol
    threshold: float | None
    """Probability below which pixels are unlabeled, or background."""
    groups: list[list[int]]
    """Groups of words; each adds a label map of its own."""
    batch: int
    """Images that go through the network together."""
    smoothing: Smoothing | None = None
    """Takes the images as frames of a video, and smooths their labels over time."""

    taught: TaughtQuery | None = None
    """Classifiers of the words that were taught, if there are any."""

    def __post_init__(self) -> None:
        if self.options.tiling is not None and (self.groups or self.query.parts is not None):
            raise UsageError("tiles have no parts or groups; leave these out, or the tile")
        if self.smoothing is not None and (self.groups or self.query.parts is not None):
            raise UsageError("parts and groups aren't smoothed over time; leave them out, or the smoothing")

    def smoothed(self, output: ViewLogits, image: UInt8[np.ndarray, "H W 3"]) -> "tuple[ViewLogits, LabelingJob]":
        """The output to find an image's labels in, and the job that reads it."""
        if self.smoothing is None:
            return output, self
        mean = self.smoothing(output, self.protocol, image)
        return mean, replace(self, protocol=replace(self.protocol, sliding=None))


@dataclass(frozen=True)
class NotFinite:
    """Takes the place of a result if an image's logits are not finite."""

    source: str | None
    """Path of the image, if it has one."""

    def named(self, place: str) -> InputError:
        """Build the error; `place` names an image without a path."""
        name = place if self.source is None else repr(self.source)
        return InputError(
            f"{name}: the network's output is not finite (NaN or infinity); check the weights, or use dtype float32"
        )
