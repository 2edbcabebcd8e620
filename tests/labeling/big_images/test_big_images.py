"""Big images from file to files: the same labels as in memory, coordinates, and going on after a stop."""

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from segvoc.errors import UsageError
from segvoc.imaging.label_maps import UNLABELED, read_label_map
from segvoc.imaging.map_files import MapFormat
from segvoc.inference.label_options import LabelOptions
from segvoc.labeling.big_images import BigResult, label_big_image
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


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory, image: np.ndarray) -> Path:
    """A GeoTIFF without values in one corner."""
    values = image.transpose(2, 0, 1).astype(np.uint16) + np.uint16(1)
    values[:, :70, :90] = 0
    options = {**utm(), "nodata": 0, "tiled": True, "blockxsize": 16, "blockysize": 16}
    return write_raster(tmp_path_factory.mktemp("scene") / "scene.tif", values, photometric="rgb", **options)


@pytest.mark.parametrize(
    ("words", "width"),
    [
        pytest.param(WORDS, 220, id="8 bits"),
        pytest.param([f"word {number}" for number in range(256)], 40, id="16 bits"),
    ],
)
def test_files_hold_what_labeling_in_memory_gives(model, image, tmp_path, words, width):
    path = saved(Image.fromarray(image[:80, :width]), tmp_path / "photo.png")
    options = LabelOptions(tile=80, overlap=20, wrap=True, threshold=0.4)
    result = label_big_image(model, path, words, Labeling(out=tmp_path / "out", options=options))
    expected = model.segment(path, words, options=options)
    np.testing.assert_array_equal(read_label_map(result.paths.label_map), expected.labels)
    ours, theirs = json.loads(result.paths.report.read_text()), expected.report()
    assert theirs["hints"] == []
    assert ours.pop("tiles") == {"tile": 80, "overlap": 20, "wrap": True}
    for report in (ours, theirs):
        report.pop("seconds")
        for entry in report["classes"]:
            entry["confidence"] = round(entry["confidence"] or 0, 4)
    assert ours == theirs
    assert {file.name for file in (tmp_path / "out").iterdir()} == {"photo.json", "photo.overlay.png", "photo.png"}
    with Image.open(tmp_path / "out" / "photo.overlay.png") as overlay:
        assert overlay.width >= width


def test_a_geotiff_keeps_its_coordinates(model, scene, image, tmp_path):
    import rasterio

    options = LabelOptions(tile=80, overlap=20, stretch="1,256")
    result = label_big_image(model, scene, WORDS, Labeling(out=tmp_path / "out", options=options, bands=(3, 2, 1)))
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


def label(model: NetworkSegmenter, scene: Path, out: Path, *, resume: bool = False, **changes: Any) -> BigResult:
    words = changes.pop("words", WORDS)
    options = LabelOptions(**{"tile": 80, "overlap": 20, "keep_classes": 10, **changes})
    return label_big_image(model, scene, words, Labeling(out=out, resume=resume, options=options))


def label_a_row(model: NetworkSegmenter, scene: Path, out: Path, **changes: Any) -> None:
    """Stop behind the next row of tiles."""
    append = Journal.append

    def stopping(self: Journal, entry: Any) -> None:
        append(self, entry)
        if isinstance(entry.get("value"), dict) and "stop" in entry["value"]:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Journal, "append", stopping)
        with pytest.raises(KeyboardInterrupt):
            label(model, scene, out, resume=True, **changes)


@pytest.fixture(scope="module")
def seen() -> Iterator[list[int]]:
    """How many tiles the network sees each time."""
    seen, run = list[int](), NetworkSegmenter.encode_views

    def counted(self: NetworkSegmenter, pixels: np.ndarray, **options: Any) -> Any:
        seen.append(len(pixels))
        return run(self, pixels, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(NetworkSegmenter, "encode_views", counted)
        yield seen


@pytest.fixture(scope="module")
def whole(model, scene, seen, tmp_path_factory) -> tuple[BigResult, int]:
    """The result of a call that nothing stops, and how often the network is called."""
    before = len(seen)
    return label(model, scene, tmp_path_factory.mktemp("whole")), len(seen) - before


def assert_same_files(one: BigResult, other: BigResult) -> None:
    np.testing.assert_array_equal(read_label_map(one.paths.label_map), read_label_map(other.paths.label_map))
    reports = [json.loads(result.paths.report.read_text()) | {"seconds": 0} for result in (one, other)]
    assert reports[0] == reports[1]


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(WORDS, id="all"),
        pytest.param([f"word {number}" for number in range(24)], id="selected", marks=pytest.mark.slow),
    ],
)
def test_a_stopped_call_goes_on_to_the_same_files(model, scene, seen, whole, tmp_path, words):
    del seen[:]
    expected, calls = whole if words is WORDS else (label(model, scene, tmp_path / "whole", words=words), len(seen))
    for _ in range(2):
        label_a_row(model, scene, tmp_path, words=words)
    assert not (tmp_path / "scene.tif").exists()
    with pytest.raises(UsageError, match="tile: 80, now 64"):
        label(model, scene, tmp_path, resume=True, words=words, tile=64)
    del seen[:]
    resumed = label(model, scene, tmp_path, resume=True, words=words)
    assert len(seen) < calls
    assert_same_files(resumed, expected)
    assert not (tmp_path / ".segvoc").exists()


