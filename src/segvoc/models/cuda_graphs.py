"""CUDA graphs: the kernels of a function, recorded once and launched together, so that a GPU doesn't wait for Python.

A network of this library runs some thousand small kernels, which Python launches more slowly than a data center's GPU
computes them. A recorded graph is launched in one call. It reads and writes fixed addresses: inputs are copied into it,
outputs out of it, and weights are read where they were when it was recorded.
"""

import gc
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from segvoc.layers.aggregation_context import ForwardOptions
from segvoc.networks.base import CostAggregation, SegmentationNetwork

Outputs = TypeVar("Outputs")

MOST_GRAPHS = 32
"""Graphs of a network that are kept at a time."""

LARGEST_SHARE = 0.25
"""Share of a GPU's memory that the graphs of a network may reserve."""


class CapturedFunction(Generic[Outputs]):
    """A function of tensors as a CUDA graph; `RuntimeError` if PyTorch can't record it.

    The function must have run before, so that libraries are set up; it must not wait for the GPU, copy from or to main
    memory, or depend on anything but its inputs and tensors that stay where they are. Its outputs live in the graph and
    change with each call. `inputs` are examples of the shapes that all calls have. Several graphs may share the memory
    of a `pool`, if none of them runs while the outputs of another are in use.
    """

    def __init__(self, function: Callable[..., Outputs], inputs: Sequence[Tensor], pool: Any = None) -> None:
        self.inputs = [x.clone() for x in inputs]
        self._graph = torch.cuda.CUDAGraph()
        gc.collect()
        collects = gc.isenabled()
        gc.disable()  # a graph that is deleted while another one is recorded spoils it
        try:
            # other threads, which read images, may go on allocating memory
            with torch.cuda.graph(self._graph, pool=pool, capture_error_mode="thread_local"):
                self.outputs = function(*self.inputs)
        finally:
            if collects:
                gc.enable()

    def __call__(self, *inputs: Tensor) -> Outputs:
        """Run the graph; the outputs are overwritten by the next call."""
        for kept, x in zip(self.inputs, inputs, strict=True):
            kept.copy_(x, non_blocking=True)
        self._graph.replay()
        return self.outputs


StepOutputs = Mapping[str, Tensor | None]

Step = Callable[..., StepOutputs]
"""A part of a network's forward pass, from tensors to tensors: the image encoder, or all behind it."""


class _State:
    """What a recorded graph depends on besides its inputs: modules, addresses of tensors, and process-wide modes.

    It is looked at before each call, so what can be looked up once is: a network has a thousand modules and tensors.
    Its text encoder has run before.
    """

    def __init__(self, network: SegmentationNetwork) -> None:
        parts = (network.image_encoder, network.aggregation)
        self._held = [vars(module) for module in (network, *(one for part in parts for one in part.modules()))]
        self._children = [(own["_modules"], tuple(own["_modules"].items())) for own in self._held]
        owners = (own[kind] for own in self._held for kind in ("_parameters", "_buffers"))
        self._tensors = [
            (owner, name, tensor, tensor.data_ptr())
            for owner in owners
            for name, tensor in owner.items()
            if tensor is not None
        ]
        self._modes = _modes()

    @property
    def runs_python(self) -> bool:
        """Whether a forward pass runs what a graph would skip."""
        return any(_runs_python(own) or own["training"] for own in self._held)

    @property
    def is_current(self) -> bool:
        """Whether graphs recorded in this state can still be used."""
        return (
            self._modes == _modes()
            and all(tuple(children.items()) == items for children, items in self._children)
            and all(
                owner.get(name) is tensor and tensor.data_ptr() == address
                for owner, name, tensor, address in self._tensors
            )
        )


