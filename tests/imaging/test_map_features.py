"""Maps: polygons of regions that fit together, their areas on the ground, and the files, however the rows are read."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from skimage.measure import label

from segvoc.errors import InputError, UsageError
from segvoc.imaging.label_maps import UNLABELED
from segvoc.imaging.map_features import LabeledMap, MapFeatures, MapPlace, MapRows
from segvoc.imaging.map_files import MAP_NAMES, MapFormat
from segvoc.imaging.pixel_polygons import pixel_polygons
from tests.images import UTM, write_raster
from tests.inference.small_network import small_segmenter

rasterio = pytest.importorskip("rasterio", reason="needs the extra geo")
shapely = pytest.importorskip("shapely", reason="needs the extra geo")
pyogrio = pytest.importorskip("pyogrio", reason="needs the extra geo")

WORDS = ("road", "field", "water", "forest", "roof")
SEEDS = range(6)


def _drawn(seed: int) -> np.ndarray:
    """A label map of noise, or of rectangles with holes, some of it unlabeled."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, rng.integers(1, 5), rng.integers(2, 40, 2)).astype(np.uint16)
    if seed % 2:
        labels = np.kron(labels[:12, :12], np.ones((5, 7), np.uint16))
    return np.where((labels == 1) & (seed % 3 == 0), np.uint16(UNLABELED), labels)


def _regions(labels: np.ndarray) -> np.ndarray:
    regions: Any = label(np.where(labels == UNLABELED, -1, labels.astype(int)), background=-1, connectivity=1)
    return regions


def _place(
    path: Path, size: tuple[int, int], crs: str = UTM, pixel: float = 2.0, at: tuple[float, float] = (5e5, 5.6e6)
):
    transform = rasterio.transform.from_origin(*at, pixel, pixel)
    return MapPlace.of(write_raster(path, np.zeros((1, *size), np.uint8), crs=crs, transform=transform))


def _map(labels: np.ndarray, place: MapPlace, objects: np.ndarray | None = None) -> LabeledMap:
    confidence = np.random.default_rng(0).random(labels.shape, np.float32)

    def read(rows: slice) -> MapRows:
        return MapRows(labels[rows], confidence[rows], None if objects is None else objects[rows])

    return LabeledMap(height=labels.shape[0], width=labels.shape[1], words=WORDS, read=read, place=place)


def _all(labeled: LabeledMap, **options: Any) -> MapFeatures:
    found = list(labeled.features(**options))
    return MapFeatures(*map(np.concatenate, zip(*found, strict=True)))


@pytest.mark.parametrize("seed", SEEDS)
def test_polygons_hold_the_pixels_of_their_region_and_fit_together(seed: int) -> None:
    regions = _regions(np.where(_drawn(seed) == UNLABELED, 4, _drawn(seed)))
    polygons = pixel_polygons(regions)
    rows, columns = np.indices(regions.shape)
    assert shapely.is_valid(polygons).all() and shapely.coverage_is_valid(polygons)
    assert shapely.area(polygons).tolist() == np.bincount(regions.ravel())[1:].tolist()
    assert shapely.contains_xy(polygons[regions - 1], columns + 0.5, rows + 0.5).all()


@pytest.mark.parametrize("rows_at_once", [1, 4, 1000])
@pytest.mark.parametrize("seed", SEEDS)
def test_features_are_those_of_the_whole_map_however_it_is_read(seed: int, rows_at_once: int, tmp_path: Path) -> None:
    labels = _drawn(seed)
    labeled = _map(labels, _place(tmp_path / "scene.tif", labels.shape))
    found, regions = _all(labeled, band_pixels=rows_at_once * labels.shape[1]), _regions(labels)
    assert len(found.polygons) == regions.max()
    assert shapely.coverage_is_valid(found.polygons)
    np.testing.assert_allclose(found.area, shapely.area(found.polygons))
    assert shapely.union_all(found.polygons).area == pytest.approx(4 * np.count_nonzero(labels != UNLABELED))
    corner = [5e5, 5.6e6]
    inside = (shapely.get_coordinates(shapely.point_on_surface(found.polygons)) - corner) / [2, -2]
    number = regions[*inside.astype(int).T[::-1]]
    assert sorted(number.tolist()) == list(range(1, regions.max() + 1))
    pixels = np.bincount(regions.ravel())
    confidence = labeled.read(slice(0, labels.shape[0])).confidence
    np.testing.assert_array_equal(found.area, 4 * pixels[number])
    np.testing.assert_array_equal(found.labels, [labels[regions == one][0] for one in number.tolist()])
    sums = np.bincount(regions.ravel(), confidence.ravel())
    np.testing.assert_allclose(found.confidence, sums[number] / pixels[number], rtol=1e-5)


