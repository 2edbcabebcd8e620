"""`segvoc.load` and `segvoc.load_network`: open any model by name or path, with an engine that can run it."""

import os
from collections.abc import Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING

from segvoc.checkpoints.hub import Token
from segvoc.errors import UsageError, install_line, naming_torch
from segvoc.inference.engine import AnyEngine
from segvoc.inference.exported.segmenter import ExportedSegmenter
from segvoc.inference.segmenter import Segmenter
from segvoc.models.resolving import SHIPPED_PROGRAMS, resolve
from segvoc.models.shipped import open_tiny
from segvoc.models.spec import ModelSpec
from segvoc.runtime.hardware import DtypeName, Optimize, may_have_gpu
from segvoc.runtime.suggestions import checked_call

if TYPE_CHECKING:
    import torch

    from segvoc.models.network_segmenter import NetworkSegmenter
    from segvoc.networks.base import SegmentationNetwork


@checked_call
def load(
    name: str | os.PathLike[str] = "tiny",
    *,
    weights: str | os.PathLike[str] | None = None,
    device: "str | int | torch.device" = "auto",
    dtype: "DtypeName | torch.dtype" = "auto",
    options: Mapping[str, object] | None = None,
    network: "SegmentationNetwork | None" = None,
    optimize: Optimize = "auto",
    token: Token = None,
) -> Segmenter:
    """Load a model.

    Args:
        name: a preset (see `segvoc models`; without PyTorch only `tiny`), a .safetensors file written by segvoc, a
            folder written by `segvoc export` (runs on the CPU, also without PyTorch), the folder of a run, or a
            Hugging Face repository written by `segvoc push` ("owner/name", or "owner/name@revision" for a branch, tag
            or commit). Repositories and folders may also hold a CLIP, SigLIP 2 or CLIPSeg saved by transformers, or a
            SigLIP 2, PE-Core or MobileCLIP saved by open_clip. If a folder is named like a preset, write it as a path
            ("./tiny").
        weights: None for the preset's own weights, which ship with segvoc or are downloaded on first use; the path of a
            segvoc file or an official checkpoint; or "random" for untrained weights, the same each time.
        device: "auto" (NVIDIA's GPU if there is one, else the CPU), "cpu", "cuda", "cuda:1" or 1, ... or "mps", Apple's
            GPU, on which segvoc has not been tested.
        dtype: "float32" for training, saving and comparable scores; "bfloat16" or, on a GPU, "float16" for most
            weights and computations: less memory and, with hardware support, much less time, but labels change where
            classes are about equally likely; "auto": "bfloat16" for the shipped weights of `tiny`, whose labels hardly
            change, on devices that multiply it in hardware, else "float32". Repositories always get "float32", for
            the same labels everywhere. PyTorch dtypes, such as `torch.float32`, work too.
        options: network settings that differ from the preset's, by name, for example {"dense": "qq"} for weights
            distilled this way; docs/papers/differences.md lists many. A segvoc file already contains its
            settings.
        network: a custom network to load the weights into, for example a preset's network with another aggregation.
            Its architecture must be the same as when the file was written.
        optimize: how a CUDA GPU runs a network: "auto" records a CUDA graph for each size of images and number of words
            that comes twice, with the same labels but for ties; "compile" also compiles the network's blocks, which
            takes up to a minute and is faster still; "none" runs the code as it is, for example to change a loaded
            network's attributes. Hooks run anyway. Elsewhere it has no effect.
        token: token of the hub, for private repositories; None: HF_TOKEN, or that of `hf auth login`.

    Returns:
        A `NetworkSegmenter` for a preset or a file, with the network on the device in evaluation mode. An exported
        folder, and `tiny` in float32 on a CPU, give an `ExportedSegmenter`, which labels images alike without PyTorch;
        `load_network` gives the network of `tiny`.

    Raises:
        UsageError: the name, device, dtype or an option is unknown, or PyTorch is required but not installed.
        CheckpointError: the weights or the folder are missing, damaged or for another network, or can't be downloaded.
    """
    spec = resolve(name, weights=weights, options=options, network=network, token=token)
    return open_model(spec, device=device, dtype=dtype, optimize=optimize)


@checked_call
def load_network(
    name: str | os.PathLike[str] = "tiny",
    *,
    weights: str | os.PathLike[str] | None = None,
    device: "str | int | torch.device" = "auto",
    dtype: "DtypeName | torch.dtype" = "auto",
    options: Mapping[str, object] | None = None,
    network: "SegmentationNetwork | None" = None,
    optimize: Optimize = "auto",
    token: Token = None,
) -> "NetworkSegmenter":
    """Load a PyTorch network: `segvoc.load`, which has the arguments and errors, without exported programs.

    Returns:
        The network on its device, in evaluation mode, behind the interface of `Segmenter`.
    """
    spec = resolve(name, weights=weights, options=options, network=network, token=token)
    return _open_network(spec, device, dtype, optimize)


def open_model(
    spec: ModelSpec,
    *,
    device: "str | int | torch.device" = "auto",
    dtype: "DtypeName | torch.dtype" = "auto",
    optimize: Optimize = "auto",
) -> Segmenter:
    """Open a model with an engine for the device and dtype: exported or shipped programs, or else a PyTorch network."""
    light = find_spec("torch") is None
    on_cpu = str(device) == "cpu" or (device == "auto" and (light or not may_have_gpu()))
    kind = str(dtype).removeprefix("torch.")
    if spec.path is not None and spec.source == "exported":
        if device != "auto" and not on_cpu:
            raise UsageError(
                f"an exported model runs on the CPU here, not on {str(device)!r}; load the preset for that"
            )
        model = ExportedSegmenter(spec.path)
        if kind not in ("auto", model.dtype):
            raise UsageError(
                f"{spec.name!r} was exported in {model.dtype}; leave out dtype, or load the preset with it"
            )
        return model
    if spec.is_stock and spec.preset in SHIPPED_PROGRAMS and on_cpu:
        if kind in ("auto", "float32"):
            return _checked(spec, spec.describe(open_tiny()))
        if light:
            raise UsageError(
                f"without PyTorch, {spec.preset} computes in float32, not in {kind!r}; leave out dtype, or "
                f"{install_line('torch')}"
            )
    return _open_network(spec, device, dtype, optimize)


def _open_network(
    spec: ModelSpec, device: "str | int | torch.device", dtype: "DtypeName | torch.dtype", optimize: Optimize
) -> "NetworkSegmenter":
    with naming_torch():
        from segvoc.models.loading import open_network  # here, since PyTorch takes seconds to import

    return _checked(spec, open_network(spec, device, dtype, optimize))


def _checked(spec: ModelSpec, model: AnyEngine) -> AnyEngine:
    """Return a model whose taught words are its own; raises `CheckpointError` for those of another network."""
    if spec.path is None and spec.taught:  # otherwise they are in the file of the weights
        features = model.probed_features()
        for words in spec.taught:
            words.check_model(spec.name, features)
    return model
