"""Images on their way into a network: read, cut into views, and encoded independently of any words."""

import time
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import count, islice

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image

from segvoc.errors import InputError, UsageError
from segvoc.imaging.color_profiles import Colors
from segvoc.imaging.reading import ImageSource, ImageTensor, image_name, read_given
from segvoc.imaging.stretching import Stretch
from segvoc.inference.edges import CELL_WEIGHTS, edge_weights
from segvoc.inference.engine import EncoderIdentity, Engine
from segvoc.inference.protocols import Protocol, Window
from segvoc.inference.taught.features import FeatureArrays
from segvoc.inference.windows import views
from segvoc.runtime.arrays import Array, array_namespace, to_numpy


@dataclass(frozen=True)
class ReadImage:
    """An image in memory."""

    pixels: UInt8[np.ndarray, "H W 3"]
    """A copy of what the caller gave."""
    source: str | None
    name: str
    """Its name in errors."""
    seconds: float
    content: bytes | None = None
    """The bytes of a file from a URL or standard input."""

    @classmethod
    def of(cls, source: ImageSource, stretch: Stretch | None, place: str, colors: Colors) -> "ReadImage":
        """Read an image, which is named by its place if it has no file name; raises `InputError`."""
        start = time.perf_counter()
        name, (pixels, content) = image_name(source), read_given(source, stretch, colors)
        return cls(pixels, name, place if name is None else repr(name), time.perf_counter() - start, content)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width [px]."""
        return self.pixels.shape[0], self.pixels.shape[1]


@dataclass(frozen=True, eq=False)
class EncodedViews:
    """The views of an image by a protocol, and what the image encoder makes of them."""

    pixels: Float32[Array, "V 3 H W"]
    """RGB with values in [0, 255]."""
    features: FeatureArrays
    """Maps (V C h w) by name, each on a grid of its own; see `Engine.encode_views`."""
    refines_edges: bool = False
    """See `ModelTraits.refines_edges`."""

    @cached_property
    def edge_weights(self) -> Float32[np.ndarray, "V 99 _ _"]:
        """What refines maps of any words, see `segvoc.inference.edges.edge_weights`; computed at the first use."""
        return edge_weights(to_numpy(self.pixels), self.features)

    @property
    def nbytes(self) -> int:
        """Memory of the pixels and features, and of `edge_weights`, if the model refines edges [bytes]."""
        of_weights = 4 * CELL_WEIGHTS * (self.pixels.shape[2] // 4) * (self.pixels.shape[3] // 4) * len(self)
        arrays = (self.pixels, *self.features.values())
        return sum(array.nbytes for array in arrays) + (of_weights if self.refines_edges else 0)

    def __getitem__(self, some: slice) -> "EncodedViews":
        """Some of the views."""
        if some.start == 0 and some.stop >= len(self):
            return self
        features = {name: maps[some, ...] for name, maps in self.features.items()}
        return replace(self, pixels=self.pixels[some, ...], features=features)

    def __len__(self) -> int:
        """Number of views."""
        return len(self.pixels)

    @classmethod
    def joined(cls, several: "Sequence[EncodedViews]") -> "EncodedViews":
        """The views of several images, of equal sizes, one after another."""
        if len(several) == 1:
            return several[0]
        xp = array_namespace(several[0].pixels)
        features = {name: xp.concat([one.features[name] for one in several]) for name in several[0].features}
        return replace(several[0], pixels=xp.concat([one.pixels for one in several]), features=features)


def encode_pixels(
    images: Sequence[UInt8[np.ndarray, "_ _ 3"]], protocol: Protocol, engine: Engine, *, complete: bool = True
) -> list[EncodedViews]:
    """Cut images into views and encode them (see `Engine.encode_views`), in batches of views of equal size."""
    of_images = [views(image, protocol, engine.to_device) for image in images]
    encoded: dict[int, EncodedViews] = {}
    for shape in dict.fromkeys(seen.shape for seen in of_images):
        members = [index for index, seen in enumerate(of_images) if seen.shape == shape]
        xp = array_namespace(of_images[0])
        pixels = of_images[members[0]] if len(members) == 1 else xp.concat([of_images[index] for index in members])
        batches = [pixels[start : start + engine.batch, ...] for start in range(0, len(pixels), engine.batch)]
        whole = EncodedViews.joined(
            [
                EncodedViews(batch, engine.encode_views(batch, complete=complete), engine.traits.refines_edges)
                for batch in batches
            ]
        )
        for number, index in enumerate(members):
            encoded[index] = whole[number * shape[0] : (number + 1) * shape[0]]
    return [encoded[index] for index in range(len(of_images))]


@dataclass(frozen=True, kw_only=True, eq=False)
class EncodedImage:
    """An image encoded by a model, for any number of calls with any words; made by `Segmenter.encode_image`.

    It is a snapshot: later changes of the image encoder's weights don't affect it. It can be copied and pickled, and
    used with any model of the same weights on the same kind of device. Images of an engine of your own, which has no
    digest of its weights, are known to that engine alone.
    """

    image: ReadImage
    window: Window
    """The protocol by which it was cut into views."""
    protocol: Protocol
    """The same, resolved."""
    views: EncodedViews
    encoder: EncoderIdentity
    """See `Engine.image_encoder`."""
    stretch: Stretch | None = None
    """The values that became black and white when it was read; None: those of `read_image`."""

    @property
    def height(self) -> int:
        """Height of the image [px]."""
        return self.image.size[0]

    @property
    def width(self) -> int:
        """Width of the image [px]."""
        return self.image.size[1]

    @property
    def nbytes(self) -> int:
        """Memory of the pixels, views and features [bytes]."""
        return self.image.pixels.nbytes + self.views.nbytes

    def __repr__(self) -> str:
        source = f"{self.image.source!r}, " if self.image.source else ""
        return (
            f"<EncodedImage {source}{self.width} x {self.height}, window={self.window!r}, {self.nbytes / 1e6:.0f} MB>"
        )

    def check_model(self, engine: Engine) -> None:
        """Raise `UsageError` unless the engine, or one of the same weights, encoded it."""
        if not self.encoder.is_same(engine.image_encoder):
            own = " (or in another process: its weights have no digest)" if self.encoder.digest is None else ""
            raise UsageError(
                f"this image was encoded by another model than {engine.name!r}{own}; encode it with this one"
            )

    def check_use(self, engine: Engine, protocol: Protocol, stretch: Stretch | None) -> None:
        """Raise `UsageError` unless the engine encoded it, in the views of a protocol, with the stretch if any."""
        self.check_model(engine)
        if stretch not in (None, self.stretch):
            raise UsageError("this image was encoded with another stretch; give the stretch to encode_image")
        if self.protocol.view_settings != protocol.view_settings:
            raise UsageError(
                f"this image was encoded with window={self.window!r}; give the same window, or encode it again"
            )


GivenImage = ReadImage | EncodedImage | InputError
"""An image of a call: read or encoded; or why it can't be read."""


