"""Compares an exported model with the model that it was made of."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from segvoc.arrays import to_numpy
from segvoc.exported.segmenter import ExportedSegmenter
from segvoc.inference.label_options import LabelOptions
from segvoc.inference.segmenter import Segmenter
from segvoc.inference.windows import views
from segvoc.models.network_segmenter import NetworkSegmenter
from segvoc.teaching.taught_words import TaughtQuery
from segvoc.vocabulary import Vocabulary

SIZES = ((480, 640), (333, 500), (640, 427))
"""Heights and widths of the images [px]."""

WORDS = (
    "cat", "dog", "person", "sky", "grass", "wall", "floor", "tree", "road", "water", "table", "chair", "car",
    "building", "window", "door", "bread", "cup", "horse", "boat", "mountain", "snow", "flower", "lamp", "bottle",
    "shoe", "bicycle",
)  # fmt: skip
"""The larger of two vocabularies; the smaller one is its first words."""

FEW_WORDS = 3
"""Words of the smaller one."""

LARGEST_DIFFERENCES = {"float32": 1e-4, "float16": 0.05, "int8": 0.3}
"""Largest difference of a logit, relative to the largest one of the image."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """How an exported model compares with the original one."""

    difference: float
    """Largest difference of a logit, relative to the largest logit of its image."""
    tolerance: float
    """What is allowed."""
    equal_labels: float
    """Share of the pixels with equal labels, in [0, 1]."""

    @property
    def agrees(self) -> bool:
        """Whether the logits are close enough."""
        return self.difference <= self.tolerance


def compare_with_export(
    model: NetworkSegmenter, exported: ExportedSegmenter, dtype: str, vocabulary: Vocabulary | None = None
) -> Comparison:
    """Compare logits of all words, and labels, for three images and two vocabularies, in windows of each pooling.

    If the model was taught words, there is a third vocabulary: these and the first of the others.

    Args:
        model: the original model.
        exported: the exported one.
        dtype: precision of the exported one, which decides the tolerance.
        vocabulary: the words if they are fixed.

    Raises:
        CheckpointError: the exported model isn't recognized as the one that its taught words were taught to.
    """
    exported.check_taught()
    words = WORDS if vocabulary is None else vocabulary.words
    vocabularies = [words[:FEW_WORDS], words]
    taught = [word for one in model.taught for word in one.words if vocabulary is None or word in words]
    if taught:
        vocabularies.append(tuple(dict.fromkeys((*taught, *words[:FEW_WORDS]))))
    differences, equal = [], []
    for number, size in enumerate(SIZES):
        image = _scene(*size, seed=number)
        for some in vocabularies:
            # windows of another pooling take several views: one image is enough
            for options in _options(model)[: None if number == 0 else 1]:
                ours, theirs = (_logits(one, image, some, options) for one in (model, exported))
                differences.append(np.abs(ours - theirs).max() / np.abs(ours).max())
            ours, theirs = (one.segment(image, some).labels for one in (model, exported))
            equal.append(float((ours == theirs).mean()))
    return Comparison(
        difference=float(max(differences)), tolerance=LARGEST_DIFFERENCES[dtype], equal_labels=float(np.mean(equal))
    )


def _options(model: Segmenter) -> list[LabelOptions]:
    """A window for each pooling, `auto` first, without class selection."""
    by_pooling: dict[tuple[int, int], LabelOptions] = {}
    for window, protocol in model.protocols.items():
        options = LabelOptions(window=window)
        by_pooling.setdefault(protocol.pooling, options.keeping_all() if model.selects else options)
    return list(by_pooling.values())


def _logits(
    model: Segmenter, image: UInt8[np.ndarray, "H W 3"], words: Sequence[str], options: LabelOptions
) -> np.ndarray:
    protocol = model.protocol(options, len(words))
    pixels = views(image, protocol)
    text = model.encode_words(Vocabulary(words))
    taught = TaughtQuery.of(model.taught, words, len(words))
    if taught is None:
        return to_numpy(model.run(pixels, text, protocol)[0])
    return to_numpy(model.run_taught(pixels, taught.embeddings(text), protocol, taught)[0])


def _scene(height: int, width: int, seed: int) -> UInt8[np.ndarray, "H W 3"]:
    """Blurred patches of random colors: no photograph, but every feature of an encoder varies in it."""
    random = np.random.default_rng(seed)
    patches = random.integers(0, 256, (7, 9, 3), np.uint8)
    smooth = Image.fromarray(patches).resize((width, height), Image.Resampling.BICUBIC)
    grain = random.normal(0, 12, (height, width, 3))
    return (np.asarray(smooth) + grain).clip(0, 255).astype(np.uint8)
