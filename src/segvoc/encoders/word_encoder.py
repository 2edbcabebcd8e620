"""Encodes vocabularies, whatever library runs the text encoder: each prompt once, cached in memory and on disk."""

import sqlite3
import unicodedata
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Float32, Int

from segvoc.encoders.lexicon import Lexicon, plain_lexicon
from segvoc.errors import UnknownWordWarning, warn_caller
from segvoc.runtime.arrays import Array, array_namespace, normalized, to_numpy
from segvoc.runtime.version import __version__
from segvoc.storage.files import cache_folder, digest_of
from segvoc.vocabulary import Vocabulary

_QUOTED = 3
"""Max words quoted in a warning; others are counted."""


def warn_of_unknown_words(unknown: Sequence[str]) -> None:
    """Warn, in one line, of words that a text encoder probably doesn't know (`Tokenizer.unknown_words`)."""
    if not unknown:
        return
    quoted = [f'"{word}"' for word in unknown[:_QUOTED]]
    if len(unknown) > _QUOTED:
        quoted.append(f"{len(unknown) - _QUOTED} more")
    listed = f"{', '.join(quoted[:-1])} and {quoted[-1]}" if len(quoted) > 1 else quoted[0]
    message = f"the model was trained on English words and probably doesn't know {listed}; use English words instead"
    warn_caller(UnknownWordWarning(message))


def in_another_script(word: str) -> bool:
    """Whether most letters of a word are not Latin; a word without letters, such as an emoji, is in no script."""
    letters = [char for char in unicodedata.normalize("NFKD", word) if char.isalpha()]
    other = [char for char in letters if not unicodedata.name(char, "LATIN").startswith("LATIN")]
    return 2 * len(other) > len(letters)


WORDS_FILE = Path(__file__).parent.parent / "weights" / "clip_words.txt"
"""The words that are single tokens of CLIP's vocabulary, as most English words are: one per line, in lower case.

The list is that of open_clip's tokenizer (tools/make_clip_words.py), so that it can be asked without open_clip."""


def is_known_to_clip(name: str) -> bool:
    """Whether one of a name's words is a single token of CLIP's vocabulary."""
    return not _words().isdisjoint(name.lower().split())


@cache
def _words() -> frozenset[str]:
    return frozenset(WORDS_FILE.read_text(encoding="utf-8").splitlines())


CPU_BATCH = 16
"""Prompts in each batch through the text encoder on a CPU. The batch size is fixed because a matrix product picks its
kernel by the number of rows, and kernels round differently. With 16 rows the result doesn't depend on the row's
position either; with 4 it does."""

LENGTH_STEP = 8
"""Prompts are padded to a multiple of this many tokens. The padding depends only on the prompt's own length, and few
batches are left half empty."""

CACHED_EMBEDDINGS = 50_000
"""Size of the LRU cache of embeddings: 100 MB with 512 channels."""

KEPT_FROM = 64
"""Min new prompts per call to cache on disk: fewer take less time than the digest of the text encoder's weights."""

KEPT_FORMAT = 6
"""Version of the on-disk cache."""

LARGEST_FILE = 4 << 30
"""Max bytes of the embeddings in a file of that cache, which then starts over."""

PROMPTS_AT_ONCE = 4096
"""Prompts to encode before averaging and storing: 8 MB with 512 channels."""

ClassPrompts = tuple[str, ...]
"""The prompts of a class, one per template, and then those of its kind, if it has one."""


@runtime_checkable
class EncodedWords(Protocol):
    """Words encoded for a network by its word encoder; opaque to all code but the network's engine."""

    def __len__(self) -> int:
        """Number of words."""
        ...


@runtime_checkable
class WordEncoder(Protocol):
    """Encodes a vocabulary for a network."""

    @property
    def templates(self) -> Sequence[str]:
        """Prompt templates; `{}` stands for the word."""
        ...

    def __call__(self, vocabulary: Vocabulary, none: str | None = None) -> EncodedWords:
        """Encode all words; `none` is the one for "none of the others", for networks trained with this class."""
        ...


def lexicon_of(encoder: WordEncoder) -> Lexicon:
    """What an encoder knows of words."""
    return getattr(encoder, "lexicon", plain_lexicon())


@runtime_checkable
class Tokenizer(Protocol):
    """Turns prompts into token ids, and detects words unknown to the text encoder."""

    def tokenize(self, prompts: Sequence[str], *, multiple: int = 1) -> Int[Array, "N L"]:
        """Token ids of N prompts, padded to the longest one rounded up to a multiple of `multiple`."""
        ...

    def unknown_words(self, words: Sequence[str]) -> list[str]:
        """Find words that the encoder probably doesn't know, such as words of another language."""
        ...


