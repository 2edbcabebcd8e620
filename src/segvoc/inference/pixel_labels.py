"""Pixel labels: from logits to the class of every pixel."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from array_api_compat import device
from jaxtyping import Bool, Float, Float32, Int, UInt16

from segvoc.errors import UsageError
from segvoc.imaging.label_maps import UNLABELED
from segvoc.inference.decision import CallFacts, GroupName, Strongest, decide
from segvoc.inference.prepared_vocabulary import ClassQuery
from segvoc.inference.protocols import Protocol
from segvoc.inference.strongest_class import StrongestClass
from segvoc.inference.windows import ViewLogits
from segvoc.runtime.arrays import Array, array_namespace, bilinear, sigmoid, start_copy, to_numpy


@dataclass(frozen=True)
class ClassLabels:
    """Class labels of an image's pixels, as in `Segmentation`; the arrays share no memory."""

    labels: UInt16[np.ndarray, "H W"]
    confidence: Float32[np.ndarray, "H W"]
    probabilities: Float32[np.ndarray, "K H W"] | None
    strongest: Float[Array, "H W"]
    """Score of the most likely word, regardless of the threshold: a logit or, with `sigmoid_first`, a probability."""


def search_classes(
    output: ViewLogits,
    size: tuple[int, int],
    query: ClassQuery,
    protocol: Protocol,
    *,
    offsets: Float[Array, " K"] | None = None,
    return_probabilities: bool = False,
) -> Callable[[], ClassLabels]:
    """Start to find the strongest class of every pixel, in an image of a size [px].

    `offsets` are those of the words' confidence in the image; see `decide`. The function that is returned waits for a
    GPU and gives the result.
    """
    contest = WordContest(*size, output.logits, query, protocol, offsets)
    probabilities = np.zeros((len(query.words), *size), np.float32) if return_probabilities else None
    for strongest, wanted in contest.rounds:
        for maps, words in output.maps(protocol, size, classes=wanted):
            strongest.update(maps, words)
            if probabilities is not None and strongest is contest.best:
                full = bilinear(maps[None, ...], size)[0, ...]
                classes = np.array(query.class_indices)[to_numpy(words)]
                probabilities[classes] = to_numpy(full if protocol.sigmoid_first else sigmoid(full))
    background = query.background_index
    if probabilities is not None and background is not None:
        probabilities[background] = to_numpy(contest.background_probability())
    labels = contest.labels()
    return lambda: ClassLabels(*labels(), probabilities, contest.best.value)


SEARCHED: tuple[GroupName, ...] = (
    "asked", "surfaces", "parts", "stand-ins", "similar", "others", "unnamed wholes",
)  # fmt: skip
"""Groups of which the strongest word at each pixel matters."""


