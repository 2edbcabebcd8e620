"""Images that can't be read are named in one line, which says what to do; rare formats and HEIC are read."""

import base64
import io
import os
import struct
import subprocess
import sys
import zlib
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import BinaryIO
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from PIL import Image

from segvoc.errors import InputError, UsageError
from segvoc.imaging.image_formats import MAX_SIDE
from segvoc.imaging.reading import read_image
from segvoc.imaging.result_paths import image_paths
from tests.images import made_photograph, one_line_error, png, saved, write_raster

FROM_ARRAY = "give PIL.Image.fromarray of it"
NO_IMAGE, LARGE, DICOM = ("not an image", "JPEG or PNG"), ("too large",), ("DICOM", "8-bit PNG")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("nowhere.jpg", None, ("does not exist", "check the path")),
        ("empty.jpg", b"", ("empty", "download it again")),
        ("text.png", b"hello, I am no image at all", NO_IMAGE),
        ("zeros.png", bytes(5000), NO_IMAGE),
        ("drawing.eps", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n", ("not an image in a known format",)),
        ("scan.dcm", bytes(128) + b"DICM" + bytes(50), DICOM),
        ("slide", (b"II*\0" + bytes(124)) + b"DICM" + bytes(50), DICOM),
        ("old.dcm", b"\x08\0\x05\0" + bytes(200), DICOM),
        ("phone.heic", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100), ("HEI",)),
        ("huge.png", png(100_000, 100_000, 8, 2, bytes(1000)), (*LARGE, "100000 x 100000", "200 megapixels")),
        ("wide.png", png(MAX_SIDE + 1, 1, 8, 0, b""), LARGE),
        ("large.png", png(20_000, 10_001, 8, 0, b""), LARGE),
        ("chatty.png", png(2, 2, 8, 2, bytes(14), (b"zTXt", b"comment\0\0" + zlib.compress(b"a" * 50_000_000))), ()),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_files_that_are_no_images_are_named(tmp_path, name, content, said):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with one_line_error(InputError, name, *said):
        read_image(tmp_path / name)


def test_what_is_no_readable_file_of_bytes_is_named_and_does_not_hang(tmp_path: Path, monkeypatch) -> None:
    with one_line_error(InputError, tmp_path.name, "is a folder", "give the images"):
        read_image(tmp_path)
    os.mkfifo(tmp_path / "pipe.png")
    with one_line_error(InputError, "pipe.png", "pipe", "save the image"):
        read_image(tmp_path / "pipe.png")
    with one_line_error(UsageError, "binary mode"):
        read_image(io.StringIO("text"))
    path = saved(Image.new("RGB", (2, 2)), tmp_path / "secret.png")
    monkeypatch.setattr(Path, "open", Mock(side_effect=PermissionError(13, "Permission denied")))
    with one_line_error(InputError, "secret.png", "permission denied", "chmod"):
        read_image(path)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".gif", ".bmp", ".tif", ".webp", ".jp2", ".ppm", ".avif"])
@pytest.mark.parametrize("kept", [0.02, 0.5, 0.9])
def test_truncated_files_are_named(tmp_path: Path, suffix: str, kept: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3), np.uint8)
    path = saved(Image.fromarray(noise), tmp_path / f"half{suffix}")
    content = path.read_bytes()
    path.write_bytes(content[: max(20, int(len(content) * kept))])
    with one_line_error(InputError, f"half{suffix}", "damaged", "copy it again"):
        read_image(path)


@pytest.mark.parametrize("name", ["a\nb.png", "a\0b.png", "x" * 5000 + ".png", "\udcff.png"])
def test_odd_names_are_shown_on_one_line(name: str) -> None:
    with one_line_error(InputError, ".png"):
        read_image(name)


@pytest.mark.parametrize(
    "url", ["https://example.com/a/photo.jpg?w=9", "s3://bucket/photo.jpg", "data:image/png;base64,x"]
)
def test_urls_are_shown_as_they_were_given(url: str) -> None:
    for source in (url, Path(url)):
        with one_line_error(InputError, repr(url), "isn't fetched here", "download the image first"):
            read_image(source)
    with one_line_error(InputError, "'file:///home/photo.jpg' is a URL", "give the path alone"):
        read_image("file:///home/photo.jpg")


