"""What runs a network, as labeling sees it: its traits, and the passes over views and words."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, Int, UInt8

from segvoc.encoders.word_encoder import EncodedWords
from segvoc.inference.background import BackgroundWords
from segvoc.inference.part_labels import PartsAgainst
from segvoc.inference.protocols import Protocol
from segvoc.inference.taught.features import FeatureArrays
from segvoc.runtime.arrays import Array


@dataclass(frozen=True, kw_only=True)
class ModelTraits:
    """What a model can do and how its results are read, as its opener knows it."""

    has_background: bool = False
    """Whether the network predicts a map for "none of the words"."""
    has_parts: bool = False
    """Whether it is a network of objects and parts, which sorts words into both; others can't be taught to it."""
    selects: bool = True
    """Whether the network supports class selection."""
    parts_against: PartsAgainst = "object"
    """The rule by which a pixel of an object gets one of its parts."""
    background_words: BackgroundWords | None = None
    """Words that stand for the background; None: only a threshold decides it."""
    refines_edges: bool = False
    """Whether the features are those that the edge refiner was trained on."""
    unsure_below: float | None = None
    """Mean confidence below which perhaps none of the words is in an image; None: not known."""


PLAIN = ModelTraits()
"""A model without special traits."""

Maps = tuple[Float[Array, "N P h w"], Int[Array, "N P"] | None]
"""Logits (float32) of the P classes selected in each of N views, and their indices among the words, ascending (None:
all, in order). Both arrays are of the same library and on the same device."""


class Engine(ABC):
    """Runs a network, on any array library: images and words are encoded apart, and then compared."""

    name: str
    """The model's name in results."""
    traits: ModelTraits
    batch: int
    """Batch size, in images or windows of images."""

    @property
    @abstractmethod
    def dtype(self) -> str:
        """Precision of most of the network's computations: "float32", "bfloat16", ..."""

    @property
    def batches_ahead(self) -> int:
        """Batches submitted ahead of post-processing."""
        return 0

    def to_device(self, image: UInt8[np.ndarray, "H W 3"], /) -> UInt8[Array, "H W 3"]:
        """Move an image to the library and device that its views are interpolated with."""
        return image

    @abstractmethod
    def encode_views(self, pixels: Float32[Array, "N 3 H W"]) -> FeatureArrays:
        """Run the image encoder on N views of images, RGB with values in [0, 255].

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
