"""The text encoder of SigLIP 2, which keeps its tokenizer among its weights: 256,000 tokens are too many to ship.

SigLIP 2: Tschannen et al., arXiv:2502.14786. The architecture is open_clip's, the tokenizer Gemma's.
"""

import re
import string
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Int, UInt8
from tokenizers import Regex, Tokenizer, normalizers
from torch import Tensor, nn

from segvoc.encoders.base import TOKENIZER
from segvoc.encoders.clip_text import ClipTextConfig, ClipTextEncoder
from segvoc.encoders.prompt_tokenizer import PromptTokenizer
from segvoc.errors import CheckpointError, UsageError, one_line

_CANONICAL = (
    normalizers.Replace("_", " "),
    normalizers.Replace(Regex(f"[{re.escape(string.punctuation)}]"), ""),
    normalizers.Lowercase(),
    normalizers.Replace(Regex(r"\s+"), " "),
    normalizers.Strip(),
)
"""What its authors' code and open_clip make of a prompt first: lower case, without punctuation."""


class SiglipTextEncoder(ClipTextEncoder):
    """Encodes a prompt, in lower case and without punctuation, as the projected state of its last place."""

    tokenizer: UInt8[Tensor, " N"]

    def __init__(self, config: ClipTextConfig) -> None:
        super().__init__(config)
        self.register_buffer(TOKENIZER, torch.zeros(0, dtype=torch.uint8))
        self._prompts: PromptTokenizer | None = None
        self.register_load_state_dict_pre_hook(_make_room)

    def tokenize(self, prompts: Sequence[str], *, multiple: int = 1) -> Int[Tensor, "N L"]:
        """Token ids, padded to `context_length` (L): each token attends to the padding too.

        Raises:
            UsageError: there are no weights, and so no tokenizer.
            CheckpointError: the tokenizer is damaged.

        Warns:
            PromptTruncatedWarning: a prompt is too long; its end is cut off.
        """
        if self._prompts is None:
            tokenizer, length = self.own_tokenizer(), self.config.context_length
            self._prompts = PromptTokenizer(tokenizer, max_tokens=length, unknown_by="never", whole=True)
        return torch.from_numpy(self._prompts.tokenize(prompts, multiple=multiple))

    def unknown_words(self, words: Sequence[str]) -> list[str]:
        """None: SigLIP 2 was trained on captions of 109 languages."""
        return []

    def forget_tokenizer(self) -> None:
        """Read the tokenizer again when it is needed next."""
        self._prompts = None

    def own_tokenizer(self) -> Tokenizer:
        """The tokenizer, from prompts as they are written.

        Raises:
            UsageError: there are no weights, and so no tokenizer.
            CheckpointError: the tokenizer is damaged.
        """
        if not len(self.tokenizer):
            raise UsageError(
                "a SigLIP without its published weights has no tokenizer; give them with --encoder-weights or --weights"
            )
        try:
            tokenizer = Tokenizer.from_buffer(self.tokenizer.cpu().numpy().tobytes())
        except Exception as error:  # the library raises plain exceptions
            raise CheckpointError(
                f"the tokenizer among the weights is damaged ({one_line(error)}); fetch the weights and it again"
            ) from None
        own = () if tokenizer.normalizer is None else (tokenizer.normalizer,)
        tokenizer.normalizer = normalizers.Sequence([*_CANONICAL, *own])  # pyright: ignore[reportAttributeAccessIssue]
        return tokenizer


def _make_room(encoder: nn.Module, state: Mapping[str, Any], prefix: str, *_: object) -> None:
    """Give the tokenizer's buffer the size of what will be loaded."""
    kept = state.get(f"{prefix}{TOKENIZER}")
    if isinstance(encoder, SiglipTextEncoder) and isinstance(kept, Tensor):
        encoder.tokenizer = torch.empty_like(kept, device=encoder.tokenizer.device)
        encoder.forget_tokenizer()