@pytest.mark.parametrize(
    ("shape", "kind", "fix"),
    [
        ((4, 5), "uint8", FROM_ARRAY),
        ((4, 5), "uint16", FROM_ARRAY),
        ((4, 5, 1), "uint8", "drop the last axis, array[..., 0]"),
        ((3, 4, 5), "uint8", "array.transpose(1, 2, 0)"),
        ((1, 4, 5, 3), "uint8", "array[0]"),
        ((4, 5, 3), "float32", "(255 * array).astype(numpy.uint8) if its values are from 0 to 1"),
        ((4, 5), "float64", "(255 * array).astype(numpy.uint8)"),
        ((4, 5, 3), "int64", "scale it to 8 bits"),
        ((5, 6, 7), "uint8", "give three bands of it"),
        ((0, 5, 3), "uint8", "it has no pixels"),
        ((3, 4, 5), torch.float32, "(255 * tensor).to"),
        ((1, 3, 4, 5), torch.uint8, "a batch as a list"),
        ((4, 5, 3), torch.uint8, "tensor.permute(2, 0, 1)"),
        ((3, 4, 3), torch.uint8, "may be (3, H, W) or (H, W, 3)"),
    ],
)
def test_other_arrays_and_tensors_are_refused_with_advice_that_works(shape, kind, fix):
    if isinstance(kind, torch.dtype):
        array, expected = torch.zeros(shape, dtype=kind), "tensor"
    else:
        array, expected = np.full(shape, 60_000 if kind == "uint16" else 1, kind), "(H, W, 3) uint8"
    with one_line_error(UsageError, expected, fix):
        read_image(array)
    if fix == FROM_ARRAY:
        assert read_image(Image.fromarray(array)).shape == (4, 5, 3)


# ---- formats


HEIC = base64.b64decode(
    "AAAAHGZ0eXBoZWljAAAAAG1pZjFoZWljbWlhZgAAAXxtZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAAAAAAAAAAACJpbG9jAA"
    "AAAERAAAEAAQAAAAABoAABAAAAAAAAADMAAAAjaWluZgAAAAAAAQAAABVpbmZlAgAAAAABAABodmMxAAAAAA5waXRtAAAAAAABAAAA/GlwcnAA"
    "AADcaXBjbwAAAHVodmNDAQNwAAAAkAAAAAAAHvAA/P34+AAADwNgAAEAGEABDAH//wNwAAADAJAAAAMAAAMAHroCQGEAAQApQgEBA3AAAAMAkA"
    "AAAwAAAwAeoCCBBZbqrprm4CGgwIAAAAyAAAADAIRiAAEABkQBwXPBiQAAABNjb2xybmNseAABAA0ABoAAAAAUaXNwZQAAAAAAAABAAAAAQAAA"
    "AChjbGFwAAAAEAAAAAEAAAAMAAAAAf///9AAAAAC////zAAAAAIAAAAQcGl4aQAAAAADCAgIAAAAGGlwbWEAAAAAAAAAAQABBYECAwWEAAAAO2"
    "1kYXQAAAAvKAGvEyFkY0D4EPdn/tUl/6iuj/sjsenOyEdAwNIggJtASJNdUAsWEICHdqVW3Pg="
)
"""16 x 12 pixels of (10, 200, 30), written by pillow-heif."""


EXACT = (".bmp", ".ppm", ".tga", ".dds", ".qoi", ".sgi", ".pcx", ".dib")


@pytest.mark.parametrize("suffix", [*EXACT, ".gif", ".jp2", ".jpf", ".avif", ".avifs", ".ico"])
def test_formats_are_read(tmp_path: Path, suffix: str) -> None:
    pixels = np.zeros((32, 48, 3), np.uint8)
    pixels[:16], pixels[16:] = (10, 200, 30), (250, 0, 90)
    path = tmp_path / f"photo{suffix}"
    options = {"sizes": [(48, 32)]} if suffix == ".ico" else {}
    Image.fromarray(pixels).save(path, **options)
    assert [image.path for image in image_paths([tmp_path])] == [path]
    found = read_image(path)
    assert found.shape == pixels.shape
    assert found.dtype == np.uint8
    assert np.abs(found.astype(int) - pixels).mean() <= (0 if suffix in EXACT else 8)
    path.write_bytes(path.read_bytes()[:20])
    with one_line_error(InputError, path.name):
        read_image(path)