class NetworkGraphs:
    """Runs steps of a network in evaluation mode as CUDA graphs: one for each shape of their inputs and set of options.

    A call whose shape comes for the first time runs plainly, and the second one records. Where a graph isn't possible
    (class selection that counts on the host, hooks, a network that waits for the GPU), all calls run plainly. Graphs
    are recorded anew after weights have moved or modules were replaced; changes of plain attributes go unnoticed.

    All graphs share their working memory. When there are too many, or they reserve too much, all are dropped.
    """

    def __init__(self, network: SegmentationNetwork) -> None:
        self.network = network
        self.reserved = 0
        """Memory that the graphs reserve [bytes]."""
        self._graphs: dict[tuple[object, ...], CapturedFunction[StepOutputs]] = {}
        self._seen: set[tuple[object, ...]] = set()
        self._plain: set[tuple[object, ...]] = set()
        """Calls that can't be recorded."""
        self._pool: Any = None
        self._state: _State | None = None
        self._lock = threading.Lock()
        self._idle: torch.cuda.Event | None = None

    def __reduce__(self) -> tuple[object, ...]:
        return NetworkGraphs, (self.network,)  # copies begin without graphs, which belong to this process

    def __len__(self) -> int:
        return len(self._graphs)

    def run(self, step: Step, inputs: Sequence[Any], options: ForwardOptions | None) -> StepOutputs:
        """Run a step, as a graph where it was recorded; `options` are those that it compares words with, if any."""
        if not _may_capture(inputs, options or {}):
            return step(*inputs)
        key = (*((x.shape, x.dtype) for x in inputs), options and (*sorted(options.items()),))
        with self._lock:
            if self._state is None or not self._state.is_current:
                self.clear()
                self._state = _State(self.network)
            if self._state.runs_python:
                return step(*inputs)
            graph = self._graphs.get(key)
            if graph is None and key in self._seen - self._plain:
                graph = self._capture(key, step, inputs)
            self._seen.add(key)
            if graph is None:
                return step(*inputs)
            stream = torch.cuda.current_stream(inputs[0].device)
            if self._idle is not None:  # another thread's stream may still use the graphs
                stream.wait_event(self._idle)
            found = {name: None if x is None else x.clone() for name, x in graph(*inputs).items()}
            self._idle = torch.cuda.Event()
            self._idle.record(stream)
            return found

    def clear(self) -> None:
        """Drop all graphs and their memory."""
        for calls in (self._graphs, self._seen, self._plain):
            calls.clear()
        self._pool, self.reserved, self._idle = None, 0, None

    def _capture(
        self, key: tuple[object, ...], step: Step, inputs: Sequence[Tensor]
    ) -> CapturedFunction[StepOutputs] | None:
        """Record a graph; None where that isn't possible."""
        device = inputs[0].device
        limit = LARGEST_SHARE * torch.cuda.get_device_properties(device).total_memory
        if len(self) >= MOST_GRAPHS or self.reserved > limit:
            self.clear()
        self._pool = self._pool or torch.cuda.graph_pool_handle()
        torch.cuda.empty_cache()  # recording does so, too, and what it adds after that is the graph's
        before = torch.cuda.memory_reserved(device)
        try:
            graph = CapturedFunction(step, inputs, self._pool)
        except RuntimeError:  # memory has run out, or the network waits for the GPU
            self.clear()
            self._plain.add(key)
            return None
        self.reserved += max(0, torch.cuda.memory_reserved(device) - before)
        self._graphs[key] = graph
        return graph


def _may_capture(inputs: Sequence[object], options: ForwardOptions) -> bool:
    """Whether all decisions are left to the GPU."""
    selection = options.get("selection")
    decides = selection is None or not (selection.couples_views or selection.classes)
    on_gpu = all(isinstance(x, Tensor) and x.device.type == "cuda" for x in inputs)
    return decides and on_gpu and options.get("observe") is None


def runs_python(network: nn.Module) -> bool:
    """Whether a forward or backward pass runs what a graph would skip: hooks, or a replaced `forward`."""
    return any(map(_runs_python, map(vars, network.modules())))


def _runs_python(module: Mapping[str, Any]) -> bool:
    hooks = module["_forward_hooks"] or module["_forward_pre_hooks"]
    return bool(hooks or module["_backward_hooks"] or module["_backward_pre_hooks"] or "forward" in module)


def _modes() -> tuple[object, ...]:
    return (
        torch.get_float32_matmul_precision(),
        torch.backends.cudnn.allow_tf32,
        torch.are_deterministic_algorithms_enabled(),
        torch.is_autocast_enabled("cuda") and torch.get_autocast_dtype("cuda"),
        torch.is_inference_mode_enabled(),
    )


def compile_aggregation(network: SegmentationNetwork) -> None:
    """Compile the blocks and the decoder of a cost aggregation, which fuses the steps between their matrix products.

    Each number of words and size of images is compiled when it comes for the first time.
    """
    aggregation: Any = network.aggregation
    if isinstance(aggregation, CostAggregation):
        aggregation.refine = torch.compile(aggregation.refine, dynamic=False)
        aggregation.decode = torch.compile(aggregation.decode, dynamic=False)
