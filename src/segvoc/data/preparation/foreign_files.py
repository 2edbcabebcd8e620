"""Files in the formats of other programs: MATLAB arrays, and pickles, which are read without running any code."""

import io
import pickle
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from segvoc.errors import InputError, UsageError, missing_extra, one_line

_HARMLESS = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy._core.numeric", "_frombuffer"),
    ("_codecs", "encode"),  # how Python 3 writes bytes in protocol 2
}
"""The globals that a pickle of dictionaries, lists and numeric arrays needs; none of them runs code from the file."""


class _HarmlessUnpickler(pickle.Unpickler):
    def find_class(self, module_name: str, global_name: str) -> Any:
        if (module_name, global_name) not in _HARMLESS:
            raise pickle.UnpicklingError(f"it asks for {module_name}.{global_name}")
        return super().find_class(module_name.replace("numpy.core", "numpy._core"), global_name)


def read_pickled_index(path: Path) -> dict[str, Any]:
    """Read a pickled dictionary of lists and arrays, without running any code from it.

    Raises:
        UsageError: the file can't be read, is damaged, or refers to anything but dictionaries, lists and arrays.
    """
    try:
        content = _HarmlessUnpickler(io.BytesIO(path.read_bytes())).load()
    except OSError as error:
        raise UsageError(f"{str(path)!r} can't be read: {error.strerror}; check its permissions") from None
    except Exception as error:
        # damaged pickles raise almost any exception, from EOFError to UnicodeDecodeError
        raise UsageError(
            f"{str(path)!r} is damaged or not safe to read ({one_line(error)}); download it again from its page"
        ) from None
    if not isinstance(content, dict):
        raise UsageError(f"{str(path)!r} contains a {type(content).__name__}, not a dictionary; download it again")
    return content


def read_matlab_array(path: Path, variable: str) -> np.ndarray:
    """Read a matrix from a MATLAB file of version 5 or 7.3 (which is HDF5).

    Returns:
        The matrix, shape (rows, columns).

    Raises:
        InputError: the file can't be read, or doesn't contain the matrix.
        UsageError: scipy or h5py, which read these files, is not installed.
    """
    try:
        with path.open("rb") as file:
            header = file.read(128)
        is_hdf5 = header.startswith(b"MATLAB 7.3") or b"\x89HDF" in header
        array = _read_hdf5(path, variable) if is_hdf5 else _read_version_5(path, variable)
    except UsageError:
        raise
    except Exception as error:
        # both libraries raise many different exceptions on damaged files
        raise InputError(
            f"{str(path)!r} can't be read as a MATLAB file with {variable!r} ({one_line(error)}); unpack it again"
        ) from None
    if array.ndim != 2 or array.dtype.kind not in "uif":
        raise InputError(f"{variable!r} in {str(path)!r} is not a matrix of numbers; unpack it again")
    return array


def _read_hdf5(path: Path, variable: str) -> np.ndarray:
    try:
        import h5py
    except ImportError:
        raise missing_extra("h5py", "benchmarks") from None
    with h5py.File(path, "r") as content:
        # MATLAB stores arrays column by column, HDF5 row by row
        return np.asarray(content[variable]).T


def _read_version_5(path: Path, variable: str) -> np.ndarray:
    try:
        from scipy.io import loadmat
    except ImportError:
        raise missing_extra("scipy", "benchmarks") from None
    _check_version_5(path, variable)
    return np.asarray(loadmat(path, variable_names=[variable])[variable])


_COMPRESSED = 15
_NUMBER_CLASSES = range(6, 16)
_NUMBER_TYPES = (1, 2, 3, 4, 5, 6, 7, 9, 12, 13)
_HEADER_BYTES = 4096
"""More than a matrix's flags, sizes, name and the tag of its values take."""


def _check_version_5(path: Path, variable: str) -> None:
    """Check the tags of a matrix: scipy 1.17 looks an unknown type up outside of its tables, which ends the process.

    Raises:
        ValueError: there is no such matrix, or it isn't one of real numbers.
    """
    is_found = False
    with path.open("rb") as file:
        start = file.read(128)
        if 0 in start[:4]:
            raise ValueError("it is of version 4")
        order = "<" if start[126:] == b"IM" else ">"
        while len(tag := file.read(8)) == 8:
            kind, size = struct.unpack(f"{order}II", tag)
            end = file.tell() + size
            header = file.read(min(size, _HEADER_BYTES))
            if kind == _COMPRESSED:
                header = zlib.decompressobj().decompress(header, _HEADER_BYTES)[8:]
            elements = _elements(header, order)
            (_, flags), _, (_, name), (value_type, _) = (next(elements, (0, b"")) for _ in range(4))
            if name == variable.encode():
                (bits,) = struct.unpack(f"{order}I", flags[:4])
                is_found, is_complex = True, bits & 0x800
                if bits & 255 not in _NUMBER_CLASSES or is_complex or value_type not in _NUMBER_TYPES:
                    raise ValueError(f"{variable} is no matrix of real numbers")
            file.seek(end)
    if not is_found:
        raise ValueError(f"it has no matrix {variable}")


def _elements(content: bytes, order: str) -> Iterator[tuple[int, bytes]]:
    """Type and content of each element inside a matrix; short ones have both in the eight bytes of their tag."""
    at = 0
    while at + 8 <= len(content):
        kind, size = struct.unpack_from(f"{order}II", content, at)
        is_short = kind > 0xFFFF
        if is_short:
            kind, size = kind & 0xFFFF, kind >> 16
        start = at + (4 if is_short else 8)
        yield kind, content[start : start + size]
        at = at + 8 if is_short else start + (size + 7) // 8 * 8
