"""Small GeoTIFFs keep their place: their label maps have their coordinates, also where rasterio isn't installed."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segvoc.imaging.label_maps import UNLABELED, read_label_map
from segvoc.imaging.palette import class_colors
from segvoc.imaging.windowed_images import TiffPlace, write_placed_label_map
from tests.imaging.rasters import utm, write_raster

rasterio = pytest.importorskip("rasterio", reason="needs the extra geo")
GRAY = np.full((1, 30, 40), 90, np.uint8)
LABELS = np.full((30, 40), UNLABELED, np.uint16)
LABELS[:10] = 1


def written(path: Path, words: list[str]) -> Path:
    place = TiffPlace.of(path)
    assert place is not None
    out = path.with_name("out.tif")
    write_placed_label_map(out, LABELS, class_colors(len(words)), words, place)
    np.testing.assert_array_equal(read_label_map(out), LABELS)
    return out


@pytest.mark.parametrize("classes", [2, 300])
@pytest.mark.parametrize("kind", ["transform", "rotated", "gcps", "rpcs", "bigtiff"])
def test_label_maps_lie_where_the_image_does(tmp_path: Path, kind: str, classes: int) -> None:
    options = utm()
    if kind == "rotated":
        options["transform"] = options["transform"] @ rasterio.Affine.rotation(20)
    if kind == "bigtiff":
        options["bigtiff"] = "yes"
    if kind == "rpcs":
        numbers = [float(number) for number in range(1, 21)]
        names = ("line", "samp", "lat", "long", "height")
        ends = {f"{name}_{end}": 2.5 for name in names for end in ("off", "scale")}
        coefficients = {f"{name}_{part}_coeff": numbers for name in ("line", "samp") for part in ("num", "den")}
        options = {"rpcs": rasterio.rpc.RPC(**ends, **coefficients, err_bias=0.5, err_rand=0.25)}
    if kind == "gcps":
        corners = [(0, 0, 15.0, 49.0), (0, 40, 15.1, 49.0), (30, 0, 15.0, 48.9)]
        points = [rasterio.control.GroundControlPoint(*corner, 0.0) for corner in corners]
        options = {"gcps": points, "crs": "EPSG:4326"}
    source = write_raster(tmp_path / "scene.tif", GRAY, **options)
    words = [f"wörd & <{number}>" for number in range(classes)]
    with rasterio.open(source) as one, rasterio.open(written(source, words)) as other:
        assert (other.crs, other.transform) == (one.crs, one.transform)
        assert [point.asdict() | {"id": 0} for point in other.gcps[0]] == [
            point.asdict() | {"id": 0} for point in one.gcps[0]
        ]
        assert other.gcps[1] == one.gcps[1]
        assert (other.rpcs is None) == (kind != "rpcs")
        assert other.rpcs is None or other.rpcs.to_dict() == one.rpcs.to_dict()
        assert json.loads(other.tags()["SEGVOC_WORDS"]) == words
        assert other.nodata == (255 if classes == 2 else UNLABELED)
        assert classes == 300 or other.colormap(1)[1][:3] == tuple(class_colors(2)[1].tolist())


def test_a_world_file_is_a_place(tmp_path: Path) -> None:
    path = tmp_path / "scene.tif"
    Image.fromarray(GRAY[0]).save(path)
    assert TiffPlace.of(path) is None
    (tmp_path / "scene.tfw").write_text("2\n0.5\n0.25\n-3\n500001\n5400000\n")
    with rasterio.open(path) as one, rasterio.open(written(path, ["a", "b"])) as other:
        assert other.transform == one.transform


@pytest.mark.parametrize("content", [b"", b"II*\0", b"II*\0\xff\xff\xff\xff", b"MM\0*\0\0\0\x08\xff\xff" + b"\1" * 90])
def test_what_is_damaged_has_no_place(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "scene.tif"
    path.write_bytes(content)
    assert TiffPlace.of(path) is None
    assert TiffPlace.of(tmp_path / "missing.tif") is None
