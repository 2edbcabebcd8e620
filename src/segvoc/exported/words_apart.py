"""A program for words that was exported in two: the second half runs for one class at a time, on all threads."""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from segvoc.process_settings import cores, onnx_threads

OF_CLASSES = "class_"
"""How the names of those arrays begin that have an axis of classes, the second."""

_Run = Callable[[Mapping[str, Any]], dict[str, np.ndarray]]


class WordsApart:
    """The two halves as the one program that they are.

    Args:
        shared: selects the classes, and computes what they share.
        each: computes the logits of some classes; several threads call it at a time, so it should use one itself.
        threads: how many call it at a time; 0: as many as `onnx_threads` says, or one for each core.
    """

    def __init__(self, shared: _Run, each: _Run, threads: int) -> None:
        self._shared, self._each, self._threads = shared, each, threads

    def __call__(self, inputs: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Run both: "logits" (B K h w) and "kept" (B K) from the inputs of the whole program."""
        found = self._shared(inputs)
        kept = found.pop("kept")

        def logits(number: int) -> np.ndarray:
            one = slice(number, number + 1)
            parts = {name: value[:, one] for name, value in found.items() if name.startswith(OF_CLASSES)}
            return self._each(found | parts)["logits"]

        numbers, threads = range(kept.shape[1]), min(self._threads or onnx_threads() or cores(), kept.shape[1])
        if threads == 1:
            return {"logits": np.concatenate([logits(number) for number in numbers], axis=1), "kept": kept}
        # threads of this call alone: those that wait for the next one would be missing in a fork of this process
        with ThreadPoolExecutor(threads) as pool:
            return {"logits": np.concatenate(list(pool.map(logits, numbers)), axis=1), "kept": kept}
