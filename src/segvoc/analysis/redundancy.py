"""Redundancy between the experts of a fusion: PCA-Seg, Fig. 5.

The paper says that redundancy is "quantified by CCA" and cites SVCCA (Raghu et al., NeurIPS 2017). So here: an expert's
features form a matrix with a row for every class and cell, which is reduced to the principal directions that explain
99 % of its variance. The redundancy of two experts is the mean canonical correlation of their reduced features, in
[0, 1]. With few rows, unrelated features correlate too, so the same number is given for shuffled rows ("chance").
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from jaxtyping import Float
from torch import nn

from segvoc.analysis.charts import new_figure, save_figure
from segvoc.analysis.single_view import WordInput, block_fusions, chunked_streams, forward_single_view
from segvoc.errors import UsageError
from segvoc.imaging.reading import ImageSource
from segvoc.inference.window_names import Window
from segvoc.models.network_segmenter import NetworkSegmenter
from segvoc.networks.pca_seg import ExpertParser
from segvoc.shapes import ClassTokens
from segvoc.storage.json_files import write_json

VARIANCE = 0.99
"""Fraction of the variance that the kept directions explain, as in SVCCA."""

ROWS = 20_000
"""Most rows (classes and cells) that are compared; of more, a random sample is taken."""


@dataclass(frozen=True, kw_only=True)
class Redundancy:
    """The redundancy between the E experts of every block."""

    blocks: tuple[Float[np.ndarray, "E E"], ...]
    """For each block the redundancy of each pair of experts, in [0, 1], with 1 on the diagonal."""
    chance: tuple[float, ...]
    """For each block the mean redundancy of two experts after their rows have been shuffled."""
    directions: tuple[tuple[int, ...], ...]
    """For each block the number of directions that each expert keeps."""
    rows: int
    """Rows (classes and cells) that were compared."""

    def means(self) -> list[float]:
        """The mean redundancy of two different experts, for each block."""
        return [float(matrix[~np.eye(len(matrix), dtype=bool)].mean()) for matrix in self.blocks]

    def write(self, folder: Path, metadata: dict[str, object]) -> None:
        """Write redundancy.png, and redundancy.json, which starts with `metadata`.

        Raises:
            OutputError: a file can't be written.
            UsageError: matplotlib isn't installed.
        """
        names = ("blocks", "mean", "chance", "directions")
        values = ([matrix.tolist() for matrix in self.blocks], self.means(), self.chance, self.directions)
        figures = dict(zip(names, values, strict=True))
        write_json(folder / "redundancy.json", {**metadata, "rows": self.rows, "variance": VARIANCE, **figures})
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
    """The principal directions that together explain a fraction of the variance, as orthonormal columns.

    Constant features have no directions.
    """
    centred = features.astype(np.float64) - features.mean(axis=0, dtype=np.float64)
    left, strengths, _ = np.linalg.svd(centred, full_matrices=False)
    held = np.cumsum(strengths**2)
    # rounding errors of constant features are not a direction
    if held[-1] <= 1e-12 * (features.astype(np.float64) ** 2).sum():
        return left[:, :0]
    return left[:, : int((held < variance * held[-1]).sum()) + 1]


def canonical_correlations(
    first: Float[np.ndarray, "N D"], second: Float[np.ndarray, "N E"]
) -> Float[np.ndarray, " correlations"]:
    """Cosines of the principal angles between two spaces, given by orthonormal columns; in [0, 1], largest first."""
    if not min(first.shape[1], second.shape[1]):
        return np.zeros(1)
    return np.linalg.svd(first.T @ second, compute_uv=False).clip(0, 1)


def expert_redundancy(
    segmenter: NetworkSegmenter, images: Sequence[ImageSource], words: WordInput, window: Window = "auto"
) -> Redundancy:
    """The redundancy of the experts of every block, on some images and words.

    Raises:
        InputError: an image can't be read.
        UsageError: the network has fewer than two experts.
    """
    fusions = block_fusions(segmenter, "parse", "experts")
    if any(_parser(fusion).experts < 2 for fusion in fusions):
        raise UsageError(f"{segmenter.name} has a single expert; redundancy needs --set experts=2 or more")
    parsed: list[list[Float[np.ndarray, "N E C"]]] = [[] for _ in fusions]
    share = -(-ROWS // len(images))
    for image in images:
        view = forward_single_view(segmenter, image, words, window)
        generator = np.random.default_rng(0)
        for block, (fusion, streams) in enumerate(zip(fusions, view.streams, strict=True)):
            rows = _parsed(fusion, streams)
            parsed[block].append(rows if len(rows) <= share else rows[generator.permutation(len(rows))[:share]])
    results = [_redundancy(np.concatenate(rows)) for rows in parsed]
    return Redundancy(
        blocks=tuple(matrix for matrix, _, _ in results),
        chance=tuple(chance for _, chance, _ in results),
        directions=tuple(kept for _, _, kept in results),
        rows=sum(map(len, parsed[0])),
    )


def _parser(fusion: nn.Module) -> ExpertParser:
    return cast(ExpertParser, fusion.get_submodule("parse"))


def _parsed(fusion: nn.Module, streams: tuple[ClassTokens, ClassTokens]) -> Float[np.ndarray, "N E C"]:
    """The output of each expert for every class and cell."""
    parse = _parser(fusion)
    with torch.inference_mode():
        chunks = [parse(chunk).flatten(0, 3).float().cpu() for chunk in chunked_streams(fusion, streams)]
    return torch.cat(chunks).numpy()


def _redundancy(features: Float[np.ndarray, "N E C"]) -> tuple[Float[np.ndarray, "E E"], float, tuple[int, ...]]:
    """The redundancy of each pair of experts, the mean by chance, and the number of directions of each expert."""
    spaces = [directions(features[:, expert]) for expert in range(features.shape[1])]
    matrix, by_chance = np.eye(len(spaces)), []
    order = np.random.default_rng(0).permutation(len(features))
    for first in range(len(spaces)):
        for second in range(first):
            matrix[first, second] = canonical_correlations(spaces[first], spaces[second]).mean()
            matrix[second, first] = matrix[first, second]
            by_chance.append(canonical_correlations(spaces[first], spaces[second][order]).mean())
    return matrix, float(np.mean(by_chance)), tuple(space.shape[1] for space in spaces)
