"""Key map from the released weights of CAT-Seg and PCA-Seg to our names, and what the other networks' maps share.

The maps are strict, as those of `encoders/official_clip.py`.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import cast

import torch
from torch import Tensor, nn

from segvoc.checkpoints.origins import refuse_other_origins
from segvoc.checkpoints.strict import fit_exactly, inside, renamed, shapes_of, with_prefixes
from segvoc.encoders.official_clip import is_plain_clip, towers_state
from segvoc.errors import CheckpointError
from segvoc.layers.cost_sum import COSINES, CosineLogits, NoAggregation
from segvoc.networks.base import SegmentationNetwork

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
COMPUTED = re.compile(r"\.attn_mask$")  # we compute attention masks for any grid

PREDICTOR = "sem_seg_head.predictor."
CLIP, AGGREGATOR = f"{PREDICTOR}clip_model.", f"{PREDICTOR}transformer."


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
    if not any(name.startswith(PREDICTOR) for name in official):
        raise CheckpointError(
            f"these weights ({', '.join(list(official)[:3])}, ...) are of another network than CAT-Seg, PCA-Seg and "
            "CLIP; use the file that `segvoc info` names for this model"
        )
    clip = inside(CLIP, official)
    rest = {name.removeprefix(AGGREGATOR): value for name, value in official.items() if not name.startswith(CLIP)}
    aggregation = aggregation_state(rest, network.aggregation)
    return clip_state(clip, network) | with_prefixes({"aggregation.": aggregation})


def aggregation_state(official: Mapping[str, Tensor], aggregation: nn.Module) -> dict[str, Tensor]:
    """State dict of `aggregation` from that of the released aggregator and its two upsampling layers."""
    expected: dict[str, torch.Size] = {}
    experts: dict[str, tuple[str, ...]] = {}
    for name, shape in shapes_of(aggregation).items():
        if (match := _HALF.search(name)) is None:
            expected[name] = shape
            continue
        whole = _HALF.sub(".parse.", name)
        experts[name] = tuple(f"{whole} of expert {number}" for number in range(_EXPERTS))
        if match[1] == "0":
            expected |= dict.fromkeys(experts[name], _expert_shape(whole, shape))
    _check_family(official, has_experts=bool(experts), has_blocks=any(name.startswith("blocks.") for name in expected))
    weights = (
        (name, ours := aggregator_name(name), _our_shape(ours, value))
        for name, value in official.items()
        if not COMPUTED.search(name)
    )
    state = fit_exactly(split_terms(weights, expected), expected, "aggregation")
    merged = {name: _half_of_experts(name, [state[part] for part in names]) for name, names in experts.items()}
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


def clip_state(
    clip: Mapping[str, Tensor], network: SegmentationNetwork, companion: Mapping[str, Tensor] | None = None
) -> dict[str, Tensor]:
    """The encoders' entries of a network's state dict, from a CLIP and its `companion`; see `PublishedTower`."""
    image, text = towers_state(clip, network.image_encoder, network.text_encoder, companion)
    return with_prefixes({"image_encoder.": image, "text_encoder.": text})


def cosine_state(aggregation: nn.Module, logits: CosineLogits = COSINES) -> dict[str, Tensor]:
    """The aggregation's entries of the state dict of a network without one, with the logits of a CLIP alone."""
    if not isinstance(aggregation, NoAggregation):
        raise CheckpointError(
            "these are towers alone, a plain CLIP without an aggregation; give a checkpoint of the whole network, or "
            "use the towers alone with the option aggregation=none"
        )
    return {
        name: torch.full(shape, -logits.scale * logits.likely if name.endswith("bias") else logits.scale)
        for name, shape in shapes_of(aggregation, "aggregation.").items()
    }
