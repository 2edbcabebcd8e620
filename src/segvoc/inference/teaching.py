"""Teaches words to a segmenter: what learning needs from labeled images, and a model with what was learned."""

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol, TypeVar, runtime_checkable

import numpy as np
from jaxtyping import Float, Float32, Int

from segvoc.arrays import Array
from segvoc.encoders.word_encoder import EncodedWords, WordEncoder
from segvoc.errors import UsageError
from segvoc.imaging.label_maps import UNLABELED
from segvoc.inference.protocols import Protocol as ViewProtocol
from segvoc.inference.protocols import Protocols
from segvoc.inference.windows import views
from segvoc.teaching.examples import Cells, cells_per_image, sampled_cells
from segvoc.teaching.features import FeatureArrays, channels_of, read_features
from segvoc.teaching.learning import fits_of, learn
from segvoc.teaching.taught_words import TaughtWords, TeachingRecord, mean_features, probe_image
from segvoc.version import __version__
from segvoc.vocabulary import Vocabulary

AnyTeachable = TypeVar("AnyTeachable", bound="Teachable")

OnTeaching = Callable[[str, int, int], None]
"""Called with what is done ("reading images"), how many of it are done, and how many there are."""


@runtime_checkable
class LabeledExamples(Protocol):
    """Labeled images, such as `segvoc.LabeledImages`."""

    @property
    def vocabulary(self) -> Vocabulary:
        """The words; the index of a word is its label."""
        ...

    def __len__(self) -> int:
        """Number of images."""
        ...

    def read(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """An image (H W 3) and the index of each pixel's word (H W), or 65535."""
        ...


class Teachable:
    """What a segmenter needs to be taught words: a part of `Segmenter`."""

    name: str
    protocols: Protocols
    encode_words: WordEncoder
    taught: tuple[TaughtWords, ...] = ()
    """Words that the model was taught; of a word that is there several times, the last counts."""

    def prepare_to_run(self) -> None:
        """See `Segmenter.prepare_to_run`."""

    def run_with_features(
        self, pixels: Float32[np.ndarray, "N 3 H W"], text: EncodedWords, protocol: ViewProtocol
    ) -> tuple[Float[Array, "N P h w"], Int[Array, "N P"] | None, FeatureArrays]:
        """Do as `run` does, and return the image encoder's feature maps too, which taught words need.

        Raises:
            UsageError: the network has no feature maps that words could be taught on.
        """
        raise UsageError(f"words can't be taught to {self.name!r}, whose network reads the image once for each word")

    def teach(
        self,
        images: LabeledExamples,
        *,
        keep_worse: bool = False,
        seed: int = 0,
        on_step: OnTeaching = lambda what, done, total: None,
    ) -> TaughtWords:
        """Learn words from labeled images: a small classifier for each on the features of the frozen encoder.

            taught = model.teach(segvoc.LabeledImages.from_folders("images/", "labels/", "classes.json"))
            better = model.with_taught(taught)

        Part of the images is held out to measure what the examples are good for (`taught.record`). Memory is bounded:
        of many images, fewer cells each are kept.

        Args:
            images: the images with their labels, in which pixels may be unlabeled.
            keep_worse: use the examples also of words that get worse by them, which otherwise keep their text.
            seed: of everything that is drawn.
            on_step: for progress: called with what is done, how many of it are done, and how many there are.

        Returns:
            The taught words.

        Raises:
            InputError: an image or its labels can't be read.
            UsageError: fewer than two images or words have labels, or words can't be taught to this network.
        """
        return learn_from(self, images, keep_worse=keep_worse, seed=seed, on_step=on_step)

    def with_taught(self: AnyTeachable, *taught: TaughtWords) -> AnyTeachable:
        """This model with taught words; it shares the weights.

        Args:
            taught: what `teach` returned, beside words that the model was taught before. Of a word that is taught
                several times, the last counts.

        Raises:
            CheckpointError: the words were taught to another model.
        """
        features = self.probed_features()
        for one in taught:
            one.check_model(self.name, features)
        other = copy.copy(self)
        other.taught = (*self.taught, *taught)
        return other

    def probed_features(self) -> FeatureArrays:
        """Features of a drawn image, by which taught words recognize their model."""
        self.prepare_to_run()
        pixels = views(probe_image(), self.protocols["single"])[:1]
        text = self.encode_words(Vocabulary(["object"]))
        return read_features(self.run_with_features(pixels, text, replace(self.protocols["single"], selection=None))[2])


def learn_from(
    model: Teachable, images: LabeledExamples, *, keep_worse: bool, seed: int, on_step: OnTeaching
) -> TaughtWords:
    """Learn words from labeled images; see `Segmenter.teach`."""
    vocabulary = images.vocabulary
    if not len(images):
        raise UsageError("there are no images to learn from; give at least two with labels")
    model.prepare_to_run()
    text = model.encode_words(vocabulary)
    protocol = replace(model.protocols["single"], selection=None)
    random, count = np.random.default_rng(seed), cells_per_image(len(images))
    kept: list[Cells] = []
    pixels, shown = (np.zeros(len(vocabulary), np.int64) for _ in range(2))
    channels: dict[str, int] = {}
    for index in range(len(images)):
        image, labels = images.read(index)
        of_word = np.bincount(labels[labels != UNLABELED], minlength=len(vocabulary))
        if of_word.any():
            logits, _, features = model.run_with_features(views(image, protocol)[:1], text, protocol)
            features = read_features(features)
            channels = channels_of(features)
            cells = sampled_cells(features, logits, labels, index, count, random)
            if cells is not None:
                kept.append(cells)
                pixels += of_word
                shown += of_word > 0
        on_step("reading images", index + 1, len(images))
    if not kept:
        raise UsageError(f"none of the {len(images)} images has a labeled pixel; label some with the classes")
    cells = Cells.joined(kept)
    fits, done = fits_of(cells), 0

    def fitted() -> None:
        nonlocal done
        done += 1
        on_step("learning words", done, fits)

    learned = learn(cells, vocabulary.words, pixels, shown, seed=seed, keep_worse=keep_worse, on_fit=fitted)
    components, classifiers = learned.components, learned.classifiers
    before, after = learned.before, learned.after
    return TaughtWords(
        record=TeachingRecord(
            model=model.name,
            words=learned.words,
            channels=channels,
            images=len(kept),
            penalty=(learned.penalty.weights, learned.penalty.bias),
            miou_before=round(before.miou, 2),
            miou=round(after.miou, 2),
            accuracy_before=round(before.accuracy, 2),
            accuracy=round(after.accuracy, 2),
            segvoc=__version__,
        ),
        weights=(classifiers.weights @ components.basis.T).astype(np.float16),
        bias=classifiers.bias,
        mean=components.mean,
        scale=components.scale,
        probe=mean_features(model.probed_features()),
    )
