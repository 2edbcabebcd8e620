"""Key maps from the released weights of ERR-Seg to our names."""

from collections.abc import Mapping

from torch import Tensor, nn

from segvoc.checkpoints.official_cost_aggregation import split_terms
from segvoc.checkpoints.official_towers import ERR_CLIP, clip_state, is_plain_clip, plain_clip_state
from segvoc.checkpoints.origins import refuse_other_origins
from segvoc.checkpoints.strict import fit_exactly, inside, renamed
from segvoc.errors import CheckpointError
from segvoc.networks.base import SegmentationNetwork

HEAD = "sem_seg_head.decoder."
"""Prefix of all weights outside CLIP in the released ERR-Seg."""

_RENAMED = (
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

    Raises:
        CheckpointError: A name or shape doesn't fit, or a parameter has no value.
    """
    if is_plain_clip(official):
        return plain_clip_state(official, network)
    refuse_other_origins(official, "ERR-Seg")
    unexpected = [name for name in official if not name.startswith((ERR_CLIP, HEAD))]
    if unexpected:
        raise CheckpointError(f"these weights aren't from ERR-Seg ({unexpected[0]}); use its authors' checkpoint")
    head = err_head_state(inside(HEAD, official), network.aggregation)
    return clip_state(official, network) | {f"aggregation.{name}": value for name, value in head.items()}


def err_head_state(official: Mapping[str, Tensor], aggregation: nn.Module) -> dict[str, Tensor]:
    """State dict of `aggregation` from that of the released head (`sem_seg_head.decoder.*`).

    Raises:
        CheckpointError: A name or shape doesn't fit, or a parameter has no value.
    """
    expected = {name: value.shape for name, value in aggregation.state_dict().items()}
    weights = ((name, err_seg_name(name), value) for name, value in official.items())
    return fit_exactly(split_terms(weights, expected), expected, "ERR-Seg")


def err_seg_name(official: str) -> str:
    """Our name of a weight of the released head."""
    return renamed(official, _RENAMED)
