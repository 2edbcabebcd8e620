"""Loads a PyTorch network by name with its weights, from any supported file, and chooses its device and dtype."""

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import cast, get_args

import torch
from torch import Tensor

from segvoc.checkpoints.fetching import fetch
from segvoc.checkpoints.files import WeightsFile, read_header, read_weights
from segvoc.checkpoints.hub import Token
from segvoc.checkpoints.strict import check_values, fit_exactly, shapes_of
from segvoc.encoders.base import TOWERS
from segvoc.encoders.prompts import PartWordEncoder
from segvoc.encoders.vocabulary_encoder import VocabularyEncoder
from segvoc.errors import CheckpointError, UsageError, checked_call
from segvoc.layers.cost_sum import NoAggregation
from segvoc.layers.precision import reduce_precision
from segvoc.models.builders import NetworkConfig, weightless
from segvoc.models.catalog import is_own_path
from segvoc.models.finding import FoundModel, find_model
from segvoc.models.headers import (
    CUSTOM,
    TAUGHT,
    TRAINING,
    configuration_of,
    configuration_record,
    shipped_weights,
    taught_words_of,
)
from segvoc.models.network_segmenter import NetworkSegmenter
from segvoc.models.presets import PRESETS, Preset, find_preset, preset_name
from segvoc.networks.base import SegmentationNetwork
from segvoc.networks.official_weights import cosine_state
from segvoc.runtime.hardware import DtypeName, Optimize, bfloat16_instructions, device_name
from segvoc.storage.records import with_settings

ENCODERS = tuple(f"{tower}." for tower in TOWERS)
"""Key prefixes of the encoders."""

COSTS = ("aggregation.skip.", "aggregation.synthesized.")
"""Key prefixes of the cost sum."""

COMMON = ENCODERS + COSTS
"""Key prefixes shared by networks with different aggregations."""


@checked_call
def load_network(
    name: str | os.PathLike[str] | FoundModel = "tiny",
    *,
    weights: str | os.PathLike[str] | None = None,
    device: str | int | torch.device = "auto",
    dtype: DtypeName | torch.dtype = "auto",
    options: Mapping[str, object] | None = None,
    network: SegmentationNetwork | None = None,
    optimize: Optimize = "auto",
    token: Token = None,
) -> NetworkSegmenter:
    """Load a PyTorch network: `segvoc.load`, which has the arguments and errors, without exported models.

    Returns:
        The network on its device, in evaluation mode, behind the interface of `Segmenter`.
    """
    where = find_device(device_name(device))
    found = name if isinstance(name, FoundModel) else find_model(name, token=token)
    if weights is not None and (found.is_place or is_own_path(found.model)):
        raise UsageError(
            f"{found.name!r} has its own weights, and weights={os.fspath(weights)!r} too; give one of them"
        )
    chosen = {**found.options, **(options or {})}
    with found.naming_errors():
        file = read_weights(found.model) if is_own_path(found.model) else None
        preset = find_preset(found.model if file is None else named_preset(file))
        configuration = with_settings(preset.configuration, chosen, found.model)
        shipped = weights is None and file is None and network is None and configuration == preset.configuration
        # a folder or repository gives the same labels everywhere
        keeps_labels = shipped and not found.is_place and preset.keeps_labels_in_bfloat16
        kind = find_dtype(str(dtype).removeprefix("torch."), where, keeps_labels=keeps_labels)
        if weights == "random":
            with torch.random.fork_rng(devices=[]):
                torch.default_generator.manual_seed(0)  # `torch.manual_seed` would also seed the GPUs
                network = network or preset.build(configuration)
        else:
            file = file or _weights_file(found.model, preset, found.weights if weights is None else weights)
            configuration = with_settings(configuration_of(file, preset), chosen, found.model)
            network = filled(found.model, preset, file, configuration, network)
        network = network.requires_grad_(False).to(where)
        if kind != torch.float32:
            reduce_precision(network, kind)
        training = None if file is None else file.record.get(TRAINING)
        segmenter = segmenter_of(found.model, preset, network, configuration, training, optimize)
        if file is not None:
            classes = file.record.get("classes", ())  # of a file written by `segvoc train`
            segmenter.taught = taught_words_of(file)
            segmenter.known_words = tuple(map(str, classes)) if isinstance(classes, list) else ()
        encoder = segmenter.encode_words
        encoder = encoder.encode if isinstance(encoder, PartWordEncoder) else encoder
        cast(VocabularyEncoder, encoder).on_disk = True
        return found.named(segmenter)


def segmenter_of(
    name: str,
    preset: Preset,
    network: SegmentationNetwork,
    configuration: NetworkConfig,
    training: object = None,
    optimize: Optimize = "none",
) -> NetworkSegmenter:
    """Build the segmenter of a network, with the windows, prompts, class selection and votes of its configuration.

    Every segmenter of a preset is built here, so that a network scores the same in training, after loading and in
    evaluation. `training` is the record of `segvoc train`; None if no user trained the weights.
    """
    trained = {} if training is None else {TRAINING: training}
    origin = {"preset": preset_name(preset), **configuration_record(configuration), **trained}
    return NetworkSegmenter(
        name=name,
        network=network,
        protocols=preset.protocols_of(configuration),
        templates=preset.templates_of(configuration),
        traits=replace(
            preset.traits,
            parts_against="half" if network.has_background else preset.traits.parts_against,
            background_words=None if trained else preset.traits.background_words,
            refines_edges=preset.refines_edges_of(configuration),
        ),
        optimize=optimize,
        origin=origin,
    )


