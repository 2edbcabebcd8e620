"""Alternative fusions of the spatial and class streams: PCA-Seg's Tables 5a and 5e, and EPL exactly as in the paper.

Each is either a fusion module (spatial, semantic) -> features or an integration module (both streams, expert outputs)
-> features.
"""

from collections.abc import Sequence

import torch
from einops import rearrange
from torch import nn

from segvoc.layers.batch_statistics import Moments
from segvoc.networks.pca_seg import CoefficientMapper, ExpertParser
from segvoc.shapes import BothStreams, ClassTokens, ParsedStreams


class ConcatenatedStreams(nn.Module):
    """Concatenation and a 1x1 convolution: the baseline of Table 5a."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.project = nn.Linear(2 * dim, dim)

    def forward(self, spatial: ClassTokens, semantic: ClassTokens) -> ClassTokens:
        """Fuse the two streams of every class and cell."""
        return self.project(torch.cat((spatial, semantic), dim=-1))


class PaperExpertFusion(nn.Module):
    """EPL exactly as in the paper, Eqs. 4 to 6: no projections, no activation inside an expert, no residual.

    The paper doesn't give kernel sizes, so the experts use those of the released code.
    """

    def __init__(self, dim: int, *, experts: int = 4) -> None:
        super().__init__()
        self.parse = ExpertParser(dim, experts, between=nn.Identity())
        self.integrate = CoefficientMapper(dim, experts)

    def forward(
        self, spatial: ClassTokens, semantic: ClassTokens, moments: Sequence[Moments] | None = None
    ) -> ClassTokens:
        """Fuse the two streams of every class and cell; for `moments` see `ExpertParser.forward`."""
        both = self.both(spatial, semantic)
        return self.integrate(both, self.parse(both, moments))

    def both(self, spatial: ClassTokens, semantic: ClassTokens) -> BothStreams:
        """Concatenate the streams into the experts' input."""
        return torch.cat((spatial, semantic), dim=-1)


class ConvolvedExperts(nn.Module):
    """Joins the experts by a 1x1 convolution (Table 5e, "Convolution")."""

    def __init__(self, dim: int, experts: int) -> None:
        super().__init__()
        self.project = nn.Linear(experts * dim, dim)

    def forward(self, both: BothStreams, parsed: ParsedStreams) -> ClassTokens:
        """Combine the expert outputs."""
        return self.project(rearrange(parsed, "b t h w experts d -> b t h w (experts d)"))


class AveragedExperts(nn.Module):
    """Averages the experts (Table 5e, "Average"); a single expert is returned unchanged."""

    def __init__(self, dim: int, experts: int) -> None:
        super().__init__()

    def forward(self, both: BothStreams, parsed: ParsedStreams) -> ClassTokens:
        """Combine the expert outputs."""
        return parsed.mean(dim=-2)


class AddedExperts(nn.Module):
    """Sums the experts (Table 5e, "Addition")."""

    def __init__(self, dim: int, experts: int) -> None:
        super().__init__()

    def forward(self, both: BothStreams, parsed: ParsedStreams) -> ClassTokens:
        """Combine the expert outputs."""
        return parsed.sum(dim=-2)
