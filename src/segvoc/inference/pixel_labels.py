"""Pixel labels: from logits to the class of every pixel."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import Literal

import numpy as np
from array_api_compat import device
from jaxtyping import Bool, Float, Float32, Int, UInt16

from segvoc.errors import UsageError
from segvoc.imaging.label_maps import UNLABELED
from segvoc.inference.confidence import WordConfidence
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
    confidence: WordConfidence | None = None,
    return_probabilities: bool = False,
) -> Callable[[], ClassLabels]:
    """Start to find the strongest class of every pixel, in an image of a size [px].

    A pixel is background, or unlabeled without a background class, below the background's threshold. So are pixels
    where a stand-in is likelier than all words. The function that is returned waits for a GPU and gives the result.
    """
    contest = Contest(*size, output, query, protocol, confidence)
    probabilities = np.zeros((len(query.words), *size), np.float32) if return_probabilities else None
    for strongest, wanted in contest.rounds:
        for maps, classes in output.maps(protocol, size, classes=wanted):
            chosen = contest.labels[classes]
            strongest.update(maps, chosen)
            if probabilities is not None and strongest is contest.best:
                full = bilinear(maps[None, ...], size)[0, ...]
                probabilities[to_numpy(chosen)] = to_numpy(full if protocol.sigmoid_first else sigmoid(full))
    background = query.background_index
    if probabilities is not None and background is not None:
        probabilities[background] = to_numpy(contest.background_probability())
    decision = decide(contest)
    return lambda: ClassLabels(*decision(), probabilities, contest.best.value)


Group = Literal["words", "stand-ins", "others", "wholes", "surroundings", "parts"]
"""All words of a call; those that nobody asked for: for the background, or like surroundings that are asked for, for
other surroundings, and for wholes; and those for surroundings and for parts, which have the rules of `Rivals`."""


class Contest:
    """The strongest word at each pixel, and the strongest of the groups of words that have rules of their own.

    `output` is the network's for the image, or for a part of it. `confidence` is the probability that a label is right;
    without it, it is the sigmoid of the label's score.
    """

    def __init__(
        self,
        height: int,
        width: int,
        output: ViewLogits,
        query: ClassQuery,
        protocol: Protocol,
        confidence: WordConfidence | None = None,
    ) -> None:
        like = output.logits
        xp, where = array_namespace(like), device(like)
        self.protocol, self.confidence = protocol, confidence
        self.offsets = None if confidence is None else confidence.offsets(output, protocol, (height, width))
        count, end = len(query.class_indices), query.num_words
        self.query = query
        self.labels: Int[Array, " T"] = xp.concat(
            (xp.asarray(query.class_indices, device=where), xp.arange(count, end, device=where))
        )
        """The class of each queried word that isn't a part of an object; those of stand-ins come after all others."""
        first = end - len(query.rivals.unnamed_wholes)
        others = range(first - len(query.rivals.others), first)
        words: dict[Group, range | tuple[int, ...]] = {
            "words": range(count),
            "stand-ins": range(count, others.start),
            "others": others,
            "wholes": range(first, end),
            "surroundings": query.rivals.surroundings,
            "parts": query.rivals.parts if query.rivals.wholes else (),
        }
        self.groups: dict[Group, StrongestClass] = {
            group: StrongestClass(height, width, like) for group, some in words.items() if len(some)
        }
        """The strongest word of each group that the call has."""
        self.rounds = [
            (strongest, some if isinstance(some := words[group], range) else xp.asarray(some, device=where))
            for group, strongest in self.groups.items()
        ]
        """Which queried words are compared in each group."""
        self.best = self.groups["words"]

    def winners(self) -> tuple[Int[Array, "H W"], Float[Array, "H W"]]:
        """The label of each pixel by the rules of `Rivals`, or `UNLABELED`, and the score of its strongest word."""
        labels, scores, rivals, groups = self.best.index, self.best.value, self.query.rivals, self.groups
        xp = array_namespace(scores)

        def given_to(group: StrongestClass, wins: Bool[Array, "H W"]) -> tuple[Array, Array]:
            return xp.where(wins, group.index, labels), xp.where(wins, group.value, scores)

        def are(words: tuple[int, ...]) -> Bool[Array, "H W"]:
            return xp.isin(labels, xp.asarray(words, device=device(labels)))

        lead = 0.0 if self.query.background.stand_ins is None else self.query.background.stand_ins.lead
        unlabeled = list[Array]()
        if rivals.others and rivals.is_open:
            # those that are much like the named ones hold others off
            known = xp.maximum(scores, groups["stand-ins"].value) if rivals.alike else scores
            unlabeled.append(groups["others"].value > known + lead)
        if rivals.surroundings:
            named = groups["surroundings"]
            unasked = reduce(xp.maximum, (groups[name].value for name in ("stand-ins", "others") if name in groups))
            behind = (unasked > scores) & (named.value > -xp.inf)
            labels, scores = given_to(named, behind & ~are(rivals.surroundings))
        if rivals.wholes:
            parts = groups["parts"]
            labels, scores = given_to(parts, (parts.value + lead > scores) & are(rivals.wholes))
        if rivals.unnamed_wholes:
            unlabeled.append((groups["wholes"].value > scores + lead) & are(rivals.parts))
        return xp.where(reduce(or_, unlabeled), UNLABELED, labels) if unlabeled else labels, scores

    def probabilities(self, labels: Int[Array, "H W"], scores: Float[Array, "H W"]) -> Float32[Array, "H W"]:
        """The confidence of each pixel's label; of an unlabeled pixel, that of its strongest word."""
        if self.confidence is None or self.offsets is None:
            return self.probability(scores)
        xp, background = array_namespace(scores), self.query.background_index
        words = xp.where(labels == UNLABELED, self.best.index, labels)
        if background is not None:
            words = words - xp.astype(words > background, words.dtype)
        return self.confidence.probabilities(scores, words, self.offsets)

    def probability(self, scores: Float[Array, "H W"]) -> Float32[Array, "H W"]:
        """How well pixels fit their words."""
        return scores if self.protocol.sigmoid_first else sigmoid(scores)

    def background_probability(self) -> Float32[Array, "H W"]:
        """The probability that a pixel is background.

        At a threshold of 0.5 on the scores, it is the highest exactly where the background is the label.
        """
        unlikely = 1 - self.probability(self.best.value)
        if "stand-ins" not in self.groups:
            return unlikely
        ahead = self.probability(self.groups["stand-ins"].value + self.query.background.margin)
        return array_namespace(ahead).maximum(unlikely, ahead)


