"""The segmenter: a network, its protocols and its words, from pictures to label maps."""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypedDict, Unpack, cast, overload

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, UInt16
from torch import Tensor
from torch.nn import functional as F

from segvoc.encoders.vocabulary_encoder import EncodedWords
from segvoc.errors import UsageError
from segvoc.imaging.label_maps import UNLABELLED
from segvoc.imaging.reading import ImageSource, image_name, read_image
from segvoc.inference.answer import Answer
from segvoc.inference.host_memory import keep_freed_memory
from segvoc.inference.part_labels import AskedParts, PartsAgainst, words_with_objects
from segvoc.inference.protocols import Protocol, Protocols
from segvoc.inference.segmentation import Segmentation
from segvoc.inference.strongest_class import StrongestClass
from segvoc.inference.window_names import Window
from segvoc.inference.windows import views
from segvoc.layers.class_selection import (
    PUBLISHED_VOTES,
    KeepClasses,
    OwnSelection,
    VotedShare,
    Votes,
    WithParts,
    asked_selection,
)
from segvoc.networks.pca_seg import SegmentationNetwork
from segvoc.vocabulary import PartVocabulary, Vocabulary

Parts = Mapping[str, Sequence[str]] | PartVocabulary
"""Objects and the names of their parts."""


class Options(TypedDict, total=False):
    """How pictures are labelled: see `Segmenter.segment`, which holds the defaults."""

    parts: Parts | None
    window: Window
    keep_classes: KeepClasses | None
    background: str | None
    threshold: float | None
    return_probabilities: bool
    among: Sequence[Sequence[int]]


@dataclass(frozen=True)
class _Rule:
    """Which words the network is asked, and what becomes of pixels where none of them is likely enough.

    words: the classes. asked: those that are looked for, all but the background. parts: what is asked beside them.
    none: the background where the network knows "none of them"; it is then asked for like a word.
    """

    words: tuple[str, ...]
    asked: Vocabulary
    background: int | None
    threshold: float | None
    parts: PartVocabulary | None
    asked_parts: AskedParts | None
    none: str | None = None

    @property
    def asked_indices(self) -> list[int]:
        return [index for index in range(len(self.words)) if index != self.background]


