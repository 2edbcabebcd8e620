"""Layers on [x; guidance] where many x share the guidance: an image for all classes, a word for all cells.

W [x; guidance] + b = (W_x x + b) + W_g guidance. The terms are separate layers, so the second is computed only once.
"""

from jaxtyping import Float
from torch import Tensor, nn


class GuidedLinear(nn.Module):
    """A linear layer of [x; guidance], as the terms `own` (of x, with the bias) and `guidance`."""

    def __init__(self, dim: int, guidance_dim: int, out_dim: int) -> None:
        super().__init__()
        self.own = nn.Linear(dim, out_dim)
        # PyTorch's layers can't have inputs without channels
        self.guidance = nn.Linear(guidance_dim, out_dim, bias=False) if guidance_dim else NoTerm(out_dim)
        draw_as_one(self.own, self.guidance)

    def forward(self, x: Float[Tensor, "*#cells C"], guided: Float[Tensor, "*#cells D"]) -> Float[Tensor, "*_ D"]:
        """Add the guidance's term to that of x."""
        return self.own(x) + guided


class NoTerm(nn.Module):
    """Zeros, for guidance without channels."""

    def __init__(self, out_dim: int) -> None:
        super().__init__()
        self.out_dim = out_dim

    def forward(self, guidance: Float[Tensor, "*cells 0"]) -> Float[Tensor, "*cells D"]:
        """Zeros for every cell."""
        return guidance.sum(-1, keepdim=True).expand(*guidance.shape[:-1], self.out_dim)


class Projections(nn.Module):
    """Queries and keys from [x; guidance], values from x alone."""

    def __init__(self, dim: int, guidance_dim: int) -> None:
        super().__init__()
        self.q = GuidedLinear(dim, guidance_dim, dim)
        self.k = GuidedLinear(dim, guidance_dim, dim)
        self.v = nn.Linear(dim, dim)


class GuidedConv2d(nn.Module):
    """A convolution of [x; guidance], as the terms `own` (of x, with the bias if there is one) and `guidance`."""

    def __init__(
        self, dim: int, guidance_dim: int, out_dim: int, *, kernel: int, stride: int = 1, padding: int = 0, bias: bool
    ) -> None:
        super().__init__()
        self.own = nn.Conv2d(dim, out_dim, kernel, stride, padding, bias=bias)
        self.guidance = nn.Conv2d(guidance_dim, out_dim, kernel, stride, padding, bias=False)
        draw_as_one(self.own, self.guidance)


def gelu_mlp(dim: int) -> nn.Sequential:
    """Two linear layers per cell with a GELU between them and a hidden width of 4 times the input's."""
    return nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))


def draw_as_one(*terms: nn.Module) -> None:
    """Initialize terms of a split layer as PyTorch initializes the whole layer.

    They are uniform between -1 / √n and 1 / √n, where n is the number of inputs of each output in all terms.
    """
    weights = [parameter for term in terms for parameter in term.parameters() if parameter.ndim > 1]
    bound = sum(weight.shape[1:].numel() for weight in weights) ** -0.5
    for term in terms:
        for parameter in term.parameters():
            nn.init.uniform_(parameter, -bound, bound)
