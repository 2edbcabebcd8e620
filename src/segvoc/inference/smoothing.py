"""Temporal smoothing: a moving average of the probabilities of a video's frames."""

from dataclasses import dataclass

import numpy as np
from array_api_compat import device
from jaxtyping import Float, Float32, Int, UInt8
from PIL import Image

from segvoc.errors import UsageError
from segvoc.inference.protocols import Protocol
from segvoc.inference.windows import ViewLogits
from segvoc.runtime.arrays import Array, array_namespace, sigmoid, to_numpy

MOVED = 0.1
"""Change of a cell's color between frames, relative to the full range, that reduces the mean's weight to 1/e."""

FORGOTTEN = 1e-3
"""A class outside the current frame's selection is dropped from the mean below this probability."""


@dataclass(frozen=True, eq=False)
class SmoothingState:
    """The mean after a frame, of the classes (ascending) whose probability isn't 0."""

    classes: Int[Array, " N"]
    probabilities: Float[Array, "N h w"]
    frame: Float32[np.ndarray, "h w 3"]
    """The frame, downscaled to the cells [0..1]."""


class Smoothing:
    """A moving mean of the probabilities in each cell, from frame to frame of one video.

        mean = share * mean + (1 - share) * probabilities,  share = weight * exp(-(d / MOVED)^2)

    where d is the change of the cell's color. So motion and cuts don't mix with earlier frames. Classes dropped by
    class selection have probability 0.

    Args:
        weight: weight of the mean of earlier frames where nothing moves, from 0 (none) to below 1. The mean spans about
            1 / (1 - weight) frames.

    Raises:
        UsageError: the weight is out of range.
    """

    def __init__(self, weight: float) -> None:
        if not 0 <= weight < 1:
            raise UsageError(f"smooth={weight} is out of range; give the weight of earlier frames, 0 to 0.99")
        self.weight = weight
        self._last: SmoothingState | None = None

    @property
    def state(self) -> SmoothingState | None:
        """The mean after the last frame, in main memory; None before the first frame."""
        if (last := self._last) is None:
            return None
        return SmoothingState(to_numpy(last.classes).astype(np.int64), to_numpy(last.probabilities), last.frame)

    def restore(self, state: SmoothingState) -> None:
        """Resume after the frame of a state, with bitwise equal results."""
        self._last = state

    def __call__(self, output: ViewLogits, protocol: Protocol, image: UInt8[np.ndarray, "H W 3"]) -> ViewLogits:
        """Update the mean with the network's output for the next frame; returns it as logits of one view."""
        xp, where = array_namespace(output.logits), device(output.logits)
        found = list(output.maps(protocol, image.shape[:2]))
        now, classes = xp.concat([maps for maps, _ in found]), xp.concat([classes for _, classes in found])
        now = now if protocol.sigmoid_first else sigmoid(now)
        small = Image.fromarray(image).resize((now.shape[2], now.shape[1]), Image.Resampling.BOX)
        frame = np.asarray(small, np.float32) / 255
        if (last := self._last) is not None and last.probabilities.shape[1:] == now.shape[1:]:
            before, known = (xp.asarray(kept, device=where) for kept in (last.probabilities, last.classes))
            moved = np.abs(frame - last.frame).max(axis=2)
            share = xp.asarray(self.weight * np.exp(-((moved / MOVED) ** 2)), device=where)
            current = classes
            classes = xp.sort(xp.unique_values(xp.concat([known, current])))
            before, now = _spread(before, known, classes), _spread(now, current, classes)
            now = now + share * (before - now)
            lively = xp.isin(classes, current) | (xp.max(now, axis=(1, 2)) >= FORGOTTEN)
            classes, now = classes[lively], now[lively]
        self._last = SmoothingState(classes, now, frame)
        bounded = xp.clip(now, min=1e-30, max=1 - 2**-24)
        logits = xp.log(bounded) - xp.log1p(-bounded)
        return ViewLogits(logits[None, ...], classes[None, ...], output.classes)


def _spread(maps: Float[Array, "N h w"], classes: Int[Array, " N"], to: Int[Array, " M"]) -> Float[Array, "M h w"]:
    """Expand maps to a superset of classes, with probability 0 for the others."""
    if len(classes) == len(to):
        return maps
    xp = array_namespace(maps)
    spread = xp.zeros((len(to), *maps.shape[1:]), dtype=maps.dtype, device=device(maps))
    spread[xp.searchsorted(to, classes)] = maps
    return spread
