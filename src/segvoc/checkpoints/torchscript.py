"""Reading tensors from TorchScript archives, in which OpenAI publishes CLIP, without running any of their code.

An archive is a zip of `NAME/data.pkl` (a pickle that builds the module tree), `NAME/data/KEY` (raw values) and
`NAME/code/` (source code of the classes). The pickle is treated as data: only opcodes that PyTorch itself writes are
accepted, every object and tensor becomes an inert record, and names are only looked up in the table in this file. The
source code is searched for the names of each class's parameters and buffers, but never compiled.
"""

import io
import math
import os
import pickle
import pickletools
import re
import zipfile
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from segvoc.errors import CheckpointError, one_line

_MARK = "/constants.pkl"  # a record that TorchScript archives have and other PyTorch files lack
_ROOM = 64 << 20  # limit on the unpacked size of pickle and code, in bytes
_MAX_ATTRIBUTES = 200_000
_MAX_NAME = 1000  # characters; bounds the depth of the tree and ends cycles
_STEPS = frozenset(
    "PROTO STOP GLOBAL REDUCE NEWOBJ BUILD BINPERSID MARK NONE NEWTRUE NEWFALSE BININT BININT1 BININT2 LONG1 BINFLOAT "
    "BINUNICODE BINPUT LONG_BINPUT BINGET LONG_BINGET EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_LIST APPEND APPENDS "
    "EMPTY_DICT SETITEM SETITEMS".split()
)
_CLASS = re.compile(
    r"^class (\w+)\(Module\):\n  __parameters__ = \[(.*)\]\n(?:  __buffers__ = \[(.*)\]\n)?", re.MULTILINE
)


def is_torchscript(path: str | os.PathLike[str]) -> bool:
    """Whether a file is a TorchScript archive; False for a damaged zip.

    Raises:
        OSError: The file can't be read.
    """
    try:
        with zipfile.ZipFile(path) as file:
            return _prefix(file.namelist()) is not None
    except (zipfile.BadZipFile, NotImplementedError, ValueError):
        return False