class WordContest:
    """The strongest word at each pixel of each group of words that has rules of its own, and what they decide.

    `like` has the library and device of the network's output. Without `offsets` the confidence is the sigmoid of the
    label's score.
    """

    def __init__(
        self,
        height: int,
        width: int,
        like: Array,
        query: ClassQuery,
        protocol: Protocol,
        offsets: Float[Array, " K"] | None = None,
    ) -> None:
        xp, where = array_namespace(like), device(like)
        self.query, self.protocol, self.offsets = query, protocol, offsets
        # parts give way to their wholes alone
        unsearched: set[GroupName] = set() if query.group("wholes") else {"parts"}
        self.groups: dict[GroupName, StrongestClass] = {
            name: StrongestClass(height, width, like)
            for name in query.groups
            if name in SEARCHED and name not in unsearched
        }
        self.best = self.groups["asked"]
        self.rounds = [(strongest, _wanted(query.group(name), like)) for name, strongest in self.groups.items()]
        """Which queried words are compared in each group."""

        def among(name: GroupName) -> Bool[Array, " K"]:
            found = np.isin(range(len(query.facts)), query.group(name))
            return xp.asarray(found, device=where)

        stand_ins, threshold = query.rules.decision.stand_ins, query.background.threshold
        self.facts = CallFacts(
            surface=among("surfaces"),
            part=among("parts"),
            whole=among("wholes"),
            is_open=query.is_open,
            threshold=threshold,
            least=None if stand_ins is None or threshold is not None else stand_ins.threshold,
        )

    def background_probability(self) -> Float32[Array, "H W"]:
        """The probability that a pixel is background.

        At a threshold of 0.5 on the scores, it is the highest exactly where the background is the label.
        """

        def probability(scores: Float[Array, "H W"]) -> Float32[Array, "H W"]:
            return scores if self.protocol.sigmoid_first else sigmoid(scores)

        unlikely = 1 - probability(self.best.value)
        if "stand-ins" not in self.groups:
            return unlikely
        ahead = probability(self.groups["stand-ins"].value + self.query.rules.decision.margin)
        return array_namespace(ahead).maximum(unlikely, ahead)

    def labels(self) -> Callable[[], tuple[UInt16[np.ndarray, "H W"], Float32[np.ndarray, "H W"]]]:
        """Decide the classes of pixels and their confidence.

        The function that is returned waits for a GPU and gives both.
        """
        query, background = self.query, self.query.background_index
        word, is_none, confidence = decide(
            {name: Strongest(strongest.value, strongest.index) for name, strongest in self.groups.items()},
            self.facts,
            query.rules.decision,
            self.offsets,
            are_probabilities=self.protocol.sigmoid_first,
        )
        xp, classes = array_namespace(word), word
        if background is not None:
            classes = word + xp.astype(word >= background, word.dtype)
        if is_none is not None:
            classes = xp.where(is_none, UNLABELED if background is None else background, classes)
            if background is not None:
                confidence = xp.where(is_none, self.background_probability(), confidence)
        if confidence is self.best.value:  # nobody may change the score through the result
            confidence = xp.asarray(confidence, copy=True)
        copied = start_copy(xp.astype(classes, xp.int32), confidence)

        def finish() -> tuple[UInt16[np.ndarray, "H W"], Float32[np.ndarray, "H W"]]:
            numbers, probability = copied()
            return numbers.astype(np.uint16), probability

        return finish


def _wanted(indices: Sequence[int], like: Array) -> range | Int[Array, " N"]:
    """Words to compare; no index of a range is read from the device, which would wait for a GPU."""
    whole = range(indices[0], indices[-1] + 1)
    return whole if len(whole) == len(indices) else array_namespace(like).asarray(indices, device=device(like))


def selected_classes(kept: Sequence[int] | None, query: ClassQuery) -> Bool[np.ndarray, " K"]:
    """Classes that class selection kept (None: all), of the queried ones; a thresholded background is always kept."""
    selected, queried = np.ones(len(query.words), dtype=bool), query.class_indices
    if kept is not None:
        selected[queried] = np.isin(range(len(queried)), kept)
    return selected


def checked_groups(groups: Sequence[Sequence[int]], words: int) -> list[list[int]]:
    """Sort and deduplicate groups of word indices; `UsageError` if one is empty, or an index is out of range."""
    checked = [sorted(set(group)) for group in groups]
    for group in checked:
        if not group or group[0] < 0 or group[-1] >= words:
            raise UsageError(f"the group {group} has no valid words; give indices from 0 to {words - 1}")
    return checked


def strongest_of_groups(
    groups: Sequence[Sequence[int]], output: ViewLogits, size: tuple[int, int], query: ClassQuery, protocol: Protocol
) -> UInt16[np.ndarray, "G H W"]:
    """The strongest word of each group at every pixel, or the group's first word if all of its words were dropped."""
    xp, where = array_namespace(output.logits), device(output.logits)
    best = [StrongestClass(*size, output.logits) for _ in groups]
    indices = xp.asarray(query.class_indices, device=where)
    for maps, classes in output.maps(protocol, size, classes=xp.arange(len(indices), device=where)):
        for group, strongest in zip(groups, best, strict=True):
            inside = xp.isin(indices[classes], xp.asarray(group, device=where))
            if xp.any(inside):
                strongest.update(maps[inside], indices[classes][inside])
    labels = np.zeros((len(groups), *size), np.uint16)
    for number, (group, strongest) in enumerate(zip(groups, best, strict=True)):
        labels[number] = to_numpy(xp.where(strongest.value > -xp.inf, strongest.index, group[0]))
    return labels
