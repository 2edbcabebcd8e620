"""What every network of towers and an aggregation must keep beyond any network, and its small siblings."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from segvoc.encoders.base import ImageFeatures
from segvoc.encoders.clip_text import ClipTextConfig, ClipTextEncoder
from segvoc.encoders.eva_clip import EvaClipImageEncoder
from segvoc.encoders.openai_clip import OpenAIClipImageEncoder
from segvoc.encoders.vit import VitConfig
from segvoc.layers.aggregation import DecoderSizes
from segvoc.layers.selection import DROPPED, ClassSelection
from segvoc.networks.base import SegmentationNetwork
from segvoc.networks.choices import build_aggregation
from segvoc.networks.cost_aggregation_config import CostAggregationConfig
from segvoc.networks.pca_seg import PCA_SEG
from segvoc.networks.syn_seg import ConditionedDecoderConfig, SynSeg, build_decoder
from segvoc.training.losses import StreamSimilarity
from tests.networks.contract import NetworkContract, assert_alike

VIT = VitConfig(channels=32, width=64, layers=4, heads=1, patch_size=16, pretrained_size=64, input_size=96, taps=(1, 2))
SMALL_DECODER = DecoderSizes(taps=(24, 16), guidance=(16, 8), stages=(32, 16))
SMALL = {"dim": 32, "guidance_dim": 16, "window": 4, "pad_classes": 8, "decoder_sizes": SMALL_DECODER}
VALUES_ALONE = "image_encoder.tower.transformer.resblocks.3.attn.q_proj.weight"
"""What OpenAI's last block doesn't use: it reads values alone."""


def text_tower(fine_tuned: str) -> ClipTextEncoder:
    """A CLIP's text tower that is quick for 80 prompts of each word, and whose table of tokens is quick to copy."""
    return ClipTextEncoder(
        ClipTextConfig(channels=32, width=16, layers=1, heads=1, quick_gelu=False, fine_tuned=fine_tuned)
    )


def small(config: CostAggregationConfig = PCA_SEG, *, eva: bool = True, **options) -> SegmentationNetwork:
    """A preset's network in small: `options` as its users give them, the kind as `aggregation`."""
    chosen = {"kind": options.pop("aggregation", "cost"), "blocks": 2, "pad_classes": 8, **options}
    tower = EvaClipImageEncoder(VIT) if eva else OpenAIClipImageEncoder(VIT)
    aggregation = build_aggregation(CostAggregationConfig(**(vars(config) | SMALL | chosen)), tower)
    return SegmentationNetwork(tower, text_tower("qkv" if eva else "qv"), aggregation)


def small_syn_seg(**options) -> SynSeg:
    """SynSeg in small: `options` as its users give them."""
    image_encoder, text_encoder = OpenAIClipImageEncoder(replace(VIT, taps=(0, 1, 2))), text_tower("qv")
    text_encoder.unit_length = False
    config = ConditionedDecoderConfig(**{"dim": 16, "heads": 2, "hidden": 24, **options})
    return SynSeg(image_encoder, text_encoder, build_decoder(config, image_encoder))


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


class SelectionContract(NetworkContract):
    """Networks that can go on with the most similar classes alone."""

    def test_only_the_most_similar_classes_are_kept(self, built):
        image, text = self.inputs(built, batch=2, classes=6)
        with torch.no_grad():
            logits = built(image, text, selection=ClassSelection(keep=2, by="similarity"))
            kept = [(each != DROPPED).any(dim=(1, 2)).nonzero().flatten() for each in logits]
            assert [len(classes) for classes in kept] == [2, 2]
            for number, classes in enumerate(kept):
                alone = built(image[number : number + 1], text[classes])[0]
                assert_alike(logits[number, classes], alone)


class AggregationContract(SelectionContract):
    """Networks whose blocks aggregate over space and classes."""

    def test_the_losses_view_of_the_streams_does_not_depend_on_chunks(self, built):
        inputs, values = self.inputs(built, classes=5), []
        for chunk in (None, 2):
            streams = StreamSimilarity()
            with torch.no_grad():
                built(*inputs, chunk=chunk, observe=streams.observe)
            values.append(streams.means())
        torch.testing.assert_close(values[0], values[1])
        assert (values[0].squared > 0).all()

    def test_pooling_matters_and_may_exceed_the_grid(self, built):
        image, text = self.inputs(built, rows=3, columns=2)
        with torch.no_grad():
            pooled = [built(image, text, pooling=pooling) for pooling in ((1, 1), (2, 2), (9, 9))]
        assert all(logits.isfinite().all() for logits in pooled)
        assert not torch.allclose(pooled[0], pooled[1], atol=1e-4)
