"""A network and an encoder are added by one entry each, from outside of the package."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import pytest
import torch

import segvoc
from segvoc.encoders.vit import TIMM_CLIPS
from segvoc.inference.protocols import Protocol, Protocols
from segvoc.layers.cost_sum import CostSum, NoAggregation
from segvoc.models.preset import Preset, frozen_preset
from segvoc.models.presets import PRESETS
from segvoc.models.weightless import weightless
from segvoc.networks.base import NetworkConfig, SegmentationNetwork
from segvoc.networks.clip_network import ClipNetworkConfig, TimmEncoders
from segvoc.networks.pca_seg import PCA_SEG
from segvoc.training.recipe import Recipe
from tests.images import squares
from tests.inference.small_network import Letters, Patches, assert_same_results


@dataclass(frozen=True, kw_only=True)
class CosineConfig(NetworkConfig):
    """A network of one's own: the cosines of patches and words, in windows of the image encoder's size."""

    kind: Literal["cosine"] = "cosine"
    costs: int = 1
    """Maps of the image encoder."""

    def build(self) -> SegmentationNetwork:
        return SegmentationNetwork(Patches(), Letters(), NoAggregation(CostSum(self.costs)))

    def protocols(self) -> Protocols:
        single = Protocol(size=Patches.input_size)
        return {"auto": single, "single": single, "official": single, "official-single": single}

    def templates(self) -> tuple[str, ...]:
        return ("a {}",)


def test_a_network_is_a_file_and_a_line_of_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    added = "cosine"
    monkeypatch.setitem(PRESETS, added, Preset(summary="cosines of patches", configuration=CosineConfig()))
    model = segvoc.load_network(added, weights="random", device="cpu", dtype="float32")
    found = model.segment(squares(), ["cat", "dog"])
    assert found.model == added and set(model.protocols) == set(CosineConfig().protocols())

    segvoc.save(model, tmp_path / "saved.safetensors")
    again = segvoc.load_network(tmp_path / "saved.safetensors", device="cpu", dtype="float32")
    assert_same_results(again.segment(squares(), ["cat", "dog"]), found)
    recipe = Recipe(model=added).with_settings(["costs=2", "steps=7"])
    assert recipe.network_config() == CosineConfig(costs=2) and recipe.optimizer.steps == 7


def test_an_encoder_is_an_entry_of_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = replace(TIMM_CLIPS["mobileclip2-s0"], title="Another CLIP")
    monkeypatch.setitem(TIMM_CLIPS, "another", sizes)
    encoders = TimmEncoders(kind="another")
    preset = frozen_preset(sizes.title, encoders, None)
    assert preset.how_to_get.endswith("give those of Another CLIP")
    with weightless():
        alone = preset.build(preset.configuration)
        network = ClipNetworkConfig(encoder=encoders, aggregation=PCA_SEG).build()
        image = torch.zeros(1, 3, encoders.input_size, encoders.input_size)
        assert alone.encoded(image).maps[0].shape[-1] == encoders.input_size // sizes.stride
    assert {name for name, _ in network.named_children()} == {"image_encoder", "text_encoder", "aggregation"}
