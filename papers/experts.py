"""Redundancy of PCA-Seg's experts on an image (Fig. 5).

The paper says that redundancy is "quantified by CCA" and cites SVCCA (Raghu et al., NeurIPS 2017); the released code
holds a plain CCA. Both are measured. An expert's features form a matrix with a row per class and cell. The redundancy
of two experts is the mean of their canonical correlations, in [0, 1]: for CCA over the largest, as many as channels
but at most 128; for SVCCA over all, after reducing each matrix to the principal directions that explain 99 % of its
variance. With few rows, unrelated features correlate too, so the same number is reported for shuffled rows
("chance").
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, cast

import click
import numpy as np
import torch
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from torch import nn

from papers.costs import WordInput, forward_single_view
from papers.drawing import new_figure, save_figure
from papers.view_options import ViewOptions, view_options
from segvoc.cli import run_command
from segvoc.cli.output import echo
from segvoc.errors import UsageError
from segvoc.imaging.reading import ImageSource
from segvoc.inference.protocols import Window
from segvoc.layers.aggregation import TwoStreamBlock
from segvoc.layers.shapes import ClassTokens
from segvoc.models.network_segmenter import NetworkSegmenter
from segvoc.networks.pca_seg import ExpertParser
from segvoc.storage.files import write_json

VARIANCE = 0.99
"""Fraction of the variance explained by the directions kept in SVCCA."""

MOST_CORRELATIONS = 128
"""Max canonical correlations that CCA averages, as in the released code."""

FAINTEST = 1e-6
"""Directions weaker than this, relative to the features' magnitude, are float32 rounding errors."""

CLASSES_AT_ONCE = 8
"""Classes whose streams are processed at a time."""

ROWS = 20_000
"""Max rows (classes and cells) to compare; more are sampled at random."""


@click.command()
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...")
@view_options("window")
def experts(images: Sequence[str], view: ViewOptions) -> None:
    """Measure how redundant the experts are on some IMAGEs (PCA-Seg, Fig. 5).

    The redundancy of two experts is the mean canonical correlation of their outputs; 0% means none. It is measured
    by plain CCA, as in the released code, and by SVCCA, which the paper cites. Writes
    redundancy.png and redundancy.json.
    """
    vocabulary = view.vocabulary(images)
    found = expert_redundancy(view.load(), images, vocabulary, view.labels.window)
    found.write(view.folder, view.metadata(images, vocabulary))
    for number in range(len(found.cca)):
        measured = ((name, blocks[number]) for name, blocks in found.measures().items())
        told = ", ".join(f"{name} {block.mean:.1%} (by chance {block.chance:.1%})" for name, block in measured)
        echo(f"block {number + 1}: {told}")
    echo(view.folder / "redundancy.png")


@dataclass(frozen=True, kw_only=True)
class BlockRedundancy:
    """The redundancy between the E experts of a block, by one measure."""

    matrix: Float[np.ndarray, "E E"]
    """Redundancy of each pair of experts, in [0, 1], with 1 on the diagonal."""
    chance: float
    """Mean redundancy of two experts after their rows have been shuffled."""
    directions: tuple[int, ...]
    """Number of compared directions of each expert's features."""

    @property
    def mean(self) -> float:
        """The mean redundancy of two different experts."""
        return float(self.matrix[~np.eye(len(self.matrix), dtype=bool)].mean())

    def record(self) -> dict[str, object]:
        """As plain values."""
        directions = list(self.directions)
        return {"matrix": self.matrix.tolist(), "mean": self.mean, "chance": self.chance, "directions": directions}


@dataclass(frozen=True, kw_only=True)
class Redundancy:
    """The redundancy between the experts of every block."""

    cca: tuple[BlockRedundancy, ...]
    """Redundancy of each block by plain CCA, as in the released code."""
    svcca: tuple[BlockRedundancy, ...]
    """Redundancy of each block by SVCCA, which the paper cites."""
    rows: int
    """Rows (classes and cells) that were compared."""

    def measures(self) -> dict[str, tuple[BlockRedundancy, ...]]:
        """The blocks by the name of the measure."""
        return {"CCA": self.cca, "SVCCA": self.svcca}

    def write(self, folder: Path, metadata: dict[str, object]) -> None:
        """Write redundancy.png, a row of panels for each measure, and redundancy.json, which starts with `metadata`."""
        records = {name.lower(): [block.record() for block in blocks] for name, blocks in self.measures().items()}
        write_json(folder / "redundancy.json", {**metadata, "rows": self.rows, "variance": VARIANCE, **records})
        figure = new_figure(len(self.cca), 2)
        panels = figure.subplots(2, len(self.cca), squeeze=False)
        for row, (name, blocks) in zip(panels, self.measures().items(), strict=True):
            for number, (axes, block) in enumerate(zip(row, blocks, strict=True), 1):
                _draw(axes, block, f"block {number}, {name}: mean {block.mean:.0%}, chance {block.chance:.0%}")
        save_figure(folder / "redundancy.png", figure)


