"""Which images to label next: what choosing them needs from a segmenter."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import replace

import numpy as np

from segvoc.arrays import to_numpy
from segvoc.errors import InputError, UsageError
from segvoc.imaging.reading import ImageSource
from segvoc.inference.job import NotFinite
from segvoc.inference.read_ahead import ReadImage, read_in_batches
from segvoc.inference.teaching import Teachable
from segvoc.inference.windows import views
from segvoc.teaching.features import read_features
from segvoc.teaching.suggesting import Suggestions, suggestions_of
from segvoc.teaching.taught_words import TaughtQuery
from segvoc.teaching.uncertainty import ImageSummary, summary_of
from segvoc.vocabulary import Vocabulary


class Summarizer:
    """Summarizes unlabeled images for `suggestions_of`: a pass of the network each, and a few kB of what it says.

    Args:
        model: the model, with what it was taught.
        words: the words that labels are to teach; None: those that the model was taught.

    Raises:
        UsageError: there are fewer than two words, or words can't be taught to this network.
    """

    def __init__(self, model: Teachable, words: Iterable[str] | Vocabulary | None = None) -> None:
        if words is None:
            words = list(dict.fromkeys(word.name for one in model.taught for word in one.record.words))
            if not words:
                raise UsageError("no words are given, and the model was taught none; give the words to teach")
        vocabulary = words if isinstance(words, Vocabulary) else Vocabulary(words)
        if len(vocabulary) < 2:
            raise UsageError("only one word is given, which nothing can be confused with; give at least two")
        model.prepare_to_run()
        self.model, self.words = model, tuple(vocabulary.words)
        text = model.encode_words(vocabulary)
        self._protocol = replace(model.protocols["single"], selection=None)
        self._taught = TaughtQuery.of(model.taught, vocabulary.words, len(text))
        self._text = text if self._taught is None else self._taught.embeddings(text)
        model.probed_features()  # refuses a network without features before any image is read

    def __call__(self, image: ReadImage, name: str) -> ImageSummary:
        """The summary of an image.

        Raises:
            InputError: the network's output for it is not finite.
        """
        seen = views(image.pixels, self._protocol)[:1]
        features = self.model.find_features(seen)
        logits, kept = self.model.compare(features, self._text, self._protocol)
        features = read_features(features)
        if self._taught is not None:
            logits = self._taught(logits, kept, features)
        logits = to_numpy(logits)[:, : len(self.words)].astype(np.float32)
        if not np.isfinite(logits).all():
            raise NotFinite(image.source).named(name)
        return summary_of(name, image.size, self.words, logits, features)


class Suggesting(Teachable):
    """What a segmenter needs to suggest images: a part of `Segmenter`."""

    def suggest(
        self,
        images: Sequence[ImageSource],
        words: Iterable[str] | Vocabulary | None = None,
        *,
        count: int = 20,
        on_image: Callable[[int, int], None] = lambda done, total: None,
        on_error: Callable[[InputError], None] | None = None,
    ) -> Suggestions:
        """Choose which of many unlabeled images to label next, for `teach`.

            suggested = model.suggest(sorted(Path("photos").glob("*.jpg")), ["door", "wall", "floor"])
            for one in suggested.suggestions:
                print(one.rank, one.image, one.uncertainty, one.regions)

        The same images and words give the same suggestions. A few kB are kept of each image.

        Args:
            images: the images, each as for `segment`.
            words: the words that labels are to teach; None: those that this model was taught.
            count: how many images to suggest; if there are fewer, all are ranked.
            on_image: for progress: called with how many images are done, and how many there are.
            on_error: called with the error of an image that can't be read, which is passed over; None: it is raised.

        Returns:
            The images to label, the best first.

        Raises:
            InputError: an image can't be read, or the network's output for it is not finite.
            UsageError: there are no images, fewer than two words, or words can't be taught to this network.
        """
        if count < 1:
            raise UsageError(f"count={count} suggests nothing; give at least 1")
        if not len(images):
            raise UsageError("there are no images to choose from; give some")
        summarizer, kept = Summarizer(self, words), list[ImageSummary]()
        with closing(read_in_batches(images, 1)) as batches:
            for number, (read,) in enumerate(batches, 1):
                try:
                    if isinstance(read, InputError):
                        raise read
                    kept.append(summarizer(read, read.source or f"image {number}"))
                except InputError as error:
                    if on_error is None:
                        raise
                    on_error(error)
                on_image(number, len(images))
        return suggestions_of(kept, count, model=self.name, words=summarizer.words, taught=bool(self.taught))
