"""Encoded images by digest, within a memory limit: an image that comes again with other words costs the words alone."""

import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import replace
from typing import TypeAlias

import numpy as np
from jaxtyping import UInt8

from segvoc.inference.encoded_image import EncodedImage, ReadImage, encode_pixels
from segvoc.inference.label_options import LabelOptions
from segvoc.inference.protocols import Protocol
from segvoc.inference.segmenter import Segmenter
from segvoc.runtime.arrays import Array, array_namespace
from segvoc.serving.middleware import ServiceMetrics

Key: TypeAlias = tuple[object, str, Protocol, str | None]
"""The image encoder, the digest of the image's file, how it is cut into views, and its stretch."""


class ImageCache:
    """Encoded images of all models; the least recently used are evicted. Thread-safe.

    Args:
        most: limit of their memory [bytes]; 0: nothing is cached.
        metrics: count hits, misses, entries and bytes.
    """

    def __init__(self, most: int, metrics: ServiceMetrics) -> None:
        self.most, self._limit, self._metrics = most, most, metrics
        self._images: OrderedDict[Key, EncodedImage] = OrderedDict()
        self._bytes, self._lock = 0, threading.Lock()

    def find(self, model: Segmenter, digest: str, options: LabelOptions) -> EncodedImage | None:
        """The image of a file, if it is cached; `UsageError` if the model doesn't have the window."""
        key = _key(model, digest, options)
        with self._lock:
            if key in self._images:
                self._images.move_to_end(key)
            return self._images.get(key)

    def encoded(
        self, model: Segmenter, images: Mapping[str, UInt8[np.ndarray, "_ _ 3"] | EncodedImage], options: LabelOptions
    ) -> list[EncodedImage]:
        """Encode a batch of images by digest, except those that the model encoded already."""
        found, missing = dict[str, EncodedImage](), dict[str, UInt8[np.ndarray, "_ _ 3"]]()
        for digest, image in images.items():
            if isinstance(image, EncodedImage) and image.encoder is model.image_encoder:
                found[digest] = image
            elif hit := self.find(model, digest, options):  # by now
                found[digest] = hit
            else:  # perhaps of a model that was replaced meanwhile
                missing[digest] = image.image.pixels if isinstance(image, EncodedImage) else image
        protocol = model.window_protocol(options.window)
        views = encode_pixels([*missing.values()], protocol, model) if missing else []
        for (digest, pixels), of_image in zip(missing.items(), views, strict=True):
            image = EncodedImage(
                image=ReadImage(pixels, None, "the image", 0.0),
                window=options.window,
                protocol=protocol,
                views=of_image,
                encoder=model.image_encoder,
                stretch=options.value_range,
            )
            found[digest] = self._added(_key(model, digest, options), image)
        if self.most:
            self._metrics.image_hits.inc(len(images) - len(missing))
            self._metrics.image_misses.inc(len(missing))
        # cached for another window with equal views, perhaps
        return [replace(found[digest], window=options.window, protocol=protocol) for digest in images]

    def fit(self, room: int) -> None:
        """Limit the memory to what is free [bytes], until the next call."""
        with self._lock:
            self._limit = min(self.most, room)
            self._evict()

    def forget(self, encoder: object) -> None:
        """Drop the images of an image encoder."""
        with self._lock:
            for key in [key for key in self._images if key[0] is encoder]:
                self._bytes -= self._images.pop(key).nbytes
            self._evict()

    def _added(self, key: Key, image: EncodedImage) -> EncodedImage:
        """The image, cached unless it is too large; its arrays are then no slices of a batch's."""
        if image.nbytes > self._limit:
            return image
        features = {name: _copy(maps) for name, maps in image.views.features.items()}
        image = replace(image, views=replace(image.views, pixels=_copy(image.views.pixels), features=features))
        with self._lock:
            if key not in self._images:  # two models may share an image encoder
                self._images[key] = image
                self._bytes += image.nbytes
                self._evict()
        return image

    def _evict(self) -> None:
        while self._bytes > self._limit:
            self._bytes -= self._images.popitem(last=False)[1].nbytes
        self._metrics.image_cache_bytes.set(self._bytes)
        self._metrics.image_cache_entries.set(len(self._images))


def _key(model: Segmenter, digest: str, options: LabelOptions) -> Key:
    return model.image_encoder, digest, model.window_protocol(options.window).view_settings, options.stretch


def _copy(array: Array) -> Array:
    return array_namespace(array).asarray(array, copy=True)
