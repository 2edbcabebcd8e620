"""The legend of tensor axes.

B pictures (or windows of pictures); T classes, one for each word; P costs of one class (prompts x maps); C channels;
H, W rows and columns of a grid; h, w rows and columns of another grid; N items of any kind; L tokens of a prompt.

Inside a network the class-wise features keep their channels last, "B T H W C": most layers are linear maps of one cell,
so no axis is moved between them.
"""

from collections.abc import Sequence
from typing import TypeAlias

from jaxtyping import Float
from torch import Tensor

Pixels: TypeAlias = Float[Tensor, "B 3 H W"]
"""RGB pictures with values in [0, 255]."""

Maps: TypeAlias = Sequence[Float[Tensor, "B _ _ _"]]
"""Maps of a picture (B C H W); each may have a grid and channels of its own."""

Prompts: TypeAlias = Float[Tensor, "B T N C"]
"""Embeddings of N prompts for each of T classes."""

CostVolume: TypeAlias = Float[Tensor, "B P T H W"]
"""Cosine similarity in [-1, 1] of every cell with every class."""

ClassTokens: TypeAlias = Float[Tensor, "B T H W C"]
"""Features of every class at every cell."""

BothStreams: TypeAlias = Float[Tensor, "B T H W CC"]
"""Spatial and class stream, one after the other in the channels."""

ParsedStreams: TypeAlias = Float[Tensor, "B T H W experts C"]
"""What each expert makes of both streams."""

Appearance: TypeAlias = Float[Tensor, "B H W G"]
"""What guides spatial aggregation."""

Words: TypeAlias = Float[Tensor, "B T G"]
"""What guides class aggregation."""

Logits: TypeAlias = Float[Tensor, "B T h w"]
"""One logit for every class at every cell, before the sigmoid."""
