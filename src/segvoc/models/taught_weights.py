"""Taught words in a segvoc weights file (tensors taught.N.NAME, records in the header); shipped weights."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from segvoc.checkpoints.files import WeightsFile, read_weights
from segvoc.errors import CheckpointError
from segvoc.models.presets import PRESETS, Preset
from segvoc.networks.base import SegmentationNetwork
from segvoc.records import to_json
from segvoc.storage.files import SHIPPED
from segvoc.teaching.taught_words import TaughtWords, is_half


def shipped_weights(name: str, preset: Preset) -> WeightsFile:
    """Read a preset's shipped weights."""
    tensors: dict[str, Tensor] = {}
    for file in preset.shipped:
        tensors |= read_weights(SHIPPED / file).tensors
    return WeightsFile(path=str(SHIPPED), tensors=tensors, preset=name)


def has_shipped_weights(name: str, network: SegmentationNetwork) -> bool:
    """Whether a network has exactly its preset's shipped weights.

    Args:
        name: the preset.
        network: the network, in any precision.
    """
    preset = PRESETS[name]
    if not preset.shipped:
        return False
    shipped, ours = shipped_weights(name, preset).tensors, network.state_dict()
    return shipped.keys() == ours.keys() and all(
        value.shape == ours[key].shape and bool((value.to(ours[key].dtype) == ours[key].cpu()).all())
        for key, value in shipped.items()
    )


TAUGHT = "taught"
"""Header entry with the records, and prefix of the tensors."""


def taught_tensors(taught: Sequence[TaughtWords]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and the header entries of taught words; both are empty without any."""
    tensors = {
        f"{TAUGHT}.{number}.{name}": torch.from_numpy(array.copy())
        for number, one in enumerate(taught)
        for name, array in one.arrays().items()
    }
    return tensors, {TAUGHT: [to_json(one.record) for one in taught]} if taught else {}


def taught_words_of(file: WeightsFile) -> tuple[TaughtWords, ...]:
    """The taught words of a weights file.

    Raises:
        CheckpointError: the taught words are damaged.
    """
    records = file.record.get(TAUGHT, [])
    if not isinstance(records, list):
        raise CheckpointError(f"the header of {file.path!r} is damaged; fetch or train the model again")
    found: list[TaughtWords] = []
    for number, record in enumerate(records):
        prefix = f"{TAUGHT}.{number}."
        arrays = {
            name.removeprefix(prefix): value.numpy() for name, value in file.tensors.items() if name.startswith(prefix)
        }
        # weights files are read as float32
        halves = {name: array.astype(np.float16) for name, array in arrays.items() if is_half(name)}
        found.append(TaughtWords.of(file.path, record, arrays | halves))
    return tuple(found)


def without_taught(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of the network alone."""
    return {name: value for name, value in tensors.items() if not name.startswith(f"{TAUGHT}.")}
