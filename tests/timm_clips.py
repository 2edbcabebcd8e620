"""Small CLIPs whose image encoders are timm's, as open_clip builds them and as Meta does (DINOv3 with dino.txt)."""

from dataclasses import replace
from functools import cache
from types import SimpleNamespace
from typing import Any

import timm
import torch
from open_clip.model import _build_text_tower
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from torch import Tensor, nn

from segvoc.encoders.clip_text import ClipTextConfig, ClipTextEncoder, SiglipTextEncoder
from segvoc.encoders.clip_with_dino import DinoTxtImageEncoder
from segvoc.encoders.timm_clip import TimmClipImageEncoder
from segvoc.networks.base import SegmentationNetwork
from segvoc.networks.cat_seg import CAT_SEG
from segvoc.networks.choices import build_aggregation
from tests.built import loaded
from tests.golden_sets import GoldenCase, compact_case, golden_input, golden_parameter

# The goldens in tests/golden/dino_txt.* are outputs of Meta's own `DINOTxt` (github.com/facebookresearch/dinov3), built
# with these sizes and filled by `dino_txt_parameter`: every `step`-th value of patch tokens, two blocks and texts.
WIDTH, DEPTH, HEADS = 64, 3, 2
"""Of the image encoder; its head has as many heads."""

DINO_TXT_IMAGES = 255 * golden_input("images of dino.txt", (2, 3, 64, 96)).sigmoid()
"""Two images (2 3 64 96) with pixels in [0, 255]."""

DINO_TXT_TOKENS = torch.tensor([[49406, 5, 7, 49407, *20 * [0]], [49406, *range(100, 122), 49407]])
"""Two prompts of CLIP's tokenizer."""