class Segmenter:
    """Labels pictures with words; `segvoc.load` makes one.

    name: of the preset or the file. network: the network itself, in evaluation mode. protocols: for each `window`.
    templates: prompt templates with `{}` for the word. class_chunk: classes that the network works on at a time; bounds
    memory, doesn't change results. batch: pictures, or windows of pictures, that it sees at a time. own_selection: what
    `keep_classes=None` means; by default what the protocol says. votes: how classes are voted for. parts_against: where
    a pixel of an object has one of its parts at all.
    """

    def __init__(
        self,
        *,
        name: str,
        network: SegmentationNetwork,
        protocols: Protocols,
        templates: Sequence[str],
        class_chunk: int | None = None,
        batch: int | None = None,
        own_selection: OwnSelection | None = None,
        votes: Votes = PUBLISHED_VOTES,
        parts_against: PartsAgainst = "object",
    ) -> None:
        self.name = name
        self.network = network.eval()
        self.protocols = protocols
        self.own_selection, self.votes = own_selection, votes
        self.parts_against: PartsAgainst = parts_against
        self.encode_words = network.word_encoder(templates)
        on_cpu = self.device.type == "cpu"
        if on_cpu:
            keep_freed_memory()
        self.class_chunk = class_chunk or (8 if on_cpu else 128)
        self.batch = batch or (1 if on_cpu else 8)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.network.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """Type of the weights."""
        return next(self.network.parameters()).dtype

    @overload
    def segment(
        self, images: ImageSource, words: Iterable[str] | Vocabulary | None = None, **options: Unpack[Options]
    ) -> Segmentation: ...

    @overload
    def segment(
        self, images: Sequence[ImageSource], words: Iterable[str] | Vocabulary | None = None, **options: Unpack[Options]
    ) -> list[Segmentation]: ...

    def segment(
        self,
        images: ImageSource | Sequence[ImageSource],
        words: Iterable[str] | Vocabulary | None = None,
        *,
        parts: Parts | None = None,
        window: Window = "auto",
        keep_classes: KeepClasses | None = None,
        background: str | None = None,
        threshold: float | None = None,
        return_probabilities: bool = False,
        among: Sequence[Sequence[int]] = (),
    ) -> Segmentation | list[Segmentation]:
        """Label every pixel of one or several pictures with one of the words.

        Args:
            images: a path, a PIL image or an (H, W, 3) uint8 array; or a list of them, of any sizes.
            words: one for each class; `", "` inside one separates synonyms. None: the objects of `parts`.
            parts: for each object the names of its parts, {"dog": ["head", "leg"]}; "*" stands for every object.
                Objects that are not among the words are added after them. Parts lie inside their objects.
            window: the way to the network: see `segvoc.inference.protocols`.
            keep_classes: refine only so many words of each picture (or window), those that most of its cells vote for;
                "auto": as many as its votes tell; "all": every word, in the official windows too; None: the network's
                own rule. Words that are dropped have no pixels, and probability 0. Parts don't count: an object that
                is kept keeps all of its own.
            background: the word that takes the pixels where no other word reaches the threshold; it isn't looked for
                in the picture itself. Added to the words if it isn't among them. A network that knows "none of them"
                (`has_background`) has learnt where that is: its own rule counts, unless a threshold is given.
            threshold: probability in [0, 1] below which a pixel is unlabelled, or background (then 0.5 by default).
            return_probabilities: keep the probability of every class at every pixel.
            among: groups of words, as indices; for each one the result also says which of its words is the most
                likely at every pixel, as if no other had been asked for (the network has seen them all the same).

        Returns:
            the result, or for a list a list of results.

        Raises:
            InputError: a picture can't be read.
            UsageError: words or options that don't fit together.
        """
        own = background is not None and threshold is None and self.network.has_background
        rule = _rule(words, parts, background, threshold, own=own)
        protocol = self.protocol(window, keep_classes, len(rule.asked))
        asked = rule.asked
        if rule.asked_parts is not None:
            asked, protocol = rule.asked_parts.asked, rule.asked_parts.way(protocol)
        several = isinstance(images, Sequence) and not isinstance(images, str | bytes | bytearray | memoryview)
        sources = cast(Sequence[ImageSource], images if several else [images])
        text = self.encode_words(asked, rule.none).to(self.dtype)
        # what one picture keeps must not depend on its neighbours in a batch
        batch = 1 if isinstance(protocol.selection, VotedShare | WithParts) else self.batch
        groups = _groups(among, len(rule.words))
        results: list[Segmentation] = []
        for start in range(0, len(sources), batch):
            results += self._batch(sources[start : start + batch], rule, text, protocol, return_probabilities, groups)
        return results if several else results[0]

    def protocol(self, window: Window, keep_classes: KeepClasses | None, words: int) -> Protocol:
        """The way of a picture through the network, with the selection that is asked for of so many words.

        Raises: UsageError: the window is unknown, or `keep_classes` asks for nothing that there is.
        """
        if window not in self.protocols:
            raise UsageError(f"window={window!r} is unknown to {self.name}; it is one of {', '.join(self.protocols)}")
        protocol = self.protocols[window]
        if keep_classes is not None:
            return replace(protocol, selection=asked_selection(keep_classes, self.votes))
        if self.own_selection is None or not self.network.selects:
            return protocol
        return replace(protocol, selection=self.own_selection(words, self.votes))

    def _batch(
        self,
        sources: Sequence[ImageSource],
        rule: _Rule,
        text: EncodedWords,
        protocol: Protocol,
        return_probabilities: bool,
        groups: Sequence[Sequence[int]],
    ) -> list[Segmentation]:
        start = time.perf_counter()
        pictures = [read_image(source) for source in sources]
        answers = self._answers([views(picture, protocol) for picture in pictures], text, protocol)
        of_parts: list[_PartMaps | None] = [None] * len(sources)
        labelled = [
            _labelled(answer, picture.shape[:2], rule, protocol, return_probabilities)
            for answer, picture in zip(answers, pictures, strict=True)
        ]
        if rule.asked_parts is not None:
            of_parts = [
                rule.asked_parts.labelled(
                    answer, maps.labels, maps.objects, rule.asked_indices, self.parts_against, protocol
                )
                for answer, maps in zip(answers, labelled, strict=True)
            ]
        of_groups = [
            _strongest_of(groups, answer, picture.shape[:2], rule, protocol)
            for answer, picture in zip(answers, pictures, strict=True)
        ]
        seconds = (time.perf_counter() - start) / len(sources)
        return [
            Segmentation(
                labels=maps.labels,
                confidence=maps.confidence,
                probabilities=maps.probabilities,
                among=among if groups else None,
                words=rule.words,
                selected=_selected(answer, rule),
                image=picture,
                model=self.name,
                seconds=seconds,
                source=image_name(source),
                parts=() if rule.parts is None else rule.parts.parts,
                part_labels=None if parts is None else parts[0],
                part_confidence=None if parts is None else parts[1],
            )
            for answer, maps, parts, among, picture, source in zip(
                answers, labelled, of_parts, of_groups, pictures, sources, strict=True
            )
        ]

    def _answers(
        self, seen: Sequence[Float[Tensor, "_ 3 _ _"]], text: EncodedWords, protocol: Protocol
    ) -> list[Answer]:
        """The network's answers to all views of some pictures; views of one size go through it together."""
        answers: dict[int, Answer] = {}
        by_size: dict[tuple[int, ...], list[int]] = {}
        for index, view in enumerate(seen):
            by_size.setdefault(tuple(view.shape), []).append(index)
        for members in by_size.values():
            pixels = torch.cat([seen[index] for index in members]).to(self.device)
            with torch.inference_mode():
                logits, kept = self.network.selected_logits(
                    pixels,
                    cast(Tensor, text),
                    pooling=protocol.pooling,
                    selection=protocol.selection,
                    chunk=self.class_chunk,
                )
            of_each = [None] * len(members) if kept is None else kept.chunk(len(members))
            for index, of_one, of in zip(members, logits.float().chunk(len(members)), of_each, strict=True):
                answers[index] = Answer(of_one, of, len(text))
        return [answers[index] for index in range(len(seen))]


