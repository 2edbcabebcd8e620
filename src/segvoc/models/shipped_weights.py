"""The weights that ship with segvoc, for its PyTorch networks."""

from torch import Tensor

from segvoc.checkpoints.files import WeightsFile, read_weights
from segvoc.models.presets import PRESETS, WEIGHTS, Preset
from segvoc.networks.base import SegmentationNetwork


def shipped_weights(name: str, preset: Preset) -> WeightsFile:
    """Read the weights that ship with segvoc for a preset."""
    tensors: dict[str, Tensor] = {}
    for file in preset.shipped:
        tensors |= read_weights(WEIGHTS / file).tensors
    return WeightsFile(path=str(WEIGHTS), tensors=tensors, preset=name)


def has_shipped_weights(name: str, network: SegmentationNetwork) -> bool:
    """Whether a network has exactly the weights that ship with segvoc for its preset.

    Args:
        name: the preset.
        network: the network, in any precision.
    """
    preset = PRESETS[name]
    if not preset.shipped:
        return False
    shipped, ours = shipped_weights(name, preset).tensors, network.state_dict()
    return shipped.keys() == ours.keys() and all(
        value.shape == ours[key].shape and bool((value.to(ours[key].dtype) == ours[key].cpu()).all())
        for key, value in shipped.items()
    )
