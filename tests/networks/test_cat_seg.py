"""The contract of networks for small siblings of CAT-Seg, as released and as in arXiv v1."""

import pytest
import timm
import torch
from torch import nn

from segvoc.encoders.openai_clip import OpenAIClipImageEncoder
from segvoc.layers.aggregation_context import AggregationContext
from segvoc.models.builders import clip_segmentation_network
from segvoc.models.presets import find_preset
from segvoc.networks.base import SegmentationNetwork
from segvoc.networks.cat_seg import CAT_SEG
from segvoc.networks.cost_aggregation_config import ClipNetworkConfig, CostAggregationConfig, OpenAIEncoders
from segvoc.training.parameters import learning_rates
from segvoc.training.recipes import RECIPES
from tests.built import built
from tests.networks.aggregation_contract import (
    SMALL,
    VALUES_ALONE,
    VIT,
    AggregationContract,
    SelectionContract,
    small,
    text_tower,
)
from tests.networks.contract import NetworkContract, PaperContract, assert_alike, make_image


class TestOpenAI(AggregationContract, PaperContract):
    build = staticmethod(lambda: small(CAT_SEG, eva=False))
    idle = frozenset({VALUES_ALONE})


@pytest.mark.slow
class TestEva(AggregationContract):
    build = staticmethod(lambda: small(CAT_SEG))


def test_one_option_turns_it_into_the_parallel_network():
    with torch.device("meta"):
        parallel = built("cat-seg-eva-b", order="parallel", fusion="experts", blocks=4)
        pca = built("pca-seg-b")
    shapes = [{name: value.shape for name, value in network.state_dict().items()} for network in (parallel, pca)]
    assert shapes[0] == shapes[1]


MILLION = 2**20
"""The paper's unit: 100,761,600 attention parameters and 590,848 of positions are its 96.7 M."""


def small_backbone() -> nn.Module:
    return timm.create_model("resnet10t", features_only=True, feature_cls="getter", out_indices=(1, 2, 3))


def guided(**options) -> SegmentationNetwork:
    tower = OpenAIClipImageEncoder(VIT, **options)
    aggregation = CostAggregationConfig(**(vars(CAT_SEG) | SMALL | {"decoder": "bilinear"}))
    config = ClipNetworkConfig(encoder=OpenAIEncoders(vit=VIT), aggregation=aggregation)
    return clip_segmentation_network(config, tower, text_tower(""), small_backbone())


class TestGuidedByABackbone(AggregationContract):
    """Tables 1 and 4: guidance that isn't CLIP's."""

    build = staticmethod(guided)

    def unused(self, network: nn.Module) -> set[str]:
        last = "image_encoder.clip.tower.transformer.resblocks.3.attn."
        return {f"{last}{name}_proj.{kind}" for name in "qk" for kind in ("weight", "bias")}

    def test_the_backbone_guides_and_clip_is_compared(self, network):
        image, text = self.inputs(network)
        features = network.image_encoder(image)
        assert torch.equal(features.maps[0], network.image_encoder.clip(image).maps[0])
        rows, columns = features.maps[0].shape[2:]
        assert features.appearance.shape == (1, 256, rows, columns)
        assert [tap.shape[1:] for tap in features.taps] == [(128, 2 * rows, 2 * columns), (64, 4 * rows, 4 * columns)]
        with torch.no_grad():
            before = network(image, text)
            network.image_encoder.backbone.model.layer1[0].conv1.weight.mul_(-1)
            assert not torch.allclose(network(image, text), before, atol=1e-4)

    def test_what_learns_is_attention_and_positions_of_clip(self, network):
        names = {name for name in network.trainable_parameters() if not name.startswith("aggregation.")}
        assert names
        assert all(name.startswith("image_encoder.clip.") for name in names)
        assert all(".attn." in name or name.endswith("positional_embedding") for name in names)


class TestSpatialAlone(SelectionContract):
    """Table 2, IV."""

    build = staticmethod(lambda: small(CAT_SEG, eva=False, order="spatial", guidance_dim=0))
    idle = frozenset({VALUES_ALONE})

    def test_a_word_is_refined_without_the_others(self, built):
        image, text = self.inputs(built, classes=4)
        with torch.no_grad():
            assert_alike(built(image, text[:2]), built(image, text)[:, :2])


