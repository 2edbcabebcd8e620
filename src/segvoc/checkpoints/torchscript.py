"""Reading tensors from TorchScript archives, in which OpenAI publishes CLIP, without running any of their code.

An archive is a zip of `NAME/data.pkl` (a pickle that builds the module tree), `NAME/data/KEY` (raw values) and source
code, which is never read. The pickle is treated as data: only opcodes that PyTorch itself writes are accepted, objects
and tensors become inert records, and names are only looked up in the table in this file.
"""

import io
import math
import os
import pickle
import pickletools
import zipfile
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from segvoc.errors import CheckpointError, one_line

_MARK = "/constants.pkl"  # a record that TorchScript archives have and other PyTorch files lack
_ROOM = 64 << 20  # limit on the unpacked size of the pickle, in bytes
_MAX_ATTRIBUTES = 200_000
_MAX_NAME = 1000  # characters; bounds the depth of the tree and ends cycles
_STEPS = frozenset(
    "PROTO STOP GLOBAL REDUCE NEWOBJ BUILD BINPERSID MARK NONE NEWTRUE NEWFALSE BININT BININT1 BININT2 LONG1 BINFLOAT "
    "BINUNICODE BINPUT LONG_BINPUT BINGET LONG_BINGET EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_LIST APPEND APPENDS "
    "EMPTY_DICT SETITEM SETITEMS".split()
)


def read_torchscript(path: str | os.PathLike[str]) -> dict[str, Tensor] | None:
    """Parameters, buffers and other tensors of the modules by name, on the CPU; None for other files and damaged zips.

    `CheckpointError` if the archive is damaged, lacks records, needs more than tensors and plain values, or declares
    sizes that don't match its contents.
    """
    name = repr(os.fspath(path))
    try:
        file = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, NotImplementedError, ValueError):
        return None
    with file:
        marks = (one for one in file.namelist() if one.endswith(_MARK) and one.count("/") == 1)
        if (mark := next(marks, None)) is None:
            return None
        try:
            archive = _Archive(file, mark.removesuffix(_MARK))
            return dict(_named_tensors(_read_tree(archive.read_pickle()), archive))
        except CheckpointError as error:
            raise CheckpointError(f"the TorchScript archive {name} {error}") from None
        except Exception as error:
            # zipfile and pickle raise a dozen exception types on damaged data
            raise CheckpointError(
                f"the TorchScript archive {name} is damaged ({one_line(error)}); fetch it again"
            ) from None


class _Archive:
    """Checked access to the records of an archive, which never unpacks more than the file size justifies."""

    def __init__(self, file: zipfile.ZipFile, folder: str) -> None:
        self.file = file
        self.records = {info.filename.removeprefix(f"{folder}/"): info for info in file.infolist()}
        self.values: dict[str, Tensor] = {}

    def _record(self, name: str) -> zipfile.ZipInfo:
        if name not in self.records:
            raise CheckpointError(f"lacks its record {name[:100]!r}; fetch it again")
        return self.records[name]

    def read_pickle(self) -> bytes:
        record = self._record("data.pkl")
        if record.file_size > _ROOM:
            raise CheckpointError(f"has a pickle of more than {_ROOM >> 20} MiB beside its tensors; use another file")
        return self.file.read(record)

    def read_values(self, key: str, expected: int) -> Tensor:
        """Read the bytes of a storage, once for all tensors that share it; PyTorch never compresses them."""
        record = self._record(f"data/{key}")
        if record.file_size != expected:
            raise CheckpointError(
                f"has {record.file_size} bytes in {key[:100]!r} instead of the declared {expected}; fetch it again"
            )
        if record.compress_type != zipfile.ZIP_STORED:
            raise CheckpointError("unpacks to tensors larger than the file; use another file")
        if key not in self.values:
            values = bytearray(self.file.read(record))
            self.values[key] = torch.frombuffer(values or bytearray(8), dtype=torch.uint8)[:expected]
        return self.values[key]


class _TensorRecord(tuple[Any, ...]):
    """Storage, offset, size and stride as the pickle has them, untrusted until `_tensor` has checked them."""


class _Object:
    """An object of one of the archive's classes."""

    attributes: Mapping[Any, Any] = MappingProxyType({})

    def __setstate__(self, state: dict[Any, Any]) -> None:
        self.attributes = state


