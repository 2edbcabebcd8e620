"""A transform of the user's own, which training images pass before the recipe's augmentation."""

import os
import pickle
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import cast

import numpy as np
from jaxtyping import Int, UInt8

from segvoc.errors import UsageError, one_line

Transform = Callable[[np.ndarray, np.ndarray, np.random.Generator], tuple[np.ndarray, np.ndarray]]
"""Changes a training image: `image, labels = transform(image, labels, rng)`.

- `image`: (H, W, 3) uint8, RGB in [0, 255].
- `labels`: (H, W) int32: the index of each pixel's class, 65535 for unlabeled pixels, and the number of classes for
  the background, if the images have one. For a network of parts (H, W, 2): parts and objects.
- `rng`: the only source of random numbers. It follows from the run's seed and the image's place in the order of
  training alone, so that a run is the same with any number of workers, and after a resume.

It may change the size, of both alike; the recipe's resize, crop, color jitter and flip come afterwards. It has to be
picklable, as other processes read the images: a function or a class at the top level of a module.
"""


@dataclass(frozen=True, kw_only=True)
class OwnTransform:
    """A transform whose results are checked."""

    function: Transform
    """The transform."""

    @property
    def name(self) -> str:
        """Module and name of the function, or of the class of a callable object."""
        named = self.function if hasattr(self.function, "__qualname__") else type(self.function)
        return f"{named.__module__}:{named.__qualname__}"

    def __call__(
        self,
        image: UInt8[np.ndarray, "H W 3"],
        labels: Int[np.ndarray, "H W *maps"],
        rng: np.random.Generator,
        others: frozenset[int],
        classes: tuple[int, ...],
    ) -> tuple[UInt8[np.ndarray, "h w 3"], Int[np.ndarray, "h w *maps"]]:
        """Transform an image and its labels.

        Args:
            image: RGB in [0, 255].
            labels: one label map, or several in the last axis.
            rng: the source of random numbers.
            others: values that labels may have and that are no class.
            classes: for each label map, the number of its classes.

        Raises:
            UsageError: what comes back is no image with labels.
        """
        maps = labels.shape[2:]
        found = self.function(image, labels, rng)
        if not (isinstance(found, tuple) and len(found) == 2):
            raise UsageError(
                f"the transform {self.name} returned a {type(found).__name__}, not (image, labels); fix it"
            )
        image, labels = (np.asarray(one) for one in found)
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
            raise UsageError(
                f"the transform {self.name} returned an image of shape {image.shape} and type {image.dtype}; it has to "
                "be (H, W, 3) uint8"
            )
        if labels.dtype.kind not in "iu" or labels.shape != (*image.shape[:2], *maps):
            raise UsageError(
                f"the transform {self.name} returned labels of shape {labels.shape} and type {labels.dtype} for an "
                f"image of shape {image.shape}; they have to be whole numbers of its height and width"
            )
        for values, count in zip(np.moveaxis(labels.reshape(*labels.shape[:2], -1), -1, 0), classes, strict=True):
            present = np.unique(values)
            wrong = present[((present < 0) | (present >= count)) & ~np.isin(present, list(others))]
            if wrong.size:
                raise UsageError(
                    f"the transform {self.name} returned the label {wrong[0]}, which no class has; fill what is "
                    "new with 65535 (unlabeled)"
                )
        return image, labels.astype(np.int32)

    def check_sendable(self) -> None:
        """Check that the processes that read images can get it.

        Raises:
            UsageError: it can't be pickled, or isn't in a file that they could import.
        """
        fix = "define it at the top level of a module, or read images in this process (num_workers=0)"
        named = self.function if hasattr(self.function, "__qualname__") else type(self.function)
        if named.__module__ == "__main__" and not hasattr(sys.modules["__main__"], "__file__"):
            raise UsageError(f"the transform {self.name} is in no file, so reading processes can't import it; {fix}")
        try:
            pickle.dumps(self.function)
        except Exception as error:  # objects raise what they like
            problem = f"the transform {self.name} can't be sent to reading processes ({one_line(error)}); {fix}"
            raise UsageError(problem) from None


def named_transform(name: str) -> Transform:
    """The transform that "module:function" names; modules in the working directory are found too.

    Raises:
        UsageError: there is no such module or function.
    """
    module, colon, attribute = name.partition(":")
    if not colon or not module or not attribute.isidentifier():
        raise UsageError(f"{name!r} names no function; write MODULE:FUNCTION, for example transforms:rain")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found = getattr(import_module(module), attribute, None)
    except ModuleNotFoundError as error:
        raise UsageError(f"{name!r} can't be imported: {one_line(error)}; check the name") from None
    if not callable(found):
        raise UsageError(f"the module {module!r} has no function {attribute!r}; check the name")
    return cast(Transform, found)
