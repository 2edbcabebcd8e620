"""A model that takes its time without any work, so that several of them don't share cores."""

import time
from typing import Any

import numpy as np

from tests.inference.numpy_engine import NumpySegmenter


class SlowSegmenter(NumpySegmenter):
    """Sleeps before it runs.

    Args:
        seconds: time for a batch [s].
    """

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds

    def run(self, pixels: np.ndarray, text: Any, protocol: Any) -> tuple[Any, Any]:
        time.sleep(self.seconds)
        return super().run(pixels, text, protocol)
