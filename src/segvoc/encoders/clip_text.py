"""The text encoders of CLIPs and SigLIPs: a transformer and a tokenizer.

CLIP: Radford et al., arXiv:2103.00020; EVA02-CLIP: Sun et al., arXiv:2303.15389; ConvNeXt-CLIP: open_clip; others: see
`timm_clip.py`. The architecture, byte-pair merges and tokenizer are open_clip's.
"""

import math
import re
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, UInt8
from open_clip import get_model_config
from open_clip.tokenizer import SimpleTokenizer, basic_clean
from open_clip.transformer import LayerNorm, QuickGELU, TextTransformer
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors
from torch import Tensor, nn

from segvoc.checkpoints.origins import TOKENIZER
from segvoc.encoders.prompt_tokenizer import PromptTokenizer, UnknownBy
from segvoc.encoders.vit import projection_weights, separate_projections
from segvoc.errors import CheckpointError, UsageError, one_line


@dataclass(frozen=True, kw_only=True)
class ClipTextConfig:
    """Sizes of the encoder."""

    channels: int
    """Channels of the space shared with the images."""
    width: int
    """Channels of the tokens."""
    layers: int
    heads: int
    quick_gelu: bool
    """Use x sigmoid(1.702 x) in the MLPs instead of the exact GELU."""
    fine_tuned: str
    """Letters of the attention projections whose weights the published recipe trains ("qv")."""
    also_fine_tuned: tuple[str, ...] = ()
    """Suffixes of other parameter names that it trains."""
    context_length: int = 77
    """Max tokens per prompt, including start and end."""
    vocabulary_size: int = 49408
    """Size of the tokenizer's vocabulary."""
    unit_length: bool = True
    """Normalize the embeddings to unit length."""
    causal: bool = True
    """Whether attention is causal; if not, tokens attend to the padding too, and prompts are always padded to
    `context_length`."""
    mlp_ratio: float = 4.0
    """Hidden width of the MLPs relative to the tokens'."""
    siglip: bool = False
    """Whether it is SigLIP's: the embedding is the last position's state, the GELU is tanh-approximated, norms have
    an epsilon of 1e-6, and the projection has a bias."""


def openai_text(channels: int, *, quick_gelu: bool = True) -> ClipTextConfig:
    """The text encoder beside OpenAI's ViTs, or open_clip's with the exact GELU (512 or 768 channels: B/16, L/14)."""
    return _config(channels, layers=12, quick_gelu=quick_gelu)


def eva_text(channels: int) -> ClipTextConfig:
    """The text encoder of EVA02-CLIP-B-16 (512 channels) or -L-14-336 (768); its recipe trains q, k and v."""
    return _config(channels, layers=12, fine_tuned="qkv")


def convnext_text(channels: int, layers: int) -> ClipTextConfig:
    """The text encoder of `convnext_base_w_320` (640 channels, 12 layers) or `convnext_large_d_320` (768, 16 layers).

    ERR-Seg's recipe trains q, k and v, and the first layer of each MLP.
    """
    return replace(_config(channels, layers=layers, fine_tuned="qkv"), also_fine_tuned=(".mlp.c_fc.weight",))


def open_clip_text_of(model: str) -> ClipTextConfig:
    """The text encoder of an open_clip model by name; "qv" is trained, as in CAT-Seg and PCA-Seg."""
    config = cast(dict[str, Any], get_model_config(model))
    text = {name: value for name, value in config["text_cfg"].items() if not name.startswith(("hf_", "tokenizer_"))}
    siglip = text.pop("pool_type", "argmax") == "last"
    if siglip:
        assert text.pop("proj_bias") and (text.pop("norm_kwargs"), text.pop("act_kwargs")) == _OF_SIGLIP
    text["causal"] = not text.pop("no_causal_mask", False)
    text["vocabulary_size"] = text.pop("vocab_size")
    return ClipTextConfig(channels=config["embed_dim"], quick_gelu=False, fine_tuned="qv", siglip=siglip, **text)


_OF_SIGLIP = ({"eps": 1e-6}, {"approximate": "tanh"})
"""Norm and activation settings of SigLIP in open_clip's configurations."""


def _config(channels: int, *, layers: int, quick_gelu: bool = False, fine_tuned: str = "qv") -> ClipTextConfig:
    heads = channels // 64
    return ClipTextConfig(
        channels=channels, width=channels, layers=layers, heads=heads, quick_gelu=quick_gelu, fine_tuned=fine_tuned
    )