_PartMaps = tuple[UInt16[np.ndarray, "H W"], Float32[np.ndarray, "H W"]]


def _rule(
    words: Iterable[str] | Vocabulary | None,
    parts: Parts | None,
    background: str | None,
    threshold: float | None,
    *,
    own: bool = False,
) -> _Rule:
    given = PartVocabulary(parts) if parts is not None and not isinstance(parts, PartVocabulary) else parts
    vocabulary = words_with_objects(words, given)
    if threshold is not None and not 0 <= threshold <= 1:
        raise UsageError(f"threshold={threshold} is no probability; give a number from 0 to 1")
    index, asked, none = None, vocabulary, None
    if background is not None:
        name = background.strip() if isinstance(background, str) else ""
        if not name:
            raise UsageError(f"the background's name {background!r} is no word; give it one, for example 'background'")
        if name not in vocabulary.words:
            vocabulary = Vocabulary((*vocabulary.words, name), synonyms=vocabulary.synonyms)
        if vocabulary.words == (name,):
            raise UsageError(f"{name!r} is the background and the only word; give at least one other")
        if own:
            asked, none = vocabulary, name
        else:
            index, asked = vocabulary.words.index(name), vocabulary.without(name)
            threshold = 0.5 if threshold is None else threshold
    asked_parts = None if given is None else AskedParts.beside(asked, given, none)
    return _Rule(vocabulary.words, asked, index, threshold, given, asked_parts, none)


