"""Files of weights: our safetensors format, and what others publish (safetensors, PyTorch's files, TorchScript)."""

import json
import os
import pickle
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from segvoc.checkpoints.int8_rows import unpack_int8_rows
from segvoc.checkpoints.torchscript import is_torchscript, read_torchscript
from segvoc.errors import CheckpointError, one_line
from segvoc.storage.atomic_writes import write_atomically

HEADER = "segvoc"
"""Key of our entry in a safetensors header; its value is JSON with at least "preset"."""

FORMAT = 1
"""Version of what that entry may hold, under "format"; a file without one has the first."""

_WRAPPERS = ("model", "module", "state_dict")
_COMPANIONS = frozenset(
    "optimizer optimizers scheduler schedulers lr_scheduler lr_schedulers iteration epoch step global_step trainer "
    "scaler amp args config hyper_parameters name version ema model_ema".split()
)


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
    """Read safetensors, what `torch.load(weights_only=True)` reads, or a TorchScript archive; no code is ever run.

    The content tells which it is, whatever the file is called.

    Raises:
        CheckpointError: the file is missing, damaged, no file of weights, holds code, or holds no tensors.
    """
    file = _guarded(path, _read)
    if not file.tensors:
        raise CheckpointError(f"the weights' file {file.path!r} holds no tensors; take another")
    return file


def read_header(path: str | os.PathLike[str]) -> WeightsFile:
    """What a file of safetensors tells of itself: preset and record (see `write_weights`), no tensors.

    Raises:
        CheckpointError: the file is missing, damaged or no safetensors.
    """
    return _guarded(path, _read_header)


def _guarded(path: str | os.PathLike[str], read: Callable[[str, str], WeightsFile]) -> WeightsFile:
    """What `read` gives for a path and its name in errors; whatever goes wrong becomes one line."""
    path = os.fspath(path)
    name = repr(path)
    if path and Path(path).is_dir():
        raise CheckpointError(f"{name} is a folder; name the file of weights in it")
    if not path or not Path(path).is_file():
        raise CheckpointError(f"the weights' file {name} does not exist; check the path")
    if Path(path).stat().st_size == 0:
        raise CheckpointError(f"the weights' file {name} is empty; fetch it again")
    try:
        return read(path, name)
    except CheckpointError:
        raise
    except PermissionError:
        raise CheckpointError(f"the weights' file {name} can't be read: permission denied; change its mode") from None
    except Exception as error:
        # unpickling raises a dozen kinds of exceptions on damaged data, from struct.error to AssertionError
        raise CheckpointError(f"the weights' file {name} is damaged ({one_line(error)}); fetch it again") from None


