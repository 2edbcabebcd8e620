"""Files in the formats of other programs: MATLAB arrays, and pickles, which are read without running any code."""

import io
import pickle
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
    return np.asarray(loadmat(path, variable_names=[variable])[variable])
