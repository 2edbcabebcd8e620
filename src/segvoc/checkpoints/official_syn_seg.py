"""CLIPSeg's published weights in SynSeg's names; SynSeg's own were never published.

Two formats: those of its authors (timojl/clipseg, `rd64-uni.pth` and `rd64-uni-refined.pth`), which hold the decoder
alone and need a CLIP beside it, and those of Hugging Face's `CLIPSegForImageSegmentation`, which hold both.
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
"""How the authors' names of the decoder's weights begin; the last is of a layer that this network never had."""

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
    """Whether weights are, or have beside a CLIP, the decoder in its authors' names."""
    return any(name.startswith(_DECODER[:2]) for name in official)


def syn_seg_state(official: Mapping[str, Tensor], network: SegmentationNetwork) -> dict[str, Tensor]:
    """State dict for a SynSeg network, which is a CLIPSeg and a projector.

    Args:
        official: a whole CLIPSeg in Hugging Face's names, or its authors' decoder together with a plain CLIP. The
            projector, which segmenting doesn't use, gets random values, the same each time.
        network: what to fill; only names and shapes are read, so that one on `meta` will do.

    Raises:
        CheckpointError: a name or a shape that doesn't fit, a parameter without a value, or a decoder or a CLIP alone.
    """
    if any(name.startswith(_HUGGING_FACE) for name in official):
        official = _of_authors(official)
    elif any(name.startswith("clip_model.") for name in official):
        # the authors' whole networks hold the image tower a second time
        official = {
            name.removeprefix("clip_model."): x for name, x in official.items() if not name.startswith("model.")
        }
    decoder = {name: value for name, value in official.items() if name.startswith(_DECODER)}
    clip = {name: value for name, value in official.items() if name not in decoder}
    if not decoder:
        raise CheckpointError("these are weights of no CLIPSeg; give one, or a plain CLIP to train from")
    if not clip:
        raise CheckpointError(
            "this is CLIPSeg's decoder without its CLIP; convert it with OpenAI's beside it: "
            "segvoc convert DECODER OUT --model syn-seg-b --encoder-weights ViT-B-16.pt"
        )
    state = decoder_state(decoder, network.aggregation) | projector_state(network.aggregation)
    return clip_state(clip, network) | {f"aggregation.{name}": value for name, value in state.items()}


def decoder_state(official: Mapping[str, Tensor], decoder: nn.Module) -> dict[str, Tensor]:
    """State dict of `decoder`, its projector apart, from the authors' weights.

    Raises:
        CheckpointError: a name or a shape that doesn't fit, or a parameter without a value.
    """
    expected = {name: x.shape for name, x in decoder.state_dict().items() if not name.startswith("projector.")}
    refined = "head.0.weight" in expected
    if (_REFINED in official) != refined:
        theirs, option = ("plain", "head=plain") if refined else ("refined", "head=refined")
        raise CheckpointError(f"these weights have CLIPSeg's {theirs} head; load them with the option {option}")
    weights = ((name, renamed(name, _OURS), x) for name, x in official.items() if not name.startswith("reduce."))
    return fit_exactly(weights, expected, "CLIPSeg")


def projector_state(decoder: nn.Module) -> dict[str, Tensor]:
    """Random values for the projector, as a linear layer starts with; the same each time."""
    shapes = inside("projector.", decoder.state_dict())
    generator, bound = torch.Generator().manual_seed(0), shapes["weight"].shape[1] ** -0.5
    return {
        f"projector.{name}": (2 * torch.rand(value.shape, generator=generator) - 1) * bound
        for name, value in shapes.items()
    }


def _of_authors(official: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Hugging Face's names and shapes as the authors and OpenAI have them."""
    decoder = {renamed(name, _DECODER_OF_HUGGING_FACE): x for name, x in inside("decoder.", official).items()}
    clip = {renamed(name, _CLIP_OF_HUGGING_FACE): x for name, x in inside(_HUGGING_FACE, official).items()}
    for name in ("visual.proj", "text_projection"):
        if name in clip:
            clip[name] = clip[name].mT
    together = dict(_packed(decoder)) | dict(_packed(clip))
    strange = {name: x for name, x in official.items() if not name.startswith(("decoder.", _HUGGING_FACE))}
    return strange | {name: x for name, x in together.items() if not _COMPUTED.search(name)}


def _packed(weights: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """Queries, keys and values in one tensor, as the authors and OpenAI publish them."""
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