def named_model(
    model: str, changes: Mapping[str, object] | None = None
) -> tuple[WeightsFile | None, Preset, NetworkConfig]:
    """Look up a preset, or read the header of a segvoc file or a shared model; `changes` override network settings.

    Returns the header (None for a preset), the preset and the configuration, before any weights are read.
    """
    found = find_model(model)
    model, changes = found.model, {**found.options, **(changes or {})}
    file = read_header(model) if is_own_path(model) else None
    preset = find_preset(model if file is None else named_preset(file))
    configuration = preset.configuration if file is None else configuration_of(file, preset)
    return file, preset, with_settings(configuration, changes, model)


def named_preset(file: WeightsFile) -> str:
    """The preset of a segvoc file; raises `CheckpointError` unless this or an older segvoc wrote it."""
    if file.preset is None:
        raise CheckpointError(
            f"{file.path!r} is no model of segvoc; give a preset with it as weights (--weights), or if `segvoc teach` "
            "wrote it, as words (--taught, model.with_taught), or convert it"
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
    """Load the weights of a segvoc file or a released checkpoint into a network (None: a new one) that they fit."""
    if network is None:
        if file.record.get(CUSTOM):
            raise CheckpointError(
                f"{file.path!r} holds a custom network; build it and load it with network=..., or with "
                "--network FILE.py:FUNCTION"
            )
        with weightless():
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


def state_of(name: str, preset: Preset, network: SegmentationNetwork, file: WeightsFile) -> dict[str, Tensor]:
    """Read the network's state dict from a file, renaming the keys of released checkpoints; see `filled`."""
    ours = network.state_dict()
    if file.preset is None and preset.from_official is not None:
        state = preset.from_official(file.tensors, network)
    else:
        tensors = _own_tensors(name, preset, network, file)
        state = fit_exactly(((key, key, value) for key, value in tensors.items()), shapes_of(network), name)
    check_values(state, ours)
    return state


def _own_tensors(name: str, preset: Preset, network: SegmentationNetwork, file: WeightsFile) -> dict[str, Tensor]:
    """The tensors of a segvoc file; an encoder-only file fits every preset with these encoders."""
    if "parts" not in file.record:
        if file.preset is not None and PRESETS.get(file.preset) is not preset:
            raise CheckpointError(f"these weights are for {file.preset!r}, not for {name}; load them under that name")
        if isinstance(network.aggregation, NoAggregation):
            return begin_with(file, network)
        return {key: value for key, value in file.tensors.items() if not key.startswith(f"{TAUGHT}.")}
    if file.record["parts"] != list(TOWERS):
        raise CheckpointError("its header names modules unknown to this segvoc; install a newer segvoc")
    return file.tensors | cosine_state(network.aggregation, preset.cosine_logits)


def begin_with(file: WeightsFile, network: SegmentationNetwork) -> dict[str, Tensor]:
    """The tensors of a segvoc file for a network with another aggregation: encoders, and the cost sum if it fits."""
    theirs, ours = (
        {name: value.shape for name, value in tensors.items() if name.startswith(COSTS)}
        for tensors in (file.tensors, network.state_dict())
    )
    common = COMMON if theirs == ours else ENCODERS
    return {name: value for name, value in file.tensors.items() if name.startswith(common)}


def find_device(device: str) -> torch.device:
    """Find a device by name; raises `UsageError` if it is not available."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        known = torch.device(device_name(device))
    except RuntimeError:
        raise UsageError(f"unknown device {device!r}; use 'cuda' for a GPU, 'mps' for Apple's, or 'cpu'") from None
    counts = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}
    if (known.index or 0) < counts.get(known.type, 0):
        return known
    raise UsageError(f"device {device!r} is not available; use 'auto', 'cpu' or, where there is a GPU, 'cuda' or 'mps'")


def find_dtype(dtype: str, device: torch.device, *, keeps_labels: bool) -> torch.dtype:
    """Resolve the dtype of most computations by name; raises `UsageError` if it is unknown, or for GPUs.

    "auto" is bfloat16 if the device has bfloat16 hardware and the network's labels are known not to change in bfloat16
    (its weights and configuration are a preset's with `Preset.keeps_labels_in_bfloat16`), else float32.
    """
    if dtype not in get_args(DtypeName):
        raise UsageError(f"dtype {dtype!r} is unknown; it is 'auto', 'float32', 'bfloat16' or, on a GPU, 'float16'")
    if dtype == "float16" and device.type == "cpu":
        raise UsageError("dtype 'float16' is for GPUs; on a CPU use 'bfloat16'")
    if dtype == "auto":
        return torch.bfloat16 if keeps_labels and multiplies_bfloat16(device) else torch.float32
    return getattr(torch, dtype)


def multiplies_bfloat16(device: torch.device) -> bool:
    """Whether a device multiplies bfloat16 matrices in hardware."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)  # Ampere
    return device.type == "cpu" and bfloat16_instructions() is not None
