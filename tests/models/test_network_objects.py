"""The model as an object, and its network as PyTorch's users treat modules: pickled, copied, converted, weightless."""

import copy
import pickle
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from segvoc.errors import UsageError
from segvoc.hardware import DtypeName
from segvoc.layers.precision import reduce_precision
from segvoc.models.builders import weightless
from segvoc.models.digests import keep_words
from segvoc.models.network_segmenter import NetworkSegmenter
from tests.images import squares
from tests.inference.small_network import small_segmenter

WORDS = ["cat", "sofa", "wall"]
IMAGE = squares(60, 90, 0)


def _same(model: NetworkSegmenter, other: NetworkSegmenter) -> bool:
    return np.array_equal(model.segment(IMAGE, WORDS).confidence, other.segment(IMAGE, WORDS).confidence)


@pytest.mark.parametrize("duplicate", [lambda model: pickle.loads(pickle.dumps(model)), copy.deepcopy])
def test_a_copy_labels_alike_and_has_weights_of_its_own(duplicate: Callable[..., NetworkSegmenter]) -> None:
    model = small_segmenter()
    keep_words(model)
    before = model.segment(IMAGE, WORDS)
    other = duplicate(model)
    assert _same(model, other)
    with torch.no_grad():
        other.network.text_encoder.get_parameter("table.weight").mul_(torch.linspace(-1, 1, 12))
        other.network.image_encoder.get_parameter("project.bias").add_(0.5)
    assert not _same(model, other)
    np.testing.assert_array_equal(model.segment(IMAGE, WORDS).confidence, before.confidence)


CONVERSIONS: dict[str, Callable[[nn.Module], nn.Module]] = {
    "half": lambda network: network.half(),
    "bfloat16": lambda network: network.bfloat16(),
    "to": lambda network: network.to(torch.bfloat16),
}


@pytest.mark.parametrize("kind", CONVERSIONS)
def test_a_converted_network_keeps_in_float32_what_a_loaded_one_keeps(kind: str) -> None:
    dtype: DtypeName = "float16" if kind == "half" else "bfloat16"
    loaded, model = small_segmenter(), small_segmenter()
    reduce_precision(loaded.network, getattr(torch, dtype))
    exact = model.segment(IMAGE, WORDS)
    CONVERSIONS[kind](model.network)
    state, expected = model.network.state_dict(), loaded.network.state_dict()
    assert {name: value.dtype for name, value in state.items()} == {n: value.dtype for n, value in expected.items()}
    assert all(torch.equal(value, expected[name]) for name, value in state.items())
    np.testing.assert_allclose(model.segment(IMAGE, WORDS).confidence, exact.confidence, atol=0.05)


def test_a_network_without_weights_is_refused_in_one_line() -> None:
    model = small_segmenter()
    model.network.to("meta")
    for call in (lambda: model.segment(IMAGE, WORDS), lambda: model.encode(WORDS)):
        with pytest.raises(UsageError, match="has no weights"):
            call()


def test_modules_take_no_memory_and_draw_no_numbers() -> None:
    before = torch.get_rng_state()
    with weightless():
        modules = nn.ModuleList((nn.Linear(3, 4), nn.Conv2d(3, 4, 1), nn.Embedding(5, 6), nn.MultiheadAttention(8, 2)))
        filled = nn.init.normal_(tensor=torch.empty(2, 3), std=0.1)
        random = torch.randn(4, 5, generator=torch.Generator())
    assert random.is_meta and random.shape == (4, 5)
    assert all(parameter.is_meta for parameter in modules.parameters())
    assert [tuple(parameter.shape) for parameter in modules[0].parameters()] == [(4, 3), (4,)]
    assert filled.is_meta and filled.shape == (2, 3)
    assert torch.equal(torch.get_rng_state(), before)
