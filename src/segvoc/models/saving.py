"""`segvoc.save`: writes the weights of a model to a file for `segvoc.load`."""

import os
from datetime import UTC, datetime
from typing import Any

import torch
from torch import nn

from segvoc.checkpoints.files import FORMAT, WeightsFile, write_weights
from segvoc.errors import UsageError
from segvoc.models.headers import configuration_of
from segvoc.models.loading import CUSTOM
from segvoc.models.network_segmenter import NetworkSegmenter, require_network
from segvoc.models.presets import find_preset
from segvoc.models.taught_weights import taught_tensors
from segvoc.models.weightless import weightless
from segvoc.version import __version__


def save(
    model: NetworkSegmenter,
    path: str | os.PathLike[str],
    *,
    origin: str = "saved by segvoc.save",
    license: str = "that of the weights it started from and of its training data",
) -> None:
    """Write a model's weights, with everything that `segvoc.load` needs to rebuild it.

    A network that the preset doesn't build (for example with another aggregation) is marked as custom. Load it with
    `segvoc.load(path, network=...)`.

    Args:
        model: a model made by `segvoc.load`; its weights and modules may have changed since.
        path: a file that ends in .safetensors; an existing one is replaced.
        origin: where the weights come from; `segvoc info` shows it.
        license: license of the weights.

    Raises:
        UsageError: the path doesn't end in .safetensors, the model is an exported one or wasn't made by `segvoc.load`,
            or its weights were rounded to a shorter dtype than float32.
        OutputError: the file can't be written.
    """
    require_network(model, "save")
    if not os.fspath(path).lower().endswith(".safetensors"):
        raise UsageError(
            f"{os.fspath(path)!r} doesn't end in .safetensors, the format that is written; use that suffix"
        )
    if "preset" not in model.origin:
        raise UsageError(f"the preset of {model.name!r} is unknown; save a model that segvoc.load made")
    if getattr(torch, model.dtype).itemsize < torch.float32.itemsize:
        raise UsageError(
            f"the weights of {model.name!r} were rounded to {model.dtype}; save it loaded with dtype='float32'"
        )
    record: dict[str, Any] = {
        "format": FORMAT,
        "origin": origin,
        "license": license,
        "version": __version__,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        **model.origin,
    }
    if _is_custom(model):
        record[CUSTOM] = True
    preset = str(record.pop("preset"))
    tensors, words = taught_tensors(model.taught)
    write_weights(path, model.network.state_dict() | tensors, preset, **record, **words)


def _is_custom(model: NetworkSegmenter) -> bool:
    """Whether the network differs from its preset's in module classes or weight shapes."""
    name = str(model.origin["preset"])
    preset = find_preset(name)
    file = WeightsFile(path=model.name, tensors={}, preset=name, record=model.origin)
    with weightless():
        plain = preset.build(configuration_of(file, preset))
    return _structure(plain) != _structure(model.network)


def _structure(network: nn.Module) -> tuple[object, object]:
    modules = [(name, type(module)) for name, module in network.named_modules()]
    return modules, {name: value.shape for name, value in network.state_dict().items()}
