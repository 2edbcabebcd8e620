"""The segmenter: a network, its protocols and its words, from pictures to label maps."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import cast, overload

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt16
from torch import Tensor, nn
from torch.nn import functional as F

from segvoc.encoders.text_features import VocabularyEncoder
from segvoc.errors import UsageError
from segvoc.images import ImageSource, read_image
from segvoc.inference.host_memory import keep_freed_memory
from segvoc.inference.segmentation import Segmentation
from segvoc.inference.strongest_class import StrongestClass
from segvoc.inference.windows import merged, views
from segvoc.label_maps import UNLABELLED
from segvoc.networks.protocols import WINDOWS, Protocol, Protocols, Window
from segvoc.vocabulary import Vocabulary

MERGED_CLASSES = 64
"""Classes whose sliding windows are put together at a time."""


@dataclass(frozen=True)
class _Rule:
    """Which words the network is asked, and what becomes of pixels where none of them is likely enough."""

    words: tuple[str, ...]
    asked: Vocabulary
    background: int | None
    threshold: float | None

    @property
    def asked_indices(self) -> list[int]:
        return [index for index in range(len(self.words)) if index != self.background]


class Segmenter:
    """Labels pictures with words; `segvoc.load` makes one.

    name: of the preset or the file. network: the network itself, in evaluation mode. protocols: for each `window`.
    templates: prompt templates with `{}` for the word. class_chunk: classes that the network works on at a time; bounds
    memory, doesn't change results. batch: pictures, or windows of pictures, that it sees at a time.
    """

    def __init__(
        self,
        *,
        name: str,
        network: nn.Module,
        protocols: Protocols,
        templates: Sequence[str],
        class_chunk: int | None = None,
        batch: int | None = None,
    ) -> None:
        self.name = name
        self.network = network.eval()
        self.protocols = protocols
        self.encode_words = VocabularyEncoder(network.get_submodule("text_encoder"), templates)
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
        self,
        images: ImageSource,
        words: Iterable[str] | Vocabulary,
        *,
        window: Window = "auto",
        background: str | None = None,
        threshold: float | None = None,
        return_probabilities: bool = False,
    ) -> Segmentation: ...

    @overload
    def segment(
        self,
        images: Sequence[ImageSource],
        words: Iterable[str] | Vocabulary,
        *,
        window: Window = "auto",
        background: str | None = None,
        threshold: float | None = None,
        return_probabilities: bool = False,
    ) -> list[Segmentation]: ...

    def segment(
        self,
        images: ImageSource | Sequence[ImageSource],
        words: Iterable[str] | Vocabulary,
        *,
        window: Window = "auto",
        background: str | None = None,
        threshold: float | None = None,
        return_probabilities: bool = False,
    ) -> Segmentation | list[Segmentation]:
        """Label every pixel of one or several pictures with one of the words.

        Args:
            images: a path, a PIL image or an (H, W, 3) uint8 array; or a list of them, of any sizes.
            words: one for each class; `", "` inside one separates synonyms.
            window: the way to the network: see `segvoc.networks.protocols`.
            background: the word that takes the pixels where no other word reaches the threshold; it isn't looked for
                in the picture itself. Added to the words if it isn't among them.
            threshold: probability in [0, 1] below which a pixel is unlabelled, or background (then 0.5 by default).
            return_probabilities: keep the probability of every class at every pixel.

        Returns:
            the result, or for a list a list of results.

        Raises:
            InputError: a picture can't be read.
            UsageError: words or options that don't fit together.
        """
        if window not in self.protocols:
            raise UsageError(f"window={window!r} is unknown; it is one of {', '.join(WINDOWS)}")
        rule = _rule(words, background, threshold)
        several = isinstance(images, Sequence) and not isinstance(images, str)
        sources = cast(Sequence[ImageSource], images if several else [images])
        text = self.encode_words(rule.asked).to(self.dtype)
        protocol = self.protocols[window]
        results: list[Segmentation] = []
        for start in range(0, len(sources), self.batch):
            results += self._batch(sources[start : start + self.batch], rule, text, protocol, return_probabilities)
        return results if several else results[0]

    def _batch(
        self,
        sources: Sequence[ImageSource],
        rule: _Rule,
        text: Float[Tensor, "T P C"],
        protocol: Protocol,
        return_probabilities: bool,
    ) -> list[Segmentation]:
        start = time.perf_counter()
        pictures = [read_image(source) for source in sources]
        answers = self._logits([views(picture, protocol) for picture in pictures], text, protocol)
        labelled = [
            _labelled(logits, picture.shape[:2], rule, protocol, return_probabilities)
            for logits, picture in zip(answers, pictures, strict=True)
        ]
        seconds = (time.perf_counter() - start) / len(sources)
        return [
            Segmentation(
                labels=labels,
                confidence=confidence,
                probabilities=probabilities,
                words=rule.words,
                selected=np.ones(len(rule.words), dtype=bool),
                image=picture,
                model=self.name,
                seconds=seconds,
                source=str(source) if isinstance(source, str) or hasattr(source, "__fspath__") else None,
            )
            for (labels, confidence, probabilities), picture, source in zip(labelled, pictures, sources, strict=True)
        ]

    def _logits(
        self, seen: Sequence[Float[Tensor, "V 3 H W"]], text: Float[Tensor, "T P C"], protocol: Protocol
    ) -> list[Float[Tensor, "V T h w"]]:
        """The network's answers to all views of some pictures; views of one size go through it together."""
        answers: dict[int, Tensor] = {}
        by_size: dict[tuple[int, ...], list[int]] = {}
        for index, view in enumerate(seen):
            by_size.setdefault(tuple(view.shape), []).append(index)
        for members in by_size.values():
            pixels = torch.cat([seen[index] for index in members]).to(self.device)
            with torch.inference_mode():
                logits = self.network(
                    pixels, text, pooling=protocol.pooling, selection=protocol.selection, chunk=self.class_chunk
                )
            answers.update(zip(members, logits.float().chunk(len(members)), strict=True))
        return [answers[index] for index in range(len(seen))]


