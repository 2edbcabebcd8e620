"""SynSeg and its losses as one module: what a step computes from features of images and phrases."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from segvoc.layers.precision import at_least_float32
from segvoc.networks.syn_seg import SynSeg
from segvoc.training.objectives.synergy_losses import TERMS, SynergyLosses
from segvoc.training.recipe import Recipe


class CaptionObjective(nn.Module):
    """The four losses of a batch and their weighted sum, "loss".

    "activation" is the mean of the activation maps; a value near 0 or 1 means that the maps have collapsed.
    """

    def __init__(self, network: SynSeg, recipe: Recipe) -> None:
        super().__init__()
        self.network, self.recipe = network, recipe
        config = recipe.captions
        self.losses = SynergyLosses(version=config.loss_version, eps=config.loss_eps, active=config.active_threshold)
        self.weights = {term: getattr(config, f"{term}_weight") for term in TERMS}

    def forward(
        self, taps: Sequence[Float[Tensor, "B L _"]], phrases: Float[Tensor, "M C"], owner: Int[Tensor, " M"]
    ) -> dict[str, Float[Tensor, ""]]:
        """Compute the losses of a batch.

        Args:
            taps: tokens of intermediate blocks of the image encoder.
            phrases: embeddings of all phrases of all images, not normalized.
            owner: for each phrase, its image's position in the batch.

        Returns:
            "loss", the weighted sum; each term by name; and "activation". Only "loss" has a gradient.
        """
        vectors, logits = self.network.learn(taps, phrases, owner)
        # similarities near 1 need more digits than bfloat16 has, to which autocast would round their products
        with torch.autocast(phrases.device.type, enabled=False):
            foreground, background = at_least_float32(vectors.foreground), at_least_float32(vectors.background)
            terms = self.losses(foreground, background, at_least_float32(phrases), owner, len(taps[0]))
        loss = torch.stack([weight * terms[term] for term, weight in self.weights.items()]).sum()
        detached = {term: value.detach() for term, value in terms.items()}
        return {"loss": loss, **detached, "activation": logits.detach().sigmoid().mean()}
