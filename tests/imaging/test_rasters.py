"""TIFFs of many kinds, and windows of images: what reading the whole image gives there."""

import itertools
import json
import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from segvoc.errors import InputError, UsageError
from segvoc.imaging import decoding, pictures
from segvoc.imaging.decoding import ArrayImage, DecodedImage, is_windowed
from segvoc.imaging.label_maps import UNLABELED, read_label_map, write_placed_label_map
from segvoc.imaging.palette import class_colors
from segvoc.imaging.rasters import RasterImage
from segvoc.imaging.reading import opened_image, read_image, upright_size
from segvoc.imaging.stretching import NO_IMAGE, PERCENTILES, Stretch
from segvoc.imaging.tiff_tags import is_raster, place_of
from tests.images import made_photograph, one_line_error, saved, utm, write_raster

ALL = slice(0, 32), slice(0, 48)
PHOTO = made_photograph()
BANDS = PHOTO.transpose(2, 0, 1)
GRAY = np.full((1, 30, 40), 90, np.uint8)
LABELS = np.full((30, 40), UNLABELED, np.uint16)
LABELS[:10] = 1


def test_overviews_are_small(tmp_path: Path) -> None:
    with RasterImage(write_raster(tmp_path / "a.tif", BANDS, photometric="rgb")) as raster:
        assert (raster.height, raster.width, raster.is_georeferenced) == (32, 48, False)
        assert raster.overview(24).shape == (16, 24, 3)
        assert np.abs(raster.overview(24).astype(int) - PHOTO[::2, ::2]).max() < 12


@pytest.mark.parametrize(
    ("names", "bands", "expected"),
    [
        (["blue", "green", "red"], None, (2, 1, 0)),
        (["gray", "undefined", "undefined"], None, (0, 1, 2)),
        (None, (3, 2, 1), (2, 1, 0)),
        (None, (2,), (1, 1, 1)),
        (None, (1, 1, 3), (0, 0, 2)),
    ],
)
def test_bands_in_any_order(tmp_path: Path, names: Any, bands: Any, expected: tuple[int, ...]) -> None:
    path = write_raster(tmp_path / "a.tif", BANDS, interpretation=names, photometric="minisblack" if names else "rgb")
    with RasterImage(path, bands=bands) as raster:
        np.testing.assert_array_equal(raster.read(*ALL), PHOTO[..., list(expected)])
        np.testing.assert_array_equal(raster.read(slice(3, 9), slice(40, 48)), PHOTO[3:9, 40:48, list(expected)])
        assert raster.valid(*ALL) is None


def test_fourth_band_is_alpha_or_infrared_by_its_interpretation(tmp_path: Path) -> None:
    four = np.concatenate([BANDS, np.where(np.arange(48) < 10, 0, 200)[None, None].repeat(32, 1).astype(np.uint8)])
    alpha = write_raster(tmp_path / "alpha.tif", four, photometric="rgb", alpha="yes")
    infrared = write_raster(tmp_path / "infrared.tif", four, photometric="rgb", alpha="unspecified")
    with RasterImage(alpha) as raster:
        np.testing.assert_array_equal(raster.valid(*ALL), four[3] > 0)
        assert (raster.read(*ALL)[:, :10] == NO_IMAGE).all()
        np.testing.assert_array_equal(raster.read(*ALL)[:, 10:], PHOTO[:, 10:])
    with RasterImage(infrared) as raster:
        assert raster.valid(*ALL) is None
        np.testing.assert_array_equal(raster.read(*ALL), PHOTO)
    with RasterImage(alpha, bands=(4, 1, 2)) as raster:  # infrared that says it is alpha
        assert raster.valid(*ALL) is None
        np.testing.assert_array_equal(raster.read(*ALL)[..., 1:], PHOTO[..., :2])
    undeclared = tmp_path / "undeclared.tif"  # without the tag of extra bands, by another's number
    undeclared.write_bytes(alpha.read_bytes().replace(struct.pack("<HHI", 338, 3, 1), struct.pack("<HHI", 336, 3, 1)))
    for path in (infrared, undeclared):
        np.testing.assert_array_equal(read_image(path), PHOTO)


