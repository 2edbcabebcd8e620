"""Encodes vocabularies, whatever library runs the text encoder: each prompt once, independently of the others."""

from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from array_api_compat import array_namespace
from jaxtyping import Float, Int

from segvoc.arrays import Array, normalized
from segvoc.encoders.unknown_words import warn_of_unknown_words
from segvoc.vocabulary import Vocabulary

CPU_BATCH = 16
"""Prompts in each batch through the text encoder on a CPU. The batch size is fixed because a matrix product picks its
kernel by the number of rows, and kernels round differently. With 16 rows the result doesn't depend on the row's
position either; with 4 it does."""

LENGTH_STEP = 8
"""Prompts are padded to a multiple of this many tokens. The padding depends only on the prompt's own length, and few
batches are left half empty."""

CACHED_PROMPTS = 50_000
"""Embeddings in the cache, which keeps those used last: 100 MB with 512 channels."""


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
        """Encode all words.

        Args:
            vocabulary: the words.
            none: the word for "none of the others", for networks that were trained with this class.
        """
        ...


@runtime_checkable
class Tokenizer(Protocol):
    """Turns prompts into token ids, and knows which words the text encoder hasn't learnt."""

    def tokenize(self, prompts: Sequence[str], *, multiple: int = 1) -> Int[Array, "N L"]:
        """Token ids of N prompts, padded to the longest one rounded up to a multiple of `multiple`.

        A prompt that is too long is cut off, with a `PromptTruncatedWarning` that quotes it.
        """
        ...

    def unknown_words(self, words: Sequence[str]) -> list[str]:
        """Those of a vocabulary's words that the encoder probably doesn't know, such as words of another language."""
        ...


class PromptedWordEncoder(ABC):
    """Computes word embeddings with prompt templates and a text encoder.

    A prompt's embedding depends only on the prompt and the text encoder, to the last bit: each prompt is encoded in a
    batch of fixed size, padded to a length that follows from its own number of tokens. Embeddings are cached.

    Args:
        templates: prompt templates; `{}` stands for the word.
        average: whether a class has one embedding, the mean over the templates (P = 1), instead of one for each.
    """

    unit_length = True
    """Whether embeddings have unit length; if not, their lengths carry meaning and are kept."""

    def __init__(self, templates: Sequence[str], *, average: bool = False) -> None:
        self.templates = tuple(templates)
        self.average = average
        self._cache: OrderedDict[str, Float[Array, " C"]] = OrderedDict()

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

    def has_changed(self) -> bool:
        """Whether the text encoder's weights have changed since the last call, which empties the cache."""
        return False

    def __call__(self, vocabulary: Vocabulary, none: str | None = None) -> Float[Array, "T P C"]:
        """Embed P prompts for each of T classes; synonyms are averaged if the vocabulary asks for it.

        Embeddings have unit length, unless the text encoder keeps their lengths (`unit_length`).

        Raises:
            ValueError: `none` is given, but this encoder has no embedding for "none of the words".
        """
        if none is not None:
            raise ValueError(f"no embedding stands for none of the words, and {none!r} is to")
        warn_of_unknown_words(self.tokenizer.unknown_words(vocabulary.words))
        prompts = vocabulary.prompts(self.templates)
        vectors = self._encoded({prompt for by_class in prompts for names in by_class for prompt in names})
        xp = array_namespace(next(iter(vectors.values())))
        embeddings = [
            xp.stack([xp.mean(xp.stack([vectors[prompt] for prompt in names]), axis=0) for names in by_class])
            for by_class in prompts
        ]
        stacked = xp.stack(embeddings)
        if self.average:
            stacked = xp.mean(stacked, axis=1, keepdims=True)
        return normalized(stacked) if self.unit_length else stacked

    def _encoded(self, prompts: set[str]) -> dict[str, Float[Array, " C"]]:
        if self.has_changed():
            self._cache.clear()
        missing = sorted(prompt for prompt in prompts if prompt not in self._cache)
        for prompt, vector in self._through_encoder(missing):
            self._cache[prompt] = vector
        vectors = {}
        for prompt in prompts:
            vectors[prompt] = self._cache[prompt]
            self._cache.move_to_end(prompt)
        while len(self._cache) > CACHED_PROMPTS:
            self._cache.popitem(last=False)
        return vectors

    def _through_encoder(self, prompts: Iterable[str]) -> list[tuple[str, Float[Array, " C"]]]:
        by_length: dict[int, list[tuple[str, Int[np.ndarray, "1 L"]]]] = {}
        for prompt in prompts:
            tokens = np.asarray(self.tokenizer.tokenize([prompt], multiple=LENGTH_STEP))
            by_length.setdefault(tokens.shape[1], []).append((prompt, tokens))
        found = []
        for same_length in by_length.values():
            for start in range(0, len(same_length), self.batch):
                batch = same_length[start : start + self.batch]
                tokens = [tokens for _, tokens in batch]
                vectors = self.embed(np.concatenate(tokens + tokens[:1] * (self.batch - len(batch))))
                # copy each row: a view would keep the whole batch in memory
                copied = (array_namespace(vectors).asarray(vector, copy=True) for vector in vectors[: len(batch), ...])
                found += zip((prompt for prompt, _ in batch), copied, strict=True)
        return found
