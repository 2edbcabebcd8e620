"""A model: a network on any array library, what it can do, its test protocols, and the words that it knows."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeVar

import numpy as np
from jaxtyping import Float, Float32, Int, UInt8

from segvoc.encoders.word_encoder import EncodedWords, WordEncoder
from segvoc.errors import UsageError
from segvoc.inference.decision import PLAIN_DECISION, Decision
from segvoc.inference.label_options import LabelOptions
from segvoc.inference.protocols import Protocol, Protocols, Window
from segvoc.inference.taught.features import FeatureArrays, read_features
from segvoc.inference.taught.taught_words import TaughtWords, probe_image
from segvoc.inference.windows import views
from segvoc.layers.selection import requested_selection
from segvoc.runtime.arrays import Array
from segvoc.runtime.suggestions import checked_call
from segvoc.vocabulary.names import folded


@dataclass(frozen=True, kw_only=True)
class ModelTraits:
    """What a model can do, and how its pixels are decided."""

    has_background: bool = False
    """Whether the network predicts a map for "none of the words"."""
    has_parts: bool = False
    """Whether it is a network of objects and parts, which sorts words into both; others can't be taught to it."""
    selects: bool = True
    """Whether the network supports class selection."""
    refines_edges: bool = False
    """Whether the features are those that the edge refiner was trained on."""
    decision: Decision = PLAIN_DECISION
    """What becomes of a pixel."""


PLAIN = ModelTraits()
"""A model without special traits."""

Maps = tuple[Float[Array, "N P h w"], Int[Array, "N P"] | None]
"""Logits (float32) of the P classes selected in each of N views, and their indices among the words, ascending (None:
all, in order). Both arrays are of the same library and on the same device."""


class EncoderIdentity:
    """Which image encoder an image was encoded by, for this process and, by its digest, for others.

    Args:
        find_digest: a digest of all that features depend on; None if there is none. Called once, when it is needed.
    """

    def __init__(self, find_digest: Callable[[], str | None]) -> None:
        self._find_digest = find_digest

    @cached_property
    def digest(self) -> str | None:
        """The digest."""
        return self._find_digest()

    def is_same(self, other: "EncoderIdentity") -> bool:
        """Whether both encode images alike."""
        return self is other or (self.digest is not None and self.digest == other.digest)

    def __deepcopy__(self, memo: object) -> "EncoderIdentity":
        return self

    def __reduce__(self) -> tuple[object, ...]:
        return _unpickled, (self.digest,)


def _unpickled(digest: str | None) -> EncoderIdentity:
    return EncoderIdentity(lambda: digest)


AnyEngine = TypeVar("AnyEngine", bound="Engine")


