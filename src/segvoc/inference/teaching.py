"""Few-shot learning of words: small classifiers on features of a segmenter, learned from labeled images."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import count
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int

from segvoc.encoders.word_encoder import EncodedWords
from segvoc.errors import UsageError
from segvoc.imaging.label_maps import UNLABELED
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
from segvoc.runtime.suggestions import checked_call
from segvoc.runtime.version import __version__
from segvoc.vocabulary import Vocabulary

OnTeaching = Callable[[str, int, int], None]

MOST_EDGE_IMAGES = 8
"""Maximum number of images that decide whether maps of taught words are refined by default."""


@runtime_checkable
class LabeledExamples(Protocol):
    """Labeled images, such as `segvoc.LabeledImages`."""

    @property
    def vocabulary(self) -> Vocabulary:
        """The words; the index of a word is its label."""
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

    If it scores better still, a word's text embedding is also mixed with embeddings of its image regions.

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
        ),
        weights=(classifiers.weights @ components.basis.T).astype(np.float16),
        bias=classifiers.bias,
        mean=components.mean,
        scale=components.scale,
        probe=mean_features(probed),
        toward=None if toward is None else toward.astype(np.float16),
    )
    if (lift := lift_by_edges(model, taught, images, np.concatenate(parts).tolist(), on_step)) is None:
        return taught
    temperature = fitted_temperature(learned.held_out, lift)
    return replace(taught, record=replace(taught.record, edges=True, temperature=temperature))


def lift_by_edges(
    model: Segmenter, taught: TaughtWords, images: LabeledExamples, held_out: Sequence[int], on_step: OnTeaching
) -> float | None:
    """If newly taught words score better with refined edges: how much more the accuracy rises by them than confidence.

    It is measured on some of the images at the indices `held_out`, in [-1, 1]. That they also taught the words favors
    plain and refined maps alike.
    """
    word_count = len(images.vocabulary)
    if not model.traits.refines_edges or word_count > MOST_WORDS:
        return None
    model, pixels, confidence = model.with_taught(taught), np.zeros((2, 3, word_count)), np.zeros(2)
    words = model.encode(images.vocabulary)
    chosen = sorted(held_out)[:: -(-len(held_out) // MOST_EDGE_IMAGES)]
    on_step("trying edges", 0, len(chosen))
    for number, index in enumerate(chosen):
        image, labels = images.read(index)
        known = labels != UNLABELED
        for which, edges in enumerate((False, True)):
            options = LabelOptions(edges=edges, keep_classes="all", threshold=0.0)
            (result,) = model.start([image], words, options=options)()
            pixels[which] += pixel_counts(labels[known], result.labels[known], word_count)
            confidence[which] += result.confidence[known].sum(dtype=np.float64)
        on_step("trying edges", number + 1, len(chosen))
    plain, fine = map(HeldOutScores.of, pixels)
    if fine.value(plain) <= BETTER:
        return None
    return (fine.accuracy - plain.accuracy) / 100 - float(np.diff(confidence)[0] / pixels[0, 1].sum())


class _Examples:
    """Features and labels of the images."""

    def __init__(
        self, model: Segmenter, images: LabeledExamples, held_out: Collection[int] | None, on_step: OnTeaching
    ) -> None:
        self.model, self.images, self.held_out, self.on_step = model, images, held_out, on_step
        self.text = model.encode_words(images.vocabulary)
        self.protocol = replace(model.protocols["single"], selection=None)
        self.pixels, self.shown = (np.zeros(len(images.vocabulary), np.int64) for _ in range(2))

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
            logits, *others = (
                self.model.compare(features, text, self.protocol)[0] for text in (self.text, *texts.get(index, ()))
            )
            cells = sampled_cells(read_features(features), logits, labels, index, size, random, others)
            if cells is not None:
                kept.append(cells)
                of_word = np.bincount(labels[labels != UNLABELED], minlength=len(self.shown))
                self.pixels += of_word
                self.shown += of_word > 0
        return kept

    def _labeled(self, task: str) -> Iterator[tuple[int, FeatureArrays, np.ndarray]]:
        """Index, features and labels of each image that has labels; reports the progress of a task."""
        for index in range(len(self.images)):
            image, labels = self.images.read(index)
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