def _draw(axes: Axes, block: BlockRedundancy, title: str) -> None:
    axes.imshow(block.matrix, vmin=0, vmax=1, cmap="viridis")
    for (row, column), value in np.ndenumerate(block.matrix):
        shade = "black" if value > 0.6 else "white"
        axes.text(column, row, f"{value:.0%}", ha="center", va="center", color=shade, fontsize=8)
    ticks = range(len(block.matrix))
    axes.set_xticks(ticks, [str(expert + 1) for expert in ticks])
    axes.set_yticks(ticks, [str(expert + 1) for expert in ticks])
    axes.set_title(title, fontsize=9)
    axes.set_xlabel("expert", fontsize=8)


class PrincipalDirections(NamedTuple):
    """The principal directions of features, strongest first."""

    columns: Float[np.ndarray, "N D"]
    """The directions, as orthonormal columns; empty for constant features."""
    explained: Float[np.ndarray, " D"]
    """Fraction of the variance that the directions up to each one explain."""

    @classmethod
    def of(cls, features: Float[np.ndarray, "N C"]) -> "PrincipalDirections":
        """Compute all directions except rounding errors."""
        centered = features.astype(np.float64) - features.mean(axis=0, dtype=np.float64)
        left, strengths, _ = np.linalg.svd(centered, full_matrices=False)
        largest = np.sqrt((features.astype(np.float64) ** 2).sum())
        kept = int((strengths > FAINTEST * max(largest, np.finfo(float).tiny)).sum())
        held = np.cumsum(strengths[:kept] ** 2)
        return cls(left[:, :kept], held / held[-1] if kept else held)

    def holding(self, variance: float) -> Float[np.ndarray, "N E"]:
        """The strongest directions that together explain a fraction of the variance."""
        return self.columns[:, : int((self.explained < variance).sum()) + 1]


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
    """Measure the redundancy of the experts of every block, on some images and words."""
    found = getattr(segmenter.network.aggregation, "blocks", ())
    fusions = [block.fuse for block in found if isinstance(block, TwoStreamBlock)]
    if not all(hasattr(fusion, "parse") for fusion in fusions) or not fusions:
        raise UsageError(f"{segmenter.name} has no blocks with experts; use PCA-Seg, or --set fusion=experts")
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
    blocks = [_redundancy(np.concatenate(features)) for features in parsed]
    return Redundancy(
        cca=tuple(cca for cca, _ in blocks), svcca=tuple(svcca for _, svcca in blocks), rows=sum(map(len, parsed[0]))
    )


def _parser(fusion: nn.Module) -> ExpertParser:
    return cast(ExpertParser, fusion.get_submodule("parse"))


def _parsed(fusion: nn.Module, streams: tuple[ClassTokens, ClassTokens]) -> Float[np.ndarray, "N E C"]:
    """The output of each expert for every class and cell, a few classes at a time."""
    parse, chunks = _parser(fusion), zip(*(stream.split(CLASSES_AT_ONCE, dim=1) for stream in streams), strict=True)
    with torch.inference_mode():
        # every fusion with experts has `both`, the experts' input
        parsed = [parse(cast(Any, fusion).both(*chunk)).flatten(0, 3).float().cpu() for chunk in chunks]
    return torch.cat(parsed).numpy()


def _redundancy(features: Float[np.ndarray, "N E C"]) -> tuple[BlockRedundancy, BlockRedundancy]:
    """The redundancy of the experts of a block, by CCA and by SVCCA."""
    principal = [PrincipalDirections.of(features[:, expert]) for expert in range(features.shape[1])]
    order = np.random.default_rng(0).permutation(len(features))
    whole, strongest = ([one.holding(variance) for one in principal] for variance in (1.0, VARIANCE))
    return _compared(whole, order, MOST_CORRELATIONS), _compared(strongest, order)


def _compared(
    spaces: Sequence[Float[np.ndarray, "N _"]], order: Int[np.ndarray, " N"], most: int | None = None
) -> BlockRedundancy:
    """Compare all pairs of spaces, given by orthonormal columns.

    Args:
        spaces: one per expert.
        order: a permutation of the rows.
        most: number of canonical correlations to average, the largest first; None: all.
    """
    matrix, by_chance = np.eye(len(spaces)), []
    for first in range(len(spaces)):
        for second in range(first):
            matrix[first, second] = canonical_correlations(spaces[first], spaces[second])[:most].mean()
            matrix[second, first] = matrix[first, second]
            by_chance.append(canonical_correlations(spaces[first], spaces[second][order])[:most].mean())
    kept = tuple(space.shape[1] for space in spaces)
    return BlockRedundancy(matrix=matrix, chance=float(np.mean(by_chance)), directions=kept)


if __name__ == "__main__":
    run_command(experts, "python -m papers.experts")
