"""How much the experts of a fusion say the same: PCA-Seg, Fig. 5.

The paper says that redundancy is "quantified by CCA" and cites SVCCA (Raghu et al., NeurIPS 2017). So here: of each
expert's features, one row for every class and cell, the principal directions that hold 99 % of the variance are kept;
the redundancy of two experts is the mean of the canonical correlations between what is left of them, in [0, 1]. With
few rows, unrelated features correlate too, so the same figure is given for rows in random order ("chance").
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from jaxtyping import Float
from torch import nn

from segvoc.analysis.charts import new_figure, save_figure, save_figures
from segvoc.analysis.single_view import Words, both_streams, fusions_with, look
from segvoc.errors import UsageError
from segvoc.imaging.reading import ImageSource
from segvoc.inference.segmenter import Segmenter
from segvoc.inference.window_names import Window
from segvoc.networks.pca_seg import ExpertParser
from segvoc.shapes import ClassTokens

VARIANCE = 0.99
"""Share of the variance that the kept directions hold, as in SVCCA."""

ROWS = 20_000
"""Classes and cells that are looked at, drawn at random where there are more."""


@dataclass(frozen=True, kw_only=True)
class Redundancy:
    """Of each block the redundancy of its experts, in [0, 1]; 1 on the diagonal.

    chance: the mean redundancy of two experts whose rows are in random order. directions: how many each expert kept.
    """

    blocks: tuple[Float[np.ndarray, "E E"], ...]
    chance: tuple[float, ...]
    directions: tuple[tuple[int, ...], ...]
    rows: int

    def means(self) -> list[float]:
        """The mean redundancy of two experts of each block."""
        return [float(matrix[~np.eye(len(matrix), dtype=bool)].mean()) for matrix in self.blocks]

    def write(self, folder: Path, told: dict[str, object]) -> None:
        """Write redundancy.png and redundancy.json, with what else is `told`.

        Raises: OutputError: the system refused.
        """
        names = ("blocks", "mean", "chance", "directions")
        values = ([matrix.tolist() for matrix in self.blocks], self.means(), self.chance, self.directions)
        figures = dict(zip(names, values, strict=True))
        save_figures(folder / "redundancy.json", {**told, "rows": self.rows, "variance": VARIANCE, **figures})
        figure = new_figure(len(self.blocks), 1)
        for number, axes in enumerate(np.ravel(figure.subplots(1, len(self.blocks)))):
            matrix = self.blocks[number]
            axes.imshow(matrix, vmin=0, vmax=1, cmap="viridis")
            for (row, column), value in np.ndenumerate(matrix):
                shade = "black" if value > 0.6 else "white"
                axes.text(column, row, f"{value:.0%}", ha="center", va="center", color=shade, fontsize=8)
            ticks = range(len(matrix))
            axes.set_xticks(ticks, [str(expert + 1) for expert in ticks])
            axes.set_yticks(ticks, [str(expert + 1) for expert in ticks])
            title = f"block {number + 1}: mean {self.means()[number]:.0%}, chance {self.chance[number]:.0%}"
            axes.set_title(title, fontsize=9)
            axes.set_xlabel("expert", fontsize=8)
        save_figure(folder / "redundancy.png", figure)


def directions(features: Float[np.ndarray, "N C"], variance: float = VARIANCE) -> Float[np.ndarray, "N D"]:
    """Orthonormal columns: the principal directions that together hold a share of the variance; none of constants."""
    centred = features.astype(np.float64) - features.mean(axis=0, dtype=np.float64)
    left, strengths, _ = np.linalg.svd(centred, full_matrices=False)
    held = np.cumsum(strengths**2)
    # what rounding leaves of constant features is no direction
    if held[-1] <= 1e-12 * (features.astype(np.float64) ** 2).sum():
        return left[:, :0]
    return left[:, : int((held < variance * held[-1]).sum()) + 1]


def canonical_correlations(
    first: Float[np.ndarray, "N D"], second: Float[np.ndarray, "N E"]
) -> Float[np.ndarray, " correlations"]:
    """Cosines of the angles between two spaces, given by orthonormal columns: the largest first, in [0, 1]."""
    if not min(first.shape[1], second.shape[1]):
        return np.zeros(1)
    return np.linalg.svd(first.T @ second, compute_uv=False).clip(0, 1)


def expert_redundancy(
    segmenter: Segmenter, pictures: Sequence[ImageSource], words: Words, window: Window = "auto"
) -> Redundancy:
    """The redundancy of the experts of every block over some pictures and words.

    Raises:
        InputError: a picture can't be read.
        UsageError: the network has no experts, or one alone.
    """
    fusions = fusions_with(segmenter, "parse", "experts")
    if any(_parser(fusion).experts < 2 for fusion in fusions):
        raise UsageError(f"{segmenter.name} has a single expert, which repeats nobody; take experts=2 or more")
    parsed: list[list[Float[np.ndarray, "N E C"]]] = [[] for _ in fusions]
    for picture in pictures:
        seen = look(segmenter, picture, words, window)
        generator = np.random.default_rng(0)
        for block, (fusion, streams) in enumerate(zip(fusions, seen.streams, strict=True)):
            rows = _parsed(fusion, streams)
            share = -(-ROWS // len(pictures))
            parsed[block].append(rows if len(rows) <= share else rows[generator.permutation(len(rows))[:share]])
    of_blocks = [_redundancy(np.concatenate(rows)) for rows in parsed]
    return Redundancy(
        blocks=tuple(matrix for matrix, _, _ in of_blocks),
        chance=tuple(chance for _, chance, _ in of_blocks),
        directions=tuple(kept for _, _, kept in of_blocks),
        rows=sum(map(len, parsed[0])),
    )


def _parser(fusion: nn.Module) -> ExpertParser:
    return cast(ExpertParser, fusion.get_submodule("parse"))


def _parsed(fusion: nn.Module, streams: tuple[ClassTokens, ClassTokens]) -> Float[np.ndarray, "N E C"]:
    """What each expert makes of every class and cell."""
    parse = _parser(fusion)
    with torch.inference_mode():
        parts = [parse(both).flatten(0, 3).float().cpu() for both in both_streams(fusion, streams)]
    return torch.cat(parts).numpy()


def _redundancy(features: Float[np.ndarray, "N E C"]) -> tuple[Float[np.ndarray, "E E"], float, tuple[int, ...]]:
    """The redundancy of every two experts, its mean by chance, and how many directions each of them has."""
    spaces = [directions(features[:, expert]) for expert in range(features.shape[1])]
    matrix, by_chance = np.eye(len(spaces)), []
    order = np.random.default_rng(0).permutation(len(features))
    for first in range(len(spaces)):
        for second in range(first):
            matrix[first, second] = canonical_correlations(spaces[first], spaces[second]).mean()
            matrix[second, first] = matrix[first, second]
            by_chance.append(canonical_correlations(spaces[first], spaces[second][order]).mean())
    return matrix, float(np.mean(by_chance)), tuple(space.shape[1] for space in spaces)