@pytest.mark.parametrize("world_file", [False, True])
@pytest.mark.parametrize("nodata", [None, 0, 3])
@pytest.mark.parametrize("bands", [1, 2, 3, 4])
def test_with_coordinates_a_fourth_band_masks_and_never_blends(tmp_path, bands, nodata, world_file):
    """Near infrared as a fourth 8-bit band is alpha to GDAL, which no program that writes it says otherwise."""
    infrared = BANDS[:1] // 2
    infrared[:, 3, 5:9] = 0
    values = np.concatenate([BANDS[:1] if bands < 3 else BANDS, infrared])[:bands]
    values[:, 7, 7] = 3
    place = {} if world_file else utm()
    alpha = {"alpha": "yes"} if bands == 2 else {}  # of four bands it is GDAL's default
    path = write_raster(tmp_path / "a.tif", values, nodata=nodata, **place, **alpha)
    if world_file:
        path.with_suffix(".tfw").write_text("0.5\n0\n0\n-0.5\n500000\n5400000\n")
    found = read_image(path)
    with RasterImage(path) as raster:
        np.testing.assert_array_equal(found, raster.read(*ALL))
    colors = values[:3] if bands > 2 else values[:1]
    kept = np.any(colors != nodata, 0) if nodata is not None else np.ones((32, 48), bool)
    if nodata is None and bands in (2, 4):
        kept = values[-1] != 0
        assert not kept[3, 5:9].any() and kept.mean() > 0.9
    expected = np.where(kept, np.broadcast_to(colors, (3, 32, 48)), np.array(NO_IMAGE)[:, None, None])
    np.testing.assert_array_equal(found, expected.transpose(1, 2, 0))
    np.testing.assert_array_equal(DecodedImage(path).read(*ALL), found)


SMALL, LARGE = (60, 90), (1500, 110)
"""Measured whole, and by an overview."""


@pytest.mark.parametrize(
    ("dtype", "place", "size"),
    [
        *itertools.product(("float32", "float64", "int32", "uint32", "int16"), (False, True), [SMALL]),
        *(("uint16", True, size) for size in (SMALL, LARGE)),
        *(("float32", place, LARGE) for place in (False, True)),
    ],
)
def test_both_ways_of_reading_have_one_rule_of_brightness(tmp_path, dtype, size, place, monkeypatch):
    values = (np.random.default_rng(0).random((1, *size)) * 300).astype(dtype)
    path = write_raster(tmp_path / "a.tif", values, **(utm() if place else {}))
    whole = slice(0, size[0]), slice(0, size[1])
    given = Stretch.parsed("0,600")
    with RasterImage(path) as raster, RasterImage(path, stretch=given) as stretched:
        expected = raster.read(*whole)
        np.testing.assert_array_equal(read_image(path, given), stretched.read(*whole))
    assert 120 < expected.mean() < 135 and expected.min() == 0 and expected.max() == 255
    for found in (read_image(path), read_image(path.read_bytes()), DecodedImage(path).read(*whole)):
        np.testing.assert_array_equal(found, expected)
    if dtype in ("float32", "int32"):  # Pillow alone reads these
        monkeypatch.setattr(pictures, "find_spec", lambda name: None)
        np.testing.assert_array_equal(read_image(path), expected)
        with Image.open(path) as image:
            np.testing.assert_array_equal(read_image(image), expected)


@pytest.mark.parametrize(
    ("bands", "nodata", "declared"), [(1, -3.4028234663852886e38, {}), (3, -9999, {"nodata": -9999})]
)
def test_nodata_and_nan_hold_no_image_and_do_not_set_the_range(tmp_path: Path, bands, nodata, declared) -> None:
    """A huge number counts as nodata even if no file says so."""
    values = np.repeat(BANDS[:1], bands, 0).astype(np.float32) / 70
    values[:, :8], values[0, 10:12], values[:, :, 40:] = nodata, np.nan, np.nan
    expected = np.isfinite(values[0]) & (values[0] != np.float32(nodata))
    path = write_raster(tmp_path / "a.tif", values, **utm(), **declared)
    with RasterImage(path) as raster:
        found, valid = raster.read(*ALL), raster.valid(*ALL)
    np.testing.assert_array_equal(read_image(path), found)
    np.testing.assert_array_equal(valid, expected)
    assert (found[~expected] == NO_IMAGE).all()
    black, white = np.percentile(values[-1][expected], [2, 98])
    stretched = np.clip((values[-1][expected] - black) / (white - black), 0, 1) * 255
    np.testing.assert_allclose(found[expected][:, -1], stretched, atol=0.51)


