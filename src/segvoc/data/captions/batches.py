"""What a network learns from captions with: features of pictures, and embeddings of the phrases that describe them."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from segvoc.data.training.training_set import ShardedSampler


class CaptionBatch(NamedTuple):
    """Several pictures and their phrases.

    taps: tokens of intermediate blocks of the image tower, in the tower's order; each tap may have its own length and
    width. phrases: an embedding for each phrase of each picture, as the text tower gives them. owner: the picture of a
    phrase, by its place in the batch; in order. problems: what those pictures say that could not be read and were
    passed over, one line each. Where none can be read, B and M are 0.
    """

    taps: tuple[Float[Tensor, "B _ _"], ...]
    phrases: Float[Tensor, "M C"]
    owner: Int[Tensor, " M"]
    problems: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class FrozenEncoders:
    """Two towers that nothing trains, as functions; whatever the functions do, gradients are off.

    input_size: side of the square that every picture is resized to [px]. images: RGB in [0, 255] (B 3 S S) -> taps, B
    first. texts: phrases -> embeddings (M C). image_digest, text_digest: another one whenever the answers of `images`
    or `texts` may be others (weights, blocks that are tapped, prompt templates; see `digest_of`). device: of the
    pictures that `images` gets.
    """

    input_size: int
    images: Callable[[Tensor], tuple[Tensor, ...]]
    texts: Callable[[Sequence[str]], Tensor]
    image_digest: str
    text_digest: str
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))


@runtime_checkable
class CaptionFeed(Protocol):
    """An endless row of captioned pictures, the same for any number of processes and workers."""

    def __len__(self) -> int:
        """How many pictures one pass shows."""
        ...

    def batches(self, sampler: ShardedSampler, workers: int, *, pinned: bool = False) -> Iterator[CaptionBatch]:
        """The batches at these places of the row, read by so many workers (0: by this process)."""
        ...