class ClipTextEncoder(nn.Module):
    """Encodes a prompt as the projected state of its end token (largest id) or last position, optionally normalized."""

    unknown_by: UnknownBy = "script"

    @staticmethod
    def clean(prompt: str) -> str:
        """Repair encoding and HTML entities, and write in lower case as open_clip does, also a final sigma."""
        return basic_clean(prompt).lower()

    def __init__(self, config: ClipTextConfig) -> None:
        super().__init__()
        self.config = config
        self.channels, self.unit_length = config.channels, config.unit_length
        activation = QuickGELU if config.quick_gelu else nn.GELU
        self.tower = TextTransformer(
            config.context_length,
            config.vocabulary_size,
            width=config.width,
            heads=config.heads,
            layers=config.layers,
            output_dim=config.channels,
            mlp_ratio=config.mlp_ratio,
            no_causal_mask=True,  # the attention below is causal for any length
            pool_type="last" if config.siglip else "argmax",
            proj_bias=config.siglip,
            act_layer=cast(type[nn.Module], partial(nn.GELU, approximate="tanh") if config.siglip else activation),
            norm_layer=cast(type[nn.Module], partial(LayerNorm, eps=1e-6) if config.siglip else LayerNorm),
        )
        separate_projections(self.tower.transformer.resblocks, causal=config.causal)
        self._prompts: PromptTokenizer | None = None
        # CLIP's temperature is unused here, but one of the published parameters
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def fine_tuned_parameters(self) -> tuple[str, ...]:
        """Names of the parameters that the published recipe trains: the configured weights of every block."""
        projections, others = projection_weights(self, self.config.fine_tuned), self.config.also_fine_tuned
        return tuple(name for name, _ in self.named_parameters() if name in projections or name.endswith(others))

    def own_tokenizer(self) -> Tokenizer:
        """The tokenizer of raw prompts."""
        return clip_tokenizer()

    def prompt_tokenizer(self) -> PromptTokenizer:
        """The tokenizer of prompts, which are padded to `context_length` if tokens attend to the padding."""
        if self._prompts is None:
            length, whole = self.config.context_length, not self.config.causal
            tokenizer = self.own_tokenizer()
            self._prompts = PromptTokenizer(tokenizer, max_tokens=length, unknown_by=self.unknown_by, whole=whole)
        return self._prompts

    def tokenize(self, prompts: Sequence[str], *, multiple: int = 1) -> Int[Tensor, "N L"]:
        """See `Tokenizer.tokenize`."""
        cleaned = [self.clean(prompt) for prompt in prompts]
        return torch.from_numpy(self.prompt_tokenizer().tokenize(cleaned, multiple=multiple))

    def unknown_words(self, words: Sequence[str]) -> list[str]:
        """Words in other scripts than Latin, since CLIP was trained on English captions; of a SigLIP none."""
        return self.prompt_tokenizer().unknown_words(words)

    def forward(self, tokens: Int[Tensor, "N L"]) -> Float[Tensor, "N C"]:
        """Embed N rows of token ids; with causal attention, padding after the end token has no influence."""
        embeddings = self.tower(tokens)
        return F.normalize(embeddings, dim=-1) if self.unit_length else embeddings


_PIECES = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
"""The pieces of a text in which CLIP's tokenizer looks for byte pairs (OpenAI's clip/simple_tokenizer.py)."""

_PLAIN = {"\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"'} | {
    "\ufb00": "ff", "\ufb01": "fi", "\ufb02": "fl", "\ufb03": "ffi", "\ufb04": "ffl",
}  # fmt: skip
"""Quotation marks and ligatures that open_clip's tokenizer writes plainly (by ftfy)."""


@cache
def clip_tokenizer() -> Tokenizer:
    """CLIP's tokenizer: lower case, byte pairs with an end-of-word mark, and the start and end of the text.

    Wrongly decoded text and HTML entities are taken literally; see `ClipTextEncoder.clean`.
    """
    original = SimpleTokenizer()
    merges = cast(list[tuple[str, str]], sorted(original.bpe_ranks, key=original.bpe_ranks.__getitem__))
    tokenizer = Tokenizer(
        models.BPE(vocab=dict(original.encoder), merges=merges, end_of_word_suffix="</w>", fuse_unk=False)
    )
    plain = [normalizers.Replace(mark, to) for mark, to in _PLAIN.items()]
    spaces = normalizers.Replace(Regex(r"\s+"), " ")
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), *plain, spaces, normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PIECES), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    start, end = ((original.decoder[token], token) for token in (original.sot_token_id, original.eot_token_id))
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{start[0]} $A {end[0]}", special_tokens=[start, end]
    )
    return tokenizer


_CANONICAL = (
    normalizers.Replace("_", " "),
    normalizers.Replace(Regex(f"[{re.escape(string.punctuation)}]"), ""),
    normalizers.Lowercase(),
    normalizers.Replace(Regex(r"\s+"), " "),
    normalizers.Strip(),
)
"""Prompt cleaning of the authors' code and open_clip: lower case, no punctuation."""


class SiglipTextEncoder(ClipTextEncoder):
    """Encodes a prompt, in lower case and without punctuation, as the projected state of its last position."""

    tokenizer: UInt8[Tensor, " N"]
    unknown_by = "never"

    @staticmethod
    def clean(prompt: str) -> str:
        """The prompt: its tokenizer cleans it."""
        return prompt

    def __init__(self, config: ClipTextConfig) -> None:
        super().__init__(config)
        self.register_buffer(TOKENIZER, torch.zeros(0, dtype=torch.uint8))
        self.register_load_state_dict_pre_hook(_make_room)

    def own_tokenizer(self) -> Tokenizer:
        """The tokenizer of raw prompts, which is among the weights."""
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
    """Resize the tokenizer's buffer to the loaded content."""
    kept = state.get(f"{prefix}{TOKENIZER}")
    if isinstance(encoder, SiglipTextEncoder) and isinstance(kept, Tensor):
        encoder.tokenizer = torch.empty_like(kept, device=encoder.tokenizer.device)
        encoder._prompts = None
