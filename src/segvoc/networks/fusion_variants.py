"""Other ways to join the spatial and the class stream: PCA-Seg's Tables 5a and 5e, and its EPL to the letter.

Each is a module (spatial, semantic) -> features, or an integration (both streams, what each expert parsed) -> features.
"""

import torch
from einops import rearrange
from torch import nn

from segvoc.layers.batch_statistics import Moments
from segvoc.layers.pointwise import PointwiseLinear
from segvoc.networks.pca_seg import CoefficientMapper, ExpertParser
from segvoc.shapes import BothStreams, ClassTokens, ParsedStreams


class ConcatenatedStreams(nn.Module):
    """Concatenation and one 1x1 convolution: the baseline of Table 5a."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.project = PointwiseLinear(2 * dim, dim)

    def forward(self, spatial: ClassTokens, semantic: ClassTokens) -> ClassTokens:
        """Join the streams of every class and cell."""
        return self.project(torch.cat((spatial, semantic), dim=-1))


class PaperExpertFusion(nn.Module):
    """EPL to the letter of the paper, Eqs. 4 to 6: no projections, no activation inside an expert, no residual.

    The paper gives no kernel sizes; they are those of the released experts.
    """

    def __init__(self, dim: int, *, experts: int = 4) -> None:
        super().__init__()
        self.parse = ExpertParser(dim, experts, between=nn.Identity())
        self.integrate = CoefficientMapper(dim, experts)

    def forward(self, spatial: ClassTokens, semantic: ClassTokens, moments: Moments | None = None) -> ClassTokens:
        """Fuse the two streams of every class and cell; for `moments` see `ExpertParser.forward`."""
        both = self.both(spatial, semantic)
        return self.integrate(both, self.parse(both, moments))

    def both(self, spatial: ClassTokens, semantic: ClassTokens) -> BothStreams:
        """What the experts see."""
        return torch.cat((spatial, semantic), dim=-1)


class ConvolvedExperts(nn.Module):
    """Experts side by side through one 1x1 convolution (Table 5e, "Convolution")."""

    def __init__(self, dim: int, experts: int) -> None:
        super().__init__()
        self.project = PointwiseLinear(experts * dim, dim)

    def forward(self, both: BothStreams, parsed: ParsedStreams) -> ClassTokens:
        """Integrate what the experts parsed."""
        return self.project(rearrange(parsed, "b t h w experts d -> b t h w (experts d)"))


class AveragedExperts(nn.Module):
    """The mean of the experts (Table 5e, "Average"); of a single one, that one."""

    def __init__(self, dim: int, experts: int) -> None:
        super().__init__()

    def forward(self, both: BothStreams, parsed: ParsedStreams) -> ClassTokens:
        """Integrate what the experts parsed."""
        return parsed.mean(dim=-2)


class AddedExperts(nn.Module):
    """The sum of the experts (Table 5e, "Addition")."""

    def __init__(self, dim: int, experts: int) -> None:
        super().__init__()

    def forward(self, both: BothStreams, parsed: ParsedStreams) -> ClassTokens:
        """Integrate what the experts parsed."""
        return parsed.sum(dim=-2)
