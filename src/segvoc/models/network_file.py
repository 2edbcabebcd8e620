"""Writes a network as a weights file of segvoc, whatever holds it."""

import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import torch
from torch import nn

from segvoc.checkpoints.files import FORMAT, WeightsFile, write_weights
from segvoc.encoders.base import TOKENIZER
from segvoc.errors import UsageError
from segvoc.layers.precision import lowest_precision
from segvoc.models.headers import CUSTOM, configuration_of
from segvoc.models.presets import find_preset
from segvoc.models.taught_weights import taught_tensors
from segvoc.models.weightless import weightless
from segvoc.networks.base import SegmentationNetwork
from segvoc.teaching.taught_words import TaughtWords
from segvoc.version import __version__


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
        built: its preset and configuration, and how it was trained (`Segmenter.origin`).
        taught: words that it was taught.
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
    state = network.state_dict()  # a tokenizer comes with the weights, and may be of any size
    return modules, {name: value.shape for name, value in state.items() if not name.endswith(f".{TOKENIZER}")}