def _rule(words: Iterable[str] | Vocabulary, background: str | None, threshold: float | None) -> _Rule:
    vocabulary = words if isinstance(words, Vocabulary) else Vocabulary(words)
    if threshold is not None and not 0 <= threshold <= 1:
        raise UsageError(f"threshold={threshold} is no probability; give a number from 0 to 1")
    if background is None:
        return _Rule(vocabulary.words, vocabulary, None, threshold)
    name = background.strip() if isinstance(background, str) else ""
    if not name:
        raise UsageError(f"the background's name {background!r} is no word; give it one, for example 'background'")
    if name not in vocabulary.words:
        vocabulary = Vocabulary((*vocabulary.words, name), synonyms=vocabulary.synonyms)
    if vocabulary.words == (name,):
        raise UsageError(f"{name!r} is the background and the only word; give at least one other")
    index = vocabulary.words.index(name)
    return _Rule(vocabulary.words, vocabulary.without(name), index, 0.5 if threshold is None else threshold)


def _labelled(
    logits: Float[Tensor, "V T h w"],
    size: tuple[int, int],
    rule: _Rule,
    protocol: Protocol,
    return_probabilities: bool,
) -> tuple[UInt16[np.ndarray, "H W"], Float32[np.ndarray, "H W"], Float32[np.ndarray, "K H W"] | None]:
    """Labels, confidence and, if asked for, probabilities of one picture."""
    best = StrongestClass(*size, logits.device)
    probabilities = np.empty((len(rule.words), *size), np.float32) if return_probabilities else None
    indices = torch.tensor(rule.asked_indices, device=logits.device)
    together = MERGED_CLASSES if protocol.sliding else len(indices)
    for part, chosen in zip(logits.split(together, 1), indices.split(together), strict=True):
        maps = merged(part, protocol)
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
    return labels, confidence, probabilities
