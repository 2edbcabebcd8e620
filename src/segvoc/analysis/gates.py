"""Which expert is listened to where: the weights of PCA-Seg's coefficient mapper (Eq. 5) over a picture."""

from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from jaxtyping import Float, UInt8

from segvoc.analysis.charts import new_figure, save_figure, save_figures, show_map, show_picture
from segvoc.analysis.single_view import Words, both_streams, fusions_with, look
from segvoc.imaging.reading import ImageSource
from segvoc.inference.segmenter import Segmenter
from segvoc.inference.window_names import Window
from segvoc.networks.pca_seg import CoefficientMapper

SHOWN = 6
"""Words that get a row of their own in the picture; the first row is the mean over all."""


@dataclass(frozen=True, kw_only=True)
class Gates:
    """The weight of each of E experts in every block, for T words at every cell; they sum to 1 over the experts."""

    image: UInt8[np.ndarray, "H W 3"]
    words: tuple[str, ...]
    blocks: tuple[Float[np.ndarray, "T h w E"], ...]

    def entropies(self) -> list[float]:
        """The mean entropy of each block's weights as a share of its largest: 1 where all experts weigh the same."""
        found = []
        for weights in self.blocks:
            logarithms = np.log(weights.clip(1e-12))
            found.append(float(-(weights * logarithms).sum(-1).mean() / np.log(max(2, weights.shape[-1]))))
        return found

    def write(self, folder: Path, told: dict[str, object]) -> None:
        """Write gates.json, with what else is `told`, and for each block a gates_1.png, ...

        Raises: OutputError: the system refused.
        """
        means = [weights.mean(axis=(1, 2)) for weights in self.blocks]
        blocks = [
            {
                "experts": of_words.mean(axis=0).tolist(),
                "words": {word: row.tolist() for word, row in zip(self.words, of_words, strict=True)},
                "entropy": entropy,
            }
            for of_words, entropy in zip(means, self.entropies(), strict=True)
        ]
        save_figures(folder / "gates.json", {**told, "blocks": blocks})
        for number in range(len(self.blocks)):
            self._draw(folder / f"gates_{number + 1}.png", self.blocks[number])

    def _draw(self, path: Path, weights: Float[np.ndarray, "T h w E"]) -> None:
        """A row for the mean over the words and for each of the first words, a column for each expert."""
        experts = weights.shape[-1]
        rows = [("all words", weights.mean(axis=0))]
        rows += [(word, weights[index]) for index, word in enumerate(self.words[:SHOWN])]
        limits = (min(float(maps.min()) for _, maps in rows), max(float(maps.max()) for _, maps in rows))
        figure = new_figure(experts + 1.4, len(rows), 2.6, self.image)
        grid = figure.subplots(len(rows), experts + 1, squeeze=False)
        drawn = None
        for line, (word, maps) in zip(grid, rows, strict=True):
            show_picture(line[0], self.image, word)
            for expert in range(experts):
                weight = maps[..., expert]
                title = f"expert {expert + 1}: {weight.min():.1%} to {weight.max():.1%}"
                drawn = show_map(line[expert + 1], self.image, weight, title=title, limits=limits)
        if drawn is not None:
            figure.colorbar(drawn, ax=list(grid.ravel()), shrink=0.5, label="weight (one scale for all)")
        save_figure(path, figure)


def gate_maps(segmenter: Segmenter, picture: ImageSource, words: Words, window: Window = "auto") -> Gates:
    """The weights of every block's experts over a picture.

    Raises:
        InputError: the picture can't be read.
        UsageError: the network has no coefficient mapper.
    """
    fusions = fusions_with(segmenter, "integrate.coefficients", "coefficient mapper")
    seen = look(segmenter, picture, words, window)
    blocks = []
    for fusion, streams in zip(fusions, seen.streams, strict=True):
        mapper = cast(CoefficientMapper, fusion.get_submodule("integrate"))
        with torch.inference_mode():
            parts = [mapper.weights(both)[0].float().cpu() for both in both_streams(fusion, streams)]
        blocks.append(torch.cat(parts).numpy())
    return Gates(image=seen.image, words=seen.words, blocks=tuple(blocks))
