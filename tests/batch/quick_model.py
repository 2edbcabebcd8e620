"""A model for tests of batches: the words of `tiny`, and a network of a few lines; it needs no PyTorch."""

import time
from typing import Any

import numpy as np

from segvoc.exported.segmenter import ExportedSegmenter
from segvoc.exported.shipped import TINY_MANIFEST
from segvoc.storage.files import SHIPPED


class QuickSegmenter(ExportedSegmenter):
    """Logits of words are linear in the mean colors of cells of 16 x 16 pixels.

    Args:
        seconds: time that it sleeps before it runs [s].
    """

    def __init__(self, seconds: float = 0.0) -> None:
        super().__init__(SHIPPED, manifest=TINY_MANIFEST, threads=1)
        self.seconds = seconds

    def run(self, pixels: np.ndarray, text: Any, protocol: Any) -> tuple[Any, Any]:
        time.sleep(self.seconds)
        n, _, height, width = pixels.shape
        cells = pixels.reshape(n, 3, height // 16, 16, width // 16, 16).mean((3, 5)) / 255 - 0.5
        colors = np.random.default_rng(0).standard_normal((3, text.shape[-1])).astype(np.float32)
        return np.einsum("nchw,cd,td->nthw", cells, colors, text.mean(1)).astype(np.float32) * 5, None
