"""A network's logits for the views of an image, and how they merge into one map per class."""

from collections.abc import Iterator
from dataclasses import dataclass

from array_api_compat import device
from jaxtyping import Float, Int

from segvoc.arrays import Array, array_namespace
from segvoc.inference.protocols import Protocol
from segvoc.inference.windows import merged
from segvoc.selection_rules import DROPPED

MERGED_CLASSES = 32
"""Classes whose sliding windows are merged at a time."""


@dataclass(frozen=True)
class ViewLogits:
    """Logits of the classes that class selection kept in each view of an image."""

    logits: Float[Array, "V P h w"]
    """For each of V views, the maps of its P classes."""
    kept: Int[Array, "V P"] | None
    """Indices of these classes among the queried ones; None: all of them, in order."""
    classes: int

    def kept_anywhere(self) -> Int[Array, " N"]:
        """The classes that were kept in at least one view, ascending."""
        xp = array_namespace(self.logits)
        if self.kept is None:
            return xp.arange(self.classes, device=device(self.logits))
        return xp.sort(xp.unique_values(self.kept))

    def maps(
        self, protocol: Protocol, size: tuple[int, int] | None = None, *, classes: Int[Array, " M"] | None = None
    ) -> Iterator[tuple[Float[Array, "N y x"], Int[Array, " N"]]]:
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
            kept = kept[array_namespace(kept).isin(kept, classes)]
        several = MERGED_CLASSES if protocol.sliding else max(1, len(kept))
        for start in range(0, len(kept), several):
            chosen = kept[start : start + several]
            yield merged(self._of(chosen), protocol, size), chosen

    def _of(self, chosen: Int[Array, " N"]) -> Float[Array, "V N h w"]:
        """Logits of some kept classes, ascending; `DROPPED` in views where a class was dropped."""
        if self.kept is None:
            first, last = int(chosen[0]), int(chosen[-1])
            # consecutive classes need no copy
            return self.logits[:, first : last + 1] if last - first < len(chosen) else self.logits[:, chosen]
        xp, logits = array_namespace(self.logits), self.logits
        place = xp.clip(xp.searchsorted(chosen, self.kept), max=len(chosen) - 1)
        here = chosen[place] == self.kept
        shape = (len(logits), len(chosen), *logits.shape[2:])
        maps = xp.full(shape, DROPPED, dtype=logits.dtype, device=device(logits))
        maps[xp.nonzero(here)[0], place[here]] = logits[here]
        return maps