class TestJoint(SelectionContract):
    """Table 2, III."""

    build = staticmethod(lambda: small(CAT_SEG, eva=False, order="joint", guidance_dim=0))
    idle = frozenset({VALUES_ALONE})

    def test_cells_of_other_words_matter(self, built):
        image, text = self.inputs(built, classes=4)
        with torch.no_grad():
            assert not torch.allclose(built(image, text[:2]), built(image, text)[:, :2], atol=1e-4)

    def test_it_attends_over_all_cells_of_all_words_at_once(self, network):
        """The two sums of linear attention, over every pair of a cell and a word."""
        block = network.aggregation.blocks[0].double()
        attention = block.attention
        x = torch.randn(1, 3, 4, 5, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        tokens = attention.norm1(x.reshape(1, 60, 32))
        project = attention.project
        q, k, v = (layer(tokens).unflatten(-1, (4, -1)) for layer in (project.q.own, project.k.own, project.v))
        q, k = nn.functional.elu(q) + 1, nn.functional.elu(k) + 1
        weights = torch.einsum("bqhc,bkhc->bhqk", q, k)
        mixed = torch.einsum("bhqk,bkhc->bqhc", weights / (weights.sum(-1, keepdim=True) + 1e-6), v).flatten(-2)
        expected = x.reshape(1, 60, 32) + mixed
        expected = x.reshape(1, 60, 32) + expected + attention.mlp(attention.norm2(expected))
        refined = block(x, x.new_zeros(1, 4, 5, 0), x.new_zeros(1, 3, 0), AggregationContext((2, 2), None, 2))
        torch.testing.assert_close(refined.reshape(1, 60, 32), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.slow
class TestWithoutGuidance(AggregationContract):
    """Table 2, V."""

    build = staticmethod(lambda: small(CAT_SEG, eva=False, guidance_dim=0))
    idle = frozenset({VALUES_ALONE})


@pytest.mark.slow  # without prompts it is `TestGuidedByABackbone`
class TestVisualPrompts(NetworkContract):
    """Table 3, II."""

    build = staticmethod(lambda: guided(visual_prompts=3))

    unused = TestGuidedByABackbone.unused


def test_each_block_reads_visual_prompts_of_its_own_but_the_last_and_they_alone_learn():
    network = guided(visual_prompts=3)
    network(make_image(1, 96, 96), nn.functional.normalize(torch.randn(3, 1, 32), dim=-1)).square().mean().backward()
    gradients = network.image_encoder.clip.prompts.table.grad
    assert [bool(gradient.abs().max() > 0) for gradient in gradients] == [True, True, True, False]
    rates = learning_rates(network, RECIPES["cat-seg-v1-b"]().with_settings(["trainable=prompts"]))
    assert {name for name in rates if not name.startswith("aggregation.")} == {"image_encoder.clip.prompts.table"}


def test_without_gradients_of_the_costs_the_guidance_alone_teaches_clip():
    """Table 4, third row: the dense map learns, but words can't."""
    gradients = {}
    for flows in (True, False):
        torch.manual_seed(0)
        network = small(CAT_SEG, eva=False)
        network.aggregation.cost_gradient = flows
        text = nn.functional.normalize(torch.randn(3, 1, 32), dim=-1)
        network(make_image(1, 96, 96), text).square().mean().backward()
        gradients[flows] = network.image_encoder.tower.conv1.weight.grad
    assert gradients[False].abs().max() > 0
    assert not torch.allclose(gradients[True], gradients[False])


@pytest.mark.parametrize(
    ("settings", "millions"),
    [
        (["trainable=none"], 0.0),
        (["trainable=prompts", "visual_prompts=100"], 2.3),
        (["trainable=attention"], 96.7),
        ([], 96.7),
        (["trainable=all"], 290.2),  # the paper has 290.0
    ],
)
def test_table_3_counts_what_learns_in_clip(settings, millions):
    recipe = RECIPES["cat-seg-v1-l"]().with_settings(settings)
    with torch.device("meta"):
        network = find_preset(recipe.model).build(recipe.network_config())
    rates = learning_rates(network, recipe)
    learning = {name: value for name, value in network.named_parameters() if name in rates}
    count = sum(value.numel() for name, value in learning.items() if not name.startswith("aggregation."))
    assert round(count / MILLION, 1) == millions