def _selected(answer: Answer, rule: _Rule) -> Bool[np.ndarray, " K"]:
    """Words that went on in any view; the background, which isn't looked for, always counts as one."""
    selected = np.ones(len(rule.words), dtype=bool)
    selected[rule.asked_indices] = False
    went_on = answer.went_on().cpu().numpy()
    selected[np.array(rule.asked_indices)[went_on[went_on < len(rule.asked)]]] = True
    return selected


def _groups(among: Sequence[Sequence[int]], words: int) -> list[list[int]]:
    groups = [sorted(set(group)) for group in among]
    for group in groups:
        if not group or group[0] < 0 or group[-1] >= words:
            raise UsageError(f"the group {group} of `among` names no words; give indices from 0 to {words - 1}")
    return groups


def _strongest_of(
    groups: Sequence[Sequence[int]], answer: Answer, size: tuple[int, int], rule: _Rule, protocol: Protocol
) -> UInt16[np.ndarray, "G H W"]:
    """The strongest word of each group at every pixel; its first, where all of its words were dropped."""
    if not groups:
        return np.zeros((0, *size), np.uint16)
    device = answer.logits.device
    best = [StrongestClass(*size, device) for _ in groups]
    indices = torch.tensor(rule.asked_indices, device=device)
    for maps, classes in answer.maps(protocol, size, classes=torch.arange(len(indices), device=device)):
        for group, strongest in zip(groups, best, strict=True):
            inside = torch.isin(indices[classes], torch.tensor(group, device=device))
            if inside.any():
                strongest.update(maps[inside], indices[classes][inside])
    labels = np.zeros((len(groups), *size), np.uint16)
    for number, (group, strongest) in enumerate(zip(groups, best, strict=True)):
        labels[number] = torch.where(strongest.value > -torch.inf, strongest.index, group[0]).cpu().numpy()
    return labels


@dataclass(frozen=True)
class _WordMaps:
    """What is known of a picture's words. objects: what the network said of each pixel's likeliest word."""

    labels: UInt16[np.ndarray, "H W"]
    confidence: Float32[np.ndarray, "H W"]
    probabilities: Float32[np.ndarray, "K H W"] | None
    objects: Float[Tensor, "H W"]


def _labelled(
    answer: Answer, size: tuple[int, int], rule: _Rule, protocol: Protocol, return_probabilities: bool
) -> _WordMaps:
    """Labels, confidence and, if asked for, probabilities of one picture; parts are no words."""
    best = StrongestClass(*size, answer.logits.device)
    probabilities = np.zeros((len(rule.words), *size), np.float32) if return_probabilities else None
    indices = torch.tensor(rule.asked_indices, device=answer.logits.device)
    for maps, classes in answer.maps(protocol, size, classes=torch.arange(len(indices), device=indices.device)):
        chosen = indices[classes]
        best.update(maps, chosen)
        if probabilities is not None:
            full = F.interpolate(maps[None], size=size, mode="bilinear")[0]
            probabilities[chosen.cpu().numpy()] = (full if protocol.sigmoid_first else full.sigmoid()).cpu().numpy()
    confidence = (best.value if protocol.sigmoid_first else best.value.sigmoid()).cpu().numpy()
    labels = best.index.cpu().numpy().astype(np.uint16)
    if rule.background is not None and probabilities is not None:
        probabilities[rule.background] = 1 - confidence
    if rule.threshold is not None:
        none = confidence < rule.threshold
        labels[none] = UNLABELLED if rule.background is None else rule.background
        if rule.background is not None:
            confidence[none] = 1 - confidence[none]
    return _WordMaps(labels, confidence, probabilities, best.value)
