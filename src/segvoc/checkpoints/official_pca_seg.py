"""The released PCA-Seg's names of the aggregation, and ours."""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from segvoc.errors import CheckpointError

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
_COMPUTED = re.compile(r"\.attn_mask$")


def pca_seg_aggregation(official: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """State of `ParallelAggregation` from that of the released aggregator (`sem_seg_head.predictor.transformer.*`).

    Its layers hold two parallel blocks each; its experts are apart, ours stand side by side in one set of channels; its
    attention masks are computed, not learnt.

    Raises:
        CheckpointError: the experts of a block are not numbered from 0 on.
    """
    state: dict[str, Tensor] = {}
    experts: dict[str, dict[int, Tensor]] = {}
    for name, value in official.items():
        if _COMPUTED.search(name):
            continue
        ours = our_name(name)
        if expert := _EXPERT.match(ours):
            block, number, part, leaf = expert.groups()
            experts.setdefault(f"{block}.{_EXPERT_PARTS[part]}.{leaf}", {})[int(number)] = value
        else:
            state[ours] = value
    for name, parts in experts.items():
        if sorted(parts) != list(range(len(parts))):
            raise CheckpointError(f"experts {sorted(parts)} of {name}: some are missing; the file is not complete")
        ordered = [parts[number] for number in range(len(parts))]
        state[name] = ordered[0] if name.endswith("num_batches_tracked") else torch.cat(ordered)
    return {name: _our_shape(name, value) for name, value in state.items()}


def our_name(official: str) -> str:
    """Our name of a weight of the released aggregator (experts keep their numbers)."""
    name = _BLOCK.sub(lambda m: f"blocks.{2 * int(m[1]) + (m[3] == 'second')}.{m[2]}.", official)
    for pattern, replacement in _RENAMED:
        name = pattern.sub(replacement, name)
    return name


def _our_shape(name: str, value: Tensor) -> Tensor:
    if name.endswith(("pad_token", "pad_guidance")):
        return value.flatten()
    linear = re.search(r"\.fuse\.(spatial|semantic|coefficients\.\d|residual|expert_in)\.weight$", name)
    return value.flatten(1) if linear else value
