"""A SynSeg of a few thousand parameters, and the towers' weights as OpenAI publishes them."""

from dataclasses import replace

from segvoc.encoders.openai_clip import OpenAIClipImageEncoder
from segvoc.networks.syn_seg import ConditionedDecoderConfig, SynSeg, build_decoder
from tests.networks.aggregation_contract import VIT, text_tower

TAPS = (0, 1, 2)
CONFIG = ConditionedDecoderConfig(dim=16, heads=2, hidden=24)


def small_syn_seg(config: ConditionedDecoderConfig = CONFIG, **options) -> SynSeg:
    """The preset's network in small: `options` as its users give them."""
    image_encoder = OpenAIClipImageEncoder(replace(VIT, taps=TAPS))
    text_encoder = text_tower("qv")
    text_encoder.unit_length = False
    return SynSeg(image_encoder, text_encoder, build_decoder(replace(config, **options), image_encoder))
