"""A small CAT-Seg with the encoders of OpenAI's CLIP, exported once, and how its labels are compared."""

import os
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import jaxtyping
import numpy as np
import pytest
import torch
from filelock import FileLock

from segvoc.encoders.clip_text import ClipTextConfig, ClipTextEncoder
from segvoc.encoders.vit import vit_b16
from segvoc.inference.segmenter import Segmenter
from segvoc.models.network_segmenter import NetworkSegmenter
from segvoc.networks.cat_seg import CAT_SEG
from segvoc.networks.clip_network import ClipNetworkConfig, OpenAIEncoders, clip_protocols
from tests.timm_clips import small_network_on

# With the oldest PyTorch that segvoc takes, the extra `export` can't be installed.
collect_ignore_glob = [] if find_spec("onnx_ir") else ["test_*.py"]

SIDE = 128  # of the image encoder's input [px]

WORDS = [f"thing {number}" for number in range(40)]

IMAGES = [
    np.asarray(np.random.default_rng(number).integers(0, 256, (*size, 3), np.uint8).repeat(8, 0).repeat(8, 1))
    for number, size in enumerate([(20, 30), (5, 40), (1, 1)])
]


def small_cat_seg(one_pooling: bool = False) -> NetworkSegmenter:
    """One block, one decoder stage, windows of 4 cells, random weights; maybe one class pooling in all protocols."""
    torch.manual_seed(0)
    vit = replace(vit_b16(), channels=64, width=48, layers=2, heads=4, taps=(0,), input_size=SIDE)
    lifts, taps = CAT_SEG.decoder_sizes.lifts[:1], CAT_SEG.decoder_sizes.taps[:1]
    sizes = replace(CAT_SEG.decoder_sizes, lifts=lifts, taps=taps, guidance=(16,), stages=(32,))
    aggregation = replace(
        CAT_SEG, blocks=1, dim=32, guidance_dim=16, heads=2, window=4, pad_classes=8, decoder_sizes=sizes
    )
    network = ClipNetworkConfig(encoder=OpenAIEncoders(vit=vit), aggregation=aggregation).build()
    network.text_encoder = ClipTextEncoder(
        ClipTextConfig(channels=64, width=64, layers=1, heads=2, quick_gelu=True, fine_tuned="qv")
    )
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    protocols = clip_protocols(SIDE, 16)
    if one_pooling:
        pooling = protocols["auto"].pooling
        protocols = {window: replace(protocol, pooling=pooling) for window, protocol in protocols.items()}
    return NetworkSegmenter(name="small", network=network, protocols=protocols, templates=("a photo of a {}",))


def small_timm_clip(family: str) -> NetworkSegmenter:
    """A CAT-Seg on the small encoders of a family of `tests.timm_clips`, with their weights."""
    network = small_network_on(family)
    stride = network.image_encoder.stride
    protocol = replace(clip_protocols(8 * stride, stride)["single"], multiple=2 * stride)
    return NetworkSegmenter(name="small", network=network, protocols={"auto": protocol}, templates=("a {}",))


def assert_alike(ours: Segmenter, theirs: Segmenter, words: list[str], **options: object) -> None:
    """The same probabilities, wherever the same words were selected: random weights tell similar words hardly apart."""
    same = 0
    for image in IMAGES:
        one, other = (
            model.segment(image, words, return_probabilities=True, **options)  # type: ignore[call-overload]
            for model in (ours, theirs)
        )
        if np.array_equal(one.selected, other.selected):
            same += 1
            np.testing.assert_allclose(one.probabilities, other.probabilities, atol=2e-5)
    assert same >= len(IMAGES) - 1


@pytest.fixture(scope="package")
def untyped() -> Iterator[None]:
    """No shape checks: a traced size is no integer."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(scope="package")
def model() -> NetworkSegmenter:
    """The network to export; a second program for words, of another pooling, would take long to trace."""
    return small_cat_seg(one_pooling=True)


@pytest.fixture(scope="package")
def folder(model: NetworkSegmenter, tmp_path_factory: pytest.TempPathFactory, untyped: None) -> Path:
    """The exported network, in float32; one worker exports it for all, which takes most of a minute."""
    from segvoc.exporting import export as exporting  # needs the extra

    folder = tmp_path_factory.getbasetemp()
    out = (folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder) / "small"
    with FileLock(f"{out}.lock"):
        if not out.exists():
            steps: list[str] = []
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(exporting, "SIZES", ((96, 128), (128, 96)))
                patch.setattr(exporting, "WORDS", exporting.WORDS[:12])
                found = exporting.export(model, out, say=steps.append)
            assert found.difference < 1e-4 and found.equal_labels > 0.999
            assert not any("words_1x1.onnx" in step for step in steps)
    return out
