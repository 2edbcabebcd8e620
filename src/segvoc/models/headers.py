"""Weights files of segvoc: configuration and taught words (tensors taught.N.NAME) in the header; shipped weights."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from segvoc.checkpoints.files import WeightsFile, read_weights
from segvoc.checkpoints.origins import TOKENIZER
from segvoc.encoders.base import TOWERS
from segvoc.errors import CheckpointError, UsageError
from segvoc.inference.taught.taught_words import TaughtWords, is_half
from segvoc.models.builders import NetworkConfig, weightless
from segvoc.models.presets import PRESETS, Preset, find_preset
from segvoc.networks.base import SegmentationNetwork
from segvoc.networks.cost_aggregation_config import ClipNetworkConfig, EvaEncoders
from segvoc.storage.files import SHIPPED
from segvoc.storage.records import from_json, to_json

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
    """Read the network configuration of a weights file or its header; for a released checkpoint, the preset's.

    An encoder-only file fits every preset with these encoders and takes that preset's aggregation and prompts; EVA
    encoders keep the dense mode of their distillation. `CheckpointError` if this version doesn't know a setting.
    """
    own = None if file.preset is None else PRESETS.get(file.preset)
    if own is None:
        fitted = preset.fit_to_official if file.preset is None else None
        return preset.configuration if fitted is None else fitted(file.tensors, preset.configuration)
    try:
        entry = file.record.get(CONFIGURATION)
        configuration = own.configuration if entry is None else from_json(type(own.configuration), entry, CONFIGURATION)
    except UsageError as error:
        raise CheckpointError(f"{file.path!r} needs a newer segvoc ({error}); update it") from None
    if own is preset:
        return configuration
    ours = preset.configuration
    if isinstance(ours, ClipNetworkConfig) and isinstance(configuration, ClipNetworkConfig):
        same = isinstance(ours.encoder, EvaEncoders) and isinstance(configuration.encoder, EvaEncoders)
        if same and file.record.get("parts") == list(TOWERS):
            return replace(ours, encoder=configuration.encoder)
    return ours


def is_custom(network: SegmentationNetwork, built: Mapping[str, object]) -> bool:
    """Whether a network differs in module classes or weight shapes from that of its preset and configuration."""
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


TAUGHT = "taught"
"""Header entry with the records, and prefix of the tensors."""


def taught_tensors(taught: Sequence[TaughtWords]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and the header entries of taught words; both are empty without any."""
    tensors = {
        f"{TAUGHT}.{number}.{name}": torch.from_numpy(array.copy())
        for number, words in enumerate(taught)
        for name, array in words.arrays().items()
    }
    return tensors, {TAUGHT: [to_json(words.record) for words in taught]} if taught else {}


def taught_words_of(file: WeightsFile) -> tuple[TaughtWords, ...]:
    """The taught words of a weights file; raises `CheckpointError` if they are damaged."""
    records = file.record.get(TAUGHT, [])
    if not isinstance(records, list):
        raise CheckpointError(f"the header of {file.path!r} is damaged; fetch or train the model again")
    taught: list[TaughtWords] = []
    for number, record in enumerate(records):
        prefix = f"{TAUGHT}.{number}."
        arrays = {
            name.removeprefix(prefix): value.numpy() for name, value in file.tensors.items() if name.startswith(prefix)
        }
        # weights files are read as float32
        halves = {name: array.astype(np.float16) for name, array in arrays.items() if is_half(name)}
        taught.append(TaughtWords.of(file.path, record, arrays | halves))
    return tuple(taught)


def shipped_weights(name: str, preset: Preset) -> WeightsFile:
    """Read a preset's shipped weights."""
    tensors: dict[str, Tensor] = {}
    for file in preset.shipped:
        tensors |= read_weights(SHIPPED / file).tensors
    return WeightsFile(path=str(SHIPPED), tensors=tensors, preset=name)


def has_shipped_weights(name: str, network: SegmentationNetwork) -> bool:
    """Whether a network, in any precision, has exactly its preset's shipped weights."""
    preset = PRESETS[name]
    if not preset.shipped:
        return False
    shipped, ours = shipped_weights(name, preset).tensors, network.state_dict()
    return shipped.keys() == ours.keys() and all(
        value.shape == ours[key].shape and bool((value.to(ours[key].dtype) == ours[key].cpu()).all())
        for key, value in shipped.items()
    )
