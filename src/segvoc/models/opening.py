"""`segvoc.load`: opens any model by name or path, with the engine that can run it."""

import os
from collections.abc import Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING, cast

from segvoc.errors import UsageError, naming_torch
from segvoc.exported.manifest import is_exported
from segvoc.exported.segmenter import ExportedSegmenter
from segvoc.exported.shipped import open_tiny
from segvoc.hardware import DtypeName, device_name, may_have_gpu
from segvoc.inference.segmenter import Segmenter
from segvoc.models.catalog import check_name_without_torch
from segvoc.models.digests import keep_words
from segvoc.models.finding import find_model
from segvoc.sharing.hub import Token
from segvoc.teaching.taught_words import TaughtWords

if TYPE_CHECKING:
    import torch

    from segvoc.models.network_segmenter import NetworkSegmenter
    from segvoc.networks.base import SegmentationNetwork


def list_models() -> tuple[str, ...]:
    """The names that `load` takes besides paths; without PyTorch there is only `tiny`."""
    if find_spec("torch") is None:
        return ("tiny",)
    from segvoc.models.presets import PRESETS  # here, since PyTorch takes seconds to import

    return tuple(PRESETS)


def load(
    name: str | os.PathLike[str] = "tiny",
    *,
    weights: str | os.PathLike[str] | None = None,
    device: "str | int | torch.device" = "auto",
    dtype: "DtypeName | torch.dtype" = "auto",
    options: Mapping[str, object] | None = None,
    network: "SegmentationNetwork | None" = None,
    revision: str | None = None,
    token: Token = None,
) -> "NetworkSegmenter":
    """Load a model, ready to segment.

    Args:
        name: a preset (`segvoc models` lists them; without PyTorch there is only `tiny`), the path of a .safetensors
            file written by segvoc, a folder that `segvoc export` wrote, which runs on the CPU, also without
            PyTorch, the folder of a run, a repository of the Hugging Face hub that `segvoc push`
            wrote ("owner/name", or "owner/name@revision"), or one, or a folder, in which transformers has saved a
            CLIP, SigLIP 2 or CLIPSeg, or open_clip a SigLIP 2, PE-Core or MobileCLIP. A folder with the name of a
            preset is meant by a path ("./tiny").
        weights: None for the preset's own weights, which ship with segvoc or are downloaded on first use; the path of a
            segvoc file or an official checkpoint; or "random" for untrained weights, the same each time.
        device: "auto" (NVIDIA's GPU if there is one, else the CPU), "cpu", "cuda", "cuda:1" or 1, ... or "mps", Apple's
            GPU, on which segvoc has not been tested.
        dtype: "float32", to train, to save, and for scores to compare; "bfloat16" or, on a GPU, "float16" for most
            weights and computations, which saves memory and, on processors with instructions for it and on GPUs, much
            time, but changes labels where classes are about equally likely; or "auto": "bfloat16" where the device
            multiplies it in hardware and the weights are the shipped ones of `tiny`, of whose labels hardly any
            change, else "float32", also for a repository: what is shared labels alike everywhere.
            PyTorch's own names, such as `torch.float32`, are taken too.
        options: network settings that differ from the preset's, by name, for example {"dense": "qq"} for weights that
            were distilled this way; docs/papers/baselines.md lists the common ones. A segvoc file already contains its
            own.
        network: your own network to load the weights into, instead of one built by a preset, for example a preset's
            network with another aggregation. Its architecture must be the same as when the file was written.
        revision: branch, tag or commit of the repository; None: its main branch.
        token: token of the hub, for private repositories; None: HF_TOKEN, or that of `hf auth login`.

    Returns:
        The model: for a preset or a file a `NetworkSegmenter`, with the network on the device and in evaluation mode.
        An exported folder, and `tiny` without PyTorch, gives an `ExportedSegmenter`, which labels images alike but has
        no network to save, train, evaluate or export; `load_exported` says so to type checkers as well.

    Raises:
        UsageError: the name, device, dtype or an option is unknown, or PyTorch is needed and not installed.
        CheckpointError: the weights or the folder are missing, damaged or for another network, or can't be downloaded.
    """
    name, dtype, device = os.fspath(name), dtype_name(dtype), device_name(device)
    if means_exported_folder(name):
        settings = {"weights": weights, "options": options, "network": network}
        for setting, value in settings.items():
            if value:
                raise UsageError(
                    f"{name!r} is an exported model, which has its own weights and settings; leave out {setting}"
                )
        if device not in ("auto", "cpu"):
            raise UsageError(f"an exported model runs on the CPU here, not on {device!r}; load the preset for that")
        model = load_exported(name)
        if dtype not in ("auto", model.dtype):
            raise UsageError(f"{name!r} was exported in {model.dtype}; leave out dtype, or load the preset with it")
        return cast("NetworkSegmenter", model)  # whose callers know that it has no network
    plain = _is_plain(weights, options, network) and device in ("auto", "cpu")
    if name == "tiny" and plain and find_spec("torch") is None:
        if dtype not in ("auto", "float32"):
            raise UsageError(
                f"without PyTorch, tiny computes in float32, not in {dtype!r}; leave out dtype, or pip install "
                '"segvoc[torch]"'
            )
        return cast("NetworkSegmenter", load_tiny())
    if find_spec("torch") is None and plain and dtype in ("auto", "float32"):
        found = find_model(name, revision=revision, token=token)
        if found is not None:
            return cast("NetworkSegmenter", found.named(load_tiny().with_taught(*map(TaughtWords.load, found.taught))))
    check_name_without_torch(name)
    with naming_torch():
        from segvoc.models.loading import load_network  # here, since PyTorch takes seconds to import

    asked = {"revision": revision, "token": token} if revision is not None or token is not None else {}
    return load_network(name, weights=weights, device=device, dtype=dtype, options=options, network=network, **asked)


