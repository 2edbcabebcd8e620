"""Key maps from the released weights of CAT-Seg, PCA-Seg, ERR-Seg, SynSeg and PartCATSeg to our names.

They are strict, as those of `official_clip.py`.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segvoc.checkpoints.official_towers import ERR_CLIP, clip_state, cosine_state, is_plain_clip, towers_state
from segvoc.checkpoints.origins import refuse_other_origins
from segvoc.checkpoints.strict import fit_exactly, fit_thirds, inside, renamed, shapes_of, third, with_prefixes
from segvoc.errors import CheckpointError
from segvoc.layers.cost_sum import COSINES, CosineLogits
from segvoc.networks.base import SegmentationNetwork
from segvoc.networks.part_cat_seg import PartNetwork, none_vector

_DECODER = ("film_mul.", "film_add.", "trans_conv.", "reduces.", "blocks.", "reduce.")
"""Prefixes of the decoder's weights in the authors' format; the last one belongs to an unused layer."""

_DECODER_OF_HUGGING_FACE = "decoder."
_CLIPS_OF_HUGGING_FACE = ("clip.", "clipseg.")
"""Prefixes of its CLIP, as written by transformers and by its first conversion script."""

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

    The projector, unused in inference, gets fixed random values. It reads a whole CLIPSeg with Hugging Face's names, or
    the authors' decoder together with a plain CLIP.
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
    state = decoder_state(decoder, network.aggregation) | _projector_state(network.aggregation)
    return clip_state(clip, network) | with_prefixes({"aggregation.": state})


def _decoder_and_clip(official: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The weights of the decoder and of the CLIP, without prefixes, in either format; empty if missing."""
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
    """State dict of `decoder`, without its projector, from CLIPSeg's weights in either format."""
    expected = {name: shape for name, shape in shapes_of(decoder).items() if not name.startswith("projector.")}
    refined = "head.0.weight" in expected
    if any(map(_REFINED.fullmatch, official)) != refined:
        theirs, option = ("plain", "head=plain") if refined else ("refined", "head=refined")
        raise CheckpointError(f"these weights have CLIPSeg's {theirs} head; load them with the option {option}")
    if any(name.startswith("film.shared.") for name in expected):
        raise CheckpointError("these weights have CLIPSeg's linear FiLM; load them with the option film=linear")
    weights = ((name, renamed(name, _OURS), x) for name, x in official.items() if not name.startswith("reduce."))
    return fit_thirds(weights, expected, "CLIPSeg", _PACKED)


def _projector_state(decoder: nn.Module) -> dict[str, Tensor]:
    """Random values for the projector, drawn like those of a new linear layer; the same each time."""
    shapes = inside("projector.", decoder.state_dict())
    generator, bound = torch.Generator().manual_seed(0), shapes["weight"].shape[1] ** -0.5
    return {
        f"projector.{name}": (2 * torch.rand(value.shape, generator=generator) - 1) * bound
        for name, value in shapes.items()
    }


