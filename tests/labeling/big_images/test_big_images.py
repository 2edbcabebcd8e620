"""Big images from file to files: the same labels as in memory, coordinates, and going on after a stop."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from segvoc.errors import UsageError
from segvoc.imaging.label_maps import UNLABELED, read_label_map
from segvoc.inference.label_options import LabelOptions
from segvoc.inference.reports import LabelStatistics
from segvoc.labeling.big_images import PartialLabels, label_big_image
from segvoc.labeling.task import Labeling
from segvoc.models.network_segmenter import NetworkSegmenter
from segvoc.storage.journal import Journal
from tests.images import saved, utm, write_raster
from tests.inference.small_network import small_segmenter

WORDS = ["cat", "sofa", "wall", "tree"]


@pytest.fixture(scope="module")
def model() -> NetworkSegmenter:
    return small_segmenter()


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    small = np.random.default_rng(0).integers(0, 256, (8, 11, 3), dtype=np.uint8)
    return np.array(Image.fromarray(small).resize((220, 160), Image.Resampling.BICUBIC))


@pytest.fixture
def scene(tmp_path: Path, image: np.ndarray) -> Path:
    """A GeoTIFF without values in one corner."""
    values = image.transpose(2, 0, 1).astype(np.uint16) + np.uint16(1)
    values[:, :70, :90] = 0
    options = {**utm(), "nodata": 0, "tiled": True, "blockxsize": 16, "blockysize": 16}
    return write_raster(tmp_path / "scene.tif", values, photometric="rgb", **options)


@pytest.mark.parametrize(
    ("words", "width"),
    [
        pytest.param(WORDS, 220, id="8 bits"),
        pytest.param([f"word {number}" for number in range(256)], 100, id="16 bits", marks=pytest.mark.slow),
    ],
)
def test_files_hold_what_labeling_in_memory_gives(model, image, tmp_path, words, width):
    path = saved(Image.fromarray(image[:80, :width]), tmp_path / "photo.png")
    options = LabelOptions(tile=80, overlap=20, wrap=True, threshold=0.4)
    result = label_big_image(model, path, words, Labeling(out=tmp_path / "out", options=options))
    expected = model.segment(path, words, options=options)
    np.testing.assert_array_equal(read_label_map(result.paths.label_map), expected.labels)
    ours, theirs = json.loads(result.paths.report.read_text()), expected.report()
    assert ours.pop("tiles") == {"tile": 80, "overlap": 20, "wrap": True}
    for report in (ours, theirs):
        report.pop("seconds")
        for entry in report["classes"]:
            entry["mean_confidence"] = round(entry["mean_confidence"] or 0, 4)
    assert ours == theirs
    assert {file.name for file in (tmp_path / "out").iterdir()} == {"photo.json", "photo.overlay.png", "photo.png"}
    with Image.open(tmp_path / "out" / "photo.overlay.png") as overlay:
        assert overlay.width >= width


def test_a_geotiff_keeps_its_coordinates(model: NetworkSegmenter, scene: Path, image: np.ndarray) -> None:
    import rasterio

    options = LabelOptions(tile=80, overlap=20, stretch="1,256")
    result = label_big_image(model, scene, WORDS, Labeling(out=scene.parent / "out", options=options, bands=(3, 2, 1)))
    expected = model.segment(np.ascontiguousarray(image[..., ::-1]), WORDS, tile=80, overlap=20).labels
    with rasterio.open(result.paths.label_map) as labels, rasterio.open(scene) as source:
        assert (labels.crs, labels.transform, labels.shape) == (source.crs, source.transform, source.shape)
        assert (labels.nodata, labels.dtypes, labels.count) == (255, ("uint8",), 1)
        table, colors = labels.colormap(1), [entry["color"] for entry in result.report()["classes"]]
        assert [list(table[number][:3]) for number in range(len(WORDS))] == colors
        assert json.loads(labels.tags()["SEGVOC_WORDS"]) == WORDS
        found = labels.read(1)
    assert (found[:70, :90] == 255).all()
    away = np.ones(found.shape, bool)
    away[:150, :170] = False  # tiles that see the corner
    assert (found[away] == expected[away]).mean() > 0.999
    assert result.statistics.unlabeled == 70 * 90
    np.testing.assert_array_equal(read_label_map(result.paths.label_map) == UNLABELED, found == 255)


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(WORDS, id="all"),
        pytest.param([f"word {number}" for number in range(24)], id="selected", marks=pytest.mark.slow),
    ],
)
def test_a_stopped_call_goes_on_to_the_same_files(model, scene, monkeypatch, words):
    import rasterio

    def label(out: str, *, resume: bool = False, **changes: Any) -> Any:
        options = LabelOptions(**{"tile": 80, "overlap": 20, "keep_classes": 10, **changes})
        return label_big_image(model, scene, words, Labeling(out=scene.parent / out, resume=resume, options=options))

    append, run, seen = Journal.append, NetworkSegmenter.encode_views, []

    def counted(self: NetworkSegmenter, pixels: np.ndarray, **options: Any) -> Any:
        seen.append(len(pixels))
        return run(self, pixels, **options)

    def stopping(self: Journal, entry: Any) -> None:
        append(self, entry)
        if isinstance(entry.get("value"), dict) and "stop" in entry["value"]:
            raise KeyboardInterrupt

    monkeypatch.setattr(NetworkSegmenter, "encode_views", counted)
    whole = label("whole")
    tiles = len(seen)
    with monkeypatch.context() as patch:
        patch.setattr(Journal, "append", stopping)
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                label("broken", resume=True)
    assert not (scene.parent / "broken" / "scene.tif").exists()
    with pytest.raises(UsageError, match="tile: 80, now 64"):
        label("broken", resume=True, tile=64)
    del seen[:]
    resumed = label("broken", resume=True)
    assert len(seen) < tiles
    with rasterio.open(whole.paths.label_map) as one, rasterio.open(resumed.paths.label_map) as other:
        np.testing.assert_array_equal(one.read(1), other.read(1))
    one, other = (json.loads(result.paths.report.read_text()) for result in (whole, resumed))
    assert {**one, "seconds": 0} == {**other, "seconds": 0}
    assert not (scene.parent / "broken" / ".segvoc").exists()


PARTIAL: dict[str, Any] = {"key": {"tile": 4}, "image": (10, 20), "size": (10, 6), "classes": 3}


def _labels(rows: int, seed: int = 0) -> np.ndarray:
    labels = np.random.default_rng(seed).integers(0, 4, (rows, 6)).astype(np.uint16)
    labels[labels == 3] = UNLABELED
    return labels


def _add(partial: PartialLabels, stop: int, labels: np.ndarray) -> None:
    partial.add_row(stop, labels, LabelStatistics.of(labels, np.full(labels.shape, 0.3, np.float32)), 1.5)


def _open(out: Path, **changed: Any) -> PartialLabels:
    labeling = Labeling(out=out, resume=changed.pop("resume", True))
    return PartialLabels(labeling, "sub/scene", **PARTIAL | changed)


@pytest.mark.parametrize(
    "changed", [{"image": (11, 20)}, {"image": None}, {"size": (12, 6)}, {"resume": False}, {}], ids=str
)
def test_another_image_and_a_file_that_was_cut_off_begin_anew(tmp_path: Path, changed: dict[str, Any]) -> None:
    with _open(tmp_path) as partial:
        partial.begin(None)
        _add(partial, 4, _labels(4))
        _add(partial, 10, _labels(6))
    (partial.folder / "folder").mkdir()
    if not changed:
        os.truncate(partial.labels, 23)
    with _open(tmp_path, **changed) as partial:
        assert partial.is_new and [path.name for path in partial.folder.iterdir()] == ["steps.jsonl"]
        with pytest.raises(UsageError, match="another process"):
            _open(tmp_path)
        partial.begin(None)
        _add(partial, 10, _labels(10))
    with _open(tmp_path, **changed | {"resume": True}) as partial:
        assert partial.rows == 1


@pytest.mark.parametrize("classes", [3, 300])
def test_half_a_row_counts_for_nothing(tmp_path: Path, classes: int) -> None:
    """Labels that were written before a kill, and that the journal doesn't name, are written again."""
    with _open(tmp_path, classes=classes) as partial:
        partial.begin((0, 2))
        _add(partial, 4, _labels(4))
    with partial.labels.open("ab") as file:
        file.write(bytes(7))
    with _open(tmp_path, classes=classes) as partial:
        assert (partial.rows, partial.selected, partial.seconds) == (1, (0, 2), 1.5)
        _add(partial, 10, _labels(6, seed=1))
        whole = np.concatenate([_labels(4), _labels(6, seed=1)])
        np.testing.assert_array_equal(partial.reduced(10, 6), whole)
        np.testing.assert_array_equal(partial.reduced(5, 2), whole[1::2][:, [1, 4]])
