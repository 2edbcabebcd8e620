"""Reads images while the network works on those before them."""

import time
from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

import numpy as np
from jaxtyping import UInt8

from segvoc.errors import InputError
from segvoc.imaging.reading import ImageSource, image_name, read_image

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
    def of(cls, source: ImageSource) -> "ReadImage":
        """Read an image.

        Raises:
            InputError: it can't be read.
        """
        start = time.perf_counter()
        pixels = read_image(source)
        return cls(pixels, image_name(source), time.perf_counter() - start)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width [px]."""
        return self.pixels.shape[0], self.pixels.shape[1]


def read_in_batches(images: Iterable[ImageSource], batch: int) -> Generator[list[ReadImage | InputError], None, None]:
    """Read images in threads; at most two batches are in memory.

    Args:
        images: the images; they are consumed as batches are requested.
        batch: images in a batch.

    Yields:
        Batches in the order of the images, with the error in place of an image that can't be read.
    """
    sources = iter(images)
    with ThreadPoolExecutor(min(batch, READERS), thread_name_prefix="segvoc-reader") as reader:
        ahead: deque[Future[ReadImage]] = deque()
        try:
            while True:
                ahead.extend(reader.submit(ReadImage.of, s) for s in islice(sources, 2 * batch - len(ahead)))
                if not ahead:
                    return
                next_batch = [ahead.popleft() for _ in range(min(batch, len(ahead)))]
                # the threads read ahead while the caller works
                ahead.extend(reader.submit(ReadImage.of, s) for s in islice(sources, 2 * batch - len(ahead)))
                yield [_outcome(future) for future in next_batch]
        finally:
            reader.shutdown(wait=False, cancel_futures=True)


def _outcome(future: "Future[ReadImage]") -> ReadImage | InputError:
    try:
        return future.result()
    except InputError as error:
        return error
