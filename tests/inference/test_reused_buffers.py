"""Results own their pixels: what a caller does with a buffer after giving it changes nothing."""

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from segvoc.imaging.reading import read_image
from tests.images import squares
from tests.inference.numpy_engine import NumpySegmenter

WORDS = ["cat", "sofa", "wall"]
IMAGES = [squares(60, 90, seed) for seed in range(6)]


def bmp(image: np.ndarray) -> bytes:
    content = io.BytesIO()
    Image.fromarray(image).save(content, "BMP")
    return content.getvalue()


BUFFERS: dict[str, tuple[Callable[[], Any], Callable[[Any, np.ndarray], object]]] = {
    "array": (lambda: np.empty_like(IMAGES[0]), lambda buffer, image: np.copyto(buffer, image)),
    # in the memory layout of an array: nothing needs to be copied to read it
    "tensor": (
        lambda: torch.empty(IMAGES[0].shape, dtype=torch.uint8).permute(2, 0, 1),
        lambda buffer, image: buffer.copy_(torch.from_numpy(image).permute(2, 0, 1)),
    ),
    "picture": (lambda: Image.new("RGB", (90, 60)), lambda buffer, image: buffer.paste(Image.fromarray(image))),
    "file": (bytearray, lambda buffer, image: buffer.__setitem__(slice(None), bmp(image))),
}
"""An empty buffer, and how an image gets into it."""


def refilled(kind: str) -> Iterator[Any]:
    empty, fill = BUFFERS[kind]
    buffer = empty()
    for image in IMAGES:
        fill(buffer, image)
        yield buffer


def frames() -> Iterator[Any]:
    content, images = io.BytesIO(), [Image.fromarray(image) for image in IMAGES]
    images[0].save(content, "TIFF", save_all=True, append_images=images[1:])
    with Image.open(content) as animation:
        for number in range(len(IMAGES)):
            animation.seek(number)
            yield animation


@pytest.mark.parametrize("kind", [*BUFFERS, "frames"])
def test_a_stream_that_reuses_its_buffer(kind: str) -> None:
    stream = frames() if kind == "frames" else refilled(kind)
    results = list(NumpySegmenter(batch=2).segment_many(stream, WORDS))
    for image, result in zip(IMAGES, results, strict=True):
        np.testing.assert_array_equal(result.image, image)
        np.testing.assert_array_equal(result.labels, NumpySegmenter().segment(image, WORDS).labels)


def test_results_and_encoded_images_keep_what_they_saw(tmp_path: Path) -> None:
    model, buffer = NumpySegmenter(), IMAGES[0].copy()
    encoded = model.encode_image(buffer)
    results = [
        model.segment(buffer, WORDS),
        *model.segment([buffer], WORDS),
        *model.segment_many([buffer], WORDS),
        *model.start([buffer], WORDS)(),
        model.segment(buffer, WORDS, tile=64),
    ]
    drawn = [np.asarray(result.overlay()) for result in results]
    buffer[:] = 0
    for result, overlay in zip([*results, model.segment(encoded, WORDS)], [*drawn, drawn[0]], strict=True):
        np.testing.assert_array_equal(result.image, IMAGES[0])
        np.testing.assert_array_equal(np.asarray(result.overlay()), overlay)
    results[0].save(tmp_path / "out")
    plain = model.segment(IMAGES[0], WORDS).save(tmp_path / "plain")
    overlay = next((tmp_path / "out").glob("*.overlay.png"))
    np.testing.assert_array_equal(read_image(overlay), read_image(tmp_path / "plain" / overlay.name))
    assert plain is not None
    np.testing.assert_array_equal(encoded.image.pixels, IMAGES[0])


def test_a_bad_buffer_ends_the_stream_after_the_images_before_it() -> None:
    found = []
    with pytest.raises(ValueError, match="uint8 RGB array"):
        found.extend(NumpySegmenter(batch=2).segment_many([*IMAGES[:3], IMAGES[3] / 255], WORDS))
