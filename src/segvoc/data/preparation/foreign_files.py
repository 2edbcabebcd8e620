"""Files that other programs wrote: MATLAB's arrays, and a pickle from which nothing may run."""

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
"""What a pickle of dictionaries, lists and numeric arrays needs; none of these runs what the file says."""


class _HarmlessUnpickler(pickle.Unpickler):
    def find_class(self, module_name: str, global_name: str) -> Any:
        if (module_name, global_name) not in _HARMLESS:
            raise pickle.UnpicklingError(f"it asks for {module_name}.{global_name}")
        return super().find_class(module_name.replace("numpy.core", "numpy._core"), global_name)


def read_pickled_index(path: Path) -> dict[str, Any]:
    """A pickled dictionary of lists and arrays, read so that nothing in it can run.

    Raises: UsageError: it can't be read, is damaged, or asks for anything else.
    """
    try:
        content = _HarmlessUnpickler(io.BytesIO(path.read_bytes())).load()
    except OSError as error:
        raise UsageError(f"{str(path)!r} can't be read: {error.strerror}; check its permissions") from None
    except Exception as error:
        # damaged pickles raise nearly anything, from EOFError to UnicodeDecodeError
        raise UsageError(
            f"{str(path)!r} is no index that can be trusted ({one_line(error)}); download it again from its own page"
        ) from None
    if not isinstance(content, dict):
        raise UsageError(f"{str(path)!r} holds a {type(content).__name__}, not a dictionary; download it again")
    return content


def read_matlab_array(path: Path, variable: str) -> np.ndarray:
    """A matrix of a MATLAB file, of version 5 or 7.3 (which is HDF5).

    Raises:
        InputError: the file can't be read, or has no such matrix.
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
        # both libraries raise many kinds of exceptions on damaged data
        raise InputError(
            f"{str(path)!r} can't be read as a MATLAB file with {variable!r} ({one_line(error)}); unpack it again"
        ) from None
    if array.ndim != 2 or array.dtype.kind not in "uif":
        raise InputError(f"{variable!r} of {str(path)!r} is no matrix of numbers; unpack it again")
    return array


def _read_hdf5(path: Path, variable: str) -> np.ndarray:
    try:
        import h5py
    except ImportError:
        raise missing_extra("h5py", "benchmarks") from None
    with h5py.File(path, "r") as content:
        # MATLAB's columns are HDF5's rows
        return np.asarray(content[variable]).T


def _read_version_5(path: Path, variable: str) -> np.ndarray:
    try:
        from scipy.io import loadmat
    except ImportError:
        raise missing_extra("scipy", "benchmarks") from None
    return np.asarray(loadmat(path, variable_names=[variable])[variable])