_RENAMED = (
    (r"^conv1\.", "embed_cost."),
    (r"^guidance_projection\.0\.", "guidance."),
    (r"^text_guidance_projection\.0\.", "text_guidance."),
    (r"^decoder_guidance_projection\.(\d)\.0\.", r"decoder.guidance.\1."),
    (r"^upsample1\.", "decoder.lifts.0."),
    (r"^upsample2\.", "decoder.lifts.1."),
    (r"^decoder1\.", "decoder.stages.0."),
    (r"^decoder2\.", "decoder.stages.1."),
    (r"^head\.", "decoder.head."),
    (r"\.up\.", ".upsample."),
    (r"\.conv\.double_conv\.0\.", ".conv1."),
    (r"\.conv\.double_conv\.1\.", ".norm1."),
    (r"\.conv\.double_conv\.3\.", ".conv2."),
    (r"\.conv\.double_conv\.4\.", ".norm2."),
    (r"\.swin_block\.", ".spatial."),
    (r"\.block_1\.", ".blocks.0."),
    (r"\.block_2\.", ".blocks.1."),
    (r"\.attn\.proj\.", ".out."),
    (r"\.attn\.", ".project."),
    (r"\.mlp\.fc1\.", ".mlp.0."),
    (r"\.mlp\.fc2\.", ".mlp.2."),
    (r"\.attention\.attention\.", ".semantic.project."),
    (r"\.attention\.MLP\.", ".semantic.mlp."),
    (r"\.attention\.padding_tokens$", ".semantic.pad_token"),
    (r"\.attention\.padding_guidance$", ".semantic.pad_guidance"),
    (r"\.attention\.", ".semantic."),
    (r"\.fusion_by_channel\.", ".fuse."),
    (r"\.res_scale$", ".residual_scale"),
    (r"\.spatial_proj\.", ".spatial."),
    (r"\.class_proj\.", ".semantic."),
    (r"\.gate_net\.", ".integrate.coefficients."),
)
# A released layer of PCA-Seg contains two parallel blocks, one of CAT-Seg is a single serial block.
_PARALLEL = re.compile(r"^layers\.(\d+)\.(swin_block|attention|fusion_by_channel)_(first|second)\.")
_SERIAL = re.compile(r"^layers\.(\d+)\.(swin_block|attention)\.")
_EXPERT = re.compile(r"^(.*\.fuse)\.expert_layers\.(\d+)\.([013])\.(.*)$")
_EXPERT_LAYERS = {"0": "expand", "1": "norm", "3": "contract"}
_EXPERTS = 4
_HALF = re.compile(r"\.parse\.halves\.([01])\.")
_LINEAR_HERE = re.compile(
    r"\.fuse\.(spatial|semantic|integrate\.coefficients\.\d|residual|parse\.expand)\.weight( of expert \d+)?$"
)
_COMPUTED = re.compile(r"\.attn_mask$")  # we compute attention masks for any grid

_PREDICTOR = "sem_seg_head.predictor."
_CLIP, _AGGREGATOR = f"{_PREDICTOR}clip_model.", f"{_PREDICTOR}transformer."


def network_state(
    official: Mapping[str, Tensor], network: SegmentationNetwork, cosines: CosineLogits = COSINES
) -> dict[str, Tensor]:
    """State dict for a CAT-Seg or PCA-Seg network with the towers of OpenAI CLIP or EVA02-CLIP.

    It reads the whole released state dict (`sem_seg_head.predictor.*`, `upsample1.*`, `upsample2.*`), or that of a
    plain CLIP, with its `cosines` as logits, for a network without aggregation.
    """
    if is_plain_clip(official):
        return clip_state(official, network) | cosine_state(network.aggregation, cosines)
    refuse_other_origins(official, "CAT-Seg or PCA-Seg")
    if not any(name.startswith(_PREDICTOR) for name in official):
        raise CheckpointError(
            f"these weights ({', '.join(list(official)[:3])}, ...) are of another network than CAT-Seg, PCA-Seg and "
            "CLIP; use the file that `segvoc info` names for this model"
        )
    clip = inside(_CLIP, official)
    rest = {name.removeprefix(_AGGREGATOR): value for name, value in official.items() if not name.startswith(_CLIP)}
    aggregation = aggregation_state(rest, network.aggregation)
    return clip_state(clip, network) | with_prefixes({"aggregation.": aggregation})


def aggregation_state(official: Mapping[str, Tensor], aggregation: nn.Module) -> dict[str, Tensor]:
    """State dict of `aggregation` from that of the released aggregator and its two upsampling layers."""
    expected: dict[str, torch.Size] = {}
    experts: dict[str, tuple[str, ...]] = {}
    for name, shape in shapes_of(aggregation).items():
        if (found := _HALF.search(name)) is None:
            expected[name] = shape
            continue
        whole = _HALF.sub(".parse.", name)
        experts[name] = tuple(f"{whole} of expert {number}" for number in range(_EXPERTS))
        if found[1] == "0":
            expected |= dict.fromkeys(experts[name], _expert_shape(whole, shape))
    _check_family(official, has_experts=bool(experts), has_blocks=any(name.startswith("blocks.") for name in expected))
    weights = (
        (name, ours := aggregator_name(name), _our_shape(ours, value))
        for name, value in official.items()
        if not _COMPUTED.search(name)
    )
    state = fit_exactly(split_terms(weights, expected), expected, "aggregation")
    merged = {name: _half_of_experts(name, [state[one] for one in names]) for name, names in experts.items()}
    for names in set(experts.values()):
        for name in names:
            del state[name]
    return state | merged


