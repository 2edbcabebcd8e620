"""The network of a few thousand parameters as a preset, for analyses that train by name."""

from dataclasses import replace

from segvoc.encoders.vit import vit_b16
from segvoc.models.builders import build_aggregation
from segvoc.models.presets import Preset
from segvoc.networks.base import SegmentationNetwork
from segvoc.networks.cost_aggregation_config import ClipNetworkConfig, OpenAIEncoders
from tests.inference.small_network import CONFIG, Letters, Patches, small_protocols


def build(configuration: ClipNetworkConfig) -> SegmentationNetwork:
    tower = Patches()
    return SegmentationNetwork(tower, Letters(), build_aggregation(configuration.aggregation, tower))


SMALL = Preset(
    summary="",
    configuration=ClipNetworkConfig(encoder=OpenAIEncoders(vit=vit_b16()), aggregation=replace(CONFIG, blocks=1)),
    build=build,
    templates_of=lambda configuration: ("{}",),
    protocols_of=lambda configuration: small_protocols(),
)
