"""Confidence as a probability: how likely the label of a pixel is right, by all that its image shows of the words.

The sigmoid of a word's logit says how well a pixel fits the word. Whether the label is right depends as much on the
other words, on how far they are from what the network was trained on, and on the rest of the image: where no word is
far ahead of the others anywhere, each of them is doubtful. A logistic regression on such figures, fitted on photographs
that the network had not seen, is a probability (Platt 1999, here with more than one figure).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from array_api_compat import device
from jaxtyping import Float

from segvoc.encoders.lexicon import WordFacts
from segvoc.errors import UsageError
from segvoc.inference.protocols import Protocol
from segvoc.inference.windows import ViewLogits
from segvoc.layers.selection import DROPPED
from segvoc.runtime.arrays import Array, array_namespace, sigmoid, strongest

GRID = 56
"""Cells along the longer side of the maps that the figures of an image are computed from, at most twice as many."""

MOST = 6.0
"""Logits beyond this count as this."""

ABSENT = 0.06
"""Mean score of the likeliest words below which they are probably not in the image."""

CLOSE = 0.5
"""A lead of the likeliest word below this is close [logits]."""

WORD_FIGURES = ("is trained", "has a kind", "is a part", "share", "mean logit", "mean probability")
IMAGE_FIGURES = (
    "mean logit", "mean lead", "close", "mean probability", "entropy", "words", "largest share", "found",
    "trained", "of a kind", "parts", "words trained", "words of a kind", "absent",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class ConfidenceModel:
    """log-odds(label is right) = slope * logit + offset of the word in the image; offset = bias + weights . figures."""

    slope: float
    """Of the logit of a pixel's word."""
    bias: float
    word: tuple[float, ...]
    """Weights of `WORD_FIGURES`."""
    image: tuple[float, ...]
    """Weights of `IMAGE_FIGURES`."""

    def __post_init__(self) -> None:
        numbers = (self.slope, self.bias, *self.word, *self.image)
        if not all(map(math.isfinite, numbers)):
            raise UsageError("a number of the confidence is not finite")
        if (len(self.word), len(self.image)) != (len(WORD_FIGURES), len(IMAGE_FIGURES)):
            raise UsageError(f"the confidence needs {len(WORD_FIGURES)} and {len(IMAGE_FIGURES)} weights")

    def offsets(self, maps: Float[Array, "K h w"], words: Float[Array, "K 3"]) -> Float[Array, " K"]:
        """The offset of each word [log-odds] in an image, by the network's logits; see `figures`."""
        xp = array_namespace(maps)
        of_words, of_image = figures(maps, words)
        word, image = (xp.asarray(w, dtype=maps.dtype, device=device(maps)) for w in (self.word, self.image))
        return self.bias + of_words @ word + of_image @ image

    def probability(self, scores: Float[Array, "..."], offsets: Float[Array, "..."]) -> Float[Array, "..."]:
        """How likely the words of pixels are right, by their logits and their words' offsets."""
        return sigmoid(self.slope * array_namespace(scores).clip(scores, min=-MOST, max=MOST) + offsets)


def coarse_maps(output: ViewLogits, protocol: Protocol, size: tuple[int, int], words: int) -> Float[Array, "K h w"]:
    """The maps of the first words on a coarse grid, by the network's output for an image of a size [px]."""
    xp, like = array_namespace(output.logits), output.logits
    maps = xp.full((words, 1, 1), DROPPED, dtype=like.dtype, device=device(like))
    for some, classes in output.maps(protocol, size, classes=range(words)):
        cells = coarse(some)
        if maps.shape[1:] != cells.shape[1:]:
            maps = xp.full((words, *cells.shape[1:]), DROPPED, dtype=like.dtype, device=device(like))
        maps[classes] = cells
    return maps


def fact_rows(facts: Sequence[WordFacts], maps: Float[Array, "K h w"]) -> Float[Array, "K 3"]:
    """What `figures` reads of a lexicon's facts, with the library, dtype and device of the words' maps."""
    rows = [(one.is_trained, one.kind is not None, one.whole is not None) for one in facts]
    return array_namespace(maps).asarray(rows, dtype=maps.dtype, device=device(maps))


def coarse(maps: Float[Array, "K y x"]) -> Float[Array, "K h w"]:
    """The cells of the coarse grid in maps."""
    side = max(maps.shape[1:])
    # round(side / GRID), of integers alone, which programs can compute, too
    step = max(1, (2 * side + GRID - 1 + side // GRID % 2) // (2 * GRID))
    return maps[:, step // 2 :: step, step // 2 :: step]


def figures(maps: Float[Array, "K h w"], words: Float[Array, "K 3"]) -> tuple[Float[Array, "K F"], Float[Array, " G"]]:
    """What the confidence of an image's labels follows from: `WORD_FIGURES` of each word, and `IMAGE_FIGURES`.

    Args:
        maps: logits of the words, at least two, on a coarse grid.
        words: of each word, whether the network was trained on it, on a word of its kind, and whether it is a part; see
            `fact_rows`.
    """
    xp, where = array_namespace(maps), device(maps)
    best, index = strongest(maps)
    powers = xp.exp(maps - best)
    total = xp.sum(powers, axis=0)
    numbers = xp.arange(maps.shape[0], device=where)
    labeled = xp.astype(index == numbers[:, None, None], maps.dtype)
    lead = xp.clip(best - xp.max(xp.where(labeled > 0, -xp.inf, maps), axis=0), max=4.0)
    # sum p (log total - (z - best)), relative to that of equal probabilities
    entropy = xp.log(total) - xp.sum(powers * (maps - best), axis=0) / total
    cells = best.shape[0] * best.shape[1]
    pixels = xp.sum(labeled, axis=(1, 2))
    share, size = pixels / cells, xp.clip(pixels, min=1.0)
    logit, probability = (xp.sum(labeled * x, axis=(1, 2)) / size for x in (best, 1 / total))
    of_words = xp.stack(
        [words[:, 0], words[:, 1], words[:, 2], share, xp.clip(logit, min=-MOST, max=MOST), probability], axis=1
    )
    number = xp.log(xp.sum(xp.ones_like(words[:, 0])))
    of_image = xp.stack(
        [
            xp.mean(xp.clip(best, min=-MOST, max=MOST)),
            xp.mean(lead),
            xp.mean(xp.astype(lead < CLOSE, maps.dtype)),
            xp.mean(1 / total),
            xp.mean(entropy) / xp.clip(number, min=0.5),
            number,
            xp.max(share, axis=0),
            xp.mean(xp.astype(share > 0.01, maps.dtype)),
            *(xp.sum(share * words[:, at]) for at in range(3)),
            *(xp.mean(words[:, at]) for at in range(2)),
            xp.clip(xp.log(ABSENT / xp.clip(xp.mean(sigmoid(best)), min=1e-6)), min=0.0),
        ]
    )
    return of_words, of_image
