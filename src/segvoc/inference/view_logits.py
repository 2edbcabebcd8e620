"""A network's logits for the views of an image, and how they merge into one map per class."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from segvoc.inference.protocols import Protocol
from segvoc.inference.windows import merged
from segvoc.selection_rules import DROPPED

MERGED_CLASSES = 32
"""Classes whose sliding windows are merged at a time."""


@dataclass(frozen=True)
class ViewLogits:
    """Logits of the classes that class selection kept in each view of an image."""

    logits: Float[Tensor, "V P h w"]
    """For each of V views, the maps of its P classes."""
    kept: Int[Tensor, "V P"] | None
    """Indices of these classes among the queried ones; None: all of them, in order."""
    classes: int
    """Number of queried classes."""

    def kept_anywhere(self) -> Int[Tensor, " N"]:
        """The classes that were kept in at least one view, ascending."""
        if self.kept is None:
            return torch.arange(self.classes, device=self.logits.device)
        return self.kept.unique()

    def maps(
        self, protocol: Protocol, size: tuple[int, int] | None = None, *, classes: Int[Tensor, " M"] | None = None
    ) -> Iterator[tuple[Float[Tensor, "N y x"], Int[Tensor, " N"]]]:
        """Yield one map for each class that was kept in any view, several classes at a time.

        Args:
            protocol: the protocol that made the views; see `merged`.
            size: height and width of the image [px], for protocols whose windows depend on it.
            classes: only these classes, ascending; None: all.

        Yields:
            Maps, and the indices of their classes.
        """
        kept = self.kept_anywhere()
        if classes is not None:
            kept = kept[torch.isin(kept, classes)]
        for chosen in kept.split(MERGED_CLASSES if protocol.sliding else max(1, len(kept))):
            if len(chosen):
                yield merged(self._of(chosen), protocol, size), chosen

    def _of(self, chosen: Int[Tensor, " N"]) -> Float[Tensor, "V N h w"]:
        """Logits of some kept classes, ascending; `DROPPED` in views where a class was dropped."""
        if self.kept is None:
            first, last = int(chosen[0]), int(chosen[-1])
            # consecutive classes need no copy
            return self.logits[:, first : last + 1] if last - first < len(chosen) else self.logits[:, chosen]
        place = torch.searchsorted(chosen, self.kept).clamp(max=len(chosen) - 1)
        here = chosen[place] == self.kept
        maps = self.logits.new_full((len(self.logits), len(chosen), *self.logits.shape[2:]), DROPPED)
        maps[here.nonzero()[:, 0], place[here]] = self.logits[here]
        return maps
