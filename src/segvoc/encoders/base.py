"""What every image and text tower gives to a network."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class ImageFeatures:
    """Features of a batch of pictures.

    maps: one or more dense maps (B C _ _) in the text's space, of any norm; on one grid, or each on its own where the
    tower says so.
    taps: intermediate maps of the tower (B _ _ _) that guide the decoder, in the order in which it uses them.
    appearance: map on the grid of the first one (B _ _ _) that guides the aggregation; None: the first map itself does.
    """

    maps: tuple[Float[Tensor, "B C _ _"], ...]
    taps: tuple[Float[Tensor, "B _ _ _"], ...]
    appearance: Float[Tensor, "B _ _ _"] | None = None


TOWERS = ("image_encoder", "text_encoder")
"""Names of a network's towers. A file of segvoc that was made of a plain CLIP names them as its "parts"."""


@dataclass(frozen=True, kw_only=True)
class TokenFeatures:
    """Token maps of a batch of pictures.

    taps: of several depths, shallow to deep (B 1+h*w _); the first token stands for the whole picture, the others are
    the cells row by row. grid: h and w. maps: dense maps (B C h w) in the text's space, where they were asked for.
    """

    taps: tuple[Float[Tensor, "B L _"], ...]
    grid: tuple[int, int]
    maps: tuple[Float[Tensor, "B C h w"], ...] = ()


class Tower(Protocol):
    """What the image and the text towers have in common; every one is also a `torch.nn.Module`.

    channels: of the space that pictures and texts share.
    """

    channels: int

    def fine_tuned_parameters(self) -> tuple[str, ...]:
        """Names of what the published recipe trains; empty for a frozen tower."""
        ...


class ImageEncoder(Tower, Protocol):
    """A tower from pixels to features."""

    input_size: int
    stride: int
    tap_channels: tuple[int, ...]

    def __call__(self, image: Float[Tensor, "B 3 H W"]) -> ImageFeatures:
        """Encode RGB pixels in [0, 255]; H and W are multiples of `stride`."""
        ...


class TokenEncoder(Tower, Protocol):
    """A tower from pixels to token maps."""

    input_size: int
    stride: int
    token_channels: tuple[int, ...]

    def tokens(self, image: Float[Tensor, "B 3 H W"], *, dense: bool) -> TokenFeatures:
        """Encode RGB pixels in [0, 255]; with `dense` maps in the text's space too."""
        ...


class TextEncoder(Tower, Protocol):
    """A tower from prompts to embeddings.

    unit_length: whether these have it; lengths that mean something are kept.
    """

    unit_length: bool

    def tokenize(self, prompts: Sequence[str]) -> Int[Tensor, "N L"]:
        """Token ids of N prompts; a prompt that is too long is cut with a `PromptTruncatedWarning` that quotes it."""
        ...

    def unknown_words(self, words: Sequence[str]) -> list[str]:
        """Those of a vocabulary's words that the encoder probably doesn't know, such as words of another language."""
        ...

    def __call__(self, tokens: Int[Tensor, "N L"]) -> Float[Tensor, "N C"]:
        """Embeddings, differentiable."""
        ...
