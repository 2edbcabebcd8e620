"""Weights files: our safetensors format, and published ones (safetensors, PyTorch checkpoints, TorchScript)."""

import json
import os
import pickle
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeGuard

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from segvoc.checkpoints.origins import TOKENIZER, clip_family
from segvoc.checkpoints.published import IN_FOLDERS, file_of_weights
from segvoc.checkpoints.torchscript import read_torchscript
from segvoc.errors import CheckpointError, listed, one_line
from segvoc.storage.atomic_writes import write_bytes

SCALE = ".int8_scale"
"""Name suffix of a weight's row scales."""


def pack_int8_rows(
    state: Mapping[str, Tensor], keep_fp16: Collection[str] = (), smallest: int = 4096
) -> dict[str, Tensor]:
    """Quantize weights with at least two axes and `smallest` values; others, and those in `keep_fp16`, become fp16.

    A row is the slice at one index of the first axis: w = q * scale with q in -127..127 and scale = max |row| / 127
    (fp32). Integer tensors are stored unchanged.
    """
    packed: dict[str, Tensor] = {}
    for name, weight in state.items():
        if not weight.is_floating_point():
            packed[name] = weight
        elif weight.ndim < 2 or weight.numel() < smallest or name in keep_fp16:
            packed[name] = weight.half()
        else:
            rows = weight.float().flatten(1)
            scale = rows.abs().amax(dim=1, keepdim=True).clamp(min=1e-12) / 127
            packed[name] = (rows / scale).round().to(torch.int8).view(weight.shape)
            packed[name + SCALE] = scale.squeeze(1)
    return packed


