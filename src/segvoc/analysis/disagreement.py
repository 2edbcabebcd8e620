"""Two networks, or two options of one, side by side on a picture: PCA-Seg, Figs. 1a and 4."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool

from segvoc.analysis.charts import new_figure, save_figure, save_figures, show_map, show_picture
from segvoc.errors import UsageError
from segvoc.imaging.label_maps import UNLABELLED
from segvoc.inference.segmentation import Segmentation

PAIRS = 20
"""Pairs of words that are told, those with the most pixels."""


@dataclass(frozen=True, kw_only=True)
class Disagreement:
    """What two networks made of one picture with the same words; `names` are theirs."""

    first: Segmentation
    second: Segmentation
    names: tuple[str, str]

    def __post_init__(self) -> None:
        """Refuse what can't be compared."""
        if self.first.words != self.second.words or self.first.labels.shape != self.second.labels.shape:
            raise UsageError("two results of different words or pictures can't be compared; label the same twice")

    @property
    def differing(self) -> Bool[np.ndarray, "H W"]:
        """Pixels with two different labels."""
        return self.first.labels != self.second.labels

    def pairs(self) -> list[dict[str, object]]:
        """The words that one says where the other says another, the most pixels first."""
        where = self.differing
        kinds, counts = np.unique(
            np.stack([self.first.labels[where], self.second.labels[where]]), axis=1, return_counts=True
        )
        order = np.argsort(-counts, kind="stable")[:PAIRS]
        return [
            {
                "first": self._word(int(kinds[0, index])),
                "second": self._word(int(kinds[1, index])),
                "pixels": int(counts[index]),
            }
            for index in order
        ]

    def _word(self, label: int) -> str:
        return "unlabelled" if label == UNLABELLED else self.first.words[label]

    def facts(self) -> dict[str, object]:
        """Plain values: the share of pixels that differ, the pairs, and each one's words and mean confidence."""
        both = zip(self.names, (self.first, self.second), strict=True)
        return {
            "differing": float(self.differing.mean()),
            "pairs": self.pairs(),
            "models": [
                {
                    "name": name,
                    "model": result.model,
                    "mean_confidence": float(result.confidence.mean()),
                    "fractions": {
                        word: float((result.labels == index).mean()) for index, word in enumerate(result.words)
                    },
                }
                for name, result in both
            ],
        }

    def write(self, folder: Path, told: dict[str, object]) -> None:
        """Write compare.png and compare.json, with what else is `told`.

        Raises: OutputError: the system refused.
        """
        save_figures(folder / "compare.json", {**told, **self.facts()})
        image, where = self.first.image, self.differing
        figure = new_figure(3.2, 2, 4.2, image)
        grid = figure.subplots(2, 3)
        show_picture(grid[0, 0], image, "picture")
        dimmed = np.where(where[..., None], [230, 60, 60], image // 3 + 120).astype(np.uint8)
        show_picture(grid[1, 0], dimmed, f"where they differ: {where.mean():.1%}")
        for column, (name, result) in enumerate(zip(self.names, (self.first, self.second), strict=True), 1):
            show_picture(grid[0, column], np.asarray(result.overlay(alpha=0.6)), name)
            mean = float(result.confidence.mean())
            drawn = show_map(
                grid[1, column], image, result.confidence, title=f"confidence, mean {mean:.2f}", limits=(0, 1)
            )
            if column == 2:
                figure.colorbar(drawn, ax=list(grid[1]), shrink=0.8)
        save_figure(folder / "compare.png", figure)
