"""The segmenter that runs a PyTorch network."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any, TypeVar, cast
from weakref import ref

import torch
from jaxtyping import Float, Float32, Int
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from segvoc.checkpoints.origins import content_hash
from segvoc.encoders.word_encoder import EncodedWords
from segvoc.errors import UsageError
from segvoc.inference.decision import PLAIN_DECISION, Decision
from segvoc.inference.engine import EncoderIdentity, ModelTraits
from segvoc.inference.protocols import Protocol, Protocols
from segvoc.inference.segmenter import Segmenter
from segvoc.layers.aggregation_context import ForwardOptions
from segvoc.layers.precision import lowest_precision
from segvoc.models.cuda_graphs import NetworkGraphs, Step, StepOutputs, compile_aggregation
from segvoc.networks.base import SegmentationNetwork
from segvoc.networks.part_cat_seg import PartNetwork
from segvoc.runtime.arrays import Array
from segvoc.runtime.hardware import Optimize
from segvoc.runtime.process_settings import check_fork
from segvoc.storage.files import digest_of

_T = TypeVar("_T")

COMPILED_CLASSES = 256
"""Chunk size in classes of compiled networks: a chunk is a copy of the code, and fused steps need less memory."""


class NetworkSegmenter(Segmenter):
    """Labels images with a PyTorch network, on a CPU or a GPU."""

    def __init__(
        self,
        *,
        name: str,
        network: SegmentationNetwork,
        protocols: Protocols,
        templates: Sequence[str],
        batch: int | None = None,
        optimize: Optimize = "none",
        decision: Decision = PLAIN_DECISION,
        refines_edges: bool = False,
        origin: Mapping[str, object] | None = None,
    ) -> None:
        """Wrap a network.

        Args:
            name: the model's name in results.
            network: the network; it is put into evaluation mode.
            protocols: one per `window`.
            templates: prompt templates; `{}` stands for the word.
            batch: images or windows per forward pass (default: 1 on a CPU, else 8); fewer if the GPU's memory runs out.
            optimize: how a CUDA GPU runs the network; see `segvoc.load`.
            decision: what becomes of a pixel.
            refines_edges: whether the edge refiner was trained on the network's features.
            origin: see `Segmenter`.
        """
        self.network = network.eval()
        on_cpu = self.device.type == "cpu"
        super().__init__(
            name=name,
            protocols=protocols,
            encode_words=network.word_encoder(templates),
            batch=batch or (1 if on_cpu else 8),
            traits=ModelTraits(
                has_background=network.has_background,
                has_parts=isinstance(network, PartNetwork),
                selects=network.selects,
                refines_edges=refines_edges,
                decision=decision,
            ),
            origin=origin,
        )
        self.image_encoder = _identity(network, self.origin)
        self.class_chunk = classes_at_a_time(self.device)
        """Classes refined per chunk; bounds memory without affecting results."""
        self._views_at_once = self.batch
        self._graphs = None if optimize == "none" or on_cpu else NetworkGraphs(network)
        self._compiled = optimize == "compile" and not on_cpu
        if self._compiled:
            compile_aggregation(network)
            self.class_chunk = COMPILED_CLASSES
        if on_cpu:
            check_fork()

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return next(self.network.parameters()).device

    @property
    def batches_ahead(self) -> int:
        """See `Segmenter.batches_ahead`: a GPU goes on while results are made."""
        return 1 if self.device.type == "cuda" else 0

    @property
    def dtype(self) -> str:
        """Dtype of most weights; some parts of a network stay in float32 (`Float32Parts`)."""
        return str(lowest_precision(self.network)).removeprefix("torch.")

    def prepare_to_run(self) -> None:
        """Raise `UsageError` where PyTorch would hang or raise an obscure error: after a fork, or without weights."""
        if any(parameter.is_meta for parameter in self.network.parameters()):
            raise UsageError(f"{self.name!r} has no weights: its network is on 'meta'; load it again with segvoc.load")
        if self.network.training:
            raise UsageError(f"the network of {self.name!r} is in training mode; call its eval() first")
        if self.device.type == "cpu":
            check_fork()

    @torch.inference_mode()
    def encode_views(self, pixels: Float32[Array, "N 3 H W"], *, complete: bool = True) -> dict[str, Tensor]:
        """Run the image encoder; see `Engine.encode_views`."""
        image = self.to_device(pixels)

        def encode(image: Tensor) -> StepOutputs:
            return self.network.encoded(image, complete=complete).named()

        encoded = self._in_batches(lambda views: self._run(encode, (image[views],), None), len(image))
        return {name: _joined([cast(Tensor, features[name]) for features in encoded]) for name in encoded[0]}

    @torch.inference_mode()
    def compare(
        self, features: Mapping[str, Tensor], text: EncodedWords, protocol: Protocol
    ) -> tuple[Float[Tensor, "N P h w"], Int[Tensor, "N P"] | None]:
        """Run the rest of the network; see `Engine.compare`."""
        words, names, maps = cast(Any, text).to(self.device), tuple(features), tuple(features.values())
        options: ForwardOptions = {
            "pooling": protocol.pooling, "selection": protocol.selection, "chunk": self.class_chunk
        }  # fmt: skip

        def compare(words: Any, *maps: Tensor) -> StepOutputs:
            found = self.network.features_type.of_named(dict(zip(names, maps, strict=True)))
            logits, kept = self.network.compared(found, words, **options)
            return {"logits": logits, "kept": kept}

        outputs = self._in_batches(
            lambda views: self._run(compare, (words, *(each[views] for each in maps)), options),
            len(maps[0]),
            together=protocol.counts_classes,
        )
        kept = [of_views for output in outputs if (of_views := output["kept"]) is not None]
        logits = _joined([cast(Tensor, output["logits"]).float() for output in outputs])
        return logits, _joined(kept) if kept else None

    def _run(self, step: Step, inputs: tuple[Any, ...], options: ForwardOptions | None) -> StepOutputs:
        # compiled, plain attention is twice as fast as PyTorch's kernel for float32
        plain = self._compiled and self.dtype == "float32"
        with sdpa_kernel(SDPBackend.MATH) if plain else nullcontext():
            return step(*inputs) if self._graphs is None else self._graphs.run(step, inputs, options)

    def _in_batches(self, run: Callable[[slice], _T], views: int, *, together: bool = False) -> list[_T]:
        """Run a step on all views, by half as many at a time if the GPU's memory runs out."""
        outputs: list[_T] = []
        start = 0
        while start < views:
            count = views if together else self._views_at_once
            try:
                outputs.append(run(slice(start, start + count)))
                start += count
            except torch.cuda.OutOfMemoryError:
                count = min(count, views - start)
                if count == 1 or together:
                    raise
                self._views_at_once = count // 2
                torch.cuda.empty_cache()
        return outputs

    def to_device(self, image: Array) -> Tensor:
        """See `Segmenter.to_device`; views, too, arrays or tensors. Copies to a GPU are pinned and asynchronous."""
        if isinstance(image, Tensor):
            return image
        tensor = torch.from_numpy(image if image.flags.writeable else image.copy())  # PyTorch warns of read-only arrays
        return (tensor.pin_memory() if self.device.type == "cuda" else tensor).to(self.device, non_blocking=True)


def _identity(network: SegmentationNetwork, origin: Mapping[str, object]) -> EncoderIdentity:
    """The network's identity, which doesn't keep its weights in memory."""
    alive, settings = ref(network), origin.get("configuration")

    def digest() -> str | None:
        network = alive()
        return None if network is None else digest_of(content_hash(network), settings)

    return EncoderIdentity(digest)


def _joined(maps: list[Tensor]) -> Tensor:
    return maps[0] if len(maps) == 1 else torch.cat(maps)


def classes_at_a_time(device: torch.device) -> int:
    """Chunk size in classes: fits a CPU's caches, or keeps a GPU busy."""
    return 8 if device.type == "cpu" else 128
