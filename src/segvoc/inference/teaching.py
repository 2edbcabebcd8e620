"""Few-shot learning of words: small classifiers on features of a segmenter, learned from labeled images."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import count
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int

from segvoc.encoders.word_encoder import EncodedWords
from segvoc.errors import UsageError, checked_call
from segvoc.imaging.label_maps import MUCH_UNLABELED, UNLABELED, UNLABELED_NAME
from segvoc.inference.edges import MOST_WORDS
from segvoc.inference.label_options import LabelOptions
from segvoc.inference.segmenter import Segmenter
from segvoc.inference.taught.calibration import fitted_temperature
from segvoc.inference.taught.examples import (
    SHARES,
    Cells,
    WordRegions,
    cells_per_image,
    mixed,
    mixes,
    regions_of,
    sampled_cells,
    toward_examples,
)
from segvoc.inference.taught.features import FeatureArrays, channels_of, read_features
from segvoc.inference.taught.learning import (
    BETTER,
    HeldOutParts,
    HeldOutScores,
    fits_of,
    held_out_parts,
    learn,
    pixel_counts,
)
from segvoc.inference.taught.taught_words import TaughtWords, TeachingRecord, mean_features
from segvoc.inference.windows import views
from segvoc.runtime.arrays import Array, array_namespace
from segvoc.runtime.version import __version__
from segvoc.vocabulary import Vocabulary

OnTeaching = Callable[[str, int, int], None]

TRIED_IMAGES = 8
"""Maximum number of images that newly taught words are tried on: with refined maps, and where there are no labels."""


@runtime_checkable
class LabeledExamples(Protocol):
    """Labeled images, such as `segvoc.LabeledImages`."""

    @property
    def vocabulary(self) -> Vocabulary:
        """The words; the index of a word is its label."""
        ...

    @property
    def background(self) -> str | None:
        """The word that means "none of the others", if there is one."""
        ...

    def __len__(self) -> int: ...

    def read(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Read an image (H W 3) and the index of each pixel's word (H W), or 65535."""
        ...


@checked_call
def teach(
    model: Segmenter,
    images: LabeledExamples,
    *,
    held_out: Collection[int] | None = None,
    keep_worse: bool = False,
    seed: int = 0,
    on_step: OnTeaching = lambda what, done, total: None,
) -> TaughtWords:
    """Learn words from labeled images: a small classifier per word on features of the frozen encoder.

    If it scores better still, a word's text embedding is also mixed with embeddings of its image regions. The images'
    background, such as the pixels outside all shapes (`segvoc.read_dataset`), is learned by its appearance alone.

        taught = segvoc.teach(model, segvoc.LabeledImages.from_folders("images/", "labels/", "classes.json"))
        better = model.with_taught(taught)

    Words are scored on held-out images (`taught.record`). Memory is bounded: the more images, the fewer cells of
    each are kept.

    Args:
        model: what `segvoc.load` returns.
        images: the labeled images; pixels may be unlabeled.
        held_out: indices of the images to hold out for scoring; the others only teach. None: all.
        keep_worse: also use the examples of words that get worse with them; by default these keep their text.
        seed: random seed.
        on_step: progress callback: the task, the finished and total number of steps; each task starts with 0.

    Returns:
        The taught words.

    Raises:
        InputError: an image or its labels can't be read.
        UsageError: fewer than two images or words have labels, or words can't be taught to this network.
    """
    if not len(images):
        raise UsageError("there are no images to learn from; give at least two with labels")
    on_step("finding regions", 0, len(images))
    model.prepare_to_run()
    probed = model.probed_features()
    seen = _Examples(model, images, held_out, on_step)
    regions = seen.regions()
    found = seen.cells(regions, seed)
    if not found:
        raise UsageError(f"none of the {len(images)} images has a labeled pixel; label some with the classes")
    cells = Cells.joined(found)
    parts = seen.parts(list(regions) if regions else cells.images, seed)
    fits, done = fits_of(cells, parts), count()
    on_step("fitting classifiers", next(done), fits)

    def fitted() -> None:
        on_step("fitting classifiers", next(done), fits)

    pixels, shown, words = seen.pixels, seen.shown, images.vocabulary.words
    learned = learn(cells, words, pixels, shown, parts=parts, seed=seed, keep_worse=keep_worse, on_fit=fitted)
    components, classifiers = learned.components, learned.classifiers
    before, after = learned.before, learned.after
    toward = toward_examples(regions.values(), seen.text)[classifiers.words] if learned.share else None
    taught = TaughtWords(
        record=TeachingRecord(
            model=model.name,
            words=learned.words,
            channels=channels_of(probed),
            images=len(found),
            penalty=(learned.penalty.weights, learned.penalty.bias),
            miou_before=round(before.miou, 2),
            miou=round(after.miou, 2),
            accuracy_before=round(before.accuracy, 2),
            accuracy=round(after.accuracy, 2),
            segvoc=__version__,
            share=(0.0, *SHARES)[learned.share],
            temperature=fitted_temperature(learned.held_out),
            background=images.background,
        ),
        weights=(classifiers.weights @ components.basis.T).astype(np.float16),
        bias=classifiers.bias,
        mean=components.mean,
        scale=components.scale,
        probe=mean_features(probed),
        toward=None if toward is None else toward.astype(np.float16),
    )
    chosen = spread(np.concatenate(parts).tolist())
    if (lift := lift_by_edges(model, taught, images, chosen, on_step)) is not None:
        temperature = fitted_temperature(learned.held_out, lift)
        taught = replace(taught, record=replace(taught.record, edges=True, temperature=temperature))
    if seen.unlabeled <= MUCH_UNLABELED:
        return taught
    unlabeled = labels_outside(model.with_taught(taught), images, chosen, on_step)
    return replace(taught, record=replace(taught.record, unlabeled=unlabeled))


