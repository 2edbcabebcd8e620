"""Key maps from CLIPSeg's published weights to SynSeg; SynSeg's own weights were never published.

There are two formats: the authors' (timojl/clipseg, `rd64-uni.pth` and `rd64-uni-refined.pth`), which contains only the
decoder and needs a CLIP beside it, and that of Hugging Face's `CLIPSegForImageSegmentation`, which contains both.
"""

import re
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from segvoc.checkpoints.official_towers import clip_state
from segvoc.checkpoints.strict import fit_exactly, inside, renamed
from segvoc.errors import CheckpointError
from segvoc.networks.base import SegmentationNetwork

_DECODER = ("film_mul.", "film_add.", "trans_conv.", "reduces.", "blocks.", "reduce.")
"""Prefixes of the decoder's weights in the authors' format; the last one belongs to an unused layer."""

_HUGGING_FACE = "clipseg."
_REFINED = "trans_conv.0.weight"

_OURS = (
    (r"^film_(mul|add)\.", r"film.\1."),
    (r"^trans_conv\.", "head."),
    (r"^reduces\.", "reduce."),
    (r"^blocks\.", "layers."),
    (r"\.self_attn\.in_proj_", ".query_key_value."),
    (r"\.self_attn\.out_proj\.", ".out."),
    (r"\.linear1\.", ".expand."),
    (r"\.linear2\.", ".contract."),
    (r"\.norm1\.", ".attention_norm."),
    (r"\.norm2\.", ".mlp_norm."),
)
_DECODER_OF_HUGGING_FACE = (
    (r"^transposed_convolution\.", "trans_conv."),
    (r"^layers\.", "blocks."),
    (r"\.mlp\.fc([12])\.", r".linear\1."),
    (r"\.layer_norm([12])\.", r".norm\1."),
)
_CLIP_OF_HUGGING_FACE = (
    (r"\.self_attn\.", ".attn."),
    (r"\.layer_norm([12])\.", r".ln_\1."),
    (r"\.mlp\.fc1\.", ".mlp.c_fc."),
    (r"\.mlp\.fc2\.", ".mlp.c_proj."),
    (r"^vision_model\.encoder\.layers\.", "visual.transformer.resblocks."),
    (r"^vision_model\.embeddings\.patch_embedding\.", "visual.conv1."),
    (r"^vision_model\.embeddings\.class_embedding$", "visual.class_embedding"),
    (r"^vision_model\.embeddings\.position_embedding\.weight$", "visual.positional_embedding"),
    (r"^vision_model\.pre_layrnorm\.", "visual.ln_pre."),
    (r"^vision_model\.post_layernorm\.", "visual.ln_post."),
    (r"^visual_projection\.weight$", "visual.proj"),
    (r"^text_model\.encoder\.layers\.", "transformer.resblocks."),
    (r"^text_model\.embeddings\.token_embedding\.", "token_embedding."),
    (r"^text_model\.embeddings\.position_embedding\.weight$", "positional_embedding"),
    (r"^text_model\.final_layer_norm\.", "ln_final."),
    (r"^text_projection\.weight$", "text_projection"),
)
_COMPUTED = re.compile(r"\.position_ids$")


def holds_decoder(official: Mapping[str, Tensor]) -> bool:
    """Whether weights contain the decoder in its authors' format, with or without a CLIP."""
    return any(name.startswith(_DECODER[:2]) for name in official)


