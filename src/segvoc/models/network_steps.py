"""The two steps of a network as functions of tensors: images to features, and features and words to logits."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor

from segvoc.layers.aggregation_context import ForwardOptions
from segvoc.layers.class_selection import SelectedLogits
from segvoc.layers.shapes import Images
from segvoc.networks.base import SegmentationNetwork

StepOutputs = Mapping[str, Tensor | None]

Step = Callable[..., StepOutputs]
"""A part of a forward pass, of tensors alone."""


class NetworkSteps:
    """Runs a network's steps as they are."""

    def __init__(self, network: SegmentationNetwork) -> None:
        self.network = network

    def encode(self, image: Images) -> dict[str, Tensor]:
        """The image features by name."""

        def step(image: Images) -> StepOutputs:
            return self.network.encoded(image).named()

        return {name: maps for name, maps in self.run(step, (image,), None).items() if maps is not None}

    def compare(self, features: Mapping[str, Tensor], text: Any, options: ForwardOptions) -> SelectedLogits:
        """`SegmentationNetwork.compared` of named features, with words as the network takes them."""
        names = tuple(features)

        def step(text: Any, *maps: Tensor) -> StepOutputs:
            found = self.network.features_type.of_named(dict(zip(names, maps, strict=True)))
            logits, kept = self.network.compared(found, text, **options)
            return {"logits": logits, "kept": kept}

        outputs = self.run(step, (text, *features.values()), options)
        logits = outputs["logits"]
        assert logits is not None
        return logits, outputs["kept"]

    def run(self, step: Step, inputs: Sequence[Any], options: ForwardOptions | None) -> StepOutputs:
        """Run a step on its inputs; `options` are those that it compares words with."""
        del options
        return step(*inputs)
