"""Key maps from CLIPSeg's published weights to SynSeg; SynSeg's own weights were never published.

There are two formats: the authors' (timojl/clipseg, `rd64-uni.pth` and `rd64-uni-refined.pth`), which contains only the
decoder and needs a CLIP beside it, and that of Hugging Face's `CLIPSegForImageSegmentation`, which contains both.
"""

import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from segvoc.checkpoints.official_towers import clip_state, is_plain_clip
from segvoc.checkpoints.origins import refuse_other_origins
from segvoc.checkpoints.strict import fit_exactly, fit_thirds, inside, renamed, third
from segvoc.errors import CheckpointError
from segvoc.networks.base import SegmentationNetwork

_DECODER = ("film_mul.", "film_add.", "trans_conv.", "reduces.", "blocks.", "reduce.")
"""Prefixes of the decoder's weights in the authors' format; the last one belongs to an unused layer."""

_DECODER_OF_HUGGING_FACE = "decoder."
_CLIPS_OF_HUGGING_FACE = ("clip.", "clipseg.")
"""Prefixes of the CLIP beside it: as transformers writes it, and as its first conversion script did."""

_REFINED = re.compile(r"(trans_conv|transposed_convolution)\.0\.weight")
_PACKED = ".query_key_value."
_OURS = (
    (r"^film_(mul|add)\.", r"film.\1."),
    (r"^(trans_conv|transposed_convolution)\.", "head."),
    (r"^reduces\.", "reduce."),
    (r"^blocks\.", "layers."),
    (r"\.self_attn\.in_proj_", _PACKED),
    (r"\.self_attn\.([qkv])_proj\.(weight|bias)$", lambda found: third(f"{_PACKED}{found[2]}", found[1])),
    (r"\.self_attn\.out_proj\.", ".out."),
    (r"\.(linear1|mlp\.fc1)\.", ".expand."),
    (r"\.(linear2|mlp\.fc2)\.", ".contract."),
    (r"\.(norm1|layer_norm1)\.", ".attention_norm."),
    (r"\.(norm2|layer_norm2)\.", ".mlp_norm."),
)


def holds_decoder(official: Mapping[str, Tensor]) -> bool:
    """Whether weights contain the decoder in its authors' format, with or without a CLIP."""
    return any(name.startswith(_DECODER[:2]) for name in official)


def conditions_linearly(official: Mapping[str, Tensor]) -> bool:
    """Whether weights contain CLIPSeg's FiLM, two linear layers, in either format."""
    return any(name.removeprefix(_DECODER_OF_HUGGING_FACE).startswith(_DECODER[:2]) for name in official)


def is_decoder_alone(official: Mapping[str, Tensor]) -> bool:
    """Whether weights are the decoder in its authors' format, without a CLIP."""
    return holds_decoder(official) and all(name.startswith(_DECODER) for name in official)


def syn_seg_state(official: Mapping[str, Tensor], network: SegmentationNetwork) -> dict[str, Tensor]:
    """State dict for a SynSeg network: a CLIPSeg with a projector.

    The projector, which inference doesn't use, gets random values that are the same each time.

    It reads a whole CLIPSeg with Hugging Face's names, or the authors' decoder together with a plain CLIP.

    Raises:
        CheckpointError: A name or shape doesn't fit, a parameter has no value, or the decoder or the CLIP is missing.
    """
    decoder, clip = _decoder_and_clip(official)
    if not decoder:
        if not is_plain_clip(clip):
            refuse_other_origins(official, "CLIPSeg")
        raise CheckpointError("these weights aren't from CLIPSeg; give those of CLIPSeg, or a plain CLIP to train from")
    if not clip:
        raise CheckpointError(
            "this is CLIPSeg's decoder without its CLIP; convert it with OpenAI's beside it: "
            "segvoc convert DECODER OUT --model syn-seg-b --encoder-weights ViT-B-16.pt"
        )
    state = decoder_state(decoder, network.aggregation) | projector_state(network.aggregation)
    return clip_state(clip, network) | {f"aggregation.{name}": value for name, value in state.items()}


def _decoder_and_clip(official: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The weights of the decoder and those of the CLIP, without prefixes, in either format; without either, empty.

    Raises:
        CheckpointError: Some weights in Hugging Face's format are of neither.
    """
    prefix = next((one for one in _CLIPS_OF_HUGGING_FACE if any(name.startswith(one) for name in official)), None)
    if prefix is not None:
        known = (_DECODER_OF_HUGGING_FACE, prefix)
        fit_exactly(((name, name, x) for name, x in official.items() if not name.startswith(known)), {}, "CLIPSeg")
        return inside(_DECODER_OF_HUGGING_FACE, official), inside(prefix, official)
    if any(name.startswith("clip_model.") for name in official):
        # the authors' checkpoints of whole networks contain the image tower twice
        official = {
            name.removeprefix("clip_model."): x for name, x in official.items() if not name.startswith("model.")
        }
    decoder = {name: value for name, value in official.items() if name.startswith(_DECODER)}
    return decoder, {name: value for name, value in official.items() if name not in decoder}


def decoder_state(official: Mapping[str, Tensor], decoder: nn.Module) -> dict[str, Tensor]:
    """State dict of `decoder`, without its projector, from the weights of CLIPSeg's in either format.

    Raises:
        CheckpointError: A name or shape doesn't fit, or a parameter has no value.
    """
    expected = {name: x.shape for name, x in decoder.state_dict().items() if not name.startswith("projector.")}
    refined = "head.0.weight" in expected
    if any(map(_REFINED.fullmatch, official)) != refined:
        theirs, option = ("plain", "head=plain") if refined else ("refined", "head=refined")
        raise CheckpointError(f"these weights have CLIPSeg's {theirs} head; load them with the option {option}")
    if any(name.startswith("film.shared.") for name in expected):
        raise CheckpointError("these weights have CLIPSeg's linear FiLM; load them with the option film=linear")
    weights = ((name, renamed(name, _OURS), x) for name, x in official.items() if not name.startswith("reduce."))
    return fit_thirds(weights, expected, "CLIPSeg", _PACKED)


def projector_state(decoder: nn.Module) -> dict[str, Tensor]:
    """Random values for the projector, drawn like those of a new linear layer; the same each time."""
    shapes = inside("projector.", decoder.state_dict())
    generator, bound = torch.Generator().manual_seed(0), shapes["weight"].shape[1] ** -0.5
    return {
        f"projector.{name}": (2 * torch.rand(value.shape, generator=generator) - 1) * bound
        for name, value in shapes.items()
    }