def _start(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read(512)


def _is_safetensors(start: bytes) -> bool:
    # eight bytes for the length of the header, which is JSON: no pickle and no zip begins like that
    return start[5:9] == b"\0\0\0{"


def _read(path: str, name: str) -> WeightsFile:
    start = _start(path)
    if _is_safetensors(start):
        return _read_safetensors(path, name)
    if start.startswith(b"PK") and is_torchscript(path):
        return WeightsFile(path=path, tensors=read_torchscript(path))
    if start.startswith((b"PK", b"\x80")):
        return _read_pickle(path, name)
    raise CheckpointError(f"the weights' file {name} {_what_else(start)}")


def _what_else(start: bytes) -> str:
    """What a file is that holds no weights, and the mend."""
    if start.startswith(b"version https://git-lfs"):
        return "is a git-lfs pointer, not the weights themselves; run `git lfs pull`, or fetch the file itself"
    if start.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        return "is a web page; fetch the file itself"
    if start[257:262] == b"ustar":
        return "is a tar archive, as only the first versions of PyTorch wrote them; save its tensors with a newer one"
    return "is damaged or none (it is neither safetensors nor PyTorch's); fetch it again"


def _read_safetensors(path: str, name: str) -> WeightsFile:
    with safetensors.safe_open(path, framework="pt") as file:
        record = _record(file.metadata(), name)
        tensors = {key: file.get_tensor(key) for key in file.keys()}
    if not record:
        return WeightsFile(path=path, tensors=tensors)
    return WeightsFile(path=path, tensors=unpack_int8_rows(tensors), preset=record["preset"], record=record)


def _read_header(path: str, name: str) -> WeightsFile:
    if not _is_safetensors(_start(path)):
        raise CheckpointError(f"{name} is no safetensors; `segvoc convert` makes one of an official checkpoint")
    with safetensors.safe_open(path, framework="pt") as file:
        record = _record(file.metadata(), name)
    return WeightsFile(path=path, tensors={}, preset=record.get("preset"), record=record)


def _record(metadata: Mapping[str, str] | None, name: str) -> dict[str, Any]:
    """Our entry of a header; empty if it has none."""
    header = (metadata or {}).get(HEADER)
    if header is None:
        return {}
    record = json.loads(header)
    if not isinstance(record, dict) or not isinstance(record.get("preset"), str):
        raise CheckpointError(f"the header of the weights' file {name} names no preset; fetch it again")
    if record.get("format", FORMAT) != FORMAT:
        raise CheckpointError(f"the weights' file {name} has a format that this segvoc can't read; install a newer one")
    return record


def _read_pickle(path: str, name: str) -> WeightsFile:
    try:
        # Warnings of unusual pickles don't matter, what they hold does. Given a path, PyTorch would go by the suffix.
        with warnings.catch_warnings(action="ignore"), open(path, "rb") as file:
            content = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise CheckpointError(
            f"the weights' file {name} is damaged or holds code, which segvoc never runs; "
            "save its tensors alone (torch.save(model.state_dict(), ...)) or as safetensors"
        ) from None
    if not isinstance(content, Mapping):
        raise CheckpointError(f"the weights' file {name} holds a {type(content).__name__}, no tensors; take another")
    try:
        return WeightsFile(path=path, tensors=unwrap(content))
    except CheckpointError as error:
        raise CheckpointError(f"the weights' file {name} {error}") from None


def unwrap(checkpoint: Mapping[Any, object]) -> dict[str, Tensor]:
    """The weights of a published checkpoint, by name; every entry of theirs is accounted for.

    They lie under "model", "module" or "state_dict" (the first that is there), and what stands beside that is left
    out; else they lie at the top, where known companions ("optimizer", "epoch", ...) are left out. A "module." that
    begins all names, the mark of `nn.DataParallel`, is dropped.

    Raises:
        CheckpointError: some of the weights are tensors with a name, others are not (they are listed).
    """
    inner = (checkpoint.get(key) for key in _WRAPPERS)
    weights = next((found for found in inner if isinstance(found, Mapping)), None)
    if weights is None:
        weights = {key: value for key, value in checkpoint.items() if key not in _COMPANIONS}
    tensors = {
        key: value
        for key, value in weights.items()
        if isinstance(key, str) and isinstance(value, Tensor) and _is_plain(value)
    }
    if tensors and len(tensors) < len(weights):
        strange = [repr(key)[:100] for key in weights if key not in tensors]
        more = f" and {len(strange) - 10} more" if len(strange) > 10 else ""
        raise CheckpointError(f"has no weights under {', '.join(strange[:10])}{more}; save the tensors alone")
    if all(name.startswith("module.") for name in tensors):
        return {name.removeprefix("module."): value for name, value in tensors.items()}
    return tensors


def _is_plain(value: Tensor) -> bool:
    """Numbers in memory: neither sparse nor quantised, nor a shape without numbers."""
    return value.layout is torch.strided and not value.is_quantized and value.device.type == "cpu"


def write_weights(path: str | os.PathLike[str], tensors: Mapping[str, Tensor], preset: str, **record: object) -> None:
    """Write our format, atomically: safetensors whose header names the preset and what `record` tells.

    Raises:
        OutputError: the file can't be written.
    """
    header = json.dumps({"preset": preset, **record}, sort_keys=True)
    content = safetensors.torch.save(dict(_apart(tensors)), {HEADER: header})
    write_atomically(path, lambda file: file.write(content))


def _apart(tensors: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """Each tensor with a memory of its own, as safetensors wants them; parts of one tensor share it."""
    seen: set[int] = set()
    for name, value in tensors.items():
        dense = value.detach().contiguous()
        place = dense.untyped_storage().data_ptr()
        yield name, dense.clone() if place in seen else dense
        seen.add(place)