def dino_txt_parameter(name: str, shape: tuple[int, ...]) -> Tensor:
    """The value of Meta's parameter: by the rule of the goldens, but for biases that are zero where published."""
    if name.endswith("bias_mask"):
        return torch.cat((torch.ones(shape[0] // 3), torch.zeros(shape[0] // 3), torch.ones(shape[0] // 3)))
    value = golden_parameter(name, shape)
    return torch.zeros(shape) if name.endswith("qkv.bias") else 20 * value if name.endswith(".gamma") else value


@cache
def dino_txt_case() -> GoldenCase:
    return compact_case("dino_txt")


@cache
def dino_txt_weights(file: str) -> dict[str, Tensor]:
    """One of the two files ("backbone", "dino_txt"); not to be changed."""
    shapes = dino_txt_case().record["files"][file]
    return {name: dino_txt_parameter(name, tuple(shape)) for name, shape in shapes.items()}


def both_dino_files() -> dict[str, Tensor]:
    return {**dino_txt_weights("dino_txt"), **dino_txt_weights("backbone")}


def small_dino_txt() -> tuple[DinoTxtImageEncoder, ClipTextEncoder]:
    sizes = {"embed_dim": WIDTH, "depth": DEPTH, "num_heads": HEADS}
    tower = timm.create_model("vit_large_patch16_dinov3", num_classes=0, global_pool="token", **sizes)
    sizes = {"width": 48, "layers": 2, "heads": 2, "context_length": 24, "vocabulary_size": 49408}
    text = ClipTextConfig(channels=WIDTH, quick_gelu=False, fine_tuned="qv", **sizes)
    image = DinoTxtImageEncoder(tower, heads=HEADS, taps=(0, 1), input_size=96)
    return image.eval(), ClipTextEncoder(text).eval()


CHANNELS = 32
SIDE = 64
"""Side of the images that the encoders were trained with [px]."""

VIT = {"embed_dim": CHANNELS, "depth": 3, "num_heads": 2, "img_size": SIDE, "dynamic_img_size": True}
IMAGES: dict[str, tuple[str, dict[str, Any], tuple[int, ...]]] = {
    "siglip": ("vit_base_patch16_siglip_224", VIT | {"global_pool": "map", "num_classes": 0}, (0, 1)),
    "pe-core": ("vit_pe_core_tiny_patch16_384", VIT | {"global_pool": "map", "num_classes": CHANNELS}, (0, 1)),
    "mobileclip": (
        "fastvit_mci0",
        {"layers": (1, 1, 1, 1), "embed_dims": (16, 32, 64, 64), "num_classes": CHANNELS, "global_pool": "avg"},
        (2, 1),
    ),
}
"""timm's name, its options and the taps of each family's image encoder."""

TEXT: dict[str, Any] = {"context_length": 64, "vocab_size": 49408, "width": 16, "heads": 1, "layers": 2}
SIGLIP_TEXT = TEXT | {"vocab_size": 300, "no_causal_mask": True, "proj_bias": True, "pool_type": "last"}
SIGLIP_TEXT |= {"norm_kwargs": {"eps": 1e-6}, "act_kwargs": {"approximate": "tanh"}}
OURS: Any = {"channels": CHANNELS, "width": 16, "layers": 2, "heads": 1, "quick_gelu": False, "fine_tuned": "qv"}
OURS["context_length"] = 64
TEXTS = {
    "siglip": (SIGLIP_TEXT, ClipTextConfig(**OURS, vocabulary_size=300, causal=False, siglip=True)),
    "pe-core": (TEXT, ClipTextConfig(**OURS)),
    "mobileclip": (TEXT | {"no_causal_mask": True}, ClipTextConfig(**OURS, causal=False)),
}
"""Of each family, the text encoder as open_clip's configuration has it, and as ours."""


def image_encoder(family: str, *, side: int = 2 * SIDE) -> TimmClipImageEncoder:
    name, options, taps = IMAGES[family]
    return TimmClipImageEncoder(timm.create_model(name, **options), taps=taps, input_size=side)


def text_encoder(family: str) -> ClipTextEncoder:
    config = TEXTS[family][1]
    return SiglipTextEncoder(config) if config.siglip else ClipTextEncoder(config)


class OpenClip(nn.Module):
    """A model of open_clip with random weights, none of which is zero."""

    def __init__(self, family: str) -> None:
        super().__init__()
        name, options, _ = IMAGES[family]
        self.visual = nn.Module()
        self.visual.trunk = timm.create_model(name, **options)
        self.text = _build_text_tower(CHANNELS, TEXTS[family][0])
        self.logit_scale = nn.Parameter(torch.tensor(2.0))
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.add_(0.05 * torch.randn_like(parameter))
            for buffer_name, buffer in self.named_buffers():
                if buffer_name.endswith("running_var"):
                    buffer.uniform_(0.5, 2)


@cache
def open_clips(family: str) -> OpenClip:
    torch.manual_seed(0)
    return OpenClip(family).eval()


@cache
def weights(family: str) -> dict[str, Tensor]:
    """Its state dict, and the tokenizer where it comes with one; not to be changed."""
    state = open_clips(family).state_dict()
    if family == "siglip":
        state |= {"logit_bias": torch.tensor(-10.0)}
        state["tokenizer"] = torch.frombuffer(bytearray(small_tokenizer().to_str().encode()), dtype=torch.uint8)
    return state


@cache
def small_tokenizer() -> Tokenizer:
    """Bytes as tokens, and an end token, as Gemma's has."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {"<pad>": 0, "<eos>": 1, "<unk>": 2} | {letter: 3 + index for index, letter in enumerate(alphabet)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # pyright: ignore
    tokenizer.decoder = decoders.ByteLevel()  # pyright: ignore
    tokenizer.post_processor = processors.TemplateProcessing(  # pyright: ignore
        single="$A <eos>", special_tokens=[("<eos>", 1)]
    )
    return tokenizer


def filled(family: str) -> SimpleNamespace:
    image, text = loaded(weights(family), image_encoder(family, side=SIDE).eval(), text_encoder(family).eval())
    return SimpleNamespace(image=image, text=text)


ALL = (*IMAGES, "dino_txt")


def small_network_on(family: str) -> SegmentationNetwork:
    """A CAT-Seg on the small encoders of a family, with their weights."""
    if family == "dino_txt":
        image, text = loaded(both_dino_files(), *small_dino_txt())
    else:
        image, text = vars(filled(family)).values()
    torch.manual_seed(0)
    taps = {"lifts": (), "taps": image.tap_channels} if family == "mobileclip" else {}
    sizes = replace(CAT_SEG.decoder_sizes, guidance=(16, 8), stages=(32, 16), **taps)
    aggregation = replace(
        CAT_SEG, blocks=1, dim=32, guidance_dim=16, heads=2, window=4, pad_classes=8, decoder_sizes=sizes
    )
    return SegmentationNetwork(image, text, build_aggregation(aggregation, image)).eval()
