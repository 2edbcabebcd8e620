"""Regions of label maps as GeoJSON, on the earth and elsewhere."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from segvoc.big_images.labeling import label_big_image
from segvoc.big_images.region_files import write_geojson
from segvoc.errors import InputError
from segvoc.imaging.palette import class_colors
from segvoc.models.network_segmenter import NetworkSegmenter
from tests.images import one_line_error
from tests.imaging.rasters import UTM, write_raster
from tests.inference.small_network import small_segmenter

rasterio = pytest.importorskip("rasterio", reason="needs the extra geo")
WORDS = ["cat", "sofa", "wall"]
MARS = "+proj=longlat +a=3396190 +b=3376200"
GEOSTATIONARY = "+proj=geos +h=35785831 +lon_0=0 +sweep=y"
LOCAL = 'LOCAL_CS["hall 3",UNIT["metre",1]]'


@pytest.fixture(scope="module")
def model() -> NetworkSegmenter:
    return small_segmenter()


def degrees(west: float, step: float) -> dict[str, Any]:
    return {"crs": "EPSG:4326", "transform": rasterio.transform.from_origin(west, 40, step, step)}


def labels_of(path: Path, **options: Any) -> Path:
    """A label map of two halves with a word each, and a pixel without one."""
    values = np.zeros((1, 40, 60), np.uint8)
    values[:, :, 30:] = 2
    values[:, 0, 0] = 255
    return write_raster(path, values, nodata=255, **options)


@pytest.mark.parametrize(("west", "step"), [(170, 0.5), (175, 0.1), (177.77, 0.1), (200, 0.1), (-190, 0.5)])
def test_longitudes_end_at_the_antimeridian(tmp_path: Path, west: float, step: float) -> None:
    source = labels_of(tmp_path / "labels.tif", **degrees(west, step))
    assert write_geojson(tmp_path / "a.geojson", source, WORDS, class_colors(3), name="'a.tif'") == 2
    area = 0.0
    for feature in json.loads((tmp_path / "a.geojson").read_text())["features"]:
        shape = feature["geometry"]
        parts = shape["coordinates"] if shape["type"] == "MultiPolygon" else [shape["coordinates"]]
        for part in parts:
            x, y = np.array(part[0]).T
            assert (np.abs(x) <= 180).all() and np.ptp(x) <= 30
            area += abs(np.sum(x[:-1] * y[1:] - x[1:] * y[:-1])) / 2
    assert area == pytest.approx((40 * 60 - 1) * step**2)


@pytest.mark.parametrize("crs", [MARS, GEOSTATIONARY, LOCAL])
def test_without_longitudes_the_image_is_named_and_nothing_stays(model, tmp_path, crs: str) -> None:
    step = 3e5 if crs == GEOSTATIONARY else 1.0
    place = rasterio.transform.from_origin(-20 * step, 20 * step, step, step)
    path = write_raster(tmp_path / "scene.tif", np.full((3, 40, 40), 90, np.uint8), crs=crs, transform=place)
    with one_line_error(InputError, "scene.tif", "leave out the regions"):
        label_big_image(model, path, WORDS, tmp_path / "out", tile=64, polygons=True)
    assert [file.name for file in (tmp_path / "out").rglob("*") if file.is_file()] == []


def test_a_region_without_longitudes_leaves_no_half_results(model, tmp_path, monkeypatch) -> None:
    """Corners that have them, and a region that has none."""
    monkeypatch.setattr("segvoc.big_images.labeling.check_coordinates", lambda *_, **__: None)
    place = rasterio.transform.from_origin(-6e6, 6e6, 3e5, 3e5)
    path = write_raster(tmp_path / "s.tif", np.full((3, 40, 40), 90, np.uint8), crs=GEOSTATIONARY, transform=place)
    with one_line_error(InputError, "s.tif", "leave out the regions"):
        label_big_image(model, path, WORDS, tmp_path / "out", tile=64, polygons=True)
    assert [file.name for file in (tmp_path / "out").glob("*") if file.is_file()] == []


def test_regions_lie_where_ground_control_points_say(tmp_path: Path) -> None:
    corners = [(0, 0, 15.0, 49.0), (0, 60, 15.6, 49.0), (40, 0, 15.0, 48.6), (40, 60, 15.6, 48.6)]
    points = [rasterio.control.GroundControlPoint(*corner, 0.0) for corner in corners]
    source = labels_of(tmp_path / "labels.tif", gcps=points, crs="EPSG:4326")
    write_geojson(tmp_path / "a.geojson", source, WORDS, class_colors(3), name="'a.tif'")
    halves = json.loads((tmp_path / "a.geojson").read_text())["features"]
    wall = next(one for one in halves if one["properties"]["name"] == "wall")
    x, y = np.array(wall["geometry"]["coordinates"][0]).T
    assert (x.min(), x.max(), y.min(), y.max()) == pytest.approx((15.3, 15.6, 48.6, 49.0))


def test_coordinates_that_are_no_numbers_are_named(model, tmp_path: Path) -> None:
    place = rasterio.Affine(float("nan"), 0, 5e5, 0, 10, 5e6)
    path = write_raster(tmp_path / "s.tif", np.full((3, 40, 40), 90, np.uint8), crs=UTM, transform=place)
    with one_line_error(InputError, "s.tif", "aren't numbers"):
        label_big_image(model, path, WORDS, tmp_path / "out", tile=64, polygons=True)