def test_a_turned_measurement_is_upright(tmp_path: Path) -> None:
    values, tags = BANDS[0].astype(np.float32), TiffImagePlugin.ImageFileDirectory_v2()
    tags[0x0112] = 6
    turned = saved(Image.fromarray(values), tmp_path / "a.tif", tiffinfo=tags)
    upright = saved(Image.fromarray(np.rot90(values, -1).copy()), tmp_path / "upright.tif")
    np.testing.assert_array_equal(read_image(turned), read_image(upright))


def test_stretch_may_be_given_and_photographs_have_their_full_range(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", BANDS.astype(np.uint16) * 257, photometric="rgb")
    for stretch, expected in ((None, PHOTO), (Stretch.parsed("0,32767.5"), np.clip(PHOTO.astype(int) * 2, 0, 255))):
        with RasterImage(path, stretch=stretch) as raster:
            np.testing.assert_array_equal(raster.read(*ALL), expected)
    assert Stretch.parsed(" 2%, 98%") == PERCENTILES


def test_damage_is_one_line(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", BANDS, photometric="rgb", compress="deflate")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with one_line_error(InputError, "a.tif", "copy it again"), RasterImage(path) as raster:
        raster.read(*ALL)
    path.write_bytes(b"no image")
    with one_line_error(InputError, "not a TIFF"):
        RasterImage(path)
    with pytest.raises(InputError, match="does not exist"):
        RasterImage(tmp_path / "missing.tif")
    assert is_windowed(tmp_path / "a.tif") and is_windowed(tmp_path / "missing.tif") and is_windowed("a\0.tif")
    assert is_raster("A.TIFF")
    assert not is_raster("a.png")


@pytest.mark.parametrize(
    ("bands", "options"),
    [
        (8, {"dtype": "uint16"}),
        (3, {"dtype": "uint16", "compress": "lerc"}),
        (3, {"dtype": "uint8", "compress": "webp", "webp_lossless": "yes"}),
        (3, {"dtype": "float32"}),
        (3, {"dtype": "uint16", "interleave": "band"}),
        (6, {"dtype": "uint8", "photometric": "minisblack"}),
    ],
)
def test_unusual_tiffs_are_read_as_images(tmp_path: Path, bands: int, options: dict[str, Any]) -> None:
    scale = {"uint16": 257, "float32": 1, "uint8": 1}[options["dtype"]]
    values = np.concatenate([BANDS] * 3)[:bands].astype(options["dtype"]) * np.array(scale, options["dtype"])
    path = write_raster(tmp_path / "a.tif", values, **{"photometric": "rgb", **options})
    expected = PHOTO
    if options["dtype"] == "float32":
        black, white = np.percentile(values, [2, 98], axis=(1, 2))
        expected = np.clip((PHOTO - black) * 255 / (white - black), 0, 255)
    with path.open("rb") as file:
        for source in (path, path.read_bytes(), file):
            assert np.abs(read_image(source).astype(float) - expected).max() <= 1


def test_the_header_of_an_unusual_tiff_is_that_of_a_tiff(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", np.concatenate([BANDS, BANDS])[:5], photometric="minisblack")
    with opened_image(path) as image:
        assert (image.format, image.size) == ("TIFF", (48, 32))
    assert upright_size(path) == (32, 48)


def test_unusual_tiffs_name_what_reads_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_raster(tmp_path / "a.tif", BANDS.astype(np.float32), photometric="rgb")
    monkeypatch.setitem(sys.modules, "rasterio", None)
    with one_line_error(InputError, "a.tif", "pip install", "[geo]"):
        read_image(path)
    with one_line_error(UsageError, "rasterio", "[geo]"):
        RasterImage(path)


def written(path: Path, words: list[str]) -> Path:
    place = place_of(path)
    assert place is not None
    out = path.with_name("out.tif")
    write_placed_label_map(out, LABELS, class_colors(len(words)), words, place)
    np.testing.assert_array_equal(read_label_map(out), LABELS)
    return out


def _placed(kind: str) -> Any:
    """Options of a TIFF that lies somewhere."""
    rasterio = pytest.importorskip("rasterio", reason="needs the extra geo")
    if kind == "world file":
        return {}
    if kind == "rotated":
        return utm() | {"transform": utm()["transform"] @ rasterio.Affine.rotation(20)}
    if kind == "rpcs":
        numbers = [float(number) for number in range(1, 21)]
        names = ("line", "samp", "lat", "long", "height")
        ends = {f"{name}_{end}": 2.5 for name in names for end in ("off", "scale")}
        coefficients = {f"{name}_{part}_coeff": numbers for name in ("line", "samp") for part in ("num", "den")}
        return {"rpcs": rasterio.rpc.RPC(**ends, **coefficients, err_bias=0.5, err_rand=0.25)}
    if kind == "gcps":
        corners = [(0, 0, 15.0, 49.0), (0, 40, 15.1, 49.0), (30, 0, 15.0, 48.9)]
        points = [rasterio.control.GroundControlPoint(*corner, 0.0) for corner in corners]
        return {"gcps": points, "crs": "EPSG:4326"}
    return utm() | ({"bigtiff": "yes"} if kind == "bigtiff" else {})


@pytest.mark.parametrize("classes", [2, 300])
@pytest.mark.parametrize("kind", ["transform", "rotated", "gcps", "rpcs", "bigtiff", "world file"])
def test_label_maps_lie_where_the_image_does(tmp_path: Path, kind: str, classes: int) -> None:
    rasterio = pytest.importorskip("rasterio", reason="needs the extra geo")
    source = write_raster(tmp_path / "scene.tif", GRAY, **_placed(kind))
    if kind == "world file":
        assert place_of(source) is None
        source.with_suffix(".tfw").write_text("2\n0.5\n0.25\n-3\n500001\n5400000\n")
    words = [f"wörd & <{number}>" for number in range(classes)]
    with rasterio.open(source) as one, rasterio.open(written(source, words)) as other:
        assert (other.crs, other.transform, other.gcps[1]) == (one.crs, one.transform, one.gcps[1])
        ours, theirs = ([point.asdict() | {"id": 0} for point in file.gcps[0]] for file in (other, one))
        assert ours == theirs
        assert (other.rpcs is None) == (kind != "rpcs")
        assert other.rpcs is None or other.rpcs.to_dict() == one.rpcs.to_dict()
        assert json.loads(other.tags()["SEGVOC_WORDS"]) == words
        assert other.nodata == (255 if classes == 2 else UNLABELED)
        assert classes == 300 or other.colormap(1)[1][:3] == tuple(class_colors(2)[1].tolist())


@pytest.mark.parametrize(
    "content", [None, b"", b"II*\0", b"II*\0\xff\xff\xff\xff", b"MM\0*\0\0\0\x08\xff\xff" + b"\1" * 90]
)
def test_what_is_missing_or_damaged_has_no_place(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "scene.tif").write_bytes(content)
    assert place_of(tmp_path / "scene.tif") is None


@pytest.mark.parametrize("strip", [1, 90, 10**6])
def test_overviews_are_means_whatever_the_strips(monkeypatch: pytest.MonkeyPatch, strip: int) -> None:
    monkeypatch.setattr(decoding, "STRIP_PIXELS", strip)
    pixels = made_photograph(30, 20)
    reduced = ArrayImage(pixels).overview(10)
    assert reduced.shape == (7, 10, 3)
    means = pixels[:18].reshape(6, 3, 10, 3, 3).mean((1, 3))
    assert np.abs(reduced[:6] - means).max() <= 0.51
    np.testing.assert_array_equal(ArrayImage(pixels).overview(30), pixels)


@pytest.mark.parametrize("mode", ["1", "L"])
def test_zero_is_black_where_no_tag_says_so(tmp_path: Path, mode: str) -> None:
    path = saved(Image.fromarray(PHOTO).convert(mode), tmp_path / "a.tif")
    expected, content = read_image(path), path.read_bytes()
    photometric = content.index(struct.pack("<HHI", 262, 3, 1))
    path.write_bytes(content[:photometric] + struct.pack("<H", 263) + content[photometric + 2 :])
    for whole in (read_image(path), read_image(path.read_bytes())):
        np.testing.assert_array_equal(whole, expected)


def test_values_too_large_to_differ_are_dark(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", np.full((1, 32, 48), 1e30, np.float32), **utm())
    assert read_image(path).max() == 0
