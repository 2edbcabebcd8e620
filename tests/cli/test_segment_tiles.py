"""`segvoc segment` with tiles."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segvoc.imaging.label_maps import read_label_map
from tests.cli.command import Command, draw_photos, result_files
from tests.imaging.rasters import utm, write_raster
from tests.inference.small_network import small_segmenter

WORDS = ("--words", "cat, sofa, wall")


def _draw_scene(name: str) -> None:
    values = np.random.default_rng(0).integers(1, 4000, (3, 90, 130)).astype(np.uint16)
    write_raster(Path(name), values, photometric="rgb", **utm())


def test_images_are_labeled_in_tiles(segment: Command) -> None:
    draw_photos("photo.png")
    done = segment("photo.png", *WORDS, "--tile", 40, "--overlap", 10, "--json").ok()
    expected = small_segmenter().segment("photo.png", ["cat", "sofa", "wall"], tile=40, overlap=10)
    np.testing.assert_array_equal(read_label_map("out/photo.png"), expected.labels)
    report = json.loads(done.out)
    assert report["tiles"] == {"tile": 40, "overlap": 10, "wrap": False}
    assert report == json.loads(Path("out/photo.json").read_text())
    assert result_files() == ["photo.json", "photo.overlay.png", "photo.png"]
    assert not Path("out/.segvoc").exists()


def test_tiffs_have_tiffs_and_other_images_fail_alone(segment: Command) -> None:
    _draw_scene("scene.tif")
    draw_photos("photo.jpg")
    done = segment("scene.tif", "photo.jpg", "missing.tif", *WORDS, "--bands=3,2,1", "--no-overlay")
    assert done.code == 1
    assert "'photo.jpg' is not a TIFF" in done.err
    assert "'missing.tif' does not exist" in done.err
    assert "2 of 3 images failed" in done.err
    assert done.out.startswith("scene.tif: ")
    assert result_files() == ["scene.json", "scene.tif"]


def test_without_tiles_a_geotiff_keeps_its_place(segment: Command) -> None:
    rasterio = pytest.importorskip("rasterio", reason="needs the extra geo")
    _draw_scene("scene.tif")
    assert segment("scene.tif", *WORDS, "--no-overlay").code == 0
    assert result_files() == ["scene.json", "scene.tif"]
    with rasterio.open("scene.tif") as image, rasterio.open("out/scene.tif") as labels:
        assert (labels.crs, labels.transform, labels.shape) == (image.crs, image.transform, image.shape)
    assert json.loads(Path("out/scene.json").read_text())["classes"][0]["name"] == "cat"


def test_resume_skips_what_is_done(segment: Command) -> None:
    _draw_scene("scene.tif")
    draw_photos("photo.png")
    call = ("scene.tif", "photo.png", *WORDS, "--tile=60", "--json")
    first = segment(*call)
    again = segment(*call, "--resume")
    assert (first.code, again.code) == (0, 0)
    assert again.out == first.out
    assert again.err.count("was already done") == 2
    segment(*call, "--overlap=20", "--resume").refused("overlap: 7, now 20")


def test_wrong_calls_do_nothing(segment: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    draw_photos("photo.png")
    _draw_scene("scene.tif")
    segment("photo.png", *WORDS, "--tile=9").refused("--tile 9 is too small")
    segment("photo.png", *WORDS, "--tile=64", "--overlap=40").refused("give 0 to 32")
    segment("photo.png", *WORDS, "--tile=64", "--parts", "cat: head").refused("leave out --parts")
    segment("photo.png", *WORDS, "--tile=64", "--jobs=2").refused("leave out --jobs")
    segment("photo.png", *WORDS, "--tile=64", "--format=voc").refused("leave out --format, or --tile")
    segment("scene.tif", *WORDS, "--bands=1,2").refused("--bands '1,2'")
    segment("scene.tif", *WORDS, "--bands=a").refused("--bands 'a'")
    segment("scene.tif", *WORDS, "--stretch=9").refused("'9' is not a stretch")
    segment("scene.tif", *WORDS, "--tile=64", "--out=.").refused("would overwrite", "scene.tif")
    monkeypatch.setitem(__import__("sys").modules, "rasterio", None)
    segment("scene.tif", *WORDS, "--tile=64").refused("rasterio", "segvoc[geo]")
    assert not Path("out").exists()


def test_the_limit_of_sizes_names_its_option(segment: Command) -> None:
    Image.new("RGB", (200, 100)).save("photo.png")
    segment("photo.png", *WORDS, "--tile=64", "--max-megapixels=0.01").failed(1, "too large", "--max-megapixels")
    assert segment("photo.png", *WORDS, "--tile=64", "--max-megapixels=0.02").code == 0