@pytest.mark.parametrize("rows_at_once", [9, 1000])
@pytest.mark.parametrize("seed", SEEDS)
def test_simplified_borders_stay_shared(seed: int, rows_at_once: int, tmp_path: Path) -> None:
    labels = np.kron(_drawn(seed), np.ones((3, 3), np.uint16))
    labeled = _map(labels, _place(tmp_path / "scene.tif", labels.shape))
    whole, fewer = (_all(labeled, simplify=side, band_pixels=rows_at_once * labels.shape[1]) for side in (0.0, 7.0))
    assert shapely.is_valid(fewer.polygons).all() and shapely.coverage_is_valid(fewer.polygons)
    if not (labels == UNLABELED).any():
        total = shapely.union_all(fewer.polygons)
        assert total.area == pytest.approx(4 * labels.size) and total.equals(shapely.box(*total.bounds))
    assert shapely.get_num_coordinates(fewer.polygons).sum() <= shapely.get_num_coordinates(whole.polygons).sum()
    np.testing.assert_array_equal(fewer.area, whole.area)


def test_a_staircase_becomes_a_line(tmp_path: Path) -> None:
    labels = np.tri(40, 40, dtype=np.uint16)
    found = _all(_map(labels, _place(tmp_path / "scene.tif", labels.shape)), simplify=3.0)
    assert all(len(polygon.exterior.coords) < 9 for polygon in found.polygons)  # not 80


@pytest.mark.parametrize("rows_at_once", [1, 5, 30])
def test_an_object_is_a_feature_also_of_several_parts(rows_at_once: int, tmp_path: Path) -> None:
    labels, objects = np.zeros((30, 40), np.uint16), np.zeros((30, 40), np.uint16)
    labels[5:10, 5:20] = labels[20:25, 5:10] = labels[28:, 30:] = 1
    objects[5:10, 5:10] = objects[20:25, 5:10] = 1
    objects[5:10, 10:20] = 2
    labeled = _map(labels, _place(tmp_path / "scene.tif", labels.shape), objects)
    found = _all(labeled, band_pixels=40 * rows_at_once)
    by_area = np.argsort(found.area)
    assert found.labels[by_area].tolist() == [1, 1, 1, 0]
    assert found.area[by_area].tolist() == [80.0, 200.0, 200.0, 4.0 * (1200 - 20 - 50 - 50)]
    assert sorted(polygon.geom_type for polygon in found.polygons) == ["MultiPolygon", *["Polygon"] * 3]
    assert shapely.coverage_is_valid(found.polygons)


@pytest.mark.parametrize(
    ("crs", "pixel", "at", "expected"),
    [
        pytest.param(UTM, 0.5, (5e5, 5.4e6), 0.25, id="meters"),
        pytest.param("EPSG:2263", 3.0, (980_000, 200_000), 9 * (1200 / 3937) ** 2, id="feet"),
        # of a sphere: 111.2 km a degree, less by the cosine of the latitude
        pytest.param("EPSG:4326", 1e-4, (11.0, 60.0), 11.12**2 / 2, id="degrees"),
        pytest.param("EPSG:4326", 1e-4, (179.999, 60.0), 11.12**2 / 2, id="date line"),
        pytest.param("EPSG:3857", 10.0, (1e6, 8_399_738), 25.0, id="Web Mercator"),
    ],
)
def test_areas_are_those_on_the_ground(crs, pixel, at, expected, tmp_path: Path) -> None:
    labels = np.zeros((20, 30), np.uint16)
    place = _place(tmp_path / "scene.tif", labels.shape, crs, pixel, at)
    found = _all(_map(labels, place), band_pixels=90)
    assert found.area.sum() / labels.size == pytest.approx(expected, rel=0.01)
    assert place.is_faithful == (crs in (UTM, "EPSG:2263"))


def test_the_areas_of_the_whole_world_add_up_to_it(tmp_path: Path) -> None:
    labels = np.tile(np.arange(4, dtype=np.uint16).repeat(90), (360, 1))
    found = _all(_map(labels, _place(tmp_path / "scene.tif", labels.shape, "EPSG:4326", 0.5, (0, 90))))
    np.testing.assert_allclose(found.area, 510.0656e12 / 8, rtol=1e-5)  # half of it is in the map


class _InBands(LabeledMap):
    """A map whose features come in several groups, as those of a large one do."""

    def features(self, *, simplify: float = 0.0, band_pixels: int = 0) -> Iterator[MapFeatures]:
        return super().features(simplify=simplify, band_pixels=band_pixels)


