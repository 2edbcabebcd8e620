"""The segmenter that runs a PyTorch network."""

from collections.abc import Mapping, Sequence
from typing import Any, Unpack, cast

import numpy as np
import torch
from jaxtyping import Float, Float32, Int
from torch import Tensor

from segvoc.encoders.word_encoder import EncodedWords
from segvoc.errors import UsageError
from segvoc.inference.protocols import Protocol, Protocols
from segvoc.inference.segmenter import ModelTraits, Segmenter
from segvoc.layers.aggregation_context import ForwardOptions
from segvoc.layers.precision import lowest_precision
from segvoc.networks.aggregation_inputs import AggregationInputs, aggregation_inputs
from segvoc.networks.base import SegmentationNetwork
from segvoc.process_settings import check_fork
from segvoc.sharing.uploading import ShareableModel


class NetworkSegmenter(Segmenter):
    """Labels images with a PyTorch network, on a CPU or a GPU."""

    def __init__(
        self,
        *,
        name: str,
        network: SegmentationNetwork,
        protocols: Protocols,
        templates: Sequence[str],
        class_chunk: int | None = None,
        batch: int | None = None,
        **traits: Unpack[ModelTraits],
    ) -> None:
        """Wrap a network.

        Args:
            name: the model's name in results.
            network: the network; it is put into evaluation mode.
            protocols: one for each `window`.
            templates: prompt templates; `{}` stands for the word.
            class_chunk: classes that the network refines at a time; bounds memory and doesn't affect results.
            batch: images, or windows of images, that go through the network together (default: 1 on a CPU, else 8).
            traits: options of `Segmenter` by the same names.
        """
        self.network = network.eval()
        on_cpu = self.device.type == "cpu"
        super().__init__(
            name=name,
            protocols=protocols,
            encode_words=network.word_encoder(templates),
            batch=batch or (1 if on_cpu else 8),
            has_background=network.has_background,
            selects=network.selects,
            **traits,
        )
        self.class_chunk = class_chunk or classes_at_a_time(self.device)
        if on_cpu:
            check_fork()

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return next(self.network.parameters()).device

    @property
    def dtype(self) -> str:
        """Dtype of most weights; some parts of a network stay in float32 (`reduce_precision`)."""
        return str(lowest_precision(self.network)).removeprefix("torch.")

    def aggregation_inputs(self) -> AggregationInputs:
        """What the aggregation of this network gets, and so what one of your own in its place has to fit.

        Raises:
            UsageError: the network has no aggregation of costs.
        """
        return aggregation_inputs(self.network, len(self.templates))

    def prepare_to_run(self) -> None:
        """Refuse what PyTorch would hang at, or raise an error about its own insides for.

        Raises:
            UsageError: see `check_fork`; or the network has no weights.
        """
        if any(parameter.is_meta for parameter in self.network.parameters()):
            raise UsageError(f"{self.name!r} has no weights: its network is on 'meta'; load it again with segvoc.load")
        if self.device.type == "cpu":
            check_fork()

    def shareable(self, *, weights: bool | None = None) -> ShareableModel:
        """The model as files and facts; see `Shareable.shareable`."""
        from segvoc.models.shared_network import shareable_network  # here, since only sharing needs the presets

        return shareable_network(self.name, self.network, self.origin, self.taught, weights=weights)

    @torch.inference_mode()
    def run(
        self, pixels: Float32[np.ndarray, "N 3 H W"], text: EncodedWords, protocol: Protocol
    ) -> tuple[Float[Tensor, "N P h w"], Int[Tensor, "N P"] | None]:
        """Run the network on views of images; see `Segmenter.run`."""
        words = cast(Any, text).to(self.device)
        image = self._sent(pixels)
        logits, kept = self.network.selected_logits(image, words, **self._options(protocol))
        return logits.float(), kept

    @torch.inference_mode()
    def find_features(self, pixels: Float32[np.ndarray, "N 3 H W"]) -> Mapping[str, Tensor]:
        """Run the image encoder; see `Segmenter.find_features`."""
        if not self.network.takes_examples:
            return super().find_features(pixels)
        return self.network.encoded(self._sent(pixels)).named()

    @torch.inference_mode()
    def compare(
        self, features: Mapping[str, Tensor], text: EncodedWords, protocol: Protocol
    ) -> tuple[Float[Tensor, "N P h w"], Int[Tensor, "N P"] | None]:
        """Run the rest of the network; see `Segmenter.compare`."""
        found, words = self.network.features_type.of_named(features), cast(Any, text).to(self.device)
        logits, kept = self.network.compared(found, words, **self._options(protocol))
        return logits.float(), kept

    def _sent(self, pixels: Float32[np.ndarray, "N 3 H W"]) -> Float32[Tensor, "N 3 H W"]:
        """Views on the device; a GPU copies them from pinned memory, while the host goes on."""
        image = torch.from_numpy(pixels)
        return (image.pin_memory() if self.device.type == "cuda" else image).to(self.device, non_blocking=True)

    def _options(self, protocol: Protocol) -> ForwardOptions:
        return {
            "pooling": protocol.pooling,
            "selection": protocol.selection,
            "chunk": self.class_chunk,
        }


def classes_at_a_time(device: torch.device) -> int:
    """How many classes a chunk should have on a device: what fits into a CPU's caches, or keeps a GPU busy."""
    return 8 if device.type == "cpu" else 128


def require_network(model: Segmenter, what: str) -> None:
    """Refuse an exported model where a network is needed.

    Args:
        model: what `segvoc.load` gave.
        what: what it is needed for: a verb.

    Raises:
        UsageError: the model is an exported one, whose programs have no network.
    """
    if not isinstance(model, NetworkSegmenter):
        source = model.origin.get("preset", model.name)
        raise UsageError(
            f"{model.name!r} is exported programs, without the network; to {what} it, load the preset or file that it "
            f"was exported from: segvoc.load({source!r})"
        )
