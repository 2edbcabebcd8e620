"""Vocabularies of the service: what a request asks for, under which name it is kept, and its encoding."""

import hashlib
import pickle
import warnings
from collections import OrderedDict
from collections.abc import MutableMapping
from dataclasses import dataclass

from segvoc.errors import PromptTruncatedWarning, UnknownWordWarning, UsageError
from segvoc.inference.part_labels import words_with_objects
from segvoc.inference.prepared_vocabulary import PreparedVocabulary
from segvoc.inference.segmenter import Segmenter
from segvoc.serving.failures import ServiceFailure
from segvoc.vocabulary import PartVocabulary, Vocabulary, parts_by_object

LONGEST_WORD = 500


@dataclass(frozen=True)
class VocabularyDefinition:
    """What an image is to be labeled with; equal definitions have equal results."""

    words: Vocabulary | None
    """The words; None: the objects of `parts`."""
    parts: PartVocabulary | None
    background: str | None
    """The class for "none of the others"."""

    @property
    def name(self) -> str:
        """A name that follows from the content, so that equal vocabularies have one name in all processes."""
        words = None if self.words is None else (self.words.words, self.words.synonyms)
        parts = None if self.parts is None else (self.parts.objects, self.parts.parts)
        return "v" + hashlib.sha256(repr((words, parts, self.background)).encode()).hexdigest()[:32]

    @property
    def number_of_classes(self) -> int:
        """Classes of the result."""
        words = words_with_objects(self.words, self.parts).words
        return len(words) + (self.background is not None and self.background.strip() not in words)

    def check_size(self, max_words: int) -> None:
        """Check the number of words and their lengths; a part of several objects counts for each.

        Raises:
            UsageError: there are too many words, or words that don't fit together.
        """
        vocabulary = words_with_objects(self.words, self.parts)
        parts = () if self.parts is None else self.parts.parts
        names = (*vocabulary.words, *(part.part for part in parts), self.background or "")
        if (longest := max(map(len, names))) > LONGEST_WORD:
            raise UsageError(f"a word has {longest} characters; the longest may have {LONGEST_WORD}")
        number = len(vocabulary) + len(parts)
        if parts and number <= max_words:
            number = len(vocabulary) + sum(map(len, parts_by_object(vocabulary.words, parts)))
        if number > max_words:
            raise UsageError(f"there are {number} words and parts of objects; this service takes {max_words} at most")


@dataclass(frozen=True)
class EncodedVocabulary:
    """A vocabulary that the model has encoded."""

    prepared: PreparedVocabulary
    hints: tuple[str, ...]
    """What the model says of some words, for example that it doesn't know them."""


class EncodedVocabularies:
    """Encodes vocabularies with a model, and keeps those that were used last; for one thread."""

    def __init__(self, model: Segmenter, number: int) -> None:
        self.model, self.number = model, number
        self._kept: OrderedDict[VocabularyDefinition, EncodedVocabulary] = OrderedDict()

    def __getitem__(self, definition: VocabularyDefinition) -> EncodedVocabulary:
        """The encoding of a vocabulary.

        Raises:
            UsageError: words, parts and background don't fit together.
        """
        if definition not in self._kept:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                prepared = self.model.encode(definition.words, parts=definition.parts, background=definition.background)
            of_words = (PromptTruncatedWarning, UnknownWordWarning)
            hints = tuple(str(one.message) for one in caught if issubclass(one.category, of_words))
            self._kept[definition] = EncodedVocabulary(prepared, hints)
        self._kept.move_to_end(definition)
        while len(self._kept) > self.number:
            self._kept.popitem(last=False)
        return self._kept[definition]


class NamedVocabularies:
    """Vocabularies by name; the oldest go.

    Args:
        definitions: where they are kept, pickled; processes may share it.
        number: how many to keep.
    """

    def __init__(self, definitions: MutableMapping[str, bytes], number: int) -> None:
        self._definitions, self.number = definitions, number

    def keep(self, definition: VocabularyDefinition) -> None:
        """Keep a vocabulary under its name."""
        self._definitions.pop(definition.name, None)
        self._definitions[definition.name] = pickle.dumps(definition)
        for name in list(self._definitions.keys())[: -self.number]:
            self._definitions.pop(name, None)

    def find(self, name: str) -> VocabularyDefinition:
        """The vocabulary of a name.

        Raises:
            ServiceFailure: there is none.
        """
        found = self._definitions.get(name)
        if found is None:
            raise ServiceFailure("not_found", "there is no vocabulary of this name; POST it to v1/vocabularies again")
        return pickle.loads(found)
