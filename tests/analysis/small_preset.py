"""The network of a few thousand parameters as a preset, for analyses that train by name."""

from dataclasses import replace

from segvoc.models.presets import Preset
from segvoc.networks.options import Options
from segvoc.networks.pca_seg import SegmentationNetwork
from tests.inference.small_network import CONFIG, Letters, Patches, small_protocols


def build(options: Options) -> SegmentationNetwork:
    tower = Patches()
    return SegmentationNetwork(tower, Letters(), options.build_aggregation(replace(CONFIG, blocks=1), tower))


SMALL = Preset(summary="", build=build, templates=("{}",), protocols=small_protocols())
