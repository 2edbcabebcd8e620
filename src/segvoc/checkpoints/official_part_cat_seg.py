"""Key maps from the released weights of PartCATSeg to our names."""

from collections.abc import Mapping

from torch import Tensor, nn
from torch.nn import functional as F

from segvoc.checkpoints.official_cost_aggregation import aggregator_name, split_terms
from segvoc.checkpoints.official_towers import dino_state, is_plain_clip, towers_state
from segvoc.checkpoints.origins import refuse_other_origins
from segvoc.checkpoints.strict import fit_exactly, inside, with_prefixes
from segvoc.encoders.clip_with_dino import ClipWithDino
from segvoc.errors import CheckpointError
from segvoc.networks.part_cat_seg import PartNetwork, none_vector

_PREDICTOR = "sem_seg_head.predictor."
_CLIP, _AGGREGATOR, _NONE = f"{_PREDICTOR}clip_model.", f"{_PREDICTOR}transformer.", f"{_PREDICTOR}non_object_embedding"
_DINO = "backbone.dinov2."
_NEVER_USED = "layers_object."
"""A copy of the blocks that the released forward pass never uses."""

_SPECIFIC = "layers_specific_part."


def part_network_state(official: Mapping[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """State dict of a `PartNetwork` on OpenAI CLIP and DINOv2 from the whole released one.

    The embedding for "none of them" is taken from the checkpoint, which was trained with it. (The released code loads
    it into an unused parameter, and uses one that it draws anew; only its fixed seed makes them equal.)

    Raises:
        CheckpointError: A name or shape doesn't fit, or a parameter has no value.
    """
    if not isinstance(network, PartNetwork):
        raise CheckpointError("checkpoints of PartCATSeg have an aggregation; leave out the option aggregation=none")
    if is_plain_clip(official):
        towers_state(official, network.image_encoder, network.text_encoder)  # says that two kinds are needed
    refuse_other_origins(official, "PartCATSeg")
    rest = {name: value for name, value in official.items() if not name.startswith((_CLIP, _DINO)) and name != _NONE}
    state = part_aggregation_state(
        {name.removeprefix(_AGGREGATOR): value for name, value in rest.items()}, network.aggregation
    )
    if _NONE in official:
        state["none"] = F.normalize(official[_NONE].flatten().float(), dim=0)
    towers = clip_and_dino_state(inside(_CLIP, official), inside(_DINO, official), network)
    return towers | {f"aggregation.{name}": value for name, value in state.items()}


def part_aggregation_state(official: Mapping[str, Tensor], aggregation: nn.Module) -> dict[str, Tensor]:
    """State dict of a `PartAggregation` from that of the released aggregator, which lacks the embedding for none.

    Raises:
        CheckpointError: A name or shape doesn't fit, or a parameter has no value.
    """
    expected = {name: value.shape for name, value in aggregation.state_dict().items()}
    none = none_vector(expected.pop("none")[0])
    weights = (
        (name, part_name(name), value.flatten(1) if name == "conv_proj_feat.weight" else value)
        for name, value in official.items()
        if not name.startswith(_NEVER_USED) and not name.endswith(".attn_mask")
    )
    return fit_exactly(split_terms(weights, expected), expected, "aggregation") | {"none": none}


def part_name(official: str) -> str:
    """Our name of a weight of the released aggregator."""
    if official.startswith(_SPECIFIC):
        return "specific_" + aggregator_name("layers." + official.removeprefix(_SPECIFIC))
    for theirs, ours in (("conv2.", "embed_specific."), ("conv_proj_feat.", "project.")):
        if official.startswith(theirs):
            return ours + official.removeprefix(theirs)
    return aggregator_name(official)


def clip_and_dino_state(
    clip: Mapping[str, Tensor], dino: Mapping[str, Tensor], network: nn.Module
) -> dict[str, Tensor]:
    """State dict of the towers of a network on CLIP and DINOv2.

    See `openai_clip_states` and `dino_state`.

    Raises:
        CheckpointError: See `part_network_state`.
    """
    tower = network.get_submodule("image_encoder")
    if not isinstance(tower, ClipWithDino):
        raise CheckpointError("these weights contain CLIP and DINOv2; load them as part-cat-seg-b")
    image, text = towers_state(clip, tower.clip, network.get_submodule("text_encoder"))
    guide = dino_state(dino, tower.dino)
    return with_prefixes({"image_encoder.clip.": image, "image_encoder.dino.": guide, "text_encoder.": text})
