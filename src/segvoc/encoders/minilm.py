"""The MiniLM-L6 sentence encoder, the text tower of the embedded model `tiny`.

Papers: Wang et al., "MiniLM", 2020; Reimers and Gurevych, "Sentence-BERT", 2019 (mean pooling). Weights:
sentence-transformers/all-MiniLM-L6-v2 (Apache-2.0). Words are read literally: a template ("a photo of ...") tells a
sentence encoder about photographs, not about the word.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Bool, Float, Int
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional

from segvoc.errors import PromptTruncatedWarning, UnknownWordWarning

PAD, UNKNOWN = 0, 100  # ids of [PAD] and [UNK] in BERT's vocabulary
TOKENIZER_FILE = Path(__file__).parent.parent / "weights" / "minilm_l6_tokenizer.json"


@dataclass(frozen=True, kw_only=True)
class MiniLMConfig:
    """Sizes of the encoder; the defaults are those of all-MiniLM-L6-v2."""

    vocabulary_size: int = 30522
    channels: int = 384
    hidden_channels: int = 1536
    layers: int = 6
    heads: int = 12
    max_tokens: int = 256


class TransformerLayer(nn.Module):
    """One post-norm transformer layer (BERT): attention and a GELU network, each added and then normalised."""

    def __init__(self, config: MiniLMConfig) -> None:
        """Build one layer of `config`."""
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
    """Sentence embeddings of words: WordPiece tokens, six layers, mean over tokens, centred, unit length.

    The buffer `centre` is subtracted before normalisation: sentence embeddings share a large common direction, which
    would make any two words look alike.
    """

    unit_length = True

    centre: Tensor

    def __init__(self, config: MiniLMConfig | None = None, tokenizer_file: Path = TOKENIZER_FILE) -> None:
        """Build the encoder with random weights; the tokenizer is read from the package."""
        super().__init__()
        self.config = config or MiniLMConfig()
        self.channels = self.config.channels
        self.token_embedding = nn.Embedding(self.config.vocabulary_size, self.channels)
        self.position_embedding = nn.Embedding(self.config.max_tokens, self.channels)
        self.embedding_norm = nn.LayerNorm(self.channels, eps=1e-12)
        self.layers = nn.ModuleList(TransformerLayer(self.config) for _ in range(self.config.layers))
        self.register_buffer("centre", torch.zeros(self.channels))
        self._tokenizer = Tokenizer.from_file(str(tokenizer_file))

    def fine_tuned_parameters(self) -> tuple[str, ...]:
        """None: the tower is frozen."""
        return ()

    def tokenize(self, prompts: Sequence[str]) -> Int[Tensor, "N L"]:
        """WordPiece ids of N prompts, from [CLS] to [SEP], filled up with [PAD] to the longest (L <= max_tokens).

        Warns: PromptTruncatedWarning: a prompt has more than max_tokens tokens; its end is cut.
        UnknownWordWarning: the vocabulary has no piece of a prompt.
        """
        rows: list[list[int]] = []
        for prompt, encoding in zip(prompts, self._tokenizer.encode_batch_fast(list(prompts)), strict=True):
            ids = encoding.ids
            if len(ids) > self.config.max_tokens:
                limit = self.config.max_tokens
                warnings.warn(
                    f'"{prompt}" is cut: it has {len(ids)} tokens, the text tower reads {limit}; shorten it',
                    PromptTruncatedWarning,
                    stacklevel=2,
                )
                ids = [*ids[: limit - 1], ids[-1]]
            if set(ids[1:-1]) <= {UNKNOWN}:
                warnings.warn(
                    f'"{prompt}" is unknown to the text tower and can\'t be told from other unknown words; '
                    "write it in English",
                    UnknownWordWarning,
                    stacklevel=2,
                )
            rows.append(ids)
        tokens = torch.full((len(rows), max(map(len, rows), default=2)), PAD)
        for row, ids in zip(tokens, rows, strict=True):
            row[: len(ids)] = torch.tensor(ids)
        return tokens

    def forward(self, tokens: Int[Tensor, "N L"]) -> Float[Tensor, "N C"]:
        """Embeddings of N prompts, of unit length around `centre`."""
        return functional.normalize(self.sentence_embedding(tokens) - self.centre, dim=-1)

    def sentence_embedding(self, tokens: Int[Tensor, "N L"]) -> Float[Tensor, "N C"]:
        """Embeddings as the published sentence encoder gives them: unit length, not centred."""
        is_token = tokens != PAD
        x = self.embedding_norm(self.token_embedding(tokens) + self.position_embedding.weight[: tokens.shape[1]])
        for layer in self.layers:
            x = layer(x, is_token)
        weight = is_token[..., None].to(x.dtype)
        return functional.normalize((x * weight).sum(1) / weight.sum(1), dim=-1)
