"""CLIPs of timm's encoders as models: from published files, saved and loaded again."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import save_file
from torch import Tensor, nn

import segvoc
from segvoc.inference.protocols import Protocol
from segvoc.models.builders import build_aggregation
from segvoc.models.presets import PRESETS
from segvoc.networks.base import SegmentationNetwork
from segvoc.networks.cost_aggregation_config import ClipNetworkConfig
from tests.dino_txt import both_dino_files, small_dino_txt
from tests.timm_clips import ALL, image_encoder, small_network_on, small_tokenizer, text_encoder, weights

PRESET = {"siglip": "siglip2-b", "pe-core": "pe-core-b", "mobileclip": "mobileclip2-s2", "dino_txt": "dinov3-l"}
IMAGE = np.random.default_rng(0).integers(0, 256, (70, 110, 3), np.uint8)


@pytest.fixture(params=ALL)
def family(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A family, whose preset has small encoders."""
    family: str = request.param

    def towers() -> tuple[nn.Module, nn.Module]:
        return small_dino_txt() if family == "dino_txt" else (image_encoder(family), text_encoder(family))

    def build(configuration: ClipNetworkConfig) -> SegmentationNetwork:
        image, text = towers()
        return SegmentationNetwork(image, text, build_aggregation(configuration.aggregation, image))

    protocols = {"auto": Protocol(size=128)}
    small = replace(
        PRESETS[PRESET[family]], build=build, protocols_of=lambda _: protocols, templates_of=lambda _: ("a {}",)
    )
    monkeypatch.setitem(PRESETS, PRESET[family], small)
    return family


def published(family: str) -> dict[str, Tensor]:
    """Its file, without the tokenizer beside it."""
    found = both_dino_files() if family == "dino_txt" else weights(family)
    return {name: value.contiguous() for name, value in found.items() if name != "tokenizer"}


def test_published_weights_are_loaded_saved_and_loaded_again(family: str, tmp_path: Path) -> None:
    save_file(published(family), tmp_path / "published.safetensors")
    (tmp_path / "tokenizer.json").write_text(small_tokenizer().to_str())
    model = segvoc.load(PRESET[family], weights=tmp_path / "published.safetensors", device="cpu")
    words = ["cat", "dog"]
    first = model.segment(IMAGE, words, return_probabilities=True)
    features, network = model.network.image_encoder, small_network_on(family)
    assert all(
        np.array_equal(value, network.image_encoder.state_dict()[name]) for name, value in features.state_dict().items()
    )
    (tmp_path / "tokenizer.json").unlink()
    segvoc.save(model, tmp_path / "own.safetensors")
    again = segvoc.load(tmp_path / "own.safetensors", device="cpu").segment(IMAGE, words, return_probabilities=True)
    network.aggregation = model.network.aggregation
    model.network = network
    mixed = model.segment(IMAGE, words, return_probabilities=True)
    for other in (again, mixed):
        # weights at other addresses: on some processors products are rounded otherwise
        np.testing.assert_allclose(other.probabilities, first.probabilities, rtol=0, atol=1e-6)
