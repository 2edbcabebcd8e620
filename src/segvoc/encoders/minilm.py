"""The MiniLM-L6 sentence encoder, the text encoder of the embedded model `tiny`.

Papers: Wang et al., "MiniLM", 2020; Reimers and Gurevych, "Sentence-BERT", 2019 (mean pooling). Weights:
sentence-transformers/all-MiniLM-L6-v2 (Apache-2.0). Words are encoded without a prompt template: with "a photo of ...",
a sentence encoder encodes photographs, not the word.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from segvoc.encoders.prompt_tokenizer import PromptTokenizer, UnknownBy

PAD = 0  # id of [PAD] in BERT's vocabulary

TOKENIZER_FILE = Path(__file__).parent.parent / "weights" / "minilm_l6_tokenizer.json"


@dataclass(frozen=True, kw_only=True)
class MiniLMConfig:
    """Sizes of the encoder; the defaults are those of all-MiniLM-L6-v2."""

    vocabulary_size: int = 30522
    """Size of the tokenizer's vocabulary."""
    channels: int = 384
    """Channels of tokens and embeddings."""
    hidden_channels: int = 1536
    """Channels inside the MLPs."""
    layers: int = 6
    heads: int = 12
    max_tokens: int = 256
    """Tokens of the longest prompt, including [CLS] and [SEP]."""


class TransformerLayer(nn.Module):
    """A post-norm transformer layer (BERT): attention and an MLP with GELU, each added and then normalized."""

    def __init__(self, config: MiniLMConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.query_key_value = nn.Linear(config.channels, 3 * config.channels)
        self.attention_out = nn.Linear(config.channels, config.channels)
        self.attention_norm = nn.LayerNorm(config.channels, eps=1e-12)
        self.hidden = nn.Linear(config.channels, config.hidden_channels)
        self.hidden_out = nn.Linear(config.hidden_channels, config.channels)
        self.hidden_norm = nn.LayerNorm(config.channels, eps=1e-12)

    def forward(self, x: Float[Tensor, "N L C"], is_token: Bool[Tensor, "N L"]) -> Float[Tensor, "N L C"]:
        """Update the N sequences; positions where `is_token` is false are not attended to."""
        query, key, value = self.query_key_value(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mask = is_token[:, None, None, :]
        attended = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        x = self.attention_norm(x + self.attention_out(attended.transpose(1, 2).flatten(2)))
        return self.hidden_norm(x + self.hidden_out(functional.gelu(self.hidden(x))))


class MiniLM(nn.Module):
    """Sentence embeddings of words: WordPiece tokens, six layers, mean over tokens, centered, unit length.

    The buffer `center` is subtracted before normalization: sentence embeddings share a large common direction, which
    would make all words similar.
    """

    unit_length = True
    unknown_by: UnknownBy = "fragments"

    center: Tensor

    def __init__(self, config: MiniLMConfig | None = None, tokenizer_file: Path = TOKENIZER_FILE) -> None:
        """Build the encoder with random weights; the tokenizer is read from the package."""
        super().__init__()
        self.config = config or MiniLMConfig()
        self.channels = self.config.channels
        self.token_embedding = nn.Embedding(self.config.vocabulary_size, self.channels)
        self.position_embedding = nn.Embedding(self.config.max_tokens, self.channels)
        self.embedding_norm = nn.LayerNorm(self.channels, eps=1e-12)
        self.layers = nn.ModuleList(TransformerLayer(self.config) for _ in range(self.config.layers))
        self.register_buffer("center", torch.zeros(self.channels))
        self.tokenizer = PromptTokenizer(
            tokenizer_file, max_tokens=self.config.max_tokens, padding=PAD, unknown_by=self.unknown_by
        )

    def fine_tuned_parameters(self) -> tuple[str, ...]:
        """None: the encoder is frozen."""
        return ()

    def tokenize(self, prompts: Sequence[str], *, multiple: int = 1) -> Int[Tensor, "N L"]:
        """WordPiece ids of N prompts; see `PromptTokenizer.tokenize`."""
        return torch.from_numpy(self.tokenizer.tokenize(prompts, multiple=multiple))

    def unknown_words(self, words: Sequence[str]) -> list[str]:
        """Words that the encoder probably doesn't know; see `PromptTokenizer.unknown_words`."""
        return self.tokenizer.unknown_words(words)

    def forward(self, tokens: Int[Tensor, "N L"]) -> Float[Tensor, "N C"]:
        """Embeddings of N prompts, of unit length around `center`."""
        return functional.normalize(self.sentence_embedding(tokens) - self.center, dim=-1)

    def sentence_embedding(self, tokens: Int[Tensor, "N L"]) -> Float[Tensor, "N C"]:
        """Embeddings of the published sentence encoder: unit length, not centered."""
        is_token = tokens != PAD
        places = torch.arange(tokens.shape[1], device=tokens.device)
        x = self.embedding_norm(self.token_embedding(tokens) + self.position_embedding(places))
        for layer in self.layers:
            x = layer(x, is_token)
        weight = is_token[..., None].to(x.dtype)
        return functional.normalize((x * weight).sum(1) / weight.sum(1), dim=-1)