def split_terms(
    weights: Iterable[tuple[str, str, Tensor]], expected: Mapping[str, torch.Size]
) -> Iterator[tuple[str, str, Tensor]]:
    """Split released weights of [x; guidance] into our separate layers for x and the guidance; see `fit_exactly`."""
    for theirs, ours, value in weights:
        module, _, kind = ours.rpartition(".")
        own, guidance = f"{module}.own.{kind}", f"{module}.guidance.{kind}"
        if guidance in expected and value.ndim > 1:
            yield theirs, own, value[:, : expected[own][1]]
            yield theirs, guidance, value[:, expected[own][1] :]
        elif own in expected:
            yield theirs, own, value
        elif ours not in expected and ours.endswith(".upsample.bias"):  # the layer is merged with the next
            yield theirs, ours.removesuffix(".upsample.bias") + ".bias", value
        else:
            yield theirs, ours, value


def aggregator_name(official: str) -> str:
    """Our name of a weight of the released aggregator; names of experts end in " of expert 0" and so on.

    The released experts are separate modules, ours are stored in one tensor.
    """
    name = _PARALLEL.sub(lambda m: f"blocks.{2 * int(m[1]) + (m[3] == 'second')}.{m[2]}.", official)
    name = _SERIAL.sub(r"blocks.\1.\2.", name)
    name = renamed(name, _RENAMED)
    return _EXPERT.sub(lambda m: f"{m[1]}.parse.{_EXPERT_LAYERS[m[3]]}.{m[4]} of expert {m[2]}", name)


