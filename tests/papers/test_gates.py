"""The coefficient mapper's weights over an image."""

import json

import numpy as np
import pytest
import torch

from papers.costs import chunked_streams, forward_single_view
from papers.experts import gate_maps
from segvoc.errors import UsageError
from segvoc.imaging.reading import read_image
from tests.papers.small_views import WORDS, make_image, segmenter


def test_weights_sum_to_one_over_the_experts():
    gates = gate_maps(segmenter(), make_image(), WORDS)
    assert [weights.shape for weights in gates.blocks] == [(5, 4, 4, 3)] * 2
    for weights in gates.blocks:
        np.testing.assert_allclose(weights.sum(axis=-1), 1, atol=1e-6)
        assert weights.std(axis=(0, 1, 2)).min() > 0.001


def test_they_are_those_that_the_fusion_weighs_its_experts_by():
    small = segmenter()
    gates, seen = gate_maps(small, make_image(), WORDS), forward_single_view(small, make_image(), WORDS)
    for block, weights, streams in zip(small.network.aggregation.blocks, gates.blocks, seen.streams, strict=True):
        with torch.inference_mode():
            both = torch.cat(list(chunked_streams(block.fuse, streams)), dim=1)
            weighed = (torch.tensor(weights)[None, ..., None] * block.fuse.parse(both)).sum(-2)
            fused = weighed + block.fuse.residual_scale * block.fuse.residual(both)
            torch.testing.assert_close(fused, block.fuse(*streams), rtol=1e-4, atol=1e-5)


def test_a_mapper_that_always_listens_to_one_expert_is_seen():
    small = segmenter()
    last = small.network.aggregation.blocks[1].fuse.integrate.coefficients[-1]
    last.weight.zero_()
    last.bias.copy_(torch.tensor([0.0, 50.0, 0.0]))
    gates = gate_maps(small, make_image(), WORDS)
    np.testing.assert_allclose(gates.blocks[1].mean(axis=(0, 1, 2)), [0, 1, 0], atol=1e-6)
    assert gates.entropies()[1] == pytest.approx(0, abs=1e-6)
    last.bias.zero_()
    assert gate_maps(small, make_image(), WORDS).entropies()[1] == pytest.approx(1)


def test_a_image_for_each_block_and_the_means_are_written(tmp_path):
    gates = gate_maps(segmenter(experts=2), make_image(), WORDS[1:4])
    gates.write(tmp_path, {})
    blocks = json.loads((tmp_path / "gates.json").read_text())["blocks"]
    assert blocks[1]["words"]["rocket"] == pytest.approx(gates.blocks[1][2].mean(axis=(0, 1)).tolist())
    assert blocks[0]["experts"] == pytest.approx(gates.blocks[0].mean(axis=(0, 1, 2)).tolist(), rel=1e-5)
    assert all(min(read_image(tmp_path / f"gates_{number}.png").shape[:2]) > 200 for number in (1, 2))


@pytest.mark.parametrize("fusion", ["convolution", "average", "concatenation"])
def test_fusions_without_a_mapper_are_refused(fusion):
    with pytest.raises(UsageError, match="has no coefficient mapper"):
        gate_maps(segmenter(fusion=fusion), make_image(), WORDS)