def syn_seg_state(official: Mapping[str, Tensor], network: SegmentationNetwork) -> dict[str, Tensor]:
    """State dict for a SynSeg network: a CLIPSeg with a projector.

    The projector, which inference doesn't use, gets random values that are the same each time.

    Args:
        official: a whole CLIPSeg with Hugging Face's names, or the authors' decoder together with a plain CLIP.
        network: the network; only names and shapes are read, so it may be on `meta`.

    Raises:
        CheckpointError: A name or shape doesn't fit, a parameter has no value, or the decoder or the CLIP is missing.
    """
    if any(name.startswith(_HUGGING_FACE) for name in official):
        official = _in_authors_format(official)
    elif any(name.startswith("clip_model.") for name in official):
        # the authors' checkpoints of whole networks contain the image tower twice
        official = {
            name.removeprefix("clip_model."): x for name, x in official.items() if not name.startswith("model.")
        }
    decoder = {name: value for name, value in official.items() if name.startswith(_DECODER)}
    clip = {name: value for name, value in official.items() if name not in decoder}
    if not decoder:
        raise CheckpointError("these weights aren't from CLIPSeg; give those of CLIPSeg, or a plain CLIP to train from")
    if not clip:
        raise CheckpointError(
            "this is CLIPSeg's decoder without its CLIP; convert it with OpenAI's beside it: "
            "segvoc convert DECODER OUT --model syn-seg-b --encoder-weights ViT-B-16.pt"
        )
    state = decoder_state(decoder, network.aggregation) | projector_state(network.aggregation)
    return clip_state(clip, network) | {f"aggregation.{name}": value for name, value in state.items()}


def decoder_state(official: Mapping[str, Tensor], decoder: nn.Module) -> dict[str, Tensor]:
    """State dict of `decoder`, without its projector, from the authors' weights.

    Raises:
        CheckpointError: A name or shape doesn't fit, or a parameter has no value.
    """
    expected = {name: x.shape for name, x in decoder.state_dict().items() if not name.startswith("projector.")}
    refined = "head.0.weight" in expected
    if (_REFINED in official) != refined:
        theirs, option = ("plain", "head=plain") if refined else ("refined", "head=refined")
        raise CheckpointError(f"these weights have CLIPSeg's {theirs} head; load them with the option {option}")
    weights = ((name, renamed(name, _OURS), x) for name, x in official.items() if not name.startswith("reduce."))
    return fit_exactly(weights, expected, "CLIPSeg")


def projector_state(decoder: nn.Module) -> dict[str, Tensor]:
    """Random values for the projector, drawn like those of a new linear layer; the same each time."""
    shapes = inside("projector.", decoder.state_dict())
    generator, bound = torch.Generator().manual_seed(0), shapes["weight"].shape[1] ** -0.5
    return {
        f"projector.{name}": (2 * torch.rand(value.shape, generator=generator) - 1) * bound
        for name, value in shapes.items()
    }


def _in_authors_format(official: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Convert Hugging Face's names and shapes to those of the authors and OpenAI."""
    decoder = {renamed(name, _DECODER_OF_HUGGING_FACE): x for name, x in inside("decoder.", official).items()}
    clip = {renamed(name, _CLIP_OF_HUGGING_FACE): x for name, x in inside(_HUGGING_FACE, official).items()}
    for name in ("visual.proj", "text_projection"):
        if name in clip:
            clip[name] = clip[name].mT
    converted = dict(_packed(decoder)) | dict(_packed(clip))
    unexpected = {name: x for name, x in official.items() if not name.startswith(("decoder.", _HUGGING_FACE))}
    return unexpected | {name: x for name, x in converted.items() if not _COMPUTED.search(name)}


def _packed(weights: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """Pack queries, keys and values into one tensor, as the authors and OpenAI do."""
    thirds = re.compile(r"^(.*(?:self_attn|attn)\.)([qkv])_proj[._](weight|bias)$")
    for name, value in weights.items():
        found = thirds.match(name)
        if found is None:
            yield name, value
        elif found[2] == "q":
            names = [name.replace("q_proj", f"{letter}_proj") for letter in "qkv"]
            missing = [other for other in names if other not in weights]
            if missing:
                raise CheckpointError(f"these CLIPSeg weights are of another network: missing {missing[0]}")
            yield f"{found[1]}in_proj_{found[3]}", torch.cat([weights[other] for other in names])
