"""Each kind of network that words can be taught to, in small and with random weights."""

from collections.abc import Callable
from dataclasses import replace

import torch

from segvoc.encoders.openai_clip import OpenAIClipImageEncoder
from segvoc.inference.protocols import Protocol
from segvoc.models.builders import build_aggregation
from segvoc.models.network_segmenter import NetworkSegmenter
from segvoc.networks.base import SegmentationNetwork
from segvoc.networks.cat_seg import CAT_SEG
from segvoc.networks.pca_seg import PCA_SEG
from tests.networks.aggregation_contract import SMALL, VIT, small, text_tower
from tests.networks.small_syn_seg import small_syn_seg
from tests.networks.test_err_seg import small as small_err_seg

SIDE = 96
"""Side of the views [px]."""


def clip_alone() -> SegmentationNetwork:
    """A CLIP without an aggregation, read as NACLIP does."""
    tower = OpenAIClipImageEncoder(VIT, dense="naclip")
    aggregation = build_aggregation(replace(CAT_SEG, **(SMALL | {"kind": "none"})), tower)
    return SegmentationNetwork(tower, text_tower("qv"), aggregation, average_prompts=True)


NETWORKS: dict[str, Callable[[], SegmentationNetwork]] = {
    "clip": clip_alone,
    "cat-seg": lambda: small(CAT_SEG, eva=False),
    "pca-seg": lambda: small(PCA_SEG),
    "err-seg": small_err_seg,
    "syn-seg": small_syn_seg,
}


def small_model(kind: str, seed: int = 3) -> NetworkSegmenter:
    """A segmenter of one of them, with two prompts a word where the network takes several."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = NETWORKS[kind]()
    templates = ("a {}", "one {}") if kind in ("clip", "syn-seg") else ("a {}",)
    pooling = (1, 1) if kind in ("clip", "err-seg", "syn-seg") else (2, 2)
    view = Protocol(size=SIDE, pooling=pooling)
    return NetworkSegmenter(
        name=kind,
        network=network.requires_grad_(False),
        protocols={"auto": view, "single": view, "official": view, "official-single": view},
        templates=templates,
    )
