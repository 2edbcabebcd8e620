"""The file of taught words: safetensors, written and read without its library, which the base doesn't need."""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np

from segvoc.errors import CheckpointError
from segvoc.storage.atomic_writes import write_atomically

TAUGHT_HEADER = "segvoc_taught"
"""Key of our entry in the safetensors metadata; its value is a JSON object."""

LARGEST_HEADER = 1 << 26
"""Bytes of the largest header that is read."""

_TYPES = {"F32": np.dtype("<f4"), "F16": np.dtype("<f2")}


def write_taught_file(
    path: str | os.PathLike[str], record: Mapping[str, object], arrays: Mapping[str, np.ndarray]
) -> None:
    """Write arrays of float32 or float16 with a record; equal contents give equal bytes.

    Raises:
        OutputError: the file can't be written.
    """
    names = {dtype: name for name, dtype in _TYPES.items()}
    entries: dict[str, object] = {
        # not sorted: the order of the channels is that of the arrays' columns
        "__metadata__": {TAUGHT_HEADER: json.dumps(record, ensure_ascii=False)}
    }
    ends = np.cumsum([array.nbytes for array in arrays.values()]).tolist()
    for (name, array), end in zip(arrays.items(), ends, strict=True):
        offsets = [end - array.nbytes, end]
        entries[name] = {"dtype": names[array.dtype], "shape": list(array.shape), "data_offsets": offsets}
    header = json.dumps(entries, ensure_ascii=False).encode()
    header += b" " * (-len(header) % 8)

    def write(file: BinaryIO) -> None:
        file.write(len(header).to_bytes(8, "little") + header)
        for array in arrays.values():
            file.write(np.ascontiguousarray(array).tobytes())

    write_atomically(path, write)


def read_taught_file(path: str | os.PathLike[str]) -> tuple[dict[str, object], dict[str, np.ndarray]]:
    """Read the record and the arrays of a file.

    Raises:
        CheckpointError: the file is missing, damaged, or no file of taught words.
    """
    name = os.fspath(path)
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise CheckpointError(f"the taught words {name!r} can't be read: {error.strerror}; check the path") from None
    length = int.from_bytes(content[:8], "little")
    if len(content) < 8 or not 0 < length <= min(LARGEST_HEADER, len(content) - 8):
        raise _foreign(name)
    try:
        entries = json.loads(content[8 : 8 + length])
        record = json.loads(entries.pop("__metadata__")[TAUGHT_HEADER])
        shapes = {
            key: (_TYPES[one["dtype"]], tuple(one["shape"]), *one["data_offsets"]) for key, one in entries.items()
        }
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise _foreign(name) from None
    if not isinstance(record, dict):
        raise _foreign(name)
    data, arrays = content[8 + length :], {}
    for key, (dtype, shape, start, end) in shapes.items():
        whole = all(isinstance(side, int) and side >= 0 for side in (*shape, start, end))
        if not whole or end - start != math.prod(shape) * dtype.itemsize or end > len(data):
            raise CheckpointError(
                f"the taught words {name!r} are cut off or damaged; copy the file again, or teach again"
            )
        arrays[key] = np.frombuffer(data[start:end], dtype).reshape(shape).copy()  # writable, for tensors
        if not np.isfinite(arrays[key]).all():
            raise CheckpointError(f"the taught words {name!r} have numbers that are not finite; teach them again")
    return record, arrays


def _foreign(name: str) -> CheckpointError:
    return CheckpointError(f"{name!r} is no file of taught words, or a damaged one; `segvoc teach` writes them")
