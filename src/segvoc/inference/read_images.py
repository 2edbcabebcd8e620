"""Images in memory, and reading them ahead of the network."""

import time
from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count, islice

import numpy as np
from jaxtyping import UInt8

from segvoc.errors import InputError
from segvoc.imaging.rasters import Stretch
from segvoc.imaging.reading import ImageSource, content_of, decode_given, image_name


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
        pixels = decode_given(content, source, stretch)
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
