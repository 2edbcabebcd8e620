"""Encoded images by digest, within a memory limit: an image that comes again with other words costs the words alone."""

import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from segvoc.inference.encoded_image import EncodedImage, EncodedViews, ReadImage, encode_pixels
from segvoc.inference.label_options import LabelOptions
from segvoc.inference.protocols import Protocol
from segvoc.inference.segmenter import Segmenter
from segvoc.runtime.arrays import Array, array_namespace
from segvoc.serving.middleware import ServiceMetrics


class ImageKey(NamedTuple):
    """What an encoded image depends on."""

    encoder: object
    """The image encoder, which models with other words share (`Engine.image_encoder`)."""
    digest: str
    """Digest of the image's file."""
    views: Protocol
    """How the image is cut into views."""
    stretch: str | None

    @classmethod
    def of(cls, model: Segmenter, digest: str, options: LabelOptions) -> "ImageKey":
        """The key of an image; `UsageError` if the model doesn't have the window."""
        return cls(model.image_encoder, digest, model.window_protocol(options.window).view_settings, options.stretch)


class ImageCache:
    """Encoded images of all models; the least recently used are evicted. Thread-safe.

    Args:
        most: limit of their memory [bytes]; 0: nothing is cached.
        metrics: count hits, misses, entries and bytes.
    """

    def __init__(self, most: int, metrics: ServiceMetrics) -> None:
        self.most, self._metrics = most, metrics
        self._images: OrderedDict[ImageKey, EncodedImage] = OrderedDict()
        self._bytes, self._lock = 0, threading.Lock()

    def find(self, key: ImageKey) -> EncodedImage | None:
        """The image, if it is cached; it is then the last to be evicted."""
        with self._lock:
            if key in self._images:
                self._images.move_to_end(key)
            return self._images.get(key)

    def encoded(
        self,
        model: Segmenter,
        images: Mapping[str, UInt8[np.ndarray, "_ _ 3"] | EncodedImage],
        options: LabelOptions,
    ) -> list[EncodedImage]:
        """Encode a batch of images by digest, except those that the model encoded or that are cached by now."""
        found, missing = dict[str, EncodedImage](), dict[str, UInt8[np.ndarray, "_ _ 3"]]()
        for digest, image in images.items():
            hit = image if isinstance(image, EncodedImage) else None
            if hit is None or hit.encoder is not model.image_encoder:  # the model was replaced meanwhile
                hit = self.find(ImageKey.of(model, digest, options))
            if hit is None:
                missing[digest] = image.image.pixels if isinstance(image, EncodedImage) else image
            else:
                found[digest] = hit
        protocol = model.window_protocol(options.window)
        views = encode_pixels([*missing.values()], protocol, model) if missing else []
        for (digest, pixels), of_image in zip(missing.items(), views, strict=True):
            image = EncodedImage(
                image=ReadImage(pixels, None, "the image", 0.0),
                window=options.window,
                protocol=protocol,
                views=of_image,
                encoder=model.image_encoder,
            )
            found[digest] = self._added(ImageKey.of(model, digest, options), image)
        if self.most:
            self._metrics.image_hits.inc(len(images) - len(missing))
            self._metrics.image_misses.inc(len(missing))
        return [found[digest] for digest in images]

    def forget(self, encoder: object) -> None:
        """Drop the images of an image encoder."""
        with self._lock:
            for key in [key for key in self._images if key.encoder is encoder]:
                self._drop(key)

    def _added(self, key: ImageKey, image: EncodedImage) -> EncodedImage:
        """The image, cached unless it is larger than the limit; its arrays are then no slices of a batch's."""
        if image.nbytes > self.most:
            return image
        features = {name: _copy(maps) for name, maps in image.views.features.items()}
        image = replace(image, views=EncodedViews(_copy(image.views.pixels), features))
        with self._lock:
            self._images[key] = image
            self._bytes += image.nbytes
            while self._bytes > self.most:
                self._drop(next(iter(self._images)))
            self._count()
        return image

    def _drop(self, key: ImageKey) -> None:
        self._bytes -= self._images.pop(key).nbytes
        self._count()

    def _count(self) -> None:
        self._metrics.image_cache_bytes.set(self._bytes)
        self._metrics.image_cache_entries.set(len(self._images))


def _copy(array: Array) -> Array:
    return array_namespace(array).asarray(array, copy=True)
