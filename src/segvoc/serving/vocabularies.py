"""Vocabularies of the service: what a request asks for, under which name it is kept, and its encoding."""

import hashlib
import os
import pickle
import re
import time
import warnings
from collections import OrderedDict
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from segvoc.errors import OutputError, PromptTruncatedWarning, UnknownWordWarning, UsageError
from segvoc.inference.part_labels import words_with_objects
from segvoc.inference.prepared_vocabulary import PreparedVocabulary
from segvoc.inference.segmenter import Segmenter
from segvoc.serving.failures import ServiceFailure
from segvoc.serving.logs import FIELDS, LOGGER
from segvoc.storage.atomic_writes import write_atomically
from segvoc.vocabulary import PartVocabulary, Vocabulary, parts_by_object

LONGEST_WORD = 500

_NAME = re.compile(r"v[0-9a-f]{32}")


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


class DefinitionsInMemory(OrderedDict[str, bytes]):
    """Definitions of vocabularies for one process."""

    def __setitem__(self, name: str, definition: bytes) -> None:
        """Keep a definition, as the last one."""
        super().__setitem__(name, definition)
        self.move_to_end(name)


class DefinitionFiles(MutableMapping[str, bytes]):
    """Definitions of vocabularies for several processes: a file for each, so that none is lost with a process.

    While the folder can't be used, uses fail with 503.

    Args:
        folder: a folder for nothing else, which nobody else may write.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __getitem__(self, name: str) -> bytes:
        """A definition."""
        # requests choose names
        if not _NAME.fullmatch(name):
            raise KeyError(name)
        with self._usable(name):
            return (self._folder / name).read_bytes()

    def __setitem__(self, name: str, definition: bytes) -> None:
        """Keep a definition, as the last one."""

        def write(file: BinaryIO) -> None:
            file.write(definition)
            file.flush()
            # the file system's own clock may stand still for some milliseconds
            os.utime(file.fileno(), ns=(now := time.time_ns(), now))

        with self._usable(name):
            write_atomically(self._folder / name, write)

    def __delitem__(self, name: str) -> None:
        """Forget a definition."""
        with self._usable(name):
            (self._folder / name).unlink()

    def __iter__(self) -> Iterator[str]:
        """The names, oldest first."""
        written = {}
        for path in self._folder.glob("v*"):
            # another process may have forgotten it meanwhile
            with suppress(FileNotFoundError):
                written[path.name] = path.stat().st_mtime_ns
        return iter(sorted(written, key=written.__getitem__))

    def __len__(self) -> int:
        """The number of definitions."""
        return len(list(iter(self)))

    @contextmanager
    def _usable(self, name: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise KeyError(name) from None
        except (OSError, OutputError) as error:
            LOGGER.warning("named vocabularies can't be kept", extra={FIELDS: {"problem": str(error)}})
            raise unavailable() from error


def unavailable() -> ServiceFailure:
    """The failure of requests with a vocabulary's name while definitions are out of reach."""
    message = "named vocabularies aren't available at the moment; try again, or send words"
    return ServiceFailure("busy", message, retry_after=1)


class NamedVocabularies:
    """Vocabularies by name; the oldest go.

    Args:
        definitions: where they are kept, pickled, the one that was set last at the end; processes may share it.
        number: how many to keep.
    """

    def __init__(self, definitions: MutableMapping[str, bytes], number: int) -> None:
        self._definitions, self.number = definitions, number

    def keep(self, definition: VocabularyDefinition) -> None:
        """Keep a vocabulary under its name."""
        self._definitions[definition.name] = pickle.dumps(definition)
        for name in list(self._definitions.keys())[: -self.number]:
            # another process may be faster
            with suppress(KeyError):
                del self._definitions[name]

    def find(self, name: str) -> VocabularyDefinition:
        """The vocabulary of a name.

        Raises:
            ServiceFailure: there is none.
        """
        found = self._definitions.get(name)
        if found is None:
            raise ServiceFailure("not_found", "there is no vocabulary of this name; POST it to v1/vocabularies again")
        return pickle.loads(found)