def unpack_int8_rows(packed: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Restore the state dict given to `pack_int8_rows`, in fp32 and to within half a quantization step."""
    state: dict[str, Tensor] = {}
    for name, weight in packed.items():
        if name + SCALE in packed:
            state[name] = weight.float().mul_(packed[name + SCALE].view(-1, *[1] * (weight.ndim - 1)))
        elif not name.endswith(SCALE):
            state[name] = weight.float() if weight.is_floating_point() else weight
    return state


HEADER = "segvoc"
"""Key of our entry in the safetensors metadata; its value is a JSON object with at least "preset"."""

FORMAT = 1
"""Version of that entry, under its key "format"; files without the key have version 1."""

_PICKLES = (b"PK", b"\x80")
"""First bytes of PyTorch's checkpoints, in a zip or not."""

_WRAPPERS = ("model", "module", "state_dict")
_COMPANIONS = frozenset(
    "optimizer optimizers scheduler schedulers lr_scheduler lr_schedulers iteration epoch step global_step trainer "
    "scaler amp args config hyper_parameters name version ema model_ema".split()
)


@dataclass(frozen=True, kw_only=True)
class WeightsFile:
    """The contents of a weights file."""

    path: str
    """The file, or the folder of shipped weights."""
    tensors: dict[str, Tensor]
    preset: str | None = None
    """Name of the network that the weights belong to, if segvoc wrote the file."""
    record: dict[str, Any] = field(default_factory=dict)
    """Our entry in the header: preset, origin, license, date, ..."""


def read_weights(path: str | os.PathLike[str]) -> WeightsFile:
    """Read safetensors, a checkpoint for `torch.load(weights_only=True)`, or a TorchScript archive; never runs code.

    The format is detected from the content, not the file name. Folders hold a file as saved by transformers
    (`file_of_weights`). SigLIP weights get the tokenizer beside them, if any. `CheckpointError` if the file is missing,
    damaged or not a weights file, contains code, or contains no tensors.
    """
    if os.fspath(path) and Path(path).is_dir():
        folder = Path(path)
        inside = file_of_weights(lambda name: folder / name if (folder / name).is_file() else None)
        if inside is None:
            raise CheckpointError(
                f"{str(folder)!r} is a folder; name the file of weights (it has none of {', '.join(IN_FOLDERS)})"
            )
        path = inside
    with _guarded(path) as (place, name):
        file = _read(place, name)
    if not file.tensors:
        raise CheckpointError(f"the weights' file {file.path!r} holds no tensors; use another")
    return _with_tokenizer(file)


def _with_tokenizer(file: WeightsFile) -> WeightsFile:
    """Add the tokenizer of a published SigLIP to its weights."""
    path = Path(file.path)
    tokenizer = (path if path.is_dir() else path.parent) / "tokenizer.json"
    if file.preset is not None or clip_family(file.tensors) != "SigLIP" or not tokenizer.is_file():
        return file
    try:
        content = torch.frombuffer(bytearray(tokenizer.read_bytes()), dtype=torch.uint8)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{str(tokenizer)!r} can't be read ({one_line(error)}); fetch it again") from None
    return replace(file, tensors={**file.tensors, TOKENIZER: content})


def read_header(path: str | os.PathLike[str], tensors: str | None = None) -> WeightsFile:
    """Read the header of a weights file: preset and record (see `write_weights`), both empty unless segvoc wrote it.

    Of the tensors, only those are read whose names start with `tensors`. `CheckpointError` if the file is missing,
    damaged or not a weights file.
    """
    with _guarded(path) as (place, name):
        start, is_safetensors = _start(place)
        if is_safetensors:
            return _read_safetensors(place, name, wanted=lambda key: tensors is not None and key.startswith(tensors))
        if not start.startswith(_PICKLES):
            raise CheckpointError(f"the weights' file {name} {_describe_invalid(start)}")
        return WeightsFile(path=place, tensors={})


@contextmanager
def _guarded(path: str | os.PathLike[str]) -> Iterator[tuple[str, str]]:
    """Yield a path, and its name for errors; turn any exception inside into a one-line `CheckpointError`."""
    path = os.fspath(path)
    name = repr(path)
    if path and Path(path).is_dir():
        raise CheckpointError(f"{name} is a folder; name the file of weights in it")
    if not path or not Path(path).is_file():
        raise CheckpointError(f"the weights' file {name} does not exist; check the path")
    if Path(path).stat().st_size == 0:
        raise CheckpointError(f"the weights' file {name} is empty; fetch it again")
    try:
        yield path, name
    except CheckpointError:
        raise
    except PermissionError:
        raise CheckpointError(f"the weights' file {name} can't be read: permission denied; change its mode") from None
    except Exception as error:
        # unpickling damaged data raises a dozen exception types, from struct.error to AssertionError
        raise CheckpointError(f"the weights' file {name} is damaged ({one_line(error)}); fetch it again") from None


def _start(path: str) -> tuple[bytes, bool]:
    """The first bytes of a file, and whether it is safetensors."""
    with open(path, "rb") as file:
        start = file.read(512)
    # eight bytes of header length, then JSON: neither pickles nor zips start like this
    return start, start[5:9] == b"\0\0\0{"


def _read(path: str, name: str) -> WeightsFile:
    start, is_safetensors = _start(path)
    if is_safetensors:
        return _read_safetensors(path, name)
    if start.startswith(b"PK") and (tensors := read_torchscript(path)) is not None:
        return WeightsFile(path=path, tensors=tensors)
    if start.startswith(_PICKLES):
        return _read_pickle(path, name)
    raise CheckpointError(f"the weights' file {name} {_describe_invalid(start)}")


def _describe_invalid(start: bytes) -> str:
    """Describe a file that isn't a weights file, and how to get the right one."""
    if start.startswith(b"version https://git-lfs"):
        return "is a git-lfs pointer, not the weights themselves; run `git lfs pull`, or fetch the file itself"
    if start.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        return "is a web page; fetch the file itself"
    if start[257:262] == b"ustar":
        return "is a tar archive, as only the first versions of PyTorch wrote them; save its tensors with a newer one"
    return "is damaged or not a weights file (neither safetensors nor a PyTorch file); fetch it again"


def _read_safetensors(path: str, name: str, wanted: Callable[[str], bool] = lambda key: True) -> WeightsFile:
    with safetensors.safe_open(path, framework="pt") as file:
        record = _record(file.metadata(), name)
        tensors = {key: file.get_tensor(key) for key in file.keys() if wanted(key)}
    tensors = unpack_int8_rows(tensors) if record else tensors
    return WeightsFile(path=path, tensors=tensors, preset=record.get("preset"), record=record)


def _record(metadata: Mapping[str, str] | None, name: str) -> dict[str, Any]:
    """Our entry in the metadata, or an empty dictionary."""
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
        # Warnings about unusual pickles are irrelevant here. Given a path, PyTorch would rely on the suffix.
        with warnings.catch_warnings(action="ignore"), open(path, "rb") as file:
            content = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise CheckpointError(
            f"the weights' file {name} is damaged or contains code, which segvoc never runs; "
            "save only its tensors (torch.save(model.state_dict(), ...)) or as safetensors"
        ) from None
    if not isinstance(content, Mapping):
        raise CheckpointError(f"the weights' file {name} contains a {type(content).__name__}, no tensors; use another")
    try:
        return WeightsFile(path=path, tensors=unwrap(content))
    except CheckpointError as error:
        raise CheckpointError(f"the weights' file {name} {error}") from None


def unwrap(checkpoint: Mapping[Any, object]) -> dict[str, Tensor]:
    """Extract the weights of a published checkpoint, by name, without skipping any silently.

    They are the entry "model", "module" or "state_dict" (the first that exists); otherwise the top level without other
    training state ("optimizer", "epoch", ...). The prefix "module." of `nn.DataParallel` is removed. Where some entries
    are named tensors and others are not, the error lists the latter.
    """
    inner = (checkpoint.get(key) for key in _WRAPPERS)
    weights = next((entry for entry in inner if isinstance(entry, Mapping)), None)
    if weights is None:
        weights = {key: value for key, value in checkpoint.items() if key not in _COMPANIONS}
    tensors = {key: x for key, x in weights.items() if isinstance(key, str) and _is_plain(x)}
    if tensors and len(tensors) < len(weights):
        invalid = [repr(key)[:100] for key in weights if key not in tensors]
        raise CheckpointError(f"has no weights under {listed(invalid, 10)}; save only the tensors")
    if all(name.startswith("module.") for name in tensors):
        return {name.removeprefix("module."): value for name, value in tensors.items()}
    return tensors


def _is_plain(value: object) -> TypeGuard[Tensor]:
    """Whether a value is a dense tensor, not quantized, with its values in memory."""
    if not isinstance(value, Tensor):
        return False
    return value.layout is torch.strided and not value.is_quantized and value.device.type == "cpu"


def write_weights(path: str | os.PathLike[str], tensors: Mapping[str, Tensor], preset: str, **record: object) -> None:
    """Atomically write a safetensors file whose metadata hold the preset and `record`."""
    header = json.dumps({"preset": preset, **record}, sort_keys=True)
    unshared, seen = dict[str, Tensor](), set[int]()
    for name, value in tensors.items():  # safetensors refuses views of one tensor
        dense = value.detach().contiguous()
        place = dense.untyped_storage().data_ptr()
        unshared[name] = dense.clone() if place in seen else dense
        seen.add(place)
    write_bytes(path, safetensors.torch.save(unshared, {HEADER: header}))
