"""The contract of networks for small siblings of PCA-Seg, its own promises, and its published sizes."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segvoc.encoders.clip_text import ClipTextConfig, ClipTextEncoder, eva_text, openai_text
from segvoc.encoders.eva_clip import EvaClipConfig, EvaClipImageEncoder
from segvoc.encoders.features import ImageFeatures
from segvoc.encoders.openai_clip import OpenAIClipImageEncoder
from segvoc.encoders.vit import VitConfig, vit_b16, vit_l14
from segvoc.networks.pca_seg import DROPPED, PCASeg, PCASegConfig
from segvoc.training.losses import OrthogonalityLoss
from tests.networks.contract import CompilesWhole, NetworkContract, assert_alike

VIT = VitConfig(channels=32, width=64, layers=4, heads=1, patch_size=16, pretrained_size=64, input_size=96, taps=(1, 2))
SMALL = {"dim": 32, "guidance_dim": 16, "window": 4, "blocks": 2, "pad_classes": 8, "experts": 3}
SMALL |= {"tap_dims": (24, 16), "decoder_dims": (32, 16), "decoder_guidance_dims": (16, 8)}


def text_tower(fine_tuned: str) -> ClipTextEncoder:
    return ClipTextEncoder(
        ClipTextConfig(channels=32, width=64, layers=2, heads=1, quick_gelu=False, fine_tuned=fine_tuned)
    )


def eva_pca_seg(**changes) -> PCASeg:
    config = PCASegConfig(**(SMALL | changes))
    return PCASeg(config, EvaClipImageEncoder(EvaClipConfig(vit=VIT)), text_tower("qkv"))


class PCASegContract(NetworkContract):
    """Adds what PCA-Seg promises beyond any network."""

    def test_the_losses_view_of_the_streams_does_not_depend_on_chunks(self, network):
        inputs, values = self.inputs(network, classes=5), []
        for chunk in (None, 2):
            loss = OrthogonalityLoss()
            with torch.no_grad():
                network(*inputs, chunk=chunk, observe=loss.observe)
            values.append(loss())
        torch.testing.assert_close(values[0], values[1])
        assert values[0] > 0

    def test_only_the_most_similar_classes_are_kept(self, network):
        image, text = self.inputs(network, batch=2, classes=6)
        with torch.no_grad():
            logits = network(image, text, keep_classes=2)
            kept = [(picture != DROPPED).any(dim=(1, 2)).nonzero().flatten() for picture in logits]
            assert [len(classes) for classes in kept] == [2, 2]
            for number, classes in enumerate(kept):
                alone = network(image[number : number + 1], text[classes])[0]
                assert_alike(logits[number, classes], alone)

    def test_as_many_classes_as_there_are_keep_all(self, network):
        image, text = self.inputs(network)
        with torch.no_grad():
            assert torch.equal(network(image, text, keep_classes=3), network(image, text))

    def test_pooling_matters_and_may_exceed_the_grid(self, network):
        image, text = self.inputs(network, rows=3, columns=2)
        with torch.no_grad():
            pooled = [network(image, text, pooling=pooling) for pooling in ((1, 1), (2, 2), (9, 9))]
        assert all(logits.isfinite().all() for logits in pooled)
        assert not torch.allclose(pooled[0], pooled[1], atol=1e-4)


class TestEva(PCASegContract, CompilesWhole):
    def build(self) -> nn.Module:
        return eva_pca_seg()


class TestOpenAI(PCASegContract):
    def build(self) -> nn.Module:
        return PCASeg(PCASegConfig(**SMALL), OpenAIClipImageEncoder(VIT), text_tower("qv"))

    def unused(self, network: nn.Module) -> set[str]:
        return {"image_encoder.tower.transformer.resblocks.3.attn.q_proj.weight"}  # the last block reads values alone


class TestSoftmaxAttention(PCASegContract):
    def build(self) -> nn.Module:
        return eva_pca_seg(class_attention="softmax")


class TestWithoutPads(PCASegContract):
    def build(self) -> nn.Module:
        return eva_pca_seg(pad_classes=0)


class ThreeMaps(nn.Module):
    """An image tower as the embedded model's: three maps of any norm at stride 16, taps at strides 8 and 4."""

    stride, channels, tap_channels = 16, 32, (24, 16)

    def __init__(self) -> None:
        super().__init__()
        self.maps = nn.Conv2d(3, 3 * self.channels, 16, 16)
        self.fine = nn.ModuleList([nn.Conv2d(3, 24, 8, 8), nn.Conv2d(3, 16, 4, 4)])

    def fine_tuned_parameters(self) -> tuple[str, ...]:
        return tuple(name for name, _ in self.named_parameters())

    def forward(self, image: Tensor) -> ImageFeatures:
        pixels = (image / 255 - 0.5).to(self.maps.weight.dtype)
        maps = self.maps(pixels).chunk(3, dim=1)
        return ImageFeatures(maps=maps, taps=tuple(conv(pixels) for conv in self.fine))


