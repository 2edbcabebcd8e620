"""The released PCA-Seg's weights in our names."""

import re
from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor

from segvoc.checkpoints.official_clip import eva_clip_states, openai_clip_states
from segvoc.checkpoints.strict import fit_exactly
from segvoc.encoders.eva_clip import EvaClipImageEncoder
from segvoc.networks.pca_seg import ExpertFusion, ParallelAggregation, ParallelBlock, PCASeg

_RENAMED = [
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"^conv1\.", "embed_cost."),
        (r"^guidance_projection\.0\.", "guidance."),
        (r"^text_guidance_projection\.0\.", "text_guidance."),
        (r"^decoder_guidance_projection\.(\d)\.0\.", r"decoder_guidance.\1."),
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
        (r"\.gate_net\.", ".coefficients."),
    )
]
_BLOCK = re.compile(r"^layers\.(\d+)\.(swin_block|attention|fusion_by_channel)_(first|second)\.")
_EXPERT = re.compile(r"^(.*\.fuse)\.expert_layers\.(\d+)\.([013])\.(.*)$")
_EXPERT_PARTS = {"0": "expert_in", "1": "expert_norm", "3": "expert_out"}
_LINEAR_HERE = re.compile(r"\.fuse\.(spatial|semantic|coefficients\.\d|residual|expert_in)\.weight( of expert \d+)?$")
_COMPUTED = re.compile(r"\.attn_mask$")  # attention masks are computed here for any grid

_CLIP = "sem_seg_head.predictor.clip_model."
_AGGREGATOR = "sem_seg_head.predictor.transformer."
_UPSAMPLE = {"upsample1.": "lifts.0.", "upsample2.": "lifts.1."}


def pca_seg_state(official: Mapping[str, Tensor], network: PCASeg) -> dict[str, Tensor]:
    """State dict for a `PCASeg` whose towers are those of OpenAI CLIP or EVA02-CLIP.

    Args:
        official: the whole released state dict (`sem_seg_head.predictor.*`, `upsample1.*`, `upsample2.*`).
        network: what to fill; only names and shapes are read, so that one on `meta` will do.

    Raises:
        CheckpointError: a name or a shape that doesn't fit, or a parameter without a value.
    """
    clip = _inside(_CLIP, official)
    is_eva = isinstance(network.image_encoder, EvaClipImageEncoder)
    image, text = (eva_clip_states if is_eva else openai_clip_states)(clip, network.image_encoder, network.text_encoder)
    aggregation = pca_seg_aggregation(_inside(_AGGREGATOR, official), cast(ParallelAggregation, network.aggregation))
    lifts = [
        (name, _UPSAMPLE.get(name[:10], name[:10]) + name[10:], value)
        for name, value in official.items()
        if not name.startswith((_CLIP, _AGGREGATOR))
    ]
    expected = {f"lifts.{name}": value.shape for name, value in network.lifts.state_dict().items()}
    state = fit_exactly(lifts, expected, "PCA-Seg")
    for part, weights in (("image_encoder", image), ("text_encoder", text), ("aggregation", aggregation)):
        state |= {f"{part}.{name}": value for name, value in weights.items()}
    return state


def pca_seg_aggregation(official: Mapping[str, Tensor], aggregation: ParallelAggregation) -> dict[str, Tensor]:
    """State dict of `aggregation` from that of the released aggregator (`sem_seg_head.predictor.transformer.*`).

    Raises:
        CheckpointError: a name or a shape that doesn't fit, or a parameter without a value.
    """
    experts = cast(ExpertFusion, cast(ParallelBlock, aggregation.blocks[0]).fuse).experts
    expected: dict[str, torch.Size] = {}
    split: dict[str, list[str]] = {}
    for name, value in aggregation.state_dict().items():
        if ".fuse.expert_" in name:
            parts = value.chunk(experts) if value.ndim else [value] * experts
            split[name] = [f"{name} of expert {number}" for number in range(len(parts))]
            expected |= {part: value.shape for part, value in zip(split[name], parts, strict=True)}
        else:
            expected[name] = value.shape
    renamed = (
        (name, ours := our_name(name), _our_shape(ours, value))
        for name, value in official.items()
        if not _COMPUTED.search(name)
    )
    state = fit_exactly(renamed, expected, "aggregation")
    for name, parts in split.items():
        values = [state.pop(part) for part in parts]
        state[name] = torch.cat(values) if values[0].ndim else values[0]
    return state


def our_name(official: str) -> str:
    """Our name of a weight of the released aggregator; that of an expert ends in " of expert 0" and so on.

    The released layers hold two parallel blocks each; their experts are apart, ours stand side by side in one tensor.
    """
    name = _BLOCK.sub(lambda m: f"blocks.{2 * int(m[1]) + (m[3] == 'second')}.{m[2]}.", official)
    for pattern, replacement in _RENAMED:
        name = pattern.sub(replacement, name)
    return _EXPERT.sub(lambda m: f"{m[1]}.{_EXPERT_PARTS[m[3]]}.{m[4]} of expert {m[2]}", name)


def _our_shape(name: str, value: Tensor) -> Tensor:
    """Pads are vectors here; 1x1 convolutions are linear maps."""
    if name.endswith(("pad_token", "pad_guidance")):
        return value.flatten()
    return value.flatten(1) if _LINEAR_HERE.search(name) else value


def _inside(prefix: str, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
