"""Reads and writes the network configuration in the header of a weights file."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import torch
from torch import nn

from segvoc.checkpoints.files import FORMAT, WeightsFile, write_weights
from segvoc.encoders.base import TOKENIZER, TOWERS
from segvoc.errors import CheckpointError, UsageError
from segvoc.layers.precision import lowest_precision
from segvoc.models.builders import NetworkConfig
from segvoc.models.presets import PRESETS, Preset, find_preset
from segvoc.models.taught_weights import taught_tensors
from segvoc.models.weightless import weightless
from segvoc.networks.base import SegmentationNetwork
from segvoc.networks.cost_aggregation_config import ClipNetworkConfig, EvaEncoders
from segvoc.records import from_json, to_json
from segvoc.teaching.taught_words import TaughtWords
from segvoc.version import __version__

CONFIGURATION = "configuration"
"""Header entry of the configuration."""

CUSTOM = "custom"
"""Header entry that marks a custom network."""

TRAINING = "training"
"""Header entry that records how `segvoc train` trained a network."""


def configuration_record(configuration: NetworkConfig) -> dict[str, Any]:
    """Header entries from which `configuration_of` restores the configuration."""
    return {CONFIGURATION: to_json(configuration)}


def configuration_of(file: WeightsFile, preset: Preset) -> NetworkConfig:
    """Read the network configuration of a weights file; for a released checkpoint, the preset's.

    Args:
        file: a weights file, or its header alone.
        preset: the preset to load it as. An encoder-only file fits every preset with these encoders and takes that
            preset's aggregation and prompts; EVA encoders keep the dense mode of their distillation.

    Raises:
        CheckpointError: the file has a setting unknown to this version.
    """
    own = None if file.preset is None else PRESETS.get(file.preset)
    if own is None:
        fitted = preset.fit_to_official if file.preset is None else None
        return preset.configuration if fitted is None else fitted(file.tensors, preset.configuration)
    try:
        entry = file.record.get(CONFIGURATION)
        configuration = own.configuration if entry is None else from_json(type(own.configuration), entry, CONFIGURATION)
    except UsageError as error:
        raise CheckpointError(
            f"{file.path!r} needs a newer segvoc ({error}); update it"
        ) from None
    if own is preset:
        return configuration
    ours = preset.configuration
    if isinstance(ours, ClipNetworkConfig) and isinstance(configuration, ClipNetworkConfig):
        same = isinstance(ours.encoder, EvaEncoders) and isinstance(configuration.encoder, EvaEncoders)
        if same and file.record.get("parts") == list(TOWERS):
            return replace(ours, encoder=configuration.encoder)
    return ours


def write_network(
    path: str | os.PathLike[str],
    name: str,
    network: SegmentationNetwork,
    built: Mapping[str, object],
    taught: Sequence[TaughtWords],
    *,
    origin: str,
    license: str,
) -> None:
    """Write a network's weights, with everything that `segvoc.load` needs to rebuild it.

    Args:
        path: the file; an existing one is replaced.
        name: the model's name, for errors.
        network: the network.
        built: its preset, configuration and training record (`Segmenter.origin`).
        taught: its taught words.
        origin: where the weights come from.
        license: license of the weights.

    Raises:
        UsageError: the network's preset is unknown, or its weights were rounded to a shorter dtype than float32.
        OutputError: the file can't be written.
    """
    if "preset" not in built:
        raise UsageError(f"the preset of {name!r} is unknown; save a model that segvoc.load made")
    kind = lowest_precision(network)
    if kind.itemsize < torch.float32.itemsize:
        rounded = str(kind).removeprefix("torch.")
        raise UsageError(f"the weights of {name!r} were rounded to {rounded}; save it loaded with dtype='float32'")
    record: dict[str, Any] = {
        "format": FORMAT,
        "origin": origin,
        "license": license,
        "version": __version__,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        **built,
    }
    if is_custom(network, built):
        record[CUSTOM] = True
    preset = str(record.pop("preset"))
    tensors, words = taught_tensors(taught)
    write_weights(path, network.state_dict() | tensors, preset, **record, **words)


def is_custom(network: SegmentationNetwork, built: Mapping[str, object]) -> bool:
    """Whether a network differs from its preset's in module classes or weight shapes.

    Args:
        network: the network.
        built: its preset and configuration.
    """
    name = str(built["preset"])
    preset = find_preset(name)
    file = WeightsFile(path=name, tensors={}, preset=name, record=dict(built))
    with weightless():
        plain = preset.build(configuration_of(file, preset))
    return _structure(plain) != _structure(network)


def _structure(network: nn.Module) -> tuple[object, object]:
    modules = [(name, type(module)) for name, module in network.named_modules()]
    state = network.state_dict()  # excludes the tokenizer, whose size varies
    return modules, {name: value.shape for name, value in state.items() if not name.endswith(f".{TOKENIZER}")}
