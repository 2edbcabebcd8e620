"""The alternative decoders in CAT-Seg's ablation (arXiv v1, Table 10)."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn

from segvoc.layers.aggregation import StageGuidance, UpsamplingDecoder, UpsamplingStage
from segvoc.layers.decoder_sizes import DecoderSizes
from segvoc.layers.maps import plus_shared
from segvoc.shapes import FeatureMaps


class SplitStage(UpsamplingStage):
    """A stage whose `upsample`, here a 1x1 convolution, isn't merged with its first convolution."""

    def __init__(self, *, dim: int, own_dim: int, guidance_dim: int, out_dim: int, group: int = 16) -> None:
        super().__init__(dim=dim, own_dim=own_dim, guidance_dim=guidance_dim, out_dim=out_dim, group=group)
        self.upsample = nn.Conv2d(dim, own_dim, kernel_size=1)
        del self.bias

    def precompute_guidance(self, guidance: Float[Tensor, "B G H W"]) -> StageGuidance:
        """The map that the guidance adds to those of all classes."""
        return (self.conv1.guidance(guidance),)

    def first(self, x: Float[Tensor, "BT C H W"], guided: StageGuidance) -> Float[Tensor, "BT D _ _"]:
        """`conv1` of the upsampled maps and the guidance."""
        return plus_shared(self.conv1.own(self.upsample(x)), *guided)


class BilinearStage(SplitStage):
    """An upsampling stage of arXiv v1 (section 3.4): bilinear interpolation in place of the transposed convolution."""

    def __init__(self, *, dim: int, own_dim: int, guidance_dim: int, out_dim: int, group: int = 16) -> None:
        super().__init__(dim=dim, own_dim=own_dim, guidance_dim=guidance_dim, out_dim=out_dim, group=group)
        self.upsample = nn.Upsample(scale_factor=2, mode="bilinear")


class BilinearDecoder(UpsamplingDecoder):
    """The decoder of arXiv v1."""

    def build_stage(self, index: int, dim: int, guidance_dim: int, out_dim: int) -> UpsamplingStage:
        """Build the stage at an index."""
        return BilinearStage(dim=dim, own_dim=dim, guidance_dim=guidance_dim, out_dim=out_dim)


class NoUpsampling(UpsamplingDecoder):
    """Only the head: a convolution to one logit for each class, on the grid of the costs (Table 10, first row)."""

    def __init__(self, dim: int, tap_channels: Sequence[int], sizes: DecoderSizes) -> None:
        super().__init__(dim, (), DecoderSizes(lifts=(), taps=(), guidance=(), stages=()))

    def precompute_guidance(self, taps: FeatureMaps) -> list[StageGuidance]:
        """Nothing, since there are no stages to guide."""
        return []


def start_at_zero(decoder: UpsamplingDecoder) -> None:
    """Make all logits 0 at first: random ones would drown the sum of costs that they are added to."""
    for parameter in decoder.head.parameters():
        nn.init.zeros_(parameter)