def load_to_label(
    name: str,
    *,
    weights: str | None,
    device: str,
    dtype: DtypeName,
    options: Mapping[str, object],
    network: "SegmentationNetwork | None",
) -> Segmenter:
    """As `load`, for who only labels images: `tiny` by its shipped programs where that is all that is asked for.

    They give the results of its network in float32 as fast on a CPU, without the second that PyTorch takes.

    Raises:
        UsageError: See `load`.
        CheckpointError: See `load`.
    """
    device = device_name(device)
    on_cpu = device == "cpu" or (device == "auto" and not may_have_gpu())
    if name == "tiny" and _is_plain(weights, options, network) and on_cpu and dtype in ("auto", "float32"):
        return load_tiny()
    return load(
        name,
        weights=weights,
        device=device,
        dtype=dtype,
        options=options,
        network=network,
    )


def _is_plain(weights: object, options: object, network: object) -> bool:
    """Whether a model is asked for as it comes."""
    return weights is None and not options and network is None


def dtype_name(dtype: "DtypeName | torch.dtype") -> DtypeName:
    """The name of a dtype, which may be given as PyTorch's own: "float32" for `torch.float32`."""
    return cast("DtypeName", str(dtype).removeprefix("torch."))  # others are refused where it is looked up


def means_exported_folder(name: str) -> bool:
    """Whether a model's name is the path of an exported folder; bare names of presets mean the presets."""
    if not is_exported(name):
        return False
    if os.sep in name or find_spec("torch") is None:
        return True
    from segvoc.models.presets import PRESETS

    return name not in PRESETS


def load_exported(folder: str | os.PathLike[str]) -> ExportedSegmenter:
    """Load a folder that `segvoc export` wrote; it runs on the CPU.

    Args:
        folder: the folder.

    Raises:
        CheckpointError: it is no exported model, or a damaged one, or its taught words were taught to another.
    """
    return _ready(ExportedSegmenter(folder))


def load_tiny() -> ExportedSegmenter:
    """`tiny` by its shipped programs, which need no PyTorch; on the CPU, in float32."""
    return _ready(open_tiny())


def _ready(model: ExportedSegmenter) -> ExportedSegmenter:
    keep_words(model)
    model.check_taught()
    return model