class _RebuildTensor:
    # Instances instead of functions: a pickle could set attributes of functions, but not of objects with empty slots.
    __slots__ = ()

    def __call__(self, storage: object, offset: object, size: object, stride: object, *_: object) -> _TensorRecord:
        return _TensorRecord((storage, offset, size, stride))


class _Same:
    __slots__ = ()

    def __call__(self, value: object, *_: object) -> object:
        return value


_INERT = ("build_intlist", "build_tensorlist", "build_doublelist", "build_boollist", "restore_type_tag")
_STORAGES = {
    "Double": torch.float64,
    "Float": torch.float32,
    "Half": torch.float16,
    "BFloat16": torch.bfloat16,
    "Long": torch.int64,
    "Int": torch.int32,
    "Short": torch.int16,
    "Char": torch.int8,
    "Byte": torch.uint8,
    "Bool": torch.bool,
}
_KNOWN: dict[tuple[str, str], object] = {
    ("collections", "OrderedDict"): dict,
    ("torch", "device"): _Same(),
    ("torch._utils", "_rebuild_tensor_v2"): _RebuildTensor(),
    ("torch._utils", "_rebuild_parameter"): _Same(),
    **{("torch.jit._pickle", name): _Same() for name in _INERT},
    **{("torch", f"{kind}Storage"): dtype for kind, dtype in _STORAGES.items()},
}


class _Unpickler(pickle.Unpickler):
    """Builds plain values, `_Object`s and tensor records; imports nothing."""

    def find_class(self, module: str, name: str, /) -> object:
        if module == "__torch__" or module.startswith("__torch__."):
            return _Object
        if (module, name) not in _KNOWN:
            qualified = f"{module}.{name}"[:100]
            raise CheckpointError(
                f"contains code ({qualified!r}), which segvoc never runs; use a file of plain tensors"
            )
        return _KNOWN[module, name]

    def persistent_load(self, pid: Any, /) -> Any:
        return pid


def _read_tree(program: bytes) -> object:
    """Build the tree in a pickle after checking that PyTorch writes all of its opcodes."""
    for step, argument, _ in pickletools.genops(program):
        if step.name not in _STEPS:
            raise CheckpointError(f"is pickled in a way that PyTorch does not use ({step.name}); use another file")
        if step.name == "LONG_BINPUT" and (argument or 0) > len(program):  # would allocate that much memory
            raise CheckpointError("is damaged (an invalid index in its pickle); fetch it again")
    return _Unpickler(io.BytesIO(program)).load()


def _named_tensors(root: object, archive: _Archive) -> Iterator[tuple[str, Tensor]]:
    if not isinstance(root, _Object):
        raise CheckpointError("contains no module; give another file")
    pending, seen = [("", root)], 0
    while pending:
        prefix, module = pending.pop()
        for name, value in module.attributes.items():
            seen += 1
            if not isinstance(name, str) or "." in name:
                raise CheckpointError("has an attribute without a name; use another file")
            if seen > _MAX_ATTRIBUTES or len(prefix) + len(name) > _MAX_NAME:
                raise CheckpointError("nests its modules too deeply or in a cycle; use another file")
            if isinstance(value, _Object):
                pending.append((f"{prefix}{name}.", value))
            elif isinstance(value, _TensorRecord):
                yield prefix + name, _tensor(prefix + name, value, archive)


def _tensor(name: str, record: _TensorRecord, archive: _Archive) -> Tensor:
    storage, offset, size, stride = record
    tag, dtype, key, _, count = storage
    numbers = (count, offset, *size, *stride)
    is_invalid = tag != "storage" or not isinstance(dtype, torch.dtype) or not isinstance(key, str)
    if is_invalid or len(size) != len(stride) or not all(type(number) is int and number >= 0 for number in numbers):
        raise CheckpointError(f"has an invalid tensor {name[:100]!r}; use another file")
    elements = math.prod(size)
    end = offset + sum((extent - 1) * step for extent, step in zip(size, stride, strict=True)) + 1
    if elements > count or (elements and end > count):
        raise CheckpointError(f"has a tensor {name[:100]!r} that reaches outside its values; fetch it again")
    return archive.read_values(key, count * dtype.itemsize).view(dtype).as_strided(size, stride, offset)
