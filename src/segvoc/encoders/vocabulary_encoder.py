"""Embeddings of a vocabulary, computed once for each prompt and never stale."""

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from typing import Protocol, cast, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from segvoc.encoders.base import TextEncoder
from segvoc.vocabulary import Vocabulary

BATCH = 256
"""Prompts that go through the text tower together."""

CACHED_PROMPTS = 50_000
"""Embeddings that are kept, the last used: 100 MB with 512 channels."""


_TABLE_WIDTH = 256  # 64-bit words


@runtime_checkable
class EncodedWords(Protocol):
    """What a network's encoder of words makes of a vocabulary, and the network alone looks into."""

    def __len__(self) -> int:
        """How many words."""
        ...

    def to(self, dtype: torch.dtype, /) -> "EncodedWords":
        """The same in another type."""
        ...


@runtime_checkable
class WordEncoder(Protocol):
    """From a vocabulary to what a network reads of it. templates: prompts, `{}` stands for the word."""

    @property
    def templates(self) -> Sequence[str]:
        """The prompts."""
        ...

    def __call__(self, vocabulary: Vocabulary, none: str | None = None) -> EncodedWords:
        """Encode all words; `none`: the one that stands for none of the others, of networks that know it."""
        ...


class VocabularyEncoder:
    """From words to embeddings, through prompt templates and a text tower.

    Embeddings are kept by what they depend on: the prompt, and the content of the tower's weights.
    """

    def __init__(self, text_encoder: nn.Module, templates: Sequence[str]) -> None:
        self.text_encoder = text_encoder
        self.templates = tuple(templates)
        self._cache: OrderedDict[str, Float[Tensor, " C"]] = OrderedDict()
        self._weights = ""

    def __call__(self, vocabulary: Vocabulary, none: str | None = None) -> Float[Tensor, "T P C"]:
        """Embeddings: P templates for each of T classes; synonyms are averaged where they count.

        They have unit length, unless the tower says that its lengths mean something.

        Raises: ValueError: a word is to stand for none of the others, which no embedding does.
        """
        if none is not None:
            raise ValueError(f"no embedding stands for none of the words, and {none!r} is to")
        prompts = vocabulary.prompts(self.templates)
        vectors = self._encoded({prompt for by_class in prompts for names in by_class for prompt in names})
        embeddings = [
            torch.stack([torch.stack([vectors[prompt] for prompt in names]).mean(0) for names in by_class])
            for by_class in prompts
        ]
        stacked = torch.stack(embeddings)
        return F.normalize(stacked, dim=-1) if getattr(self.text_encoder, "unit_length", True) else stacked

    def _encoded(self, prompts: set[str]) -> dict[str, Float[Tensor, " C"]]:
        device = next(self.text_encoder.parameters()).device
        if (weights := f"{content_hash(self.text_encoder)} {device}") != self._weights:
            self._cache.clear()
            self._weights = weights
        # the order of a set of strings changes from run to run; batches must not, for results to repeat to the bit
        missing = sorted(
            (prompt for prompt in prompts if prompt not in self._cache), key=lambda text: (len(text), text)
        )
        encoder = cast(TextEncoder, self.text_encoder)
        with torch.no_grad():
            for start in range(0, len(missing), BATCH):
                batch = missing[start : start + BATCH]
                self._cache.update(zip(batch, encoder(encoder.tokenize(batch).to(device)), strict=True))
        vectors = {}
        for prompt in prompts:
            vectors[prompt] = self._cache[prompt]
            self._cache.move_to_end(prompt)
        while len(self._cache) > CACHED_PROMPTS:
            self._cache.popitem(last=False)
        return vectors


def content_hash(module: nn.Module) -> str:
    """A digest that changes with the value of any weight of the module, its type or its place; GPUs are alike.

    It reads every weight once, at the speed of memory, and so sees every way of writing to a tensor: sums of the bits
    along the rows and columns of a table are hashed.
    """
    digest = hashlib.blake2b(digest_size=16)
    for name, value in module.state_dict().items():
        digest.update(f"{name} {value.dtype} {tuple(value.shape)} {value.device.type}".encode())
        bits = value.detach().flatten().view(torch.uint8)
        bits = bits.clone() if bits.storage_offset() % 8 else bits
        table_size = len(bits) // (8 * _TABLE_WIDTH) * (8 * _TABLE_WIDTH)
        table = bits[:table_size].view(torch.int64).view(-1, _TABLE_WIDTH)
        for part in (table.sum(0), table.sum(1), bits[table_size:]):
            digest.update(part.cpu().numpy().tobytes())
    return digest.hexdigest()