@pytest.mark.parametrize(
    ("change", "resume", "begins_anew"),
    [
        # labels that were written before a kill, and that the journal doesn't name, are written again
        (lambda scene, labels: labels.write_bytes(labels.read_bytes() + bytes(7)), True, False),
        (lambda scene, labels: os.truncate(labels, 23), True, True),
        (lambda scene, labels: os.utime(scene, (0, 0)), True, True),
        (lambda scene, labels: None, False, True),
    ],
    ids=["half a row more", "cut off", "another image", "not resumed"],
)
def test_what_a_stopped_call_has_left_is_used_where_it_fits(
    model, scene, seen, whole, tmp_path, change, resume, begins_anew
):
    expected, calls = whole
    for _ in range(2):  # of three rows
        label_a_row(model, scene, tmp_path)
    (labels,) = (tmp_path / ".segvoc").glob("*/labels")
    (labels.parent / "a folder of others").mkdir()
    change(scene, labels)
    del seen[:]
    assert_same_files(label(model, scene, tmp_path, resume=resume), expected)
    assert (len(seen) == calls) == begins_anew


def test_objects_are_refused(model, image, tmp_path):
    path = saved(Image.fromarray(image[:80, :80]), tmp_path / "photo.png")
    labeling = Labeling(out=tmp_path / "out", options=LabelOptions(tile=80, objects=True))
    with pytest.raises(UsageError, match="labeled as a whole; make it smaller, or leave out objects"):
        label_big_image(model, path, WORDS, labeling)
    assert not (tmp_path / "out").exists()


def test_a_map_of_tiles_is_that_of_the_whole_label_map(model, scene, tmp_path):
    pytest.importorskip("shapely", reason="needs the extra geo")
    options = LabelOptions(tile=80, overlap=20, stretch="1,256", threshold=0.4)
    call = Labeling(out=tmp_path, options=options, map=MapFormat(name="geojson"))
    result = label_big_image(model, scene, WORDS, call)
    assert result.paths.map_file is not None
    features = [one["properties"] for one in json.loads(result.paths.map_file.read_text())["features"]]
    for entry in result.report()["classes"]:
        own = [one for one in features if one["word"] == entry["name"]]
        assert sum(one["area"] for one in own) == pytest.approx(entry["pixels"] / 4)
        if own:
            mean = np.average([one["confidence"] for one in own], weights=[one["area"] for one in own])
            assert mean == pytest.approx(entry["confidence"], abs=1 / 255)
    assert not (tmp_path / ".segvoc").exists()


def test_an_interrupted_map_is_gone_on_with(model, scene, tmp_path):
    pytest.importorskip("shapely", reason="needs the extra geo")

    class Stop(Exception):
        pass

    def stop_at(done: int, total: int) -> None:
        if done == 1:
            raise Stop

    options = LabelOptions(tile=80, overlap=20, stretch="1,256")
    whole, resumed = (
        Labeling(out=tmp_path / name, options=options, map=MapFormat(name="geojson"), resume=name == "resumed")
        for name in ("whole", "resumed")
    )
    label_big_image(model, scene, WORDS, whole)
    with pytest.raises(Stop):
        label_big_image(model, scene, WORDS, resumed, progress=stop_at)
    with pytest.raises(UsageError, match="maps"):
        label_big_image(model, scene, WORDS, replace(resumed, map=None))
    label_big_image(model, scene, WORDS, resumed)
    maps = [(tmp_path / name / "scene.geojson").read_bytes() for name in ("whole", "resumed")]
    assert maps[0] == maps[1]