def spread(images: Sequence[int]) -> Sequence[int]:
    """At most `TRIED_IMAGES` of images, evenly spread."""
    return sorted(images)[:: -(-len(images) // TRIED_IMAGES)]


def lift_by_edges(
    model: Segmenter, taught: TaughtWords, images: LabeledExamples, chosen: Sequence[int], on_step: OnTeaching
) -> float | None:
    """If newly taught words score better with refined edges: how much more the accuracy rises by them than confidence.

    It is measured on the images at the indices `chosen`, in [-1, 1]. That they also taught the words favors plain and
    refined maps alike.
    """
    word_count = len(images.vocabulary)
    if not model.traits.refines_edges or word_count > MOST_WORDS or not taught.words:
        return None
    model, pixels, confidence = model.with_taught(taught), np.zeros((2, 3, word_count)), np.zeros(2)
    words = model.encode(images.vocabulary)
    on_step("trying edges", 0, len(chosen))
    for number, index in enumerate(chosen):
        image, labels = images.read(index)
        known = labels != UNLABELED
        for which, edges in enumerate((False, True)):
            (result,) = model.start([image], words, options=LabelOptions(edges=edges, keep_classes="all"))()
            pixels[which] += pixel_counts(labels[known], result.labels[known], word_count)
            confidence[which] += result.confidence[known].sum(dtype=np.float64)
        on_step("trying edges", number + 1, len(chosen))
    plain, fine = map(HeldOutScores.of, pixels)
    if fine.value(plain) <= BETTER:
        return None
    return (fine.accuracy - plain.accuracy) / 100 - float(np.diff(confidence)[0] / pixels[0, 1].sum())


def labels_outside(
    model: Segmenter, images: LabeledExamples, chosen: Sequence[int], on_step: OnTeaching
) -> dict[str, float]:
    """What pixels without a label get from a model, in the images at the indices `chosen`.

    By word, its share of all their pixels; the largest first.
    """
    words, pixels = model.encode(images.vocabulary), np.zeros(len(images.vocabulary) + 1)
    on_step("labeling what has no label", 0, len(chosen))
    for number, index in enumerate(chosen):
        image, labels = images.read(index)
        (result,) = model.start([image], words, options=LabelOptions())()
        found = np.minimum(result.labels[labels == UNLABELED], len(words))
        pixels += np.bincount(found, minlength=len(pixels)) / labels.size / len(chosen)
        on_step("labeling what has no label", number + 1, len(chosen))
    names = (*images.vocabulary.words, UNLABELED_NAME)
    return {names[at]: round(float(pixels[at]), 4) for at in np.argsort(-pixels, kind="stable") if pixels[at] > 0}


class _Examples:
    """Features and labels of the images."""

    def __init__(
        self, model: Segmenter, images: LabeledExamples, held_out: Collection[int] | None, on_step: OnTeaching
    ) -> None:
        self.model, self.images, self.held_out, self.on_step = model, images, held_out, on_step
        self.text = model.encode_words(images.vocabulary)
        self.protocol = replace(model.protocols["single"], selection=None)
        self.pixels, self.shown = (np.zeros(len(images.vocabulary), np.int64) for _ in range(2))
        self.seen = 0
        """Pixels of the images."""

    @property
    def unlabeled(self) -> float:
        """Share of pixels without a label."""
        return 1 - float(self.pixels.sum()) / max(self.seen, 1)

    def parts(self, labeled: Sequence[int] | Int[np.ndarray, " _"], seed: int) -> HeldOutParts:
        """Cross-validation folds of the labeled images."""
        found = np.unique(labeled)
        held_out = found if self.held_out is None else found[np.isin(found, list(self.held_out))]
        return held_out_parts(held_out if len(held_out) else found, seed)

    def regions(self) -> dict[int, WordRegions]:
        """The regions of each labeled image, if the network can encode them; else empty."""
        found: dict[int, WordRegions] = {}
        for index, features, labels in self._labeled("finding regions"):
            if not mixes(features, len(self.images)):
                return {}
            found[index] = regions_of(features, labels)
        return found

    def cells(self, regions: Mapping[int, WordRegions], seed: int) -> list[Cells]:
        """Labeled cells of each image; the regions mixed in come from the other folds."""
        random, size = np.random.default_rng(seed), cells_per_image(len(self.images))
        texts = self._mixed_texts(regions, seed)
        self.on_step("reading images", 0, len(self.images))
        kept: list[Cells] = []
        for index, features, labels in self._labeled("reading images"):
            logits, *others = (self._logits(features, text) for text in (self.text, *texts.get(index, ())))
            cells = sampled_cells(read_features(features), logits, labels, index, size, random, others)
            if cells is not None:
                kept.append(cells)
                of_word = np.bincount(labels[labels != UNLABELED], minlength=len(self.shown))
                self.pixels += of_word
                self.shown += of_word > 0
        return kept

    def _logits(self, features: FeatureArrays, text: EncodedWords) -> Array:
        """The words' logits; 0 for the background, as in queries of taught words."""
        logits = self.model.compare(features, text, self.protocol)[0]
        if self.images.background is None:
            return logits
        none = self.images.vocabulary.words.index(self.images.background)
        logits = array_namespace(logits).asarray(logits, copy=True)
        logits[:, none] = 0.0
        return logits

    def _labeled(self, task: str) -> Iterator[tuple[int, FeatureArrays, np.ndarray]]:
        """Index, features and labels of each image that has labels; reports the progress of a task."""
        for index in range(len(self.images)):
            image, labels = self.images.read(index)
            self.seen += labels.size if task == "reading images" else 0
            if (labels != UNLABELED).any():
                yield index, self.model.encode_views(views(image, self.protocol)[:1]), labels
            self.on_step(task, index + 1, len(self.images))

    def _mixed_texts(self, regions: Mapping[int, WordRegions], seed: int) -> dict[int, list[EncodedWords]]:
        """For each image, the words' embeddings mixed with each share of the regions from other folds."""
        found: dict[int, list[EncodedWords]] = {}
        if not regions:
            return found
        words, parts = np.arange(len(self.shown)), self.parts(list(regions), seed)
        others = np.setdiff1d(list(regions), np.concatenate(parts))
        for part in (*parts, others) if len(others) else parts:
            others = [one for index, one in regions.items() if index not in part]
            toward = toward_examples(others, self.text)
            texts = [mixed(self.text, words, toward, np.full(len(words), share)) for share in SHARES]
            found |= dict.fromkeys(part.tolist(), texts)
        return found