class _EmbeddingFile:
    """Embeddings on disk by key, in a database of SQLite, whose transactions hold for kills and other processes.

    Does nothing without space, permission or a lock in time. Removes a file that can't be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self, keys: Iterable[str], prompts: int) -> dict[str, Float32[np.ndarray, "P C"]]:
        """The embeddings of those keys that the file has, for this number of prompts."""
        if not self.path.exists():
            return {}
        try:
            with self._opened() as database:
                select = "select key, content from kept where key = ?"
                rows = [row for key in keys for row in database.execute(select, (key,))]
            return {key: np.frombuffer(content, "<f4").reshape(prompts, -1).copy() for key, content in rows}
        except Exception as error:
            self._remove_if_unreadable(error)
            return {}

    def write(self, embeddings: Mapping[str, Float[Array, "P C"]]) -> bool:
        """Add embeddings in one transaction; False if the file is unavailable."""
        rows = [(key, to_numpy(each).astype("<f4").tobytes()) for key, each in embeddings.items()]
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self._opened() as database:
                database.execute("create table if not exists kept (key text primary key, content blob)")
                names = ("page_count", "freelist_count", "page_size")
                pages, free, size = (database.execute(f"pragma {name}").fetchone()[0] for name in names)
                if (pages - free) * size > LARGEST_FILE:
                    database.execute("delete from kept")
                database.executemany("insert or replace into kept values (?, ?)", rows)
            return True
        except Exception as error:
            return self._remove_if_unreadable(error)

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self.path, timeout=10.0)) as database, database:
            yield database

    def _remove_if_unreadable(self, error: Exception) -> bool:
        if isinstance(error, OSError | sqlite3.OperationalError):  # disks, permissions and locks
            return False
        for suffix in ("", "-journal"):  # SQLite would apply the journal to the next file of this name
            with suppress(OSError):
                self.path.with_name(f"{self.path.name}{suffix}").unlink(missing_ok=True)
        return True


class PromptedWordEncoder(ABC):
    """Computes word embeddings with prompt templates and a text encoder.

    A prompt's embedding depends only on the prompt and the text encoder, to the last bit: each prompt is encoded in a
    batch of fixed size, padded to a length that follows from its own number of tokens. Embeddings of words are cached
    in memory, and those of longer lists `on_disk` (`cache_folder`). With `average` a class has one embedding, the mean
    over the prompt templates (P = 1), instead of one for each. A class that the `lexicon` knows a kind of has the mean
    of its own embeddings and those of its kind.
    """

    unit_length = True
    """Whether embeddings have unit length; if not, their lengths carry meaning and are kept."""

    on_disk = False
    """Whether embeddings of longer lists are also cached on disk, by their `digest`."""

    def __init__(self, templates: Sequence[str], *, average: bool = False, lexicon: Lexicon | None = None) -> None:
        self.templates = tuple(templates)
        self.average, self.lexicon = average, lexicon or plain_lexicon()
        self._cache: OrderedDict[ClassPrompts, Float[Array, "P C"]] = OrderedDict()
        self._checked: tuple[tuple[str, ...], Sequence[str]] = ((), ())  # the last words, and which of them are unknown
        self._key: str | None = None  # `digest` of the weights that `has_changed` knows

    def __getstate__(self) -> dict[str, Any]:
        """Copies start without cached embeddings, since their weights may change."""
        return {**self.__dict__, "_cache": OrderedDict(), "_key": None}

    @property
    def batch(self) -> int:
        """Prompts in each batch through the text encoder."""
        return CPU_BATCH

    @property
    @abstractmethod
    def tokenizer(self) -> Tokenizer:
        """The text encoder's tokenizer."""

    @abstractmethod
    def embed(self, tokens: Int[np.ndarray, "N L"]) -> Float[Array, "N C"]:
        """Run the text encoder on the token ids of N prompts (`batch` of them)."""

    @abstractmethod
    def digest(self) -> str:
        """Digest of everything that the embeddings depend on, the key of the on-disk cache."""

    def restored(self, embeddings: Float32[np.ndarray, "P C"]) -> Float[Array, "P C"]:
        """Embeddings from disk, as an array of the text encoder's library on its device."""
        return embeddings

    def has_changed(self) -> bool:
        """Whether the text encoder's weights have changed since the last call: embeddings are then computed again."""
        return False

    def __call__(self, vocabulary: Vocabulary, none: str | None = None) -> Float[Array, "T P C"]:
        """Embed P prompts for each of T classes; the map of `none` doesn't come from its embedding, so any will do."""
        checked, unknown = self._checked
        if vocabulary.words != checked:
            unknown = self.tokenizer.unknown_words(vocabulary.words)
            self._checked = vocabulary.words, unknown
        warn_of_unknown_words(unknown)
        classes = self._prompts(vocabulary)
        by_class = self._embeddings(list(dict.fromkeys(classes)))
        embeddings = [by_class[prompts] for prompts in classes]
        stacked = array_namespace(embeddings[0]).stack(embeddings)
        return normalized(stacked) if self.unit_length else stacked

    def _prompts(self, vocabulary: Vocabulary) -> list[ClassPrompts]:
        own = vocabulary.prompts(self.templates)
        if not self.lexicon.has_trained_words:
            return own
        kinds = [self.lexicon.of(name).kind for name in vocabulary.first_names]
        return [
            prompts if kind is None else (*prompts, *(template.format(kind) for template in self.templates))
            for prompts, kind in zip(own, kinds, strict=True)
        ]

    def _embeddings(self, classes: Sequence[ClassPrompts]) -> dict[ClassPrompts, Float[Array, "P C"]]:
        if self.has_changed():
            self._cache.clear()
            self.on_disk = False  # the weights are being trained and will change again
        # other threads may change the cache: each step reads it once
        embeddings = {prompts: known for prompts in classes if (known := self._cache.get(prompts)) is not None}
        embeddings |= self._cached_or_encoded([prompts for prompts in classes if prompts not in embeddings])
        for prompts in classes:
            self._cache.pop(prompts, None)
            self._cache[prompts] = embeddings[prompts]  # most recently used
        while len(self._cache) * (1 if self.average else len(self.templates)) > CACHED_EMBEDDINGS:
            self._cache.popitem(last=False)
        return embeddings

    def _cached_or_encoded(self, classes: Sequence[ClassPrompts]) -> dict[ClassPrompts, Float[Array, "P C"]]:
        """Load the embeddings of classes from disk, or compute them."""
        file = self._file() if len(classes) * len(self.templates) >= KEPT_FROM else None
        keys = {prompts: digest_of(prompts, self.average) for prompts in classes} if file is not None else {}
        stored = file.read(keys.values(), 1 if self.average else len(self.templates)) if file is not None else {}
        embeddings = {prompts: self.restored(stored[key]) for prompts, key in keys.items() if key in stored}
        missing = [prompts for prompts in classes if prompts not in embeddings]
        step = max(1, PROMPTS_AT_ONCE // len(self.templates))
        for start in range(0, len(missing), step):
            encoded = self._encoded(missing[start : start + step])
            embeddings |= encoded
            is_float32 = str(next(iter(encoded.values())).dtype).endswith("float32")
            by_key = {keys[prompts]: each for prompts, each in encoded.items()} if file is not None else {}
            if file is not None and not (is_float32 and file.write(by_key)):
                file = None
        return embeddings

    def _file(self) -> _EmbeddingFile | None:
        folder = cache_folder()
        if folder is None or not self.on_disk:
            return None
        self._key = self._key or self.digest()
        return _EmbeddingFile(folder / "words" / f"{digest_of(KEPT_FORMAT, __version__, self._key)}.sqlite")

    def _encoded(self, classes: Sequence[ClassPrompts]) -> dict[ClassPrompts, Float[Array, "P C"]]:
        """Compute the embeddings of classes; shared prompts are encoded once."""
        vectors = self._through_encoder({prompt for prompts in classes for prompt in prompts})
        xp, embeddings = array_namespace(next(iter(vectors.values()))), {}
        for prompts in classes:
            each = xp.stack([vectors[prompt] for prompt in prompts])
            if len(prompts) > len(self.templates):
                each = (each[: len(self.templates), ...] + each[len(self.templates) :, ...]) / 2
            embeddings[prompts] = xp.mean(each, axis=0, keepdims=True) if self.average else each
        return embeddings

    def _through_encoder(self, prompts: Iterable[str]) -> dict[str, Float[Array, " C"]]:
        by_length: dict[int, list[tuple[str, Int[np.ndarray, "1 L"]]]] = {}
        for prompt in sorted(prompts):
            tokens = np.asarray(self.tokenizer.tokenize([prompt], multiple=LENGTH_STEP))
            by_length.setdefault(tokens.shape[1], []).append((prompt, tokens))
        by_prompt: dict[str, Float[Array, " C"]] = {}
        for same_length in by_length.values():
            for start in range(0, len(same_length), self.batch):
                batch = same_length[start : start + self.batch]
                tokens = [tokens for _, tokens in batch]
                vectors = self.embed(np.concatenate(tokens + tokens[:1] * (self.batch - len(batch))))
                # copy each row: a view would keep the whole batch in memory
                copied = (array_namespace(vectors).asarray(vector, copy=True) for vector in vectors[: len(batch), ...])
                by_prompt |= zip((prompt for prompt, _ in batch), copied, strict=True)
        return by_prompt