def read_torchscript(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """Parameters and buffers by name, as in `torch.jit.load(path).state_dict()`, on the CPU.

    Raises:
        CheckpointError: The archive is damaged, lacks records, needs more than tensors and plain values, or declares
            sizes that don't match its contents.
    """
    name = repr(os.fspath(path))
    try:
        with zipfile.ZipFile(path) as file:
            archive = _Archive(file, os.path.getsize(path))
            return dict(_named_tensors(_read_tree(archive.read("data.pkl")), archive))
    except CheckpointError as error:
        raise CheckpointError(f"the TorchScript archive {name} {error}") from None
    except Exception as error:
        # zipfile and pickle raise a dozen exception types on damaged data
        raise CheckpointError(
            f"the TorchScript archive {name} is damaged ({one_line(error)}); fetch it again"
        ) from None


def _prefix(records: list[str]) -> str | None:
    """The folder that contains all records of a TorchScript archive."""
    return next((name[: -len(_MARK)] for name in records if name.endswith(_MARK) and name.count("/") == 1), None)


class _Archive:
    """Checked access to the records of an archive, which never unpacks more than the file size justifies."""

    def __init__(self, file: zipfile.ZipFile, size: int) -> None:
        prefix = _prefix(file.namelist())
        if prefix is None:
            raise CheckpointError(f"has no record {_MARK[1:]}, so it isn't TorchScript; give another file")
        self.file = file
        self.records = {info.filename.removeprefix(f"{prefix}/"): info for info in file.infolist()}
        self.code_left, self.values_left = _ROOM, size
        self.values: dict[str, Tensor] = {}
        self.state_names: dict[str, frozenset[str] | None] = {}
        if "byteorder" in self.records and self.read("byteorder") != b"little":
            raise CheckpointError("was written on a big-endian machine; save it on another")

    def _record(self, name: str) -> zipfile.ZipInfo:
        if name not in self.records:
            raise CheckpointError(f"lacks its record {name[:100]!r}; fetch it again")
        return self.records[name]

    def read(self, name: str) -> bytes:
        """Read a record with a pickle or code."""
        record = self._record(name)
        self.code_left -= record.file_size
        if self.code_left < 0:
            raise CheckpointError(f"unpacks to more than {_ROOM >> 20} MiB beside its tensors; use another file")
        return self.file.read(record)

    def read_values(self, key: str, expected: int) -> Tensor:
        """Read the bytes of a storage, once for all tensors that share it; PyTorch never compresses them."""
        record = self._record(f"data/{key}")
        if record.file_size != expected:
            raise CheckpointError(
                f"has {record.file_size} bytes in {key[:100]!r} instead of the declared {expected}; fetch it again"
            )
        if key not in self.values:
            self.values_left -= expected
            if record.compress_type != zipfile.ZIP_STORED or self.values_left < 0:
                raise CheckpointError("unpacks to tensors larger than the file; use another file")
            values = bytearray(self.file.read(record))
            self.values[key] = torch.frombuffer(values or bytearray(8), dtype=torch.uint8)[:expected]
        return self.values[key]

    def names_of_state(self, qualified: str) -> frozenset[str] | None:
        """Names of the parameters and buffers of a class; None if the archive is too old to list buffers."""
        if qualified not in self.state_names:
            module, _, name = qualified.rpartition(".")
            source = self.read(f"code/{module.replace('.', '/')}.py").decode()
            found = next((found for found in _CLASS.finditer(source) if found[1] == name), None)
            if found is None:
                raise CheckpointError(f"lacks the class {qualified[:100]!r}; fetch it again")
            listed = None if found[3] is None else frozenset(re.findall(r'"(.*?)"', f"{found[2]} {found[3]}"))
            self.state_names[qualified] = listed
        return self.state_names[qualified]


class _StorageRecord(NamedTuple):
    """A storage as the pickle describes it, untrusted until `_tensor` has checked it."""

    tag: object
    dtype: Any
    key: Any
    location: object
    count: Any


class _TensorRecord(NamedTuple):
    """A tensor as the pickle describes it, untrusted until `_tensor` has checked it."""

    storage: Any
    offset: Any
    size: Any
    stride: Any


class _ScriptObject:
    """An object of one of the archive's classes, of which only the name is known."""

    qualified = ""
    attributes: Mapping[Any, Any] = MappingProxyType({})

    def __setstate__(self, state: dict[Any, Any]) -> None:
        self.attributes = state


class _RebuildTensor:
    # Instances instead of functions: a pickle could set attributes of functions, but not of objects with empty slots.
    __slots__ = ()

    def __call__(self, storage: object, offset: object, size: object, stride: object, *_: object) -> _TensorRecord:
        return _TensorRecord(storage, offset, size, stride)


class _Same:
    __slots__ = ()

    def __call__(self, value: object, *_: object) -> object:
        return value


_KNOWN: dict[tuple[str, str], object] = {
    ("collections", "OrderedDict"): dict,
    ("torch", "device"): _Same(),
    ("torch._utils", "_rebuild_tensor_v2"): _RebuildTensor(),
    ("torch._utils", "_rebuild_parameter"): _Same(),
    ("torch.jit._pickle", "build_intlist"): _Same(),
    ("torch.jit._pickle", "build_tensorlist"): _Same(),
    ("torch.jit._pickle", "build_doublelist"): _Same(),
    ("torch.jit._pickle", "build_boollist"): _Same(),
    ("torch.jit._pickle", "restore_type_tag"): _Same(),
    ("torch", "DoubleStorage"): torch.float64,
    ("torch", "FloatStorage"): torch.float32,
    ("torch", "HalfStorage"): torch.float16,
    ("torch", "BFloat16Storage"): torch.bfloat16,
    ("torch", "LongStorage"): torch.int64,
    ("torch", "IntStorage"): torch.int32,
    ("torch", "ShortStorage"): torch.int16,
    ("torch", "CharStorage"): torch.int8,
    ("torch", "ByteStorage"): torch.uint8,
    ("torch", "BoolStorage"): torch.bool,
}


class _Unpickler(pickle.Unpickler):
    """Builds plain values, `_ScriptObject`s and the two record types; imports nothing."""

    def find_class(self, module: str, name: str, /) -> object:
        if module == "__torch__" or module.startswith("__torch__."):
            return type("_Named", (_ScriptObject,), {"qualified": f"{module}.{name}"})
        if (module, name) not in _KNOWN:
            qualified = f"{module}.{name}"[:100]
            raise CheckpointError(
                f"contains code ({qualified!r}), which segvoc never runs; use a file of plain tensors"
            )
        return _KNOWN[module, name]

    def persistent_load(self, pid: Any, /) -> _StorageRecord:
        return _StorageRecord(*pid)


def _read_tree(program: bytes) -> object:
    """Build the tree in a pickle after checking that PyTorch writes all of its opcodes."""
    for step, argument, _ in pickletools.genops(program):
        if step.name not in _STEPS:
            raise CheckpointError(f"is pickled in a way that PyTorch does not use ({step.name}); use another file")
        if step.name == "LONG_BINPUT" and (argument or 0) > len(program):  # would allocate that much memory
            raise CheckpointError("is damaged (an invalid index in its pickle); fetch it again")
    return _Unpickler(io.BytesIO(program)).load()


def _named_tensors(root: object, archive: _Archive) -> Iterator[tuple[str, Tensor]]:
    if not isinstance(root, _ScriptObject):
        raise CheckpointError("contains no module; give another file")
    pending, seen = [("", root)], 0
    while pending:
        prefix, module = pending.pop()
        listed = archive.names_of_state(module.qualified)
        for name, value in module.attributes.items():
            seen += 1
            if not isinstance(name, str) or "." in name:
                raise CheckpointError("has an attribute without a name; use another file")
            if seen > _MAX_ATTRIBUTES or len(prefix) + len(name) > _MAX_NAME:
                raise CheckpointError("nests its modules too deeply or in a cycle; use another file")
            if isinstance(value, _ScriptObject):
                pending.append((f"{prefix}{name}.", value))
            elif isinstance(value, _TensorRecord) and (listed is None or name in listed):
                yield prefix + name, _tensor(prefix + name, value, archive)


def _tensor(name: str, record: _TensorRecord, archive: _Archive) -> Tensor:
    _, offset, size, stride = record
    tag, dtype, key, _, count = record.storage
    numbers = (count, offset, *size, *stride)
    is_invalid = tag != "storage" or not isinstance(dtype, torch.dtype) or not isinstance(key, str)
    if is_invalid or len(size) != len(stride) or not all(type(number) is int and number >= 0 for number in numbers):
        raise CheckpointError(f"has an invalid tensor {name[:100]!r}; use another file")
    elements = math.prod(size)
    end = offset + sum((extent - 1) * step for extent, step in zip(size, stride, strict=True)) + 1
    if elements > count or (elements and end > count):
        raise CheckpointError(f"has a tensor {name[:100]!r} that reaches outside its values; fetch it again")
    return archive.read_values(key, count * dtype.itemsize).view(dtype).as_strided(size, stride, offset)