def test_avif_by_a_later_brand_is_avif(tmp_path: Path) -> None:
    Image.new("RGB", (64, 64), (10, 200, 30)).save(tmp_path / "a.avif")
    content = (tmp_path / "a.avif").read_bytes()
    (tmp_path / "a.avif").write_bytes(content.replace(b"ftypavif", b"ftypmif1", 1))
    assert np.abs(read_image(tmp_path / "a.avif").astype(int) - (10, 200, 30)).max() < 8


@pytest.mark.parametrize("brand", [b"heic", b"mif1"])
def test_heic_needs_an_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, brand: bytes) -> None:
    path = tmp_path / "phone.heic"
    path.write_bytes(HEIC.replace(b"ftypheic", b"ftyp" + brand, 1))
    if find_spec("pi_heif") is not None:
        assert np.abs(read_image(path).astype(int) - (10, 200, 30)).max() < 8
    monkeypatch.setattr(Image, "OPEN", {key: value for key, value in Image.OPEN.items() if key != "HEIF"})
    for module in ("pi_heif", "pillow_heif"):
        monkeypatch.setitem(sys.modules, module, None)
    with one_line_error(InputError, path.name, "pip install", "[data]"):
        read_image(path)


def test_libraries_print_nothing_of_their_own(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    Image.effect_noise((64, 64), 50).save(tmp_path / "a.tif", compression="tiff_lzw")
    content = bytearray((tmp_path / "a.tif").read_bytes())
    content[8:2000] = b"\xff" * 1992  # codes that LZW doesn't have
    (tmp_path / "a.tif").write_bytes(content)
    with one_line_error(InputError, "a.tif"):
        read_image(tmp_path / "a.tif")
    assert capfd.readouterr() == ("", "")


def test_gdal_prints_nothing_of_its_own(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    bands = np.zeros((5, 8, 8), np.uint8)
    path = write_raster(tmp_path / "a.tif", bands, photometric="minisblack", bigtiff="yes")
    content = path.read_bytes()
    place = content.index(struct.pack("<HHQ", 258, 3, 5)) + 18  # a high byte of where BitsPerSample are
    path.write_bytes(content[:place] + b"\xff" + content[place + 1 :])
    with one_line_error(InputError, "a.tif"):
        read_image(path)
    assert capfd.readouterr() == ("", "")


def test_pillows_warnings_about_damaged_tags_reach_nobody(tmp_path: Path) -> None:
    path = saved(Image.new("L", (9, 9)), tmp_path / "a.tif")
    content = path.read_bytes()
    path.write_bytes(content + b"\xff\xff")
    tags = content.index(struct.pack("<HHI", 256, 4, 1)) - 2
    path.write_bytes(content[:tags] + struct.pack("<H", 40) + content[tags + 2 :])
    code = f"import segvoc; from segvoc.imaging.reading import upright_size; print(upright_size({str(path)!r}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("(9, 9)\n", "")


@pytest.mark.parametrize("suffix", [".tif", ".webp", ".gif", ".mpo"])
def test_pillows_limit_of_pixels_is_not_ours(tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = np.full((32, 48, 3), 200, np.uint8)
    path = saved(Image.fromarray(pixels), tmp_path / f"a{suffix}")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 32 * 48 // 3)
    assert np.abs(read_image(path).astype(int) - pixels).max() <= 2
    assert Image.MAX_IMAGE_PIXELS == 32 * 48 // 3


JPEG_XL = b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(100)


@pytest.mark.skipif(find_spec("pillow_jxl") is not None, reason="its plugin is installed")
@pytest.mark.parametrize("content", [JPEG_XL, b"\xff\x0a" + bytes(100)])
def test_jpeg_xl_names_its_plugin(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "photo.jxl"
    path.write_bytes(content)
    with one_line_error(InputError, path.name, "JPEG XL", "pip install pillow-jxl-plugin"):
        read_image(path)


def test_jpeg_xl_is_read_with_its_plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = made_photograph()

    def factory(file: BinaryIO, name: str) -> Image.Image:
        return Image.fromarray(drawn)

    plugin = ModuleType("pillow_jxl")
    monkeypatch.setitem(sys.modules, "pillow_jxl", plugin)
    monkeypatch.setattr(Image, "OPEN", {**Image.OPEN, "JXL": (factory, lambda prefix: prefix.startswith(JPEG_XL[:12]))})
    (tmp_path / "photo.jxl").write_bytes(JPEG_XL)
    np.testing.assert_array_equal(read_image(tmp_path / "photo.jxl"), drawn)
