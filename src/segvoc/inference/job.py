"""A call of a segmenter: its settings, its images read ahead, and what stands for a result that isn't finite."""

import time
from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
from jaxtyping import UInt8

from segvoc.encoders.word_encoder import EncodedWords
from segvoc.errors import InputError, UsageError
from segvoc.imaging.rasters import Stretch
from segvoc.imaging.reading import ImageSource, image_name, read_given
from segvoc.inference.label_options import LabelOptions
from segvoc.inference.prepared_vocabulary import ClassQuery
from segvoc.inference.protocols import Protocol
from segvoc.inference.smoothing import Smoothing
from segvoc.inference.windows import ViewLogits
from segvoc.teaching.taught_words import TaughtQuery

READERS = 4
"""Most threads that read images. One is enough where a batch is a single image."""


@dataclass(frozen=True)
class ReadImage:
    """An image in memory."""

    pixels: UInt8[np.ndarray, "H W 3"]
    source: str | None
    """Name of its file, if any."""
    seconds: float
    """Time spent reading it [s]."""

    @classmethod
    def of(cls, source: ImageSource, stretch: Stretch | None = None) -> "ReadImage":
        """Read an image, as `read_image` does.

        Raises:
            InputError: it can't be read.
        """
        start = time.perf_counter()
        pixels = read_given(source, stretch)
        return cls(pixels, image_name(source), time.perf_counter() - start)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width [px]."""
        return self.pixels.shape[0], self.pixels.shape[1]


def read_in_batches(
    images: Iterable[ImageSource], batch: int, stretch: Stretch | None = None
) -> Generator[list[ReadImage | InputError], None, None]:
    """Read images in threads; at most two batches are in memory.

    Args:
        images: the images; they are consumed as batches are requested.
        batch: images in a batch.
        stretch: as for `read_image`.

    Yields:
        Batches in the order of the images, with the error in place of an image that can't be read.
    """
    sources = iter(images)
    with ThreadPoolExecutor(min(batch, READERS), thread_name_prefix="segvoc-reader") as reader:
        ahead: deque[Future[ReadImage]] = deque()
        try:
            while True:
                ahead.extend(reader.submit(ReadImage.of, s, stretch) for s in islice(sources, 2 * batch - len(ahead)))
                if not ahead:
                    return
                next_batch = [ahead.popleft() for _ in range(min(batch, len(ahead)))]
                # the threads read ahead while the caller works
                ahead.extend(reader.submit(ReadImage.of, s, stretch) for s in islice(sources, 2 * batch - len(ahead)))
                yield [_outcome(future) for future in next_batch]
        finally:
            reader.shutdown(wait=False, cancel_futures=True)


def _outcome(future: "Future[ReadImage]") -> ReadImage | InputError:
    try:
        return future.result()
    except InputError as error:
        return error


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
    edges: bool = False
    """Whether maps are refined by the edges in the image."""
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
