"""CAT-Seg of arXiv v1: the contract of networks for small siblings, what learns, and its backbones' weights."""

import pytest
import timm
import torch
from torch import Tensor, nn

from papers.cat_seg_v1 import BACKBONES, backbone_state, first_recipe, first_version
from segvoc.checkpoints.strict import renamed
from segvoc.encoders.openai_clip import OpenAIClipImageEncoder
from segvoc.errors import CheckpointError
from segvoc.layers.aggregation_context import AggregationContext
from segvoc.models.presets import find_preset
from segvoc.networks.base import SegmentationNetwork
from segvoc.networks.cat_seg import CAT_SEG
from segvoc.networks.cost_aggregation_config import CostAggregationConfig
from segvoc.training.parameters import learning_rates
from tests.networks.aggregation_contract import SMALL, VIT, AggregationContract, SelectionContract, text_tower
from tests.networks.contract import assert_alike, make_image, words

MILLION = 2**20
"""The paper's unit: 100,761,600 attention parameters and 590,848 of positions are its 96.7 M."""


def small_backbone() -> nn.Module:
    return timm.create_model("resnet10t", features_only=True, feature_cls="getter", out_indices=(1, 2, 3))


def guided(*, backbone: bool = True, pad_classes: int = 0, **options) -> SegmentationNetwork:
    released = SegmentationNetwork(OpenAIClipImageEncoder(VIT), text_tower(""), nn.Identity())
    config = CostAggregationConfig(**(vars(CAT_SEG) | SMALL | {"pad_classes": pad_classes}))
    return first_version(released, config, small_backbone() if backbone else None, **options)


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


@pytest.mark.slow
class TestGuidedByClip(AggregationContract):
    build = staticmethod(lambda: guided(backbone=False))
    unused = TestGuidedByABackbone.unused


@pytest.mark.slow
class TestSpatialAlone(SelectionContract):
    """Table 2, IV."""

    build = staticmethod(lambda: guided(order="spatial"))
    unused = TestGuidedByABackbone.unused


@pytest.mark.slow
class TestJoint(SelectionContract):
    """Table 2, III."""

    build = staticmethod(lambda: guided(order="joint"))
    unused = TestGuidedByABackbone.unused


def test_spatial_aggregation_refines_a_word_without_the_others():
    network, image, text = guided(order="spatial").eval(), make_image(1, 96, 96), words(4, 1, 32)
    with torch.no_grad():
        assert_alike(network(image, text[:2]), network(image, text)[:, :2])


def test_joint_aggregation_pads_no_words():
    """Pads of the released class aggregation would be cells here."""
    plain, padded = (guided(order="joint", pad_classes=pads).eval() for pads in (0, 256))
    padded.load_state_dict(plain.state_dict())
    image, text = make_image(1, 96, 96), words(2, 1, 32)
    with torch.no_grad():
        assert torch.equal(padded(image, text), plain(image, text))


def test_joint_aggregation_attends_over_all_cells_of_all_words_at_once():
    """The two sums of linear attention, over every pair of a cell and a word."""
    block = guided(order="joint").aggregation.blocks[0].double()
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


def test_without_gradients_of_the_costs_the_guidance_alone_teaches_clip():
    """Table 4, third row: the dense map learns, but words can't."""
    gradients = {}
    for flows in (True, False):
        torch.manual_seed(0)
        network = guided(backbone=False, cost_gradient=flows)
        text = nn.functional.normalize(torch.randn(3, 1, 32), dim=-1)
        network(make_image(1, 96, 96), text).square().mean().backward()
        gradients[flows] = network.image_encoder.clip.tower.conv1.weight.grad
    assert gradients[False].abs().max() > 0
    assert not torch.allclose(gradients[True], gradients[False])


@pytest.mark.parametrize(
    ("guidance", "parameters", "trainable"),
    [("backbone", 489_795_850, 103_655_121), ("clip", 433_687_890, 107_096_145)],
)
def test_tables_3_and_4_count_what_learns(guidance, parameters, trainable):
    recipe, backbone = first_recipe("l"), None
    with torch.device("meta"):
        released = find_preset(recipe.model).build(recipe.network_config())
        if guidance == "backbone":
            backbone = timm.create_model(**BACKBONES["l"], features_only=True, feature_cls="getter")
        network = first_version(released, recipe.network_config().aggregation, backbone)
    rates = learning_rates(network, recipe)
    learning = {name: value for name, value in network.named_parameters() if name in rates}
    count = sum(value.numel() for name, value in learning.items() if not name.startswith("aggregation."))
    assert round(count / MILLION, 1) == 96.7
    assert sum(value.numel() for value in network.parameters()) == parameters
    assert sum(value.numel() for value in learning.values()) == trainable


def of_the_authors(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Swin's names: a stage ends with its downsampling, and tables are among the weights."""
    earlier = ((r"^layers\.(\d)\.downsample", lambda found: f"layers.{int(found[1]) - 1}.downsample"),)
    tables = ("layers.0.blocks.1.attn_mask", "layers.0.blocks.0.attn.relative_position_index")
    return {renamed(name, earlier): value for name, value in state.items()} | dict.fromkeys(tables, torch.zeros(4))


@pytest.mark.parametrize("rename", [dict, of_the_authors], ids=["timm", "authors"])
def test_swins_maps_are_those_of_the_whole_network(rename):
    torch.manual_seed(0)
    sizes = {"img_size": 96, "window_size": 3, "embed_dim": 16, "num_heads": (1, 2, 4, 8), "depths": (2, 2, 4, 2)}
    sizes |= {"model_name": "swin_tiny_patch4_window7_224", "strict_img_size": False}
    whole = timm.create_model(**sizes).eval()
    ours = timm.create_model(**sizes, features_only=True, feature_cls="getter", out_indices=(0, 1, 2)).eval()
    ours.load_state_dict(backbone_state(rename(whole.state_dict()), ours))
    image = torch.randn(1, 3, 96, 64)
    with torch.no_grad():
        expected = whole.forward_intermediates(image, indices=[0, 1, 2], intermediates_only=True)
        for one, other in zip(ours(image), expected, strict=True):
            assert torch.equal(one, other)


def test_swin_b_is_read_and_another_network_refused():
    with torch.device("meta"):
        whole, ours = (
            timm.create_model("swin_base_patch4_window12_384"),
            timm.create_model(**BACKBONES["l"], features_only=True, feature_cls="getter"),
        )
        other = timm.create_model("resnet18")
    assert backbone_state(whole.state_dict(), ours).keys() == ours.state_dict().keys()
    with pytest.raises(CheckpointError, match="guidance backbone's"):
        backbone_state(other.state_dict(), ours)