class TestThreeMapsWithSkip(PCASegContract):
    def build(self) -> nn.Module:
        return PCASeg(PCASegConfig(**SMALL, costs=3, lifts=(), skip=True), ThreeMaps(), text_tower("qv"))

    def test_the_costs_reach_the_logits_past_the_aggregation(self, network):
        image, text = self.inputs(network)
        with torch.no_grad():
            whole = network(image, text)
            network.aggregation.decoder.head.weight.zero_()
            network.aggregation.decoder.head.bias.zero_()
            skipped = network(image, text)
        assert skipped.std() > 0
        assert not torch.allclose(whole, skipped, atol=1e-3)


class TestThreeMapsWithoutAggregation(NetworkContract, CompilesWhole):
    finer = 1

    def build(self) -> nn.Module:
        return PCASeg(PCASegConfig(costs=3, lifts=(), blocks=0), ThreeMaps(), text_tower("qv"))

    def unused(self, network: nn.Module) -> set[str]:
        return {
            name for name, _ in network.named_parameters() if ".fine." in name
        }  # taps guide a decoder, none is here

    def test_the_logits_are_the_weighted_sum_of_the_cosines(self, network):
        image, text = self.inputs(network)
        with torch.no_grad():
            maps = torch.stack(network.image_encoder(image).maps, dim=1)
            cosines = torch.einsum("bpchw,tc->bpthw", F.normalize(maps, dim=2), text[:, 0])
            skip = network.aggregation.skip
            expected = (cosines * skip.weight[:, None, None, None]).sum(1) + skip.bias
            assert_alike(network(image, text), expected)


def official_pca_seg(family: str, size: str) -> PCASeg:
    vit = vit_b16() if size == "b" else vit_l14()
    with torch.device("meta"):
        if family == "eva":
            towers = EvaClipImageEncoder(EvaClipConfig(vit=vit)), ClipTextEncoder(eva_text(vit.channels))
        else:
            towers = OpenAIClipImageEncoder(vit), ClipTextEncoder(openai_text(vit.channels))
        return PCASeg(PCASegConfig(), *towers)


@pytest.mark.parametrize(
    ("family", "size", "total", "trainable", "aggregation"),
    [
        ("eva", "b", 157_110_902, 31_012_725, 5_060_085),
        ("eva", "l", 436_617_014, 80_099_189, 5_387_765),
        ("openai", "b", 157_040_502, 27_866_997, 5_060_085),
        ("openai", "l", 436_478_070, 73_021_301, 5_387_765),
    ],
)
def test_parameters_are_counted_as_published(family, size, total, trainable, aggregation):
    network = official_pca_seg(family, size)
    assert sum(parameter.numel() for parameter in network.parameters()) == total
    assert sum(network.get_parameter(name).numel() for name in network.trainable_parameters()) == trainable
    assert sum(parameter.numel() for parameter in network.aggregation.parameters()) == aggregation
    block = network.aggregation.blocks[0]
    sizes = [
        sum(weight.numel() for weight in part.parameters()) for part in (block.spatial, block.semantic, block.fuse)
    ]
    assert sizes == [462_336, 214_784, 349_221]
