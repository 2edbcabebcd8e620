"""`segvoc.load`: a network by name with its weights, from whatever file, ready to segment."""

import contextlib
import os
from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from segvoc.checkpoints.files import WeightsFile, read_weights
from segvoc.checkpoints.published import fetch
from segvoc.checkpoints.strict import check_values, fit_exactly
from segvoc.configuration import with_settings
from segvoc.encoders.base import TOWERS
from segvoc.errors import CheckpointError, UsageError
from segvoc.inference.segmenter import Segmenter
from segvoc.layers.cost_sum import NoAggregation
from segvoc.models.builders import NetworkConfig
from segvoc.models.headers import configuration_of, configuration_record
from segvoc.models.presets import PRESETS, WEIGHTS, Preset, find_preset, preset_name, votes_of
from segvoc.networks.base import SegmentationNetwork

CUSTOM = "custom"
"""The header's entry that marks a network which no preset builds."""

COMMON = (*(f"{tower}." for tower in TOWERS), "aggregation.skip.")
"""How the names begin of what networks with different aggregations have alike: the towers, and a sum of costs."""


def load(
    name: str | os.PathLike[str] = "tiny",
    *,
    weights: str | os.PathLike[str] | None = None,
    device: str = "auto",
    dtype: Literal["float32", "bfloat16"] = "float32",
    options: Mapping[str, object] | None = None,
    network: SegmentationNetwork | None = None,
) -> Segmenter:
    """Load a network, ready to segment.

    Args:
        name: a preset (`segvoc models` lists them), or the path of a .safetensors file that segvoc wrote.
        weights: None for the preset's own, which ship with segvoc or are fetched when they are first asked for; a path,
            of ours or of an official checkpoint; "random" for untrained weights, the same each time.
        device: "auto" (the GPU if there is one), "cpu", "cuda", "cuda:1", ...
        dtype: type of the weights and of most of the arithmetic.
        options: settings of the network that differ from the preset's, by name, for example {"dense": "qq"} for
            weights that were distilled so; docs/papers/baselines.md lists the common ones. A file of segvoc brings its
            own.
        network: a network of your own to fill with the file's weights, in place of one that the preset builds, for
            example a preset's with another aggregation. It has to be built as it was when the file was written.

    Raises:
        UsageError: an unknown name, device, dtype or option.
        CheckpointError: weights that are missing, damaged or another network's, or can't be fetched.
    """
    where, kind, chosen = find_device(device), _dtype(dtype), options or {}
    name = os.fspath(name)
    file = None
    if is_own_path(name):
        if weights is not None:
            raise UsageError(f"{name!r} is a file of weights, and weights={os.fspath(weights)!r} too; give one of them")
        file = read_weights(name)
    preset = find_preset(name if file is None else named_preset(file))
    configuration = with_settings(preset.configuration, chosen, name)
    if weights == "random":
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)  # `torch.manual_seed` would reach the GPUs' generators as well
            network = network or preset.build(configuration)
    else:
        file = file or _weights_file(name, preset, weights)
        configuration = with_settings(configuration_of(file, preset), chosen, name)
        network = filled(name, preset, file, configuration, network)
    return segmenter_of(name, preset, network.requires_grad_(False).to(where, kind), configuration)


def segmenter_of(name: str, preset: Preset, network: SegmentationNetwork, configuration: NetworkConfig) -> Segmenter:
    """The segmenter of a network, with its configuration's windows and prompts, class selection and votes.

    Every segmenter of a preset is made here, so that a network scores the same in training, loaded and evaluated.

    Args:
        name: of the model, as results tell it.
        preset: the preset that the network was built from.
        network: with its weights, on its device.
        configuration: the network's own.
    """
    return Segmenter(
        name=name,
        network=network,
        protocols=preset.protocols_of(configuration),
        templates=preset.templates_of(configuration),
        own_selection=preset.own_selection,
        votes=votes_of(configuration),
        parts_against="half" if network.has_background else preset.parts_against,
        origin={"preset": preset_name(preset), **configuration_record(configuration)},
    )


def is_own_path(name: str) -> bool:
    """Whether what stands for a model is a file that segvoc should have written."""
    return name not in PRESETS and name.lower().endswith(".safetensors")


