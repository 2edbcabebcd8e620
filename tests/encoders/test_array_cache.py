"""Arrays kept on disk: shared by processes, and never wrong, whatever happens to the file."""

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from segvoc.encoders import word_encoder
from segvoc.encoders.word_encoder import ArrayCache


def _arrays(*names: str) -> dict[str, np.ndarray]:
    return {name: np.random.default_rng(ord(name)).standard_normal((2, 3), np.float32) for name in names}


def _same(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> bool:
    return found.keys() == expected.keys() and all(
        array.dtype == np.float32 and np.array_equal(array, expected[key]) for key, array in found.items()
    )


def test_arrays_come_back_to_the_bit(tmp_path: Path) -> None:
    store = ArrayCache(tmp_path / "new" / "folder" / "arrays.sqlite")
    assert store.read(["a"]) == {}
    assert not store.path.parent.exists()
    special = {"special": np.array([[np.nan, np.inf, -0.0, 1e-45]], np.float32), "empty": np.zeros((0, 4), np.float32)}
    store.add(_arrays("a", "b"))
    store.add(special)
    assert _same(store.read(["b", "a", "c"]), _arrays("a", "b"))
    found = store.read(["special", "empty"])
    assert found["special"].tobytes() == special["special"].tobytes()
    assert found["empty"].shape == (0, 4)
    found["special"][0] = 1  # not a view of anything read-only


def test_processes_write_at_once(tmp_path: Path) -> None:
    code = """
import sys, numpy as np
from pathlib import Path
from segvoc.encoders.word_encoder import ArrayCache
store = ArrayCache(Path(sys.argv[1]))
for number in range(20):
    store.add({f"{sys.argv[2]}-{number}": np.full((1, 2), number, np.float32)})
"""
    path = tmp_path / "arrays.sqlite"
    processes = [subprocess.Popen([sys.executable, "-c", code, path, str(number)]) for number in range(3)]
    assert [process.wait() for process in processes] == [0, 0, 0]
    found = ArrayCache(path).read(f"{process}-{number}" for process in range(3) for number in range(20))
    assert len(found) == 60
    assert all(array[0, 0] == int(key.split("-")[1]) for key, array in found.items())


def test_damage_anywhere_is_recomputed(tmp_path: Path) -> None:
    """Whichever bytes are overwritten, what is read is right or missing, and the file can be used again."""
    arrays = {str(number): np.full((8, 16), number + 0.25, np.float32) for number in range(40)}
    path, lost = tmp_path / "arrays.sqlite", 0
    ArrayCache(path).add(arrays)
    whole = path.read_bytes()
    for start in range(0, len(whole), max(1, len(whole) // 60)):
        path.write_bytes(whole[:start] + os.urandom(24) + whole[start + 24 :])
        store = ArrayCache(path)
        found = store.read(arrays)
        assert all(np.array_equal(array, arrays[key]) for key, array in found.items())
        lost += len(found) < len(arrays)
        store.add(arrays)
        if len(store.read(arrays)) < len(arrays):  # what was damaged came to light only now
            store.add(arrays)
        assert _same(store.read(arrays), arrays)
    assert lost > 10


def test_file_that_is_locked_for_too_long_costs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(word_encoder, "_WAIT", 0.01)
    store = ArrayCache(tmp_path / "arrays.sqlite")
    store.add(_arrays("a"))
    with closing(sqlite3.connect(store.path)) as other:
        other.execute("begin exclusive")
        store.add(_arrays("b"))
        assert store.read(["a"]) == {}
    assert _same(store.read(["a", "b"]), _arrays("a"))


def test_file_above_the_maximum_size_starts_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = ArrayCache(tmp_path / "arrays.sqlite")
    store.add(_arrays("a"))
    monkeypatch.setattr(word_encoder, "LARGEST_FILE", store.path.stat().st_size)
    store.add(_arrays("b"))
    assert _same(store.read(["a", "b"]), _arrays("a", "b"))
    monkeypatch.setattr(word_encoder, "LARGEST_FILE", store.path.stat().st_size - 1)
    store.add(_arrays("c"))
    monkeypatch.setattr(word_encoder, "LARGEST_FILE", store.path.stat().st_size)
    assert _same(store.read(["a", "b", "c"]), _arrays("c"))
