"""The weights that PCA-Seg's coefficient mapper (Eq. 5) gives to its experts, drawn over an image."""

from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from jaxtyping import Float, UInt8

from segvoc.analysis.charts import new_figure, save_figure, show_image, show_map
from segvoc.analysis.single_view import WordInput, block_fusions, chunked_streams, forward_single_view
from segvoc.imaging.reading import ImageSource
from segvoc.inference.protocols import Window
from segvoc.models.network_segmenter import NetworkSegmenter
from segvoc.networks.pca_seg import CoefficientMapper
from segvoc.storage.json_files import write_json

WORD_ROWS = 6
"""Words with a row of their own in the figure, below the mean over all words."""


@dataclass(frozen=True, kw_only=True)
class Gates:
    """The weights of the E experts of every block."""

    image: UInt8[np.ndarray, "H W 3"]
    words: tuple[str, ...]
    blocks: tuple[Float[np.ndarray, "T h w E"], ...]
    """For each block the weights for every word and cell; they sum to 1 over the experts."""

    def entropies(self) -> list[float]:
        """The mean entropy of each block's weights, relative to that of equal weights; in [0, 1]."""
        entropies = []
        for weights in self.blocks:
            logarithms = np.log(weights.clip(1e-12))
            entropies.append(float(-(weights * logarithms).sum(-1).mean() / np.log(max(2, weights.shape[-1]))))
        return entropies

    def write(self, folder: Path, metadata: dict[str, object]) -> None:
        """Write gates.json, which starts with `metadata`, and gates_1.png, gates_2.png, ... for the blocks.

        Raises:
            OutputError: a file can't be written.
            UsageError: matplotlib isn't installed.
        """
        means = [weights.mean(axis=(1, 2)) for weights in self.blocks]
        blocks = [
            {
                "experts": per_word.mean(axis=0).tolist(),
                "words": {word: row.tolist() for word, row in zip(self.words, per_word, strict=True)},
                "entropy": entropy,
            }
            for per_word, entropy in zip(means, self.entropies(), strict=True)
        ]
        write_json(folder / "gates.json", {**metadata, "blocks": blocks})
        for number in range(len(self.blocks)):
            self._draw(folder / f"gates_{number + 1}.png", self.blocks[number])

    def _draw(self, path: Path, weights: Float[np.ndarray, "T h w E"]) -> None:
        """Draw a column for each expert; a row for the mean over the words, then one for each of the first words."""
        experts = weights.shape[-1]
        rows = [("all words", weights.mean(axis=0))]
        rows += [(word, weights[index]) for index, word in enumerate(self.words[:WORD_ROWS])]
        limits = (min(float(maps.min()) for _, maps in rows), max(float(maps.max()) for _, maps in rows))
        figure = new_figure(experts + 1.4, len(rows), 2.6, self.image)
        grid = figure.subplots(len(rows), experts + 1, squeeze=False)
        drawn = None
        for line, (word, maps) in zip(grid, rows, strict=True):
            show_image(line[0], self.image, word)
            for expert in range(experts):
                weight = maps[..., expert]
                title = f"expert {expert + 1}: {weight.min():.1%} to {weight.max():.1%}"
                drawn = show_map(line[expert + 1], self.image, weight, title=title, limits=limits)
        if drawn is not None:
            figure.colorbar(drawn, ax=list(grid.ravel()), shrink=0.5, label="weight (one scale for all panels)")
        save_figure(path, figure)


def gate_maps(segmenter: NetworkSegmenter, image: ImageSource, words: WordInput, window: Window = "auto") -> Gates:
    """The weights of every block's experts on an image.

    Raises:
        InputError: the image can't be read.
        UsageError: the network has no coefficient mapper.
    """
    fusions = block_fusions(segmenter, "integrate.coefficients", "coefficient mapper")
    view = forward_single_view(segmenter, image, words, window)
    blocks = []
    for fusion, streams in zip(fusions, view.streams, strict=True):
        mapper = cast(CoefficientMapper, fusion.get_submodule("integrate"))
        with torch.inference_mode():
            chunks = [mapper.weights(chunk)[0].float().cpu() for chunk in chunked_streams(fusion, streams)]
        blocks.append(torch.cat(chunks).numpy())
    return Gates(image=view.image, words=view.words, blocks=tuple(blocks))
