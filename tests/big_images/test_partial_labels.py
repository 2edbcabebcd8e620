"""What is kept on disk of an image that is being labeled."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from segvoc.big_images import PartialLabels
from segvoc.errors import UsageError
from segvoc.imaging.label_maps import UNLABELED
from segvoc.inference.reports import LabelStatistics

IMAGE: dict[str, Any] = {"key": {"tile": 4}, "image": (10, 20), "size": (10, 6), "classes": 3}


def _labels(rows: int, seed: int = 0) -> np.ndarray:
    labels = np.random.default_rng(seed).integers(0, 4, (rows, 6)).astype(np.uint16)
    labels[labels == 3] = UNLABELED
    return labels


def _add(partial: PartialLabels, stop: int, labels: np.ndarray) -> None:
    partial.add_row(stop, labels, LabelStatistics.of(labels, np.full(labels.shape, 0.3, np.float32)), 1.5)


def _open(out: Path, **changed: Any) -> PartialLabels:
    return PartialLabels(out, "sub/scene", **IMAGE | {"resume": True} | changed)


@pytest.mark.parametrize("classes", [3, 300])
def test_rows_come_back(tmp_path: Path, classes: int) -> None:
    first, second = _labels(4), _labels(6, seed=1)
    with _open(tmp_path, classes=classes) as partial:
        assert partial.is_new
        partial.begin((0, 2))
        _add(partial, 4, first)
    with _open(tmp_path, classes=classes) as partial:
        assert (partial.is_new, partial.rows, partial.selected, partial.seconds) == (False, 1, (0, 2), 1.5)
        _add(partial, 10, second)
        whole = np.concatenate([first, second])
        np.testing.assert_array_equal(partial.reduced(10, 6), whole)
        np.testing.assert_array_equal(partial.reduced(5, 2), whole[1::2][:, [1, 4]])
        stored = np.concatenate([values for _, values in partial.bands()])
        np.testing.assert_array_equal(stored, whole.astype(np.uint16 if classes == 300 else np.uint8))
        whole_statistics = LabelStatistics.of(whole, np.full(whole.shape, 0.3, np.float32))
        np.testing.assert_array_equal(partial.statistics.pixels, whole_statistics.pixels)
        np.testing.assert_allclose(partial.statistics.confidence, whole_statistics.confidence)
    partial.remove()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("changed", [{"image": (11, 20)}, {"image": None}, {"size": (12, 6)}, {"resume": False}])
def test_another_image_begins_anew(tmp_path: Path, changed: dict[str, Any]) -> None:
    with _open(tmp_path) as partial:
        partial.begin(None)
        _add(partial, 4, _labels(4))
    with _open(tmp_path, **changed) as partial:
        assert partial.is_new


def test_a_file_that_was_cut_off_begins_anew(tmp_path: Path) -> None:
    with _open(tmp_path) as partial:
        partial.begin(None)
        _add(partial, 4, _labels(4))
    os.truncate(partial.labels, 23)
    with _open(tmp_path) as partial:
        assert partial.is_new


def test_half_a_row_counts_for_nothing(tmp_path: Path) -> None:
    """Labels that were written before a kill, and that the journal doesn't name, are written again."""
    with _open(tmp_path) as partial:
        partial.begin(None)
        _add(partial, 4, _labels(4))
    with partial.labels.open("ab") as file:
        file.write(bytes(7))
    with _open(tmp_path) as partial:
        assert partial.rows == 1
        _add(partial, 10, _labels(6, seed=1))
        np.testing.assert_array_equal(partial.reduced(10, 6), np.concatenate([_labels(4), _labels(6, seed=1)]))


def test_two_processes_do_not_label_one_image(tmp_path: Path) -> None:
    with _open(tmp_path) as partial:
        partial.begin(None)
        with pytest.raises(UsageError, match="another process"):
            _open(tmp_path)
