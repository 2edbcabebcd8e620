"""Vocabularies of the service: definitions from requests, and their encodings."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from segvoc.errors import PromptTruncatedWarning, UnknownWordWarning, UsageError
from segvoc.inference.part_labels import words_with_objects
from segvoc.inference.prepared_vocabulary import PreparedVocabulary
from segvoc.inference.segmenter import Segmenter
from segvoc.vocabulary import PartVocabulary, Vocabulary, parts_by_object

LONGEST_WORD = 500


@dataclass(frozen=True)
class VocabularyDefinition:
    """Words, parts and background of a request; equal definitions have equal results."""

    words: Vocabulary | None
    """The words; None: the objects of `parts`."""
    parts: PartVocabulary | None
    background: str | None
    """The class for "none of the others"."""

    @property
    def number_of_classes(self) -> int:
        """Number of classes of the result."""
        words = words_with_objects(self.words, self.parts).words
        return len(words) + (self.background is not None and self.background.strip() not in words)

    def check_size(self, max_words: int) -> None:
        """Check the number of words and their lengths; a part of several objects counts for each."""
        vocabulary = words_with_objects(self.words, self.parts)
        parts = () if self.parts is None else self.parts.parts
        names = (*vocabulary.words, *(part.part for part in parts), self.background or "")
        if (longest := max(map(len, names))) > LONGEST_WORD:
            raise UsageError(f"a word has {longest} characters; the longest may have {LONGEST_WORD}")
        number = len(vocabulary) + len(parts)
        if parts and number <= max_words:
            number = len(vocabulary) + sum(map(len, parts_by_object(vocabulary.words, parts)))
        if number > max_words:
            raise UsageError(f"there are {number} words and parts of objects; this service accepts at most {max_words}")


@dataclass(frozen=True)
class EncodedVocabulary:
    """A vocabulary encoded by the model."""

    prepared: PreparedVocabulary
    hints: tuple[str, ...]
    """Hints about words, for example that the model doesn't know them."""


def cached_encoder(model: Segmenter, number: int) -> Callable[[VocabularyDefinition], EncodedVocabulary]:
    """Encode vocabularies by `Segmenter.encode`, with an LRU cache of `number` entries."""

    @lru_cache(number)
    def encoded(definition: VocabularyDefinition) -> EncodedVocabulary:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            prepared = model.encode(definition.words, parts=definition.parts, background=definition.background)
        of_words = (PromptTruncatedWarning, UnknownWordWarning)
        hints = tuple(str(one.message) for one in caught if issubclass(one.category, of_words))
        return EncodedVocabulary(prepared, hints)

    return encoded
