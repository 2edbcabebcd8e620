"""Axis letters, and names of tensor shapes shared by several modules.

B images (or windows of images); T classes, one per word; P cost maps of a class (prompts x feature maps); C channels;
G guidance channels; H, W rows and columns of a grid; h, w rows and columns of another grid; N items of any kind;
L tokens of a prompt.

Inside a network, class-wise features keep their channels last ("B T H W C"): most layers are linear maps applied to
each cell, so no axis has to be moved between them.
"""

from collections.abc import Sequence
from typing import TypeAlias

from jaxtyping import Float
from torch import Tensor

Images: TypeAlias = Float[Tensor, "B 3 H W"]
"""RGB images with values in [0, 255]."""

FeatureMaps: TypeAlias = Sequence[Float[Tensor, "B _ _ _"]]
"""Feature maps of the same images, each B C H W with separate grid and channels."""

PromptEmbeddings: TypeAlias = Float[Tensor, "B T N C"]
"""Embeddings of N prompts for each of T classes."""

CostVolume: TypeAlias = Float[Tensor, "B P T H W"]
"""Cosine similarity of every cell with every class, in [-1, 1]."""

ClassTokens: TypeAlias = Float[Tensor, "B T H W C"]
"""Features of every class at every cell."""

BothStreams: TypeAlias = Float[Tensor, "B T H W CC"]
"""The spatial and the class stream, concatenated along the channels."""

ParsedStreams: TypeAlias = Float[Tensor, "B T H W experts C"]
"""Each expert's output for the two concatenated streams."""

ImageGuidance: TypeAlias = Float[Tensor, "B H W G"]
"""Image features that guide spatial aggregation."""

TextGuidance: TypeAlias = Float[Tensor, "B T G"]
"""Text features that guide class aggregation."""

Logits: TypeAlias = Float[Tensor, "B T h w"]
"""One logit per class and cell, before the sigmoid."""