def read_in_batches(
    images: Iterable[ImageSource | EncodedImage],
    batch: int,
    stretch: Stretch | None,
    places: Iterable[str] | None,
    colors: Colors,
) -> Generator[list[GivenImage], None, None]:
    """Read images in threads, at most two batches ahead; an error takes the place of an image that can't be read.

    Buffers are copied before the next image is asked for, so `images` may use them again. `places` name images
    without a file name in errors (None: "image 1", ...). If `images` raises, or has something that is no image, the
    images before it come first.
    """
    names = (f"image {number}" for number in count(1)) if places is None else places
    with ThreadPoolExecutor(min(batch, 4), thread_name_prefix="segvoc-reader") as reader:

        def started() -> Iterator[Future[GivenImage]]:
            try:
                for source, place in zip(images, names, strict=False):
                    if _may_change(source):
                        done = Future[GivenImage]()
                        done.set_result(_read(source, stretch, place, colors))
                        yield done
                    else:
                        yield reader.submit(_read, source, stretch, place, colors)
            except Exception as error:
                failed = Future[GivenImage]()
                failed.set_exception(error)
                yield failed

        reads = started()
        try:
            ahead = deque(islice(reads, 2 * batch))
            while ahead:
                next_batch = [ahead.popleft() for _ in range(min(batch, len(ahead)))]
                ahead.extend(islice(reads, 2 * batch - len(ahead)))  # while the caller works
                read = list[GivenImage]()
                try:
                    for future in next_batch:
                        read.append(future.result())
                except Exception:
                    if read:
                        yield read
                    raise
                yield read
        finally:
            reader.shutdown(wait=False, cancel_futures=True)


def _may_change(source: object) -> bool:
    """Whether `images` may fill the image anew for the next one: a buffer, or an animation of which it shows a frame.

    The file of a PIL image is closed once it is decoded, unless it has more frames.
    """
    if isinstance(source, Image.Image):
        return getattr(source, "fp", None) is None or getattr(source, "is_animated", False)
    return isinstance(source, np.ndarray | bytearray | memoryview | ImageTensor)


def _read(source: ImageSource | EncodedImage, stretch: Stretch | None, place: str, colors: Colors) -> GivenImage:
    if isinstance(source, EncodedImage):
        return source
    try:
        return ReadImage.of(source, stretch, place, colors)
    except InputError as error:
        return error
