"""`segvoc.load`: opens any model by name or path, with an engine that can run it."""

import os
from collections.abc import Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING

from segvoc.checkpoints.hub import Token
from segvoc.errors import UsageError, checked_call, naming_torch
from segvoc.inference.exported.segmenter import ExportedSegmenter, open_tiny
from segvoc.inference.segmenter import Segmenter
from segvoc.models.catalog import check_name_without_torch
from segvoc.models.finding import resolve
from segvoc.runtime.hardware import DtypeName, Optimize, device_name, may_have_gpu

if TYPE_CHECKING:
    import torch

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
        A `NetworkSegmenter` for a preset or a file, with the network on the device in evaluation mode; `load_network`
        has that as its type. An exported folder, and `tiny` without PyTorch, give an `ExportedSegmenter`, which labels
        images alike but has no network to save, train, evaluate or export.

    Raises:
        UsageError: the name, device, dtype or an option is unknown, or PyTorch is required but not installed.
        CheckpointError: the weights or the folder are missing, damaged or for another network, or can't be downloaded.
    """
    device, kind = device_name(device), str(dtype).removeprefix("torch.")
    found = resolve(name, token=token)
    if found.is_exported:
        path = found.name
        for setting, value in {"weights": weights, "options": options, "network": network}.items():
            if value:
                raise UsageError(f"{path!r} is an exported model with fixed weights and settings; leave out {setting}")
        if device not in ("auto", "cpu"):
            raise UsageError(f"an exported model runs on the CPU here, not on {device!r}; load the preset for that")
        model = ExportedSegmenter(path)
        if kind not in ("auto", model.dtype):
            raise UsageError(f"{path!r} was exported in {model.dtype}; leave out dtype, or load the preset with it")
        return model
    is_plain = weights is None and not options and network is None and device in ("auto", "cpu")
    if found.model == "tiny" and is_plain and find_spec("torch") is None:
        if kind not in ("auto", "float32"):
            raise UsageError(
                f"without PyTorch, tiny computes in float32, not in {kind!r}; leave out dtype, or pip install "
                '"segvoc[torch]"'
            )
        return found.named(open_tiny())
    check_name_without_torch(found.model)
    with naming_torch():
        from segvoc.models.loading import load_network  # here, since PyTorch takes seconds to import

    return load_network(
        found, weights=weights, device=device, dtype=dtype, options=options, network=network, optimize=optimize
    )


def load_to_label(
    name: str,
    *,
    weights: str | None,
    device: str,
    dtype: DtypeName,
    options: Mapping[str, object] | None = None,
    network: "SegmentationNetwork | None" = None,
) -> Segmenter:
    """Load a model for labeling only, like `load`: `tiny` runs as its shipped exported programs where possible.

    They match its network in float32, equally fast on a CPU, without the second and the 500 MB to import PyTorch.
    """
    device = device_name(device)
    on_cpu = device == "cpu" or (device == "auto" and not may_have_gpu())
    is_plain = weights is None and not options and network is None
    if name == "tiny" and is_plain and on_cpu and dtype in ("auto", "float32"):
        return open_tiny()
    return load(name, weights=weights, device=device, dtype=dtype, options=options, network=network)
