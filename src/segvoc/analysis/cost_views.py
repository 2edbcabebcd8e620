"""Cost volumes before and after aggregation, drawn over the image: CAT-Seg, Fig. 3."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from segvoc.analysis.charts import new_figure, save_figure, show_image, show_map
from segvoc.analysis.single_view import WordInput, forward_single_view
from segvoc.errors import UsageError
from segvoc.imaging.reading import ImageSource
from segvoc.inference.protocols import Window
from segvoc.models.network_segmenter import NetworkSegmenter
from segvoc.storage.json_files import write_json

MAX_WORDS = 12
"""Most words in one figure, a row each."""


@dataclass(frozen=True, kw_only=True)
class CostViews:
    """The costs of T words before aggregation, and their probabilities after it."""

    image: UInt8[np.ndarray, "H W 3"]
    words: tuple[str, ...]
    before: tuple[Float[np.ndarray, "T _ _"], ...]
    """Cosine similarity of each cell with each word, in [-1, 1]; one entry for each of the image encoder's maps."""
    after: Float[np.ndarray, "T h w"]
    """Probability of each word, in [0, 1]."""

    def write(self, folder: Path, metadata: dict[str, object]) -> None:
        """Write costs.png, each map on its own color scale, and costs.json with the range of every map.

        Raises:
            OutputError: a file can't be written.
            UsageError: matplotlib isn't installed.
        """
        columns = 2 + len(self.before)
        figure = new_figure(columns, len(self.words), 2.8, self.image)
        grid = figure.subplots(len(self.words), columns, squeeze=False)
        facts = []
        for index, (word, line) in enumerate(zip(self.words, grid, strict=True)):
            show_image(line[0], self.image, word)
            for number, cost in enumerate(self.before):
                name = "cost" if len(self.before) == 1 else f"cost {number + 1}"
                show_map(line[1 + number], self.image, cost[index], title=f"{name}: {_range(cost[index])}")
            show_map(line[-1], self.image, self.after[index], title=f"aggregated: {_range(self.after[index])}")
            facts.append(
                {
                    "word": word,
                    "before": [_statistics(cost[index]) for cost in self.before],
                    "after": _statistics(self.after[index]),
                }
            )
        save_figure(folder / "costs.png", figure)
        write_json(folder / "costs.json", {**metadata, "words": facts})


def cost_views(
    segmenter: NetworkSegmenter,
    image: ImageSource,
    words: WordInput,
    show: Sequence[str] = (),
    window: Window = "auto",
) -> CostViews:
    """The costs of some words before aggregation, and their probabilities after it.

    Args:
        segmenter: the network.
        image: the image.
        words: all words; they are aggregated together.
        show: the words to draw; by default the first `MAX_WORDS`.
        window: how the image is resized, see `Segmenter.segment`.

    Raises:
        InputError: the image can't be read.
        UsageError: `show` names an unknown word or too many words.
    """
    view = forward_single_view(segmenter, image, words, window)
    chosen = shown_words(show, view.words) or list(range(len(view.words)))[:MAX_WORDS]
    return CostViews(
        image=view.image,
        words=tuple(view.words[index] for index in chosen),
        before=tuple(cost[chosen].cpu().numpy() for cost in view.costs),
        after=view.logits[chosen].sigmoid().cpu().numpy(),
    )


def shown_words(show: Sequence[str], words: Sequence[str]) -> list[int]:
    """The indices of the words that a figure is to show.

    Raises:
        UsageError: they are too many for one figure, or one of them is unknown.
    """
    if len(show) > MAX_WORDS:
        raise UsageError(f"{len(show)} words don't fit into one figure; show at most {MAX_WORDS}")
    if unknown := [word for word in show if word not in words]:
        raise UsageError(f"{unknown[0]!r} can't be shown, it isn't one of the words: {', '.join(words)}")
    return [words.index(word) for word in show]


def _range(values: Float[np.ndarray, "h w"]) -> str:
    return f"{values.min():.3f} to {values.max():.3f}"


def _statistics(values: Float[np.ndarray, "h w"]) -> dict[str, float]:
    return {name: float(getattr(values, name)()) for name in ("min", "mean", "max", "std")}
