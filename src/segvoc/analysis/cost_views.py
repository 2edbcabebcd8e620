"""Cost volumes before and after aggregation, over the picture: CAT-Seg, Fig. 3."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from segvoc.analysis.charts import new_figure, save_figure, save_figures, show_map, show_picture
from segvoc.analysis.single_view import Words, look
from segvoc.errors import UsageError
from segvoc.imaging.reading import ImageSource
from segvoc.inference.segmenter import Segmenter
from segvoc.inference.window_names import Window

MOST_SHOWN = 12
"""Words that one picture can show."""


@dataclass(frozen=True, kw_only=True)
class CostViews:
    """Of each word the cosines with each of the tower's maps, and the probability that the network makes of them.

    before: in [-1, 1], a grid for each map. after: in [0, 1].
    """

    image: UInt8[np.ndarray, "H W 3"]
    words: tuple[str, ...]
    before: tuple[Float[np.ndarray, "T _ _"], ...]
    after: Float[np.ndarray, "T h w"]

    def write(self, folder: Path, told: dict[str, object]) -> None:
        """Write costs.png, every map from its least to its largest value, and costs.json with these.

        Raises: OutputError: the system refused.
        """
        columns = 2 + len(self.before)
        figure = new_figure(columns, len(self.words), 2.8, self.image)
        grid = figure.subplots(len(self.words), columns, squeeze=False)
        facts = []
        for index, (word, line) in enumerate(zip(self.words, grid, strict=True)):
            show_picture(line[0], self.image, word)
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
        save_figures(folder / "costs.json", {**told, "words": facts})


def cost_views(
    segmenter: Segmenter,
    picture: ImageSource,
    words: Words,
    show: Sequence[str] = (),
    window: Window = "auto",
) -> CostViews:
    """The costs of some words before and after they were aggregated together with all others.

    show: those among the words that are wanted; none: all, the first `MOST_SHOWN`.

    Raises:
        InputError: the picture can't be read.
        UsageError: a word that is to be shown is none of the words, or too many are.
    """
    if len(show) > MOST_SHOWN:
        raise UsageError(f"{len(show)} words are to be shown, a picture has room for {MOST_SHOWN}; name fewer")
    seen = look(segmenter, picture, words, window)
    if strange := [word for word in show if word not in seen.words]:
        raise UsageError(
            f"{strange[0]!r} is to be shown and is none of the words; it is one of {', '.join(seen.words)}"
        )
    chosen = [seen.words.index(word) for word in show] or list(range(len(seen.words)))[:MOST_SHOWN]
    return CostViews(
        image=seen.image,
        words=tuple(seen.words[index] for index in chosen),
        before=tuple(cost[chosen].cpu().numpy() for cost in seen.costs),
        after=seen.logits[chosen].sigmoid().cpu().numpy(),
    )


def _range(values: Float[np.ndarray, "h w"]) -> str:
    return f"{values.min():.3f} to {values.max():.3f}"


def _statistics(values: Float[np.ndarray, "h w"]) -> dict[str, float]:
    return {name: float(getattr(values, name)()) for name in ("min", "mean", "max", "std")}