def decide(contest: Contest) -> Callable[[], tuple[UInt16[np.ndarray, "H W"], Float32[np.ndarray, "H W"]]]:
    """Decide the labels of pixels and their probabilities.

    The function that is returned waits for a GPU and gives both.
    """
    query, conditions = contest.query, list[Array]()
    background, threshold = query.background_index, query.background.threshold
    labels, scores = contest.winners()
    xp, stand_ins = array_namespace(scores), query.background.stand_ins
    confidence = contest.probabilities(labels, scores)
    if threshold is not None:
        conditions.append(confidence < threshold)
    if query.background.kind != "fill" and query.stand_ins:
        conditions.append(contest.groups["stand-ins"].value + query.background.margin > scores)
    if query.background.kind != "fill" and threshold is None and stand_ins is not None:
        conditions.append(contest.probability(scores) < stand_ins.threshold)
    below = reduce(or_, conditions) if conditions else None
    if below is not None and background is not None:
        confidence = xp.where(below, contest.background_probability(), confidence)
    if below is not None:
        labels = xp.where(below, UNLABELED if background is None else background, labels)
    if confidence is contest.best.value:  # nobody may change the score through the result
        confidence = xp.asarray(confidence, copy=True)
    copied = start_copy(xp.astype(labels, xp.int32), confidence)

    def finish() -> tuple[UInt16[np.ndarray, "H W"], Float32[np.ndarray, "H W"]]:
        numbers, probability = copied()
        return numbers.astype(np.uint16), probability

    return finish


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
