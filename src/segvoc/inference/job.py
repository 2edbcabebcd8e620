"""A call of a segmenter: its settings, and prefetching of images."""

import time
from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import count, islice

import numpy as np
from jaxtyping import UInt8

from segvoc.encoders.word_encoder import EncodedWords
from segvoc.errors import InputError, UsageError
from segvoc.imaging.rasters import Stretch
from segvoc.imaging.reading import ImageSource, content_of, decode_given, image_name, read_image
from segvoc.inference.label_options import LabelOptions
from segvoc.inference.prepared_vocabulary import ClassQuery
from segvoc.inference.protocols import Protocol
from segvoc.inference.smoothing import Smoothing
from segvoc.inference.taught.taught_words import TaughtQuery
from segvoc.inference.windows import ViewLogits


@dataclass(frozen=True)
class ReadImage:
    """An image in memory."""

    pixels: UInt8[np.ndarray, "H W 3"]
    source: str | None
    """File name, if any."""
    name: str
    """Its name in errors."""
    seconds: float
    """Reading time [s]."""
    content: bytes | None = None
    """The bytes of a file from a URL or standard input."""

    @classmethod
    def of(cls, source: ImageSource, stretch: Stretch | None, place: str) -> "ReadImage":
        """Read an image, which is named by its place if it has no file name; raises `InputError`."""
        start = time.perf_counter()
        content, name = content_of(source), image_name(source)
        pixels = read_image(source, stretch) if content is None else decode_given(content, source, stretch)
        return cls(pixels, name, place if name is None else repr(name), time.perf_counter() - start, content)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width [px]."""
        return self.pixels.shape[0], self.pixels.shape[1]


def read_in_batches(
    images: Iterable[ImageSource], batch: int, stretch: Stretch | None = None, places: Iterable[str] | None = None
) -> Generator[list[ReadImage | InputError], None, None]:
    """Read images in threads, at most two batches ahead; an error takes the place of an image that can't be read.

    `places` name images without a file name in errors (default: "image 1", ...). If `images` raises, or has something
    that is no image, the images before it come first.
    """
    names = (f"image {number}" for number in count(1)) if places is None else places
    sources, failures = zip(images, names, strict=False), list[Exception]()
    with ThreadPoolExecutor(min(batch, 4), thread_name_prefix="segvoc-reader") as reader:
        ahead: deque[Future[ReadImage | InputError]] = deque()

        def read_ahead() -> None:
            if failures:
                return
            try:
                for source, place in islice(sources, 2 * batch - len(ahead)):
                    ahead.append(reader.submit(_outcome, source, stretch, place))
            except Exception as error:
                failures.append(error)

        try:
            read_ahead()
            while ahead:
                next_batch = [ahead.popleft() for _ in range(min(batch, len(ahead)))]
                read_ahead()  # while the caller works
                outcomes = list[ReadImage | InputError]()
                try:
                    for future in next_batch:
                        outcomes.append(future.result())
                except Exception:
                    if outcomes:
                        yield outcomes
                    raise
                yield outcomes
            if failures:
                raise failures[0]
        finally:
            reader.shutdown(wait=False, cancel_futures=True)


def _outcome(source: ImageSource, stretch: Stretch | None, place: str) -> ReadImage | InputError:
    try:
        return ReadImage.of(source, stretch, place)
    except InputError as error:
        return error


@dataclass(frozen=True)
class LabelingJob:
    """Settings of one call, shared by all of its images; parts and groups exclude tiles and smoothing."""

    options: LabelOptions
    query: ClassQuery
    text: EncodedWords
    protocol: Protocol
    threshold: float | None
    groups: list[list[int]]
    batch: int
    edges: bool = False
    """Whether to refine maps by the image's edges."""
    smoothing: Smoothing | None = None
    """Temporal smoothing, for images that are frames of a video."""
    taught: TaughtQuery | None = None
    """Classifiers of the taught words, if any."""

    def __post_init__(self) -> None:
        if self.options.tiling is not None and (self.groups or self.query.parts is not None):
            raise UsageError("tiles don't support parts or groups; leave these out, or the tile")
        if self.smoothing is not None and (self.groups or self.query.parts is not None):
            raise UsageError("smoothing doesn't support parts or groups; leave them out, or the smoothing")

    def smoothed(self, output: ViewLogits, image: UInt8[np.ndarray, "H W 3"]) -> "tuple[ViewLogits, LabelingJob]":
        """The smoothed output of a frame, and the job to label it with."""
        if self.smoothing is None:
            return output, self
        mean = self.smoothing(output, self.protocol, image)
        return mean, replace(self, protocol=replace(self.protocol, sliding=None))


def not_finite_error(name: str) -> InputError:
    """The error if the logits of an image are not finite."""
    return InputError(
        f"{name}: the network's output is not finite (NaN or infinity); check the weights, or use dtype float32"
    )