def named_preset(file: WeightsFile) -> str:
    """The preset that a file of segvoc is for.

    Raises:
        CheckpointError: segvoc didn't write it, or a newer one did.
    """
    if file.preset is None:
        raise CheckpointError(
            f"{file.path!r} was not written by segvoc; name its preset and give the file as weights, or convert it"
        )
    if file.preset not in PRESETS:
        raise CheckpointError(f"{file.path!r} is for {file.preset!r}, unknown here; install a newer segvoc")
    return file.preset


def filled(
    name: str,
    preset: Preset,
    file: WeightsFile,
    configuration: NetworkConfig,
    network: SegmentationNetwork | None = None,
) -> SegmentationNetwork:
    """A network with the weights of a file, of ours or released: one of this configuration, or the one given.

    Raises:
        CheckpointError: the weights are another network's.
    """
    if network is None:
        if file.record.get(CUSTOM):
            raise CheckpointError(
                f"{file.path!r} holds a network that its author built; build it and load it with network=..."
            )
        with torch.device("meta"):
            network = preset.build(configuration)
    try:
        network.load_state_dict(state_of(name, preset, network, file), assign=True)
    except CheckpointError as error:
        error.args = (f"{file.path!r}: {error}",)
        raise
    return network


def _weights_file(name: str, preset: Preset, weights: str | os.PathLike[str] | None) -> WeightsFile:
    if weights is not None:
        return read_weights(weights)
    if preset.published is not None:
        return read_weights(fetch(preset.published))
    if not preset.shipped:
        raise CheckpointError(f"{name} has no weights here: {preset.how_to_get} (weights=... or --weights)")
    return shipped_weights(name, preset)


def shipped_weights(name: str, preset: Preset) -> WeightsFile:
    """The weights that ship with segvoc for a preset."""
    tensors: dict[str, Tensor] = {}
    for file in preset.shipped:
        tensors |= read_weights(WEIGHTS / file).tensors
    return WeightsFile(path=str(WEIGHTS), tensors=tensors, preset=name)


def state_of(name: str, preset: Preset, network: SegmentationNetwork, file: WeightsFile) -> dict[str, Tensor]:
    """The network's state out of a file; released checkpoints are renamed."""
    ours = network.state_dict()
    if file.preset is None and preset.from_official is not None:
        state = preset.from_official(file.tensors, network)
    else:
        tensors = _own_tensors(name, preset, network, file)
        expected = {key: value.shape for key, value in ours.items()}
        state = fit_exactly(((key, key, value) for key, value in tensors.items()), expected, name)
    check_values(state, ours)
    return state


def _own_tensors(name: str, preset: Preset, network: SegmentationNetwork, file: WeightsFile) -> dict[str, Tensor]:
    """What a file of segvoc holds; towers alone serve every preset that has them, without an aggregation."""
    if "parts" not in file.record:
        if file.preset is not None and PRESETS.get(file.preset) is not preset:
            raise CheckpointError(f"these weights are for {file.preset!r}, not for {name}; load them under that name")
        return begin_with(file, network) if isinstance(network.aggregation, NoAggregation) else file.tensors
    if file.record["parts"] != list(TOWERS):
        raise CheckpointError("its header names parts that this segvoc doesn't know; install a newer segvoc")
    from segvoc.checkpoints.official_towers import cosine_state  # here, since timm takes seconds to import

    return file.tensors | {f"aggregation.{key}": value for key, value in cosine_state(network.aggregation).items()}


def begin_with(file: WeightsFile, network: SegmentationNetwork) -> dict[str, Tensor]:
    """Of a file of segvoc what a network with another aggregation has too: the towers, and a sum of the same costs."""
    *towers, total = COMMON
    theirs, ours = (
        {name: value.shape for name, value in tensors.items() if name.startswith(total)}
        for tensors in (file.tensors, network.state_dict())
    )
    common = COMMON if theirs == ours else tuple(towers)
    return {name: value for name, value in file.tensors.items() if name.startswith(common)}


def find_device(device: str) -> torch.device:
    """The device of a name.

    Raises: UsageError: it isn't here.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with contextlib.suppress(RuntimeError):
        found = torch.device(device)
        if found.type == "cpu" or (found.type == "cuda" and (found.index or 0) < torch.cuda.device_count()):
            return found
    raise UsageError(f"device {device!r} is not here; use 'auto', 'cpu' or, where there is a GPU, 'cuda'")


def _dtype(dtype: str) -> torch.dtype:
    if dtype not in ("float32", "bfloat16"):
        raise UsageError(f"dtype {dtype!r} is unknown; it is 'float32' or 'bfloat16'")
    return getattr(torch, dtype)
