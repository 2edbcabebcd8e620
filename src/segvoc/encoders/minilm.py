"""The MiniLM-L6 sentence encoder, the text encoder of the embedded model `tiny`.

Papers: Wang et al., "MiniLM", 2020; Reimers and Gurevych, "Sentence-BERT", 2019 (mean pooling). Weights:
sentence-transformers/all-MiniLM-L6-v2 (Apache-2.0). Words are encoded without a prompt template: with "a photo of ...",
a sentence encoder encodes photographs, not the word.
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

from segvoc.encoders.unknown_words import in_another_script
from segvoc.errors import PromptTruncatedWarning

PAD, UNKNOWN = 0, 100  # ids of [PAD] and [UNK] in BERT's vocabulary

ENDINGS = frozenset(("s", "es", "er", "or", "r", "ing", "ed", "d", "y"))
"""Endings of English words that WordPiece may split off."""

FOREIGN_SHARE = 0.5
"""Share of fragmented words from which a vocabulary is taken for one in another language.

This is so for 2 % of random sets of four classes of A-847 and for none of COCO, and for 79 to 100 % of sets of four
common nouns in twelve languages with Latin letters."""

TOKENIZER_FILE = Path(__file__).parent.parent / "weights" / "minilm_l6_tokenizer.json"


@dataclass(frozen=True, kw_only=True)
class MiniLMConfig:
    """Sizes of the encoder; the defaults are those of all-MiniLM-L6-v2."""

    vocabulary_size: int = 30522
    """Tokens of the tokeniser."""
    channels: int = 384
    """Channels of tokens and embeddings."""
    hidden_channels: int = 1536
    """Channels inside the MLPs."""
    layers: int = 6
    """Transformer layers."""
    heads: int = 12
    """Attention heads."""
    max_tokens: int = 256
    """Tokens of the longest prompt, including [CLS] and [SEP]."""


class TransformerLayer(nn.Module):
    """A post-norm transformer layer (BERT): attention and an MLP with GELU, each added and then normalised."""

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
    would make all words similar.
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
        """None: the encoder is frozen."""
        return ()

    def tokenize(self, prompts: Sequence[str], *, multiple: int = 1) -> Int[Tensor, "N L"]:
        """WordPiece ids of N prompts, from [CLS] to [SEP], padded with [PAD] to the longest rounded up (<= max_tokens).

        Warns:
            PromptTruncatedWarning: a prompt has more than `max_tokens` tokens; its end is cut off.
        """
        rows: list[list[int]] = []
        for prompt, encoding in zip(prompts, self._tokenizer.encode_batch_fast(list(prompts)), strict=True):
            ids = encoding.ids
            if len(ids) > self.config.max_tokens:
                limit = self.config.max_tokens
                warnings.warn(
                    f'"{prompt}" is too long: the model reads {limit} of its {len(ids)} tokens; shorten it',
                    PromptTruncatedWarning,
                    stacklevel=2,
                )
                ids = [*ids[: limit - 1], ids[-1]]
            rows.append(ids)
        longest = max(map(len, rows), default=2)
        tokens = torch.full((len(rows), min(-(-longest // multiple) * multiple, self.config.max_tokens)), PAD)
        for row, ids in zip(tokens, rows, strict=True):
            row[: len(ids)] = torch.tensor(ids)
        return tokens

    def unknown_words(self, words: Sequence[str]) -> list[str]:
        """Words in other scripts than the Latin one, words without any known token, and words of other languages.

        WordPiece breaks foreign words into fragments ("kat", "##ze"), but also a few English ones ("a", "##wning"). So
        fragmented words count only where they make up half of the Latin ones (`FOREIGN_SHARE`).
        """
        names = [word.split(", ")[0] for word in words]
        foreign = [in_another_script(name) for name in names]
        enough = max(2, FOREIGN_SHARE * (len(words) - sum(foreign)))
        fragmented = [not other and self._is_fragmented(name) for other, name in zip(foreign, names, strict=True)]
        if sum(fragmented) >= enough:
            from segvoc.encoders.clip_text import is_known_to_clip  # here, because open_clip takes seconds to import

            # CLIP's larger vocabulary knows most of the English words among them, such as "giraffe" and "sushi"
            fragmented = [odd and not is_known_to_clip(name) for odd, name in zip(fragmented, names, strict=True)]
        if sum(fragmented) >= enough:
            foreign = [other or odd for other, odd in zip(foreign, fragmented, strict=True)]
        return [
            word
            for word, name, is_foreign in zip(words, names, foreign, strict=True)
            if is_foreign or self._has_no_known_token(name)
        ]

    def _has_no_known_token(self, name: str) -> bool:
        return set(self._tokenizer.encode(name, add_special_tokens=False).ids) <= {UNKNOWN}

    def _is_fragmented(self, name: str) -> bool:
        """Whether WordPiece breaks every word of a name into pieces that are not English words or endings.

        "candle", "##stick", "##s" are.
        """
        words = [word for word in name.split() if any(map(str.isalpha, word))]
        return bool(words) and all(
            any(not self._is_word_or_ending(piece) for piece in tokens) and any(map(_continues, tokens))
            for tokens in (self._tokenizer.encode(word, add_special_tokens=False).tokens for word in words)
        )

    def _is_word_or_ending(self, piece: str) -> bool:
        text = piece.removeprefix("##")
        is_word = len(text) >= 3 and self._tokenizer.token_to_id(text) is not None
        return is_word or (_continues(piece) and text in ENDINGS)

    def forward(self, tokens: Int[Tensor, "N L"]) -> Float[Tensor, "N C"]:
        """Embeddings of N prompts, of unit length around `centre`."""
        return functional.normalize(self.sentence_embedding(tokens) - self.centre, dim=-1)

    def sentence_embedding(self, tokens: Int[Tensor, "N L"]) -> Float[Tensor, "N C"]:
        """Embeddings of the published sentence encoder: unit length, not centred."""
        is_token = tokens != PAD
        x = self.embedding_norm(self.token_embedding(tokens) + self.position_embedding.weight[: tokens.shape[1]])
        for layer in self.layers:
            x = layer(x, is_token)
        weight = is_token[..., None].to(x.dtype)
        return functional.normalize((x * weight).sum(1) / weight.sum(1), dim=-1)


def _continues(token: str) -> bool:
    return token.startswith("##")
