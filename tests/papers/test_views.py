"""What scripts see in a network: costs, experts, ERR-Seg's attention, and two label maps side by side."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from einops import rearrange
from PIL import Image
from torch import nn

from papers.attention import attention_maps
from papers.compare import Disagreement
from papers.costs import cost_views, forward_single_view
from papers.experts import PrincipalDirections, canonical_correlations, expert_redundancy
from segvoc.inference.label_options import LabelOptions
from segvoc.inference.segmentation import Segmentation
from segvoc.layers.selection import ClassSelection
from segvoc.models.network_segmenter import NetworkSegmenter
from segvoc.networks.err_seg import ErrSegConfig
from segvoc.vocabulary import Vocabulary
from tests.images import squares
from tests.inference.small_network import views
from tests.labeling.formats.drawn_results import drawn_result
from tests.networks.contract import assert_alike
from tests.networks.test_err_seg import small
from tests.papers.small_networks import WORDS, segmenter


def test_before_are_the_cosines_and_after_the_networks_probabilities():
    small = segmenter()
    seen = cost_views(small, squares(64, 96), WORDS, show=["wall", "cat"], window="single")
    assert seen.words == ("wall", "cat")
    image = np.asarray(Image.fromarray(squares(64, 96)).resize((64, 64), Image.Resampling.BILINEAR))
    pixels = torch.tensor(image).permute(2, 0, 1)[None].float()
    text = small.encode_words(Vocabulary(WORDS))
    with torch.no_grad():
        features, logits = small.network.image_encoder(pixels).maps[0][0], small.network(pixels, text)[0]
    for row, index in enumerate((2, 0)):
        cosine = torch.cosine_similarity(features, text[index, 0, :, None, None], dim=0)
        np.testing.assert_allclose(seen.before[0][row], cosine, atol=1e-5)
        np.testing.assert_allclose(seen.after[row], logits[index].sigmoid(), atol=1e-5)


def test_sliding_windows_are_looked_at_as_a_whole():
    small = segmenter()
    whole = views(squares(64, 96), small.protocol(LabelOptions(window="official", keep_classes="all")))[-1:]
    with torch.no_grad():
        logits = small.network(whole, small.encode_words(Vocabulary(WORDS)), pooling=(1, 1))[0]
    torch.testing.assert_close(forward_single_view(small, squares(64, 96), WORDS, "official").logits, logits)


ROWS = np.random.default_rng(0)


def directions(features, variance=0.99):
    return PrincipalDirections.of(features).holding(variance)


def correlations(first, second, variance=1.0):
    return canonical_correlations(directions(first, variance), directions(second, variance))


def test_canonical_correlations_of_the_same_in_another_basis_of_independent_features_and_of_mixtures():
    features = ROWS.normal(size=(500, 6))
    turned = features @ ROWS.normal(size=(6, 6)) + 7
    np.testing.assert_allclose(correlations(features, features), np.ones(6), atol=1e-9)
    np.testing.assert_allclose(correlations(features, turned), np.ones(6), atol=1e-9)
    # independent features say little alike, and the fewer the more rows there are
    few, many = (correlations(ROWS.normal(size=(n, 4)), ROWS.normal(size=(n, 4))).mean() for n in (40, 20_000))
    assert many < 0.03 < 0.1 < few
    # a mixture correlates by the cosine of its angle
    columns = directions(ROWS.normal(size=(300, 4)), 1.0)
    first, second = columns[:, :2], columns[:, 2:]
    angles = np.array([0.3, 1.2])
    mixed = np.cos(angles) * first + np.sin(angles) * second
    np.testing.assert_allclose(correlations(first, mixed), np.cos(angles), atol=1e-9)
    np.testing.assert_allclose(correlations(first, second), [0, 0], atol=1e-9)


def test_experts_of_equal_weights_are_redundant_and_others_less():
    small = segmenter()
    for values in (values for block in small.network.aggregation.blocks for values in block.fuse.parse.parameters()):
        width = len(values) // 3
        values[2 * width :] = values[:width]
    found = expert_redundancy(small, [squares(64, 96), squares(64, 96, 1)], WORDS)
    assert found.rows == 2 * len(WORDS) * 16
    assert len(found.cca) == len(found.svcca)
    for block in (*found.cca, *found.svcca):
        assert block.matrix.shape == (3, 3)
        np.testing.assert_allclose(block.matrix, block.matrix.T)
        np.testing.assert_allclose(np.diag(block.matrix), 1)
        assert block.matrix[0, 2] == pytest.approx(1, abs=1e-6)
        assert 0.05 < block.chance < block.matrix[0, 1] < 0.99
        assert block.mean == pytest.approx(block.matrix[[0, 0, 1], [1, 2, 2]].mean())
    # plain CCA compares all channels, SVCCA the strongest directions
    for plain, strong in zip(found.cca, found.svcca, strict=True):
        assert min(plain.directions) >= max(strong.directions)


SCENE = ("truck", "runway", "sky")


def result(labels, confidence=0.5, words=SCENE) -> Segmentation:
    drawn = drawn_result(np.array(labels, np.uint16), words)
    return replace(drawn, confidence=np.full(drawn.labels.shape, confidence, np.float32))


FIRST = result([[0, 0, 1, 1], [2, 2, 2, 1]], 0.75)
SECOND = result([[1, 1, 1, 1], [2, 65535, 2, 0]], 0.25)


def test_where_two_maps_differ_and_by_which_words():
    found = Disagreement(first=FIRST, second=SECOND, names=("a", "b"))
    assert found.differing.tolist() == [[True, True, False, False], [False, True, False, True]]
    facts = found.facts()
    assert facts["differing"] == 0.5
    assert facts["models"][0]["fractions"] == {"truck": 0.25, "runway": 0.375, "sky": 0.375}
    assert [model["confidence"] for model in facts["models"]] == [0.75, 0.25]


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
    model = NetworkSegmenter(
        name="small-err",
        network=network.requires_grad_(False),
        protocols=ErrSegConfig(encoder="convnext_base_w", side=96).protocols(),
        templates=("{}",),
    )
    model.class_chunk = 5
    return model


@pytest.fixture(scope="module")
def maps(err_seg):
    return attention_maps(err_seg, squares(64, 96), NAMES, LabelOptions(keep_classes=4))


def test_the_weights_are_those_that_the_layer_attends_with(err_seg, maps):
    layer, inputs = err_seg.network.aggregation.blocks[1].spatial, []
    handle = layer.register_forward_pre_hook(lambda module, given: inputs.append(given))
    pixels = views(squares(64, 96), err_seg.protocol(LabelOptions(keep_classes=4)))[-1:]
    text = err_seg.encode_words(Vocabulary(NAMES))
    _, kept = err_seg.network.selected_logits(pixels, text, selection=ClassSelection(keep=4))
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
