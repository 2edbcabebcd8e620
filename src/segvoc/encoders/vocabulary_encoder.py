"""Embeds vocabularies: each prompt once, independently of the other prompts, and again when the weights change."""

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Protocol, cast, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from segvoc.encoders.base import TextEncoder
from segvoc.encoders.unknown_words import warn_of_unknown_words
from segvoc.vocabulary import Vocabulary

CPU_BATCH = 16
"""Prompts in each batch through the text encoder on a CPU. The batch size is fixed because a matrix product picks its
kernel by the number of rows, and kernels round differently. With 16 rows the result doesn't depend on the row's
position either; with 4 it does."""

GPU_BATCH = 256
"""Prompts in each batch on a GPU."""

LENGTH_STEP = 8
"""Prompts are padded to a multiple of this many tokens. The padding depends only on the prompt's own length, and few
batches are left half empty."""

CACHED_PROMPTS = 50_000
"""Embeddings in the cache, which keeps those used last: 100 MB with 512 channels."""

_ROW = 256  # 64-bit words per checksum


@runtime_checkable
class EncodedWords(Protocol):
    """Words encoded for a network by its word encoder; opaque to all other code."""

    def __len__(self) -> int:
        """Number of words."""
        ...

    def to(self, where: torch.dtype | torch.device, /) -> "EncodedWords":
        """A copy with another dtype or on another device."""
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


class VocabularyEncoder:
    """Computes word embeddings with prompt templates and a text encoder.

    A prompt's embedding depends only on the prompt and the text encoder, to the last bit: each prompt is encoded in a
    batch of fixed size, padded to a length that follows from its own number of tokens.

    Embeddings are cached until the text encoder's weights change. Every call checks for changes. It compares each
    tensor's identity, address, dtype, device and version counter, which catch optimizers, `load_state_dict`, `.to()`
    and every in-place operation. Writes through `.data` or NumPy bypass the counter, so it also compares a checksum of
    each 2 KiB block (10 ms for 90 MB on a CPU; one synchronisation on a GPU). The only undetected change is a write
    past the counter that leaves all checksums the same.

    Args:
        text_encoder: a `TextEncoder`.
        templates: prompt templates; `{}` stands for the word.
        average: whether a class has one embedding, the mean over the templates (P = 1), instead of one for each.
    """

    def __init__(self, text_encoder: nn.Module, templates: Sequence[str], *, average: bool = False) -> None:
        self.text_encoder = text_encoder
        self.templates = tuple(templates)
        self.average = average
        self._cache: OrderedDict[str, Float[Tensor, " C"]] = OrderedDict()
        self._weights: _WeightsState | None = None

    def __call__(self, vocabulary: Vocabulary, none: str | None = None) -> Float[Tensor, "T P C"]:
        """Embed P prompts for each of T classes; synonyms are averaged if the vocabulary asks for it.

        Embeddings have unit length, unless the text encoder keeps their lengths (`unit_length`).

        Raises:
            ValueError: `none` is given, but this encoder has no embedding for "none of the words".
        """
        if none is not None:
            raise ValueError(f"no embedding stands for none of the words, and {none!r} is to")
        warn_of_unknown_words(cast(TextEncoder, self.text_encoder).unknown_words(vocabulary.words))
        prompts = vocabulary.prompts(self.templates)
        vectors = self._encoded({prompt for by_class in prompts for names in by_class for prompt in names})
        embeddings = [
            torch.stack([torch.stack([vectors[prompt] for prompt in names]).mean(0) for names in by_class])
            for by_class in prompts
        ]
        stacked = torch.stack(embeddings)
        if self.average:
            stacked = stacked.mean(dim=1, keepdim=True)
        return F.normalize(stacked, dim=-1) if getattr(self.text_encoder, "unit_length", True) else stacked

    def _encoded(self, prompts: set[str]) -> dict[str, Float[Tensor, " C"]]:
        weights = _WeightsState.of(self.text_encoder)
        if self._weights is None or not weights.same_as(self._weights):
            self._cache.clear()
            self._weights = weights
        missing = sorted(prompt for prompt in prompts if prompt not in self._cache)
        for prompt, vector in self._through_tower(missing):
            self._cache[prompt] = vector
        vectors = {}
        for prompt in prompts:
            vectors[prompt] = self._cache[prompt]
            self._cache.move_to_end(prompt)
        while len(self._cache) > CACHED_PROMPTS:
            self._cache.popitem(last=False)
        return vectors

    @torch.no_grad()
    def _through_tower(self, prompts: Iterable[str]) -> list[tuple[str, Float[Tensor, " C"]]]:
        encoder = cast(TextEncoder, self.text_encoder)
        device = next(self.text_encoder.parameters()).device
        rows = CPU_BATCH if device.type == "cpu" else GPU_BATCH
        by_length: dict[int, list[tuple[str, Int[Tensor, "1 L"]]]] = {}
        for prompt in prompts:
            tokens = encoder.tokenize([prompt], multiple=LENGTH_STEP)
            by_length.setdefault(tokens.shape[1], []).append((prompt, tokens))
        found = []
        for same_length in by_length.values():
            for start in range(0, len(same_length), rows):
                batch = same_length[start : start + rows]
                tokens = torch.cat([tokens for _, tokens in batch])
                filled = torch.cat((tokens, tokens[:1].expand(rows - len(batch), -1)))
                # copy each row: a view would keep the whole batch in memory
                vectors = encoder(filled.to(device))
                found += [(prompt, vector.clone()) for (prompt, _), vector in zip(batch, vectors, strict=False)]
        return found


class _WeightsState:
    """A snapshot of a module's weights that detects changes; see `VocabularyEncoder`."""

    def __init__(self, tensors: tuple[Tensor, ...], stamps: tuple[object, ...], sums: Int[Tensor, " N"]) -> None:
        self._tensors = tensors  # kept alive, so that no other tensor can get the same identity
        self._stamps, self._sums = stamps, sums

    @classmethod
    def of(cls, module: nn.Module) -> "_WeightsState":
        tensors = (*module.parameters(), *module.buffers())
        sums = torch.cat([piece for tensor in tensors for piece in _sums(tensor.detach())])
        return cls(tensors, tuple(map(_stamp, tensors)), sums)

    def same_as(self, other: "_WeightsState") -> bool:
        return self._stamps == other._stamps and torch.equal(self._sums, other._sums)


def _stamp(tensor: Tensor) -> tuple[object, ...]:
    version = None if tensor.is_inference() else tensor._version
    return id(tensor), tensor.data_ptr(), version, tensor.dtype, tensor.shape, tensor.device


def _sums(tensor: Tensor) -> Iterable[Int[Tensor, " N"]]:
    bits = tensor.flatten().view(torch.uint8)
    bits = bits.clone() if bits.storage_offset() % 8 else bits
    whole = len(bits) // (8 * _ROW) * (8 * _ROW)
    yield bits[:whole].view(torch.int64).view(-1, _ROW).sum(1)
    yield bits[whole:].long()
