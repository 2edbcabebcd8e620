"""A SynSeg of a few thousand parameters, and the towers' weights as OpenAI publishes them."""

from dataclasses import replace

import torch
from torch import nn

from segvoc.encoders.base import TokenFeatures
from segvoc.encoders.openai_clip import OpenAIClipImageEncoder
from segvoc.models.builders import build_decoder
from segvoc.networks.syn_seg import ConditionedDecoderConfig, SynSeg
from tests.networks.aggregation_contract import VIT, text_tower

TAPS = (0, 1, 2)
CONFIG = ConditionedDecoderConfig(dim=16, heads=2, hidden=24)


def small_syn_seg(config: ConditionedDecoderConfig = CONFIG, **options) -> SynSeg:
    """The preset's network in small: `options` as its users give them."""
    image_encoder = OpenAIClipImageEncoder(replace(VIT, taps=TAPS))
    text_encoder = text_tower("qv")
    text_encoder.unit_length = False
    return SynSeg(image_encoder, text_encoder, build_decoder(replace(config, **options), image_encoder))


class LastTapInWords(nn.Module):
    """An image tower whose deepest tap is a map in the words' space, as tiny's."""

    input_size, stride, channels, token_channels = 64, 16, 32, (48, 32)

    def __init__(self) -> None:
        super().__init__()
        self.shallow, self.deep = nn.Conv2d(3, 48, 16, 16), nn.Conv2d(3, 32, 16, 16)

    def fine_tuned_parameters(self) -> tuple[str, ...]:
        return ()

    def tokens(self, image, *, dense):
        pixels = (image / 127.5 - 1).to(self.deep.weight.dtype)
        maps = [conv(pixels) for conv in (self.shallow, self.deep)]
        cells = [one.flatten(2).mT for one in maps]
        taps = tuple(torch.cat((tap.mean(1, keepdim=True), tap), dim=1) for tap in cells)
        return TokenFeatures(taps=taps, grid=(maps[0].shape[2], maps[0].shape[3]))