@pytest.mark.parametrize("name", MAP_NAMES)
def test_files_hold_the_map(name: Any, tmp_path: Path) -> None:
    labels = _drawn(3)
    labeled = _InBands(**vars(_map(labels, _place(tmp_path / "scene.tif", labels.shape))))
    file, expected = tmp_path / f"scene.{name}", _all(labeled)
    assert len(list(labeled.features())) > 1
    MapFormat(name=name).write(labeled, file)
    about, _, geometry, fields = pyogrio.raw.read(file)
    polygons = shapely.from_wkb(geometry)
    assert about["crs"] == ("EPSG:4326" if name == "geojson" else UTM)
    assert about["fields"].tolist() == ["word", "confidence", "area"]
    assert fields[0].tolist() == [WORDS[one] for one in expected.labels.tolist()]
    np.testing.assert_allclose(fields[1], expected.confidence, atol=1e-6)
    np.testing.assert_allclose(fields[2], expected.area)
    assert shapely.is_valid(polygons).all()
    assert shapely.coverage_is_valid(shapely.get_parts(polygons))
    if name == "gpkg":
        assert shapely.equals(polygons, expected.polygons).all()
    else:
        moved = rasterio.warp.transform_geom("EPSG:4326", UTM, [one.__geo_interface__ for one in polygons])
        areas = shapely.area([shapely.geometry.shape(one) for one in moved])
        np.testing.assert_allclose(areas, expected.area, rtol=1e-3)
        rings = [json.loads(shapely.to_geojson(one))["coordinates"][0] for one in polygons]
        assert all(shapely.is_ccw(shapely.linearrings(ring)) for ring in rings)


def test_long_straight_borders_stay_in_place_in_other_coordinates(tmp_path: Path) -> None:
    labels = np.zeros((1000, 1000), np.uint16)
    labels[333:] = 1
    place = _place(tmp_path / "scene.tif", labels.shape, "EPSG:3413", 300.0, (-2e6, -5e5))
    file = tmp_path / "scene.geojson"
    MapFormat(name="geojson").write(_map(labels, place), file)
    _, _, geometry, fields = pyogrio.raw.read(file)
    given = [shapely.segmentize(one, 0.01).__geo_interface__ for one in shapely.from_wkb(geometry)]
    moved = rasterio.warp.transform_geom("EPSG:4326", "EPSG:6933", given)
    np.testing.assert_allclose(shapely.area([shapely.geometry.shape(one) for one in moved]), fields[2], rtol=1e-3)


@pytest.mark.parametrize("name", MAP_NAMES)
def test_a_map_without_labels_is_a_file_without_features(name: Any, tmp_path: Path) -> None:
    labels = np.full((4, 5), UNLABELED, np.uint16)
    MapFormat(name=name).write(_map(labels, _place(tmp_path / "a.tif", labels.shape)), tmp_path / f"none.{name}")
    assert pyogrio.read_info(tmp_path / f"none.{name}")["features"] == 0


def test_a_feature_across_the_date_line_is_cut_there(tmp_path: Path) -> None:
    labels = np.zeros((20, 30), np.uint16)
    file = tmp_path / "scene.geojson"
    place = _place(tmp_path / "a.tif", labels.shape, "EPSG:32601", 1000.0, (3.7e5, 7.8e6))
    MapFormat(name="geojson").write(_map(labels, place), file)
    (feature,) = json.loads(file.read_text())["features"]
    assert feature["geometry"]["type"] == "MultiPolygon"


def test_what_is_nowhere_is_refused(tmp_path: Path) -> None:
    values = np.zeros((1, 4, 5), np.uint8)
    with pytest.raises(InputError, match="has no coordinates, which maps need"):
        MapPlace.of(write_raster(tmp_path / "a.tif", values))
    transform = rasterio.transform.from_origin(5e5, 5e6, 1, 1)
    with pytest.raises(InputError, match=r"has no coordinate system; give it one, such as rio edit-info"):
        MapPlace.of(write_raster(tmp_path / "b.tif", values, transform=transform))
    points = [rasterio.control.GroundControlPoint(row, col, col, row) for row, col in ((0, 0), (0, 4), (3, 0))]
    with pytest.raises(InputError, match="control points or RPCs but no transform; warp it first"):
        MapPlace.of(write_raster(tmp_path / "c.tif", values, gcps=points, crs="EPSG:4326"))
    with pytest.raises(InputError, match="coordinates are"):
        nowhere = rasterio.transform.from_origin(1e30, 1e30, 1, 1)
        MapPlace.of(write_raster(tmp_path / "d.tif", values, transform=nowhere, crs=UTM))
    with pytest.raises(UsageError, match="is no length; give meters"):
        MapFormat(name="geojson", simplify=-1.0)


def test_a_result_becomes_geojson(tmp_path: Path) -> None:
    model = small_segmenter()
    values = np.random.default_rng(0).integers(0, 256, (3, 60, 80), dtype=np.uint8)
    transform = rasterio.transform.from_origin(5e5, 5.4e6, 1, 1)
    path = write_raster(tmp_path / "scene.tif", values, photometric="rgb", crs=UTM, transform=transform)
    result = model.segment(path, ["cat", "wall"])
    collection = result.to_geojson(tmp_path / "scene.geojson", simplify=2)
    assert json.loads((tmp_path / "scene.geojson").read_text()) == json.loads(json.dumps(collection))
    assert sum(one["properties"]["area"] for one in collection["features"]) == pytest.approx(60 * 80)
    with pytest.raises(UsageError, match="would overwrite the input"):
        result.to_geojson(path)
    with pytest.raises(UsageError, match="an image from memory has no coordinates"):
        model.segment(result.image, ["cat"]).to_geojson()
