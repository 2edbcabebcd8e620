"""Files of weights: our safetensors format, and what others publish (safetensors, PyTorch pickles without code)."""

import json
import os
import pickle
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from segvoc.atomic_write import write_atomically
from segvoc.checkpoints.int8_rows import unpack_int8_rows
from segvoc.errors import CheckpointError

HEADER = "segvoc"
"""Key of our entry in a safetensors header; its value is JSON with at least "preset"."""


@dataclass(frozen=True, kw_only=True)
class WeightsFile:
    """What a file of weights holds.

    path: the file, or the folder of several. tensors: by name. preset: the name of the network that they are for, if
    segvoc wrote the file. record: what else the header tells (origin, licence, date, ...).
    """

    path: str
    tensors: dict[str, Tensor]
    preset: str | None = None
    record: dict[str, Any] = field(default_factory=dict)


def read_weights(path: str | os.PathLike[str]) -> WeightsFile:
    """Read safetensors, or a pickle by `torch.load(weights_only=True)`, which runs none of its code.

    Raises:
        CheckpointError: the file is missing, damaged, holds code, or holds no tensors.
    """
    path = os.fspath(path)
    name = repr(path)
    if not Path(path).is_file():
        raise CheckpointError(f"the weights' file {name} does not exist; check the path")
    if Path(path).stat().st_size == 0:
        raise CheckpointError(f"the weights' file {name} is empty; fetch it again")
    try:
        if Path(path).suffix.lower() == ".safetensors":
            return _read_safetensors(path, name)
        return _read_pickle(path, name)
    except CheckpointError:
        raise
    except PermissionError:
        raise CheckpointError(f"the weights' file {name} can't be read: permission denied; change its mode") from None
    except Exception as error:
        # unpickling raises a dozen kinds of exceptions on damaged data, from struct.error to AssertionError
        raise CheckpointError(f"the weights' file {name} is damaged ({_brief(error)}); fetch it again") from None


def _read_safetensors(path: str, name: str) -> WeightsFile:
    with safetensors.safe_open(path, framework="pt") as file:
        header = (file.metadata() or {}).get(HEADER)
        tensors = {key: file.get_tensor(key) for key in file.keys()}
    if not tensors:
        raise CheckpointError(f"the weights' file {name} holds no tensors; take another")
    if header is None:
        return WeightsFile(path=path, tensors=tensors)
    record = json.loads(header)
    if not isinstance(record, dict) or not isinstance(record.get("preset"), str):
        raise CheckpointError(f"the header of the weights' file {name} names no preset; fetch it again")
    return WeightsFile(path=path, tensors=unpack_int8_rows(tensors), preset=record["preset"], record=record)


def _read_pickle(path: str, name: str) -> WeightsFile:
    try:
        with warnings.catch_warnings(action="ignore"):  # of unusual pickles; what counts is what they hold
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise CheckpointError(
            f"the weights' file {name} is damaged or holds code, which segvoc never runs; "
            "save its tensors alone (torch.save(model.state_dict(), ...)) or as safetensors"
        ) from None
    if not isinstance(content, Mapping):
        raise CheckpointError(f"the weights' file {name} holds a {type(content).__name__}, no tensors; take another")
    tensors = unwrap(content)
    if not tensors:
        raise CheckpointError(f"the weights' file {name} holds no tensors; take another")
    return WeightsFile(path=path, tensors=tensors)


def unwrap(checkpoint: Mapping[str, object]) -> dict[str, Tensor]:
    """The tensors of a published checkpoint, by name.

    They lie under "model", "module" or "state_dict" (the first that is there) or at the top; a leading "module." of
    every name is dropped.
    """
    for key in ("model", "module", "state_dict"):
        if isinstance(inner := checkpoint.get(key), Mapping):
            checkpoint = cast(Mapping[str, object], inner)
            break
    return {str(key).removeprefix("module."): value for key, value in checkpoint.items() if isinstance(value, Tensor)}


def write_weights(path: str | os.PathLike[str], tensors: Mapping[str, Tensor], preset: str, **record: object) -> None:
    """Write our format, atomically: safetensors whose header names the preset and what `record` tells.

    Raises:
        OutputError: the file can't be written.
    """
    header = json.dumps({"preset": preset, **record}, sort_keys=True)
    content = safetensors.torch.save({key: value.contiguous() for key, value in tensors.items()}, {HEADER: header})
    write_atomically(path, lambda file: file.write(content))


def _brief(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:120] if lines else type(error).__name__
