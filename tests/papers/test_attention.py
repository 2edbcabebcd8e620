"""Spatial attention of a small ERR-Seg, with and without the classes that selection drops."""

import math

import numpy as np
import pytest
import torch
from einops import rearrange
from torch import nn

from papers.attention import attention_maps
from papers.costs import MAX_NAMES
from segvoc.errors import UsageError
from segvoc.inference.label_options import LabelOptions
from segvoc.inference.protocols import err_protocols
from segvoc.inference.windows import views
from segvoc.models.network_segmenter import NetworkSegmenter
from segvoc.selection_rules import Voted
from segvoc.vocabulary import Vocabulary
from tests.networks.contract import assert_alike
from tests.networks.test_err_seg import small
from tests.papers.small_views import make_image, segmenter

NAMES = tuple(f"{color} {thing}" for color in ("red", "blue", "old") for thing in ("cat", "sofa", "wall", "cup"))


@pytest.fixture(scope="module")
def err_seg() -> NetworkSegmenter:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        network = small()
        for parameter in network.parameters():
            nn.init.normal_(parameter, std=0.3)
        for layer in (*network.aggregation.embed_costs, *(b.semantic.out for b in network.aggregation.blocks)):
            nn.init.normal_(layer.weight, std=5.0)  # so that classes differ, and each matters to the others
    return NetworkSegmenter(
        name="small-err",
        network=network.requires_grad_(False),
        protocols=err_protocols(96),
        templates=("{}",),
        class_chunk=5,
    )


@pytest.fixture(scope="module")
def maps(err_seg):
    return attention_maps(err_seg, make_image(), NAMES, LabelOptions(keep_classes=4))


def test_by_default_found_words_are_shown_where_they_are_likeliest(maps):
    assert (maps.classes, maps.kept) == (12, 4)
    assert 1 <= len(maps.words) <= 4
    for word in maps.words:
        assert 0 <= word.point[0] < 96 and 0 <= word.point[1] < 64
        assert len(word.reduced) == len(word.full) == 2
        for block in (*word.reduced, *word.full):
            assert block.sum() == pytest.approx(1, abs=1e-5)
        # the first block does not know the other classes, and later ones do
        np.testing.assert_allclose(word.reduced[0], word.full[0], atol=1e-5)
        assert np.abs(word.reduced[1] - word.full[1]).max() > 2e-4


def test_the_weights_are_those_that_the_layer_attends_with(err_seg, maps):
    layer, inputs = err_seg.network.aggregation.blocks[1].spatial, []
    handle = layer.register_forward_pre_hook(lambda module, given: inputs.append(given))
    pixels = torch.from_numpy(views(make_image(), err_seg.protocol(LabelOptions(keep_classes=4), 12))[-1:])
    text = err_seg.encode_words(Vocabulary(NAMES))
    _, kept = err_seg.network.selected_logits(pixels, text, selection=Voted(4))
    handle.remove()
    ((x, *_, guided),) = inputs
    q, k, v = layer.queries_keys_values(layer.norm1(x), guided)
    weights = (q @ k.mT / math.sqrt(q.shape[-1])).softmax(dim=-1)
    # values weighted by them, joined over the heads and projected, are what the layer gives
    attended = layer.out(rearrange(weights @ v, "t n l c -> t l (n c)")).view(x.shape)
    assert_alike(attended, layer.attend(layer.norm1(x), guided))
    rows, columns = x.shape[2:4]
    for word in maps.words:
        place = kept[0].tolist().index(NAMES.index(word.word))
        cell = (word.point[1] * rows // 64) * columns + word.point[0] * columns // 96
        expected = weights[place].mean(dim=0)[cell].view(rows // 2, columns // 2)
        np.testing.assert_allclose(word.reduced[1], expected, atol=1e-4)


def test_what_can_not_be_shown_is_refused(err_seg, maps):
    def refused(said, *, words=NAMES, show=(), keep=4, **options):
        with pytest.raises(UsageError, match=said):
            attention_maps(err_seg, make_image(), words, LabelOptions(keep_classes=keep), show=show, **options)

    refused("all 12 words are kept", keep=12)
    refused("'lamp' can't be shown", show=["lamp"])
    refused("don't fit into one figure", show=["red cat"] * (MAX_NAMES + 1))
    selected = err_seg.segment(make_image(), NAMES, keep_classes=4).selected
    dropped = next(word for word, kept in zip(NAMES, selected, strict=True) if not kept)
    refused(f"'{dropped}' isn't kept and has no attention; show some of: ", show=[dropped])
    with pytest.raises(UsageError, match="no spatial attention over the whole image; use ERR-Seg"):
        attention_maps(segmenter(), make_image(), NAMES, LabelOptions(keep_classes=4))
