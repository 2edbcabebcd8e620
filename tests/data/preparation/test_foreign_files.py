import os
import pickle

import h5py
import numpy as np
import pytest
import scipy.io

from segvoc.data.preparation.originals import read_matlab_array, read_pickled_index
from segvoc.errors import InputError, UsageError
from tests.data.original_files import save_matlab_73
from tests.images import one_line_error


class Command:
    """What a hostile file holds: unpickled, it would run a command."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


@pytest.mark.parametrize("protocol", [0, 2, pickle.HIGHEST_PROTOCOL])
def test_lists_and_arrays_are_read_of_every_protocol(tmp_path, protocol):
    path = tmp_path / "index.pkl"
    content = {"names": ["a", "b"], "counts": np.arange(6.0).reshape(2, 3), "objects": np.array(["a", None], object)}
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    index = read_pickled_index(path)
    assert index["names"] == ["a", "b"]
    assert index["counts"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert index["objects"].tolist() == ["a", None]


@pytest.mark.parametrize("nested", [False, True])
def test_nothing_in_a_pickle_runs(tmp_path, nested):
    path, witness = tmp_path / "index.pkl", tmp_path / "ran"
    command = Command(f"touch {witness}")
    content = {"names": np.array([command], object)} if nested else command
    path.write_bytes(pickle.dumps(content))
    with pytest.raises(UsageError, match=r"not safe to read \(it refers to posix\.system\)"):
        read_pickled_index(path)
    assert not witness.exists()


@pytest.mark.parametrize(
    "name", [("builtins", "eval"), ("numpy", "load"), ("numpy.core.multiarray", "scalar"), ("numpy", "ndarray.tofile")]
)
def test_only_what_arrays_need_can_be_named(tmp_path, name):
    path = tmp_path / "index.pkl"
    path.write_bytes(f"c{name[0]}\n{name[1]}\n.".encode())
    with pytest.raises(UsageError, match="not safe to read"):
        read_pickled_index(path)


@pytest.mark.parametrize("content", [b"", b"\x80\x04", b"no pickle", pickle.dumps([1]), pickle.dumps({"a": 1})[:-3]])
def test_damaged_indices_are_refused_in_one_line(tmp_path, content):
    path = tmp_path / "index.pkl"
    path.write_bytes(content)
    with one_line_error(UsageError, match=r"index\.pkl"):
        read_pickled_index(path)


LABELS = np.arange(12, dtype=np.uint16).reshape(3, 4) + 400


def test_both_versions_of_matlab_files_are_read(tmp_path):
    scipy.io.savemat(tmp_path / "5.mat", {"LabelMap": LABELS, "other": 1})
    save_matlab_73(tmp_path / "73.mat", LABELS)
    for name in ("5.mat", "73.mat"):
        assert (read_matlab_array(tmp_path / name, "LabelMap") == LABELS).all()


def test_damaged_matlab_files_are_named(tmp_path):
    scipy.io.savemat(tmp_path / "other.mat", {"other": LABELS})
    with h5py.File(tmp_path / "h5.mat", "w") as file:
        file["other"] = LABELS
    save_matlab_73(tmp_path / "cut73.mat", LABELS)
    scipy.io.savemat(tmp_path / "cut5.mat", {"LabelMap": LABELS})
    scipy.io.savemat(tmp_path / "text.mat", {"LabelMap": "text"})
    for name in ("cut73.mat", "cut5.mat"):
        content = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(content[: len(content) * 2 // 3])
    (tmp_path / "empty.mat").write_bytes(b"")
    for path in (*tmp_path.glob("*.mat"), tmp_path / "none.mat"):
        with one_line_error(InputError, match=path.name):
            read_matlab_array(path, "LabelMap")
