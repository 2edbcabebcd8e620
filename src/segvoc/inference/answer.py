"""A network's answer to a picture: its views put together, without maps of the words that nowhere went on."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from segvoc.inference.protocols import Protocol
from segvoc.inference.windows import merged
from segvoc.layers.class_selection import DROPPED

MERGED_CLASSES = 32
"""Classes whose sliding windows are put together at a time."""


@dataclass(frozen=True)
class Answer:
    """Logits of the classes that went on in each view of a picture.

    kept: which classes these are; None: all. classes: how many the network was asked for.
    """

    logits: Float[Tensor, "V P h w"]
    kept: Int[Tensor, "V P"] | None
    classes: int

    def went_on(self) -> Int[Tensor, " N"]:
        """The classes that were kept in any view, ascending."""
        if self.kept is None:
            return torch.arange(self.classes, device=self.logits.device)
        return self.kept.unique()

    def maps(
        self, protocol: Protocol, size: tuple[int, int] | None = None, *, classes: Int[Tensor, " M"] | None = None
    ) -> Iterator[tuple[Float[Tensor, "N y x"], Int[Tensor, " N"]]]:
        """One map for each class that went on, as `merged` gives them for a picture of this size.

        A number of classes at a time. classes: only these, ascending; None: all.
        """
        went_on = self.went_on()
        if classes is not None:
            went_on = went_on[torch.isin(went_on, classes)]
        for chosen in went_on.split(MERGED_CLASSES if protocol.sliding else max(1, len(went_on))):
            if len(chosen):
                yield merged(self._of(chosen), protocol, size), chosen

    def _of(self, chosen: Int[Tensor, " N"]) -> Float[Tensor, "V N h w"]:
        """Logits of some of the classes that went on, ascending; views that dropped one have `DROPPED` there."""
        if self.kept is None:
            first, last = int(chosen[0]), int(chosen[-1])
            # neighbours are had without a copy
            return self.logits[:, first : last + 1] if last - first < len(chosen) else self.logits[:, chosen]
        place = torch.searchsorted(chosen, self.kept).clamp(max=len(chosen) - 1)
        here = chosen[place] == self.kept
        maps = self.logits.new_full((len(self.logits), len(chosen), *self.logits.shape[2:]), DROPPED)
        maps[here.nonzero()[:, 0], place[here]] = self.logits[here]
        return maps
