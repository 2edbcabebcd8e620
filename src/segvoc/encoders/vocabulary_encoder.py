"""Embeds vocabularies with a PyTorch text encoder and notices changed weights; the cache is in `word_encoder`."""

from collections.abc import Iterable, Sequence
from importlib.metadata import version
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from jaxtyping import Float, Float32, Int
from torch import Tensor, nn

from segvoc.checkpoints.origins import content_hash
from segvoc.encoders.lexicon import Lexicon
from segvoc.encoders.word_encoder import CPU_BATCH, PromptedWordEncoder, Tokenizer
from segvoc.storage.files import digest_of

GPU_BATCH = 256
"""Prompts in each batch on a GPU."""

_ROW = 256  # 64-bit words per checksum


class VocabularyEncoder(PromptedWordEncoder):
    """Computes word embeddings with prompt templates and a text encoder.

    Embeddings are cached until the text encoder's weights change. Every call checks for changes. It compares each
    tensor's identity, address, dtype, device and version counter, which catch optimizers, `load_state_dict`, `.to()`
    and every in-place operation. Writes through `.data` or NumPy bypass the counter, so it also compares a checksum of
    each 2 KiB block (10 ms for 90 MB on a CPU; one synchronization on a GPU). The only undetected change is a write
    past the counter that leaves all checksums the same.
    """

    def __init__(
        self,
        text_encoder: nn.Module,
        templates: Sequence[str],
        *,
        average: bool = False,
        lexicon: Lexicon | None = None,
    ) -> None:
        super().__init__(templates, average=average, lexicon=lexicon)
        self.text_encoder = text_encoder
        self.unit_length = getattr(text_encoder, "unit_length", True)
        self._weights: _WeightsState | None = None

    def __getstate__(self) -> dict[str, Any]:
        """See `PromptedWordEncoder.__getstate__`."""
        return super().__getstate__() | {"_weights": None}

    @property
    def tokenizer(self) -> Tokenizer:
        """The text encoder, which tokenizes its prompts itself."""
        return cast(Tokenizer, self.text_encoder)

    @property
    def device(self) -> torch.device:
        """Device of the text encoder."""
        return next(self.text_encoder.parameters()).device

    def digest(self) -> str:
        """See `PromptedWordEncoder.digest`; only the modules show that equal weights have other activations."""
        return digest_of(content_hash(self.text_encoder), str(self.text_encoder), f"torch {version('torch')}")

    def has_changed(self) -> bool:
        """Whether the text encoder's weights have changed since the last call."""
        before, now = self._weights, _weights_of(self.text_encoder)
        self._weights = now
        return before is not None and not (now.stamps == before.stamps and torch.equal(now.sums, before.sums))

    @property
    def batch(self) -> int:
        """Prompts in each batch."""
        return CPU_BATCH if self.device.type == "cpu" else GPU_BATCH

    def restored(self, embeddings: Float32[np.ndarray, "P C"]) -> Float[Tensor, "P C"]:
        """Embeddings from disk as a tensor on the text encoder's device."""
        return torch.from_numpy(embeddings).to(self.device)

    @torch.no_grad()
    def embed(self, tokens: Int[np.ndarray, "N L"]) -> Float[Tensor, "N C"]:
        """Run the text encoder on the token ids of N prompts, in its own precision: embeddings outlive the call."""
        with torch.autocast(self.device.type, enabled=False):
            return self.text_encoder(torch.from_numpy(tokens).to(self.device))


class _WeightsState(NamedTuple):
    """A snapshot of a module's weights that detects changes; see `VocabularyEncoder`."""

    tensors: tuple[Tensor, ...]
    """Kept alive, so that no other tensor gets the same id."""
    stamps: tuple[tuple[object, ...], ...]
    sums: Int[Tensor, " N"]


def _weights_of(module: nn.Module) -> _WeightsState:
    tensors = (*module.parameters(), *module.buffers())
    stamps = tuple(
        (id(x), x.data_ptr(), None if x.is_inference() else x._version, x.dtype, x.shape, x.device) for x in tensors
    )
    return _WeightsState(tensors, stamps, torch.cat([piece for x in tensors for piece in _sums(x.detach())]))


def _sums(tensor: Tensor) -> Iterable[Int[Tensor, " N"]]:
    bits = tensor.flatten().view(torch.uint8)
    bits = bits.clone() if bits.storage_offset() % 8 else bits
    whole = len(bits) // (8 * _ROW) * (8 * _ROW)
    yield bits[:whole].view(torch.int64).view(-1, _ROW).sum(1)
    yield bits[whole:].long()
