"""Gathers what learning words needs from labeled images: cells with their features, text logits and labels."""

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

import numpy as np

from segvoc import __version__
from segvoc.errors import UsageError
from segvoc.imaging.label_maps import UNLABELED
from segvoc.inference.windows import views
from segvoc.teaching.examples import Cells, cells_per_image, sampled_cells
from segvoc.teaching.features import channels_of, read_features
from segvoc.teaching.learning import fits_of, learn
from segvoc.teaching.taught_words import TaughtWords, TeachingRecord, mean_features
from segvoc.vocabulary import Vocabulary

if TYPE_CHECKING:
    from segvoc.inference.segmenter import Segmenter

OnTeaching = Callable[[str, int, int], None]
"""Called with what is done ("reading images"), how many of it are done, and how many there are."""


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


def learn_from(
    model: "Segmenter", images: LabeledExamples, *, keep_worse: bool, seed: int, on_step: OnTeaching
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
            penalty=tuple(learned.penalty),
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