class Engine(ABC):
    """A model: images and words are encoded apart, and then compared.

    A subclass runs the network.

    Args:
        name: the model's name in results.
        protocols: one per `window`.
        encode_words: encodes vocabularies for the network.
        traits: what the model can do.
        batch: batch size, in images or windows of images.
        origin: metadata of a weights file, from which `segvoc.load` builds the same network: "preset" and
            "configuration".
    """

    def __init__(
        self,
        *,
        name: str,
        protocols: Protocols,
        encode_words: WordEncoder,
        traits: ModelTraits = PLAIN,
        batch: int = 1,
        origin: Mapping[str, object] | None = None,
    ) -> None:
        self.name, self.protocols, self.encode_words = name, protocols, encode_words
        self.traits, self.batch, self.origin = traits, batch, dict(origin or {})
        self.taught: tuple[TaughtWords, ...] = ()
        """Taught words; if a word is there several times, the last counts."""
        self.known_words: tuple[str, ...] = ()
        """The words that the model was trained on or taught, if its file or repository lists them."""
        self.image_encoder = EncoderIdentity(lambda: None)
        """Identifies the image encoder; models with other words share it."""
        self.known_background: str | None = None
        """The word among them that means "none of the others"."""

    @property
    @abstractmethod
    def dtype(self) -> str:
        """Precision of most of the network's computations: "float32", "bfloat16", ..."""

    @property
    def device(self) -> object:
        """Where the network runs: "cpu", or the `torch.device` of a PyTorch network."""
        return "cpu"

    @property
    def batches_ahead(self) -> int:
        """Batches submitted ahead of post-processing."""
        return 0

    def to_device(self, image: UInt8[np.ndarray, "H W 3"], /) -> UInt8[Array, "H W 3"]:
        """Move an image to the library and device that its views are interpolated with."""
        return image

    @abstractmethod
    def encode_views(self, pixels: Float32[Array, "N 3 H W"], *, complete: bool = True) -> FeatureArrays:
        """Run the image encoder on views of images.

        Args:
            pixels: N views, RGB with values in [0, 255].
            complete: False leaves out what only class selection and taught words read, as far as the network can.

        Returns:
            Feature maps (N C h w) by name: the input of `compare`, and what taught words read.
        """

    @abstractmethod
    def compare(self, features: FeatureArrays, text: EncodedWords, protocol: Protocol) -> Maps:
        """Compare encoded views with words.

        Args:
            features: output of `encode_views`.
            text: the words, encoded by `Segmenter.encode_words`.
            protocol: how class aggregation pools, and which classes are selected.

        Returns:
            The maps, and which classes they are of; see `Maps`.
        """

    @property
    def own_words(self) -> tuple[str, ...]:
        """The words that the model was trained on and taught, if any; `segment` asks for them by default."""
        taught = (name for one in self.taught for name in one.known)
        names: dict[str, str] = {}
        for name in (*self.known_words, *taught):
            names.setdefault(folded(name), name)
        return tuple(names.values())

    @property
    def own_background(self) -> str | None:
        """The word among them that means "none of the others"."""
        found = [self.known_background, *(one.record.background for one in self.taught)]
        return next((name for name in reversed(found) if name in self.own_words), None)

    def taught_among(self, words: Iterable[str]) -> tuple[TaughtWords, ...]:
        """The results of teaching that any of the words is from, but for their background."""
        asked = set(map(folded, words)) if self.taught else set[str]()
        return tuple(one for one in self.taught if not asked.isdisjoint(map(folded, one.foreground)))

    def learned_background(self, taught: Iterable[TaughtWords]) -> bool:
        """Whether what shows none of the words was learned: by the network, or with words that were taught to it."""
        return self.traits.has_background or any(one.record.background is not None for one in taught)

    def probed_features(self) -> FeatureArrays:
        """Features of a synthetic image, the fingerprint by which taught words recognize their model.

        Raises:
            UsageError: words can't be taught to a network of objects and parts.
        """
        if self.traits.has_parts:
            raise UsageError(
                f"words can't be taught to {self.name!r}, a network of objects and parts; teach one without parts"
            )
        self.prepare_to_run()
        return read_features(self.encode_views(views(probe_image(), self.protocols["single"])[:1]))

    @checked_call
    def with_taught(self: AnyEngine, *taught: TaughtWords) -> AnyEngine:
        """Return this model with taught words, sharing its weights.

        Args:
            taught: results of `segvoc.teach`, added to earlier taught words. If a word is taught several times, the
                last counts.

        Raises:
            CheckpointError: the words were taught to another model.
        """
        features = self.probed_features()
        for one in taught:
            one.check_model(self.name, features)
        other = copy.copy(self)
        other.taught = (*self.taught, *taught)
        return other

    def prepare_to_run(self) -> None:
        """Hook at the start of each call that encodes words or labels images; an engine may raise or warn here."""
        return

    @property
    def templates(self) -> Sequence[str]:
        """Prompt templates; `{}` stands for the word."""
        return self.encode_words.templates

    def protocol(self, options: LabelOptions) -> Protocol:
        """The protocol of the options' window, with their class selection.

        Raises:
            UsageError: the model doesn't have the window.
        """
        protocol = self.window_protocol(options.window)
        selection = requested_selection(options.keep_classes, protocol.selection)
        if options.keep_classes is None and self.taught:
            selection = None  # class selection by text must not drop taught words
        return replace(protocol, selection=selection)

    def window_protocol(self, window: Window) -> Protocol:
        """The protocol of a window, with its class selection; `UsageError` if the model doesn't have it."""
        if not isinstance(window, str) or window not in self.protocols:
            raise UsageError(f"window={window!r} is unknown to {self.name}; it is one of {', '.join(self.protocols)}")
        return self.protocols[window]
