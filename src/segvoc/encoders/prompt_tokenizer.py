"""Prompts as token ids, by the `tokenizers` library."""

import os
import warnings
from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Int64
from tokenizers import Tokenizer

from segvoc.encoders.word_encoder import in_another_script, is_known_to_clip
from segvoc.errors import CheckpointError, PromptTruncatedWarning, one_line

UnknownBy = Literal["script", "fragments", "never"]
"""Which words a text encoder probably doesn't know. "script": words in non-Latin scripts (CLIP). "fragments": also
words without any known token, and words of other languages, which WordPiece breaks into fragments (BERT). "never":
none, for encoders trained on captions of many languages (SigLIP 2)."""

ENDINGS = frozenset(("s", "es", "er", "or", "r", "ing", "ed", "d", "y"))
"""Endings of English words that WordPiece may split off."""

FOREIGN_SHARE = 0.5
"""Share of fragmented words from which a vocabulary counts as another language.

This is so for 2 % of random sets of four classes of A-847 and for none of COCO, and for 79 to 100 % of sets of four
common nouns in twelve languages with Latin letters."""


class PromptTokenizer:
    """Turns prompts into token ids, and detects words unknown to the text encoder, which `unknown_by` recognizes.

    `source` is the tokenizer, or its JSON file; a damaged one raises a `CheckpointError` here or when it is used. A
    prompt has at most `max_tokens`, start and end included. The id `padding` fills short prompts to the longest, or to
    `max_tokens` if `whole`, for encoders that attend to the padding.
    """

    def __init__(
        self,
        source: str | os.PathLike[str] | Tokenizer,
        *,
        max_tokens: int,
        padding: int = 0,
        unknown_by: UnknownBy,
        whole: bool = False,
    ) -> None:
        self.max_tokens, self.padding, self.unknown_by, self.whole = max_tokens, padding, unknown_by, whole
        if isinstance(source, Tokenizer):
            self._name, self._tokenizer = "among the weights", source
        else:
            self._name = repr(os.fspath(source))
            try:
                self._tokenizer = Tokenizer.from_file(os.fspath(source))
            except Exception as error:  # the library raises plain exceptions
                raise self._damaged(error) from None
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()

    def tokenize(self, prompts: Sequence[str], *, multiple: int = 1) -> Int64[np.ndarray, "N L"]:
        """Token ids of N prompts, from start to end, padded to the longest rounded up (L <= max_tokens).

        Of a prompt that is too long the end is cut off, but never the end token, with a `PromptTruncatedWarning`.
        """
        try:
            encodings = self._tokenizer.encode_batch_fast(list(prompts))
        except Exception as error:  # the library raises plain exceptions
            raise self._damaged(error) from None
        rows = []
        for prompt, encoding in zip(prompts, encodings, strict=True):
            ids, over = encoding.ids, len(encoding.ids) - self.max_tokens
            if over > 0:
                tokens = len(ids) - sum(encoding.special_tokens_mask)
                warnings.warn(
                    f'"{prompt}" is too long: the model reads {tokens - over} of its {tokens} tokens; shorten it',
                    PromptTruncatedWarning,
                    stacklevel=2,
                )
                ids = [*ids[: self.max_tokens - 1], ids[-1]]
            rows.append(ids)
        longest = self.max_tokens if self.whole else max(map(len, rows), default=2)
        length = min(-(-longest // multiple) * multiple, self.max_tokens)
        return np.array([row + [self.padding] * (length - len(row)) for row in rows], np.int64).reshape(-1, length)

    def _damaged(self, error: Exception) -> CheckpointError:
        return CheckpointError(f"the tokenizer {self._name} is damaged ({one_line(error)}); take or export it again")

    def unknown_words(self, words: Sequence[str]) -> list[str]:
        """Find words that the text encoder probably doesn't know.

        WordPiece breaks foreign words into fragments ("kat", "##ze"), but also a few English ones ("a", "##wning"). So
        fragmented words count only if they are half of the Latin words (`FOREIGN_SHARE`).
        """
        if self.unknown_by == "never":
            return []
        if self.unknown_by == "script":
            return [word for word in words if in_another_script(word)]
        names = [word.split(", ")[0] for word in words]
        foreign = [in_another_script(name) for name in names]
        enough = max(2, FOREIGN_SHARE * (len(words) - sum(foreign)))
        fragmented = [not other and self._is_fragmented(name) for other, name in zip(foreign, names, strict=True)]
        if sum(fragmented) >= enough:
            # CLIP's larger vocabulary knows most of the English words among them, such as "giraffe" and "sushi"
            fragmented = [odd and not is_known_to_clip(name) for odd, name in zip(fragmented, names, strict=True)]
        if sum(fragmented) >= enough:
            foreign = [other or odd for other, odd in zip(foreign, fragmented, strict=True)]
        unknown = [other or set(self._pieces(name)) <= {"[UNK]"} for other, name in zip(foreign, names, strict=True)]
        return [word for word, is_unknown in zip(words, unknown, strict=True) if is_unknown]

    def _is_fragmented(self, name: str) -> bool:
        """Whether WordPiece breaks every word of a name into pieces that are not English words or endings.

        "candle", "##stick", "##s" are.
        """
        words = [word for word in name.split() if any(map(str.isalpha, word))]
        return bool(words) and all(
            any(piece.startswith("##") for piece in pieces) and not all(map(self._is_word_or_ending, pieces))
            for pieces in map(self._pieces, words)
        )

    def _pieces(self, text: str) -> list[str]:
        try:
            return self._tokenizer.encode(text, add_special_tokens=False).tokens
        except Exception as error:  # the library raises plain exceptions
            raise self._damaged(error) from None

    def _is_word_or_ending(self, piece: str) -> bool:
        text = piece.removeprefix("##")
        is_word = len(text) >= 3 and self._tokenizer.token_to_id(text) is not None
        return is_word or (piece.startswith("##") and text in ENDINGS)