def _expert_shape(name: str, half: torch.Size) -> torch.Size:
    """Shape of a released expert's tensor, given that of half of all experts'."""
    if not half:
        return half
    if ".contract." in name:
        return torch.Size((half[0] // _EXPERTS, *(2 * size for size in half[1:2]), *half[2:]))
    return torch.Size((2 * half[0] // _EXPERTS, *half[1:]))


def _half_of_experts(name: str, experts: list[Tensor]) -> Tensor:
    """The even hidden channels of all experts for the first half, the odd ones for the second."""
    half = int(cast(re.Match[str], _HALF.search(name))[1])
    if experts[0].ndim == 0:
        return experts[0]
    merged = torch.cat(experts)
    if ".contract." in name:
        return merged[:, half : half + 1] if merged.ndim > 1 else merged
    return merged[half::2]


def _check_family(official: Mapping[str, Tensor], *, has_experts: bool, has_blocks: bool) -> None:
    """Report the most common mistake, a checkpoint of the other network, with a specific error."""
    parallel = any(_PARALLEL.match(name) for name in official)
    if has_blocks and parallel != has_experts and any(_SERIAL.match(name) or parallel for name in official):
        theirs, ours = ("PCA-Seg", "pca-seg") if parallel else ("CAT-Seg", "cat-seg")
        raise CheckpointError(f"these are weights of {theirs}; load them as one of the {ours} models")


def _our_shape(name: str, value: Tensor) -> Tensor:
    """Convert to our shapes: pads are vectors, 1x1 convolutions are linear layers."""
    if name.endswith(("pad_token", "pad_guidance")):
        return value.flatten()
    return value.flatten(1) if _LINEAR_HERE.search(name) else value


HEAD = "sem_seg_head.decoder."
"""Prefix of all weights outside CLIP in the released ERR-Seg."""

_ERR_SEG_NAMES = (
    (r"^corr_proj_convs\.(\d)\.0\.", r"embed_costs.\1."),
    (r"^low_corr_fusion\.", "merge_costs."),
    (r"^img_guidance_projection_agg\.(\d)\.0\.", r"guidance.\1."),
    (r"^low_img_fusion\.", "merge_guidance."),
    (r"^img_guidance_projection_dec\.(\d)\.0\.", r"decoder.guidance.\1."),
    (r"^text_guidance_projection\.0\.", "text_guidance."),
    (r"^aggregator_layers\.(\d+)\.spatial_fusion\.sa\.", r"blocks.\1.spatial."),
    (r"^aggregator_layers\.(\d+)\.class_fusion\.sa\.", r"blocks.\1.semantic."),
    (r"\.attention\.proj\.", ".out."),
    (r"\.attention\.sr_([kv])\.", r".reduce_\1."),
    (r"\.attention\.norm_([kv])\.", r".norm_\1."),
    (r"\.attention\.", ".project."),
    (r"\.mlp\.dwconv\.dwconv\.", ".local."),
    (r"^up_decoder([123])\.", lambda found: f"decoder.stages.{int(found[1]) - 1}."),
    (r"\.up_conv\.", ".upsample."),
    (r"\.textual_fusion\.0\.", ".conv1."),
    (r"\.textual_fusion\.1\.", ".norm1."),
    (r"\.textual_fusion\.3\.", ".conv2."),
    (r"\.textual_fusion\.4\.", ".norm2."),
    (r"^head\.", "decoder.head."),
)


def err_seg_state(official: Mapping[str, Tensor], network: SegmentationNetwork) -> dict[str, Tensor]:
    """State dict for an ERR-Seg network.

    It reads the whole released state dict (`sem_seg_head.clip_model.*`, `sem_seg_head.decoder.*`), or that of a plain
    CLIP for a network without aggregation.
    """
    if is_plain_clip(official):
        return clip_state(official, network) | cosine_state(network.aggregation)
    refuse_other_origins(official, "ERR-Seg")
    unexpected = [name for name in official if not name.startswith((ERR_CLIP, HEAD))]
    if unexpected:
        raise CheckpointError(f"these weights aren't from ERR-Seg ({unexpected[0]}); use its authors' checkpoint")
    head = err_head_state(inside(HEAD, official), network.aggregation)
    return clip_state(official, network) | with_prefixes({"aggregation.": head})


def err_head_state(official: Mapping[str, Tensor], aggregation: nn.Module) -> dict[str, Tensor]:
    """State dict of `aggregation` from that of the released head (`sem_seg_head.decoder.*`)."""
    expected = shapes_of(aggregation)
    weights = ((name, err_seg_name(name), value) for name, value in official.items())
    return fit_exactly(split_terms(weights, expected), expected, "ERR-Seg")


def err_seg_name(official: str) -> str:
    """Our name of a weight of the released head."""
    return renamed(official, _ERR_SEG_NAMES)


_NONE = f"{_PREDICTOR}non_object_embedding"
_DINO = "backbone.dinov2."
_NEVER_USED = "layers_object."
"""A copy of the blocks that the released forward pass never uses."""

_PART_NAMES = ((r"^conv2\.", "embed_specific."), (r"^conv_proj_feat\.", "project."))
_SPECIFIC = "layers_specific_part."


def part_network_state(official: Mapping[str, Tensor], network: SegmentationNetwork) -> dict[str, Tensor]:
    """State dict of a `PartNetwork` on OpenAI CLIP and DINOv2 from the whole released one.

    The embedding for "none of them" is taken from the checkpoint, which was trained with it. (The released code loads
    it into an unused parameter and uses a newly drawn one; they are only equal due to the fixed seed.)
    """
    if not isinstance(network, PartNetwork):
        raise CheckpointError("checkpoints of PartCATSeg have an aggregation; leave out the option aggregation=none")
    if is_plain_clip(official):
        towers_state(official, network.image_encoder, network.text_encoder)  # says that two encoders are needed
    refuse_other_origins(official, "PartCATSeg")
    rest = {name: value for name, value in official.items() if not name.startswith((_CLIP, _DINO)) and name != _NONE}
    released = {name.removeprefix(_AGGREGATOR): value for name, value in rest.items()}
    state = part_aggregation_state(released, network.aggregation)
    if _NONE in official:
        state["none"] = F.normalize(official[_NONE].flatten().float(), dim=0)
    towers = clip_state(inside(_CLIP, official), network, inside(_DINO, official))
    return towers | with_prefixes({"aggregation.": state})


def part_aggregation_state(official: Mapping[str, Tensor], aggregation: nn.Module) -> dict[str, Tensor]:
    """State dict of a `PartAggregation` from that of the released aggregator, which lacks the embedding for none."""
    expected = shapes_of(aggregation)
    none = none_vector(expected.pop("none")[0])
    weights = (
        (name, _part_name(name), value.flatten(1) if name == "conv_proj_feat.weight" else value)
        for name, value in official.items()
        if not name.startswith(_NEVER_USED) and not _COMPUTED.search(name)
    )
    return fit_exactly(split_terms(weights, expected), expected, "aggregation") | {"none": none}


def _part_name(official: str) -> str:
    if official.startswith(_SPECIFIC):
        return "specific_" + aggregator_name("layers." + official.removeprefix(_SPECIFIC))
    return aggregator_name(renamed(official, _PART_NAMES))
