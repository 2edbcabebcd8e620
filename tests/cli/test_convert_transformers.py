"""`segvoc convert` and the files of Hugging Face's transformers."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import save_file

from segvoc.layers.cost_sum import CostSum, NoAggregation
from segvoc.models.loading import load_network
from segvoc.models.presets import PRESETS
from segvoc.networks.base import SegmentationNetwork
from segvoc.networks.syn_seg import SynSeg, SynSegConfig
from tests.cli.command import Command
from tests.transformers_models import small_clipseg, small_towers, weights_of

IMAGE = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)


def syn_seg(configuration: SynSegConfig) -> SynSeg:
    return small_clipseg(configuration.decoder.head)


def cosines(configuration: object) -> SegmentationNetwork:
    return SegmentationNetwork(*small_towers(), NoAggregation(CostSum(1)))


@pytest.fixture
def convert(segvoc_command: Command, monkeypatch: pytest.MonkeyPatch) -> Command:
    """`segvoc convert FILE out.safetensors --model NAME ...`, with presets of the small models' sizes."""
    for name, build in (("syn-seg-b", syn_seg), ("cat-seg-b", cosines)):
        protocols = {window: replace(way, size=64) for window, way in PRESETS[name].protocols.items()}
        small = replace(PRESETS[name], build=build, protocols_of=lambda _, protocols=protocols: protocols)
        monkeypatch.setitem(PRESETS, name, small)
    save_file(weights_of("clip"), "clip.safetensors")
    save_file(weights_of("clipseg_plain"), "clipseg.safetensors")
    return lambda file, name, *more: segvoc_command("convert", file, "out.safetensors", "--model", name, *more)


def test_clipseg_is_converted_and_segments(convert):
    convert("clipseg.safetensors", "syn-seg-b").ok()
    ours, theirs = (
        load_network("out.safetensors", device="cpu"),
        load_network("syn-seg-b", weights="clipseg.safetensors", device="cpu"),
    )
    one, other = (model.segment(IMAGE, ["cat", "sofa"], window="single") for model in (ours, theirs))
    # weights at other addresses: on some processors products are rounded otherwise
    np.testing.assert_allclose(one.confidence, other.confidence, rtol=0, atol=1e-6)
    assert len(np.unique(one.confidence)) > 100


def test_what_does_not_fit_is_one_line_and_exit_code_2(convert):
    whole = Path("clipseg.safetensors").read_bytes()
    for share in (0.01, 0.5, 0.99):
        Path("cut.safetensors").write_bytes(whole[: int(len(whole) * share)])
        convert("cut.safetensors", "syn-seg-b").refused("'cut.safetensors' is damaged")
    lacking = {name: value for name, value in weights_of("clipseg_plain").items() if "layers.0.mlp" not in name}
    save_file(lacking, "lacking.safetensors")
    convert("lacking.safetensors", "syn-seg-b").refused("'lacking.safetensors'", "missing layers.0.expand.weight")
    save_file(weights_of("clipseg_plain") | weights_of("clip"), "mixed.safetensors")
    convert("mixed.safetensors", "syn-seg-b").refused("of another network: unexpected clip.")
    save_file(weights_of("clip") | weights_of("dinov2"), "both.safetensors")
    convert("both.safetensors", "cat-seg-b").refused("of another network: unexpected embeddings.cls_token")
    convert("clipseg.safetensors", "cat-seg-b").refused("weights of CLIPSeg", "load them as clipseg")
    convert("clip.safetensors", "syn-seg-b", "--set", "head=refined", "--encoder-weights", "clip.safetensors").refused(
        "is not a decoder without encoders", "leave the encoder weights out"
    )
    refined = convert("clipseg.safetensors", "syn-seg-b", "--set", "head=refined")
    refined.refused("CLIPSeg's plain head; load them with the option head=plain")
