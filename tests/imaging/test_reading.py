"""Images of every kind become upright 8-bit RGB."""

import io
import os
import sys
import types
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, TiffImagePlugin

from segvoc.errors import DarkImageWarning, FirstFrameWarning, ImageTooLargeError, InputError
from segvoc.imaging.decoding import DecodedImage
from segvoc.imaging.pictures import MAX_PLAIN_BYTES, MAX_SCANS
from segvoc.imaging.reading import decode_image, image_size, read_image, upright_size
from segvoc.imaging.stretching import NO_IMAGE, Stretch
from segvoc.imaging.tiff_tags import MAX_THUMBNAILS
from tests.images import made_photograph, png, saved, tiff_of_thumbnails

RED, GREEN, BLUE, WHITE, BLACK = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0)


@pytest.mark.parametrize("orientation", range(1, 10))
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".webp"])
def test_exif_orientation_is_applied(tmp_path: Path, orientation: int, suffix: str) -> None:
    upright = made_photograph()
    # How each orientation stores the image (EXIF 2.32): what is the top row, and what the left column.
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, -1),
        9: upright,  # which EXIF doesn't know
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {".jpg": {"quality": 95}, ".webp": {"lossless": True}}.get(suffix, {})
    path = saved(Image.fromarray(np.ascontiguousarray(stored)), tmp_path / f"photo{suffix}", exif=exif, **options)
    pixels = read_image(path)
    assert pixels.shape == upright.shape
    assert upright_size(path) == upright_size("photo", path.read_bytes()) == upright.shape[:2]
    assert np.abs(pixels.astype(int) - upright).mean() < 2
    with Image.open(path) as image:
        assert np.array_equal(read_image(image), pixels)


@pytest.mark.parametrize(
    ("inks", "expected"), [((0, 0, 0, 0), WHITE), ((0, 255, 255, 0), RED), ((0, 0, 0, 255), BLACK)]
)
@pytest.mark.parametrize("suffix", [".jpg", ".tif"])
def test_cmyk_becomes_rgb(tmp_path: Path, inks: tuple[int, ...], expected: tuple[int, ...], suffix: str) -> None:
    path = saved(Image.new("CMYK", (16, 16), inks), tmp_path / f"print{suffix}")
    assert np.abs(read_image(path)[8, 8].astype(int) - expected).max() <= 3
    # the mark by which Photoshop says that the inks are inverted, as it stores them in JPEG
    assert (b"Adobe" in path.read_bytes()[:200]) == (suffix == ".jpg")


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0, 128, 129, 257, 32_768, 65_407, 65_535], [0, 0, 1, 1, 128, 255, 255]),  # 16 bits are scaled, not clipped
        ([0.0, 0.5, 1.0], [0, 128, 255]),
        ([0.0, 150.0, 300.0], [0, 128, 255]),
        ([0.0, 257.0, 65535.0], [0, 1, 255]),
        ([-1.0, 0.0, 1.0], [0, 128, 255]),
        ([1e5, 6e5, 1e6], [0, 142, 255]),
        ([float("nan"), 0.25, 0.5, float("inf"), -3.4e38], [NO_IMAGE[0], 0, 255, NO_IMAGE[0], NO_IMAGE[0]]),
        ([0.0, 0.0, 0.0], [0, 0, 0]),
        ([-3.0, -3.0, -3.0], [0, 0, 0]),
    ],
)
def test_deep_grays_are_scaled_and_measurements_stretched_by_percentiles(tmp_path: Path, values, expected) -> None:
    whole = isinstance(values[0], int)
    image = Image.fromarray(np.array([values], np.uint16 if whole else np.float32))
    suffixes = (".tif", ".png", ".pgm") if whole else (".tif",)
    for source in (image, *(saved(image, tmp_path / f"deep{suffix}") for suffix in suffixes)):
        assert read_image(source)[0, :, 0].tolist() == expected


@pytest.mark.parametrize("suffix", [".png", ".tif", ".pgm"])
@pytest.mark.parametrize(
    ("brightest", "limit"), [(4080, 4095), (16_383, 16_383), (200, 255), (16_384, None), (65_535, None), (0, None)]
)
def test_a_dark_image_names_the_stretch(tmp_path: Path, suffix: str, brightest: int, limit: int | None) -> None:
    values = np.linspace(0, brightest, 96).astype(np.uint16).reshape(8, 12)
    path = saved(Image.fromarray(values), tmp_path / f"dark{suffix}")
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        read_image(path)
        DecodedImage(path)
        read_image(path, Stretch.parsed("0,100"))
    told = [str(one.message) for one in warned if one.category is DarkImageWarning]
    assert len(told) == (0 if limit is None else 2)
    assert all(f"no value above {limit} " in line and f"--stretch 0,{limit} " in line for line in told)


@pytest.mark.parametrize("name", ["rgb.png", "rgba.png", "la.png", "rgb.ppm"])
def test_colors_of_16_bits_have_a_line_and_a_stretch(tmp_path: Path, name: str) -> None:
    pytest.importorskip("rasterio", reason="needs the extra geo")
    kind = {"rgb.png": 2, "rgba.png": 6, "la.png": 4, "rgb.ppm": 2}[name]
    gray, opaque = np.linspace(0, 1020, 8), np.full(8, 65_535)
    bands = {2: [gray] * 3, 4: [gray, opaque], 6: [gray] * 3 + [opaque]}[kind]
    row = np.stack(bands, -1).astype(">u2").tobytes()
    content = b"P6\n8 1\n65535\n" + row if name == "rgb.ppm" else png(8, 1, 16, kind, b"\0" + row)
    (tmp_path / name).write_bytes(content)
    for source in (tmp_path / name, content):
        with pytest.warns(DarkImageWarning, match="no value above 1023"):
            assert read_image(source).max() <= 4
        stretched = np.rint(gray / 4)[None, :, None].repeat(3, -1)
        np.testing.assert_allclose(read_image(source, Stretch.parsed("0,1020")), stretched, atol=1)


@pytest.mark.parametrize("suffix", [".ppm", ".png", ".tif", ".jp2"])
def test_an_image_that_pillow_has_decoded_is_one(tmp_path: Path, suffix: str) -> None:
    path = saved(Image.fromarray(made_photograph()), tmp_path / f"a{suffix}")
    with Image.open(path) as image:
        image.load()
        np.testing.assert_array_equal(read_image(image), read_image(path))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA", "RGBa", "La"])
def test_alpha_is_laid_on_white(mode: str) -> None:
    image = Image.new("RGBA", (3, 1))
    image.putdata([(0, 0, 0, 255), (0, 0, 0, 0), (0, 0, 0, 51)])
    source = (image.convert("LA") if mode in ("LA", "La") else image).convert(mode)
    if mode == "PA":  # Pillow 11 loses the alpha of what it converts
        source.putpalette(BLACK)
        source.putdata([(0, 255), (0, 0), (0, 51)])
    assert read_image(source)[0].tolist() == [[0] * 3, [255] * 3, [204] * 3]


@pytest.mark.parametrize("suffix", [".gif", ".png", ".webp", ".tif"])
def test_first_frame_of_an_animation_is_taken_with_a_warning(tmp_path: Path, suffix: str) -> None:
    frames = [Image.new("RGB", (4, 4), color) for color in (RED, GREEN, BLUE)]
    options = {"lossless": True} if suffix == ".webp" else {}
    path = saved(frames[0], tmp_path / f"moving{suffix}", save_all=True, append_images=frames[1:], **options)
    kind = "pages" if suffix == ".tif" else "frames"
    for source in (path, path.read_bytes()):
        with pytest.warns(FirstFrameWarning, match=f"has several {kind}, of which only the first") as caught:
            assert read_image(source)[0, 0].tolist() == list(RED)
        assert len(caught) == 1
    with warnings.catch_warnings(action="error"), Image.open(path) as image:
        # whoever gives a PIL image has chosen a frame
        image.seek(1)
        assert read_image(image)[0, 0].tolist() == list(GREEN)


def test_previews_of_an_image_are_no_pages(tmp_path: Path) -> None:
    photograph = Image.fromarray(made_photograph())
    preview = photograph.resize((12, 8))
    preview.encoderinfo = {"tiffinfo": {254: 1}}
    tiff = saved(photograph, tmp_path / "pyramid.tif", save_all=True, append_images=[preview])
    phone = saved(photograph, tmp_path / "phone.jpg", format="MPO", save_all=True, append_images=[preview])
    with warnings.catch_warnings(action="error"):
        assert np.array_equal(read_image(tiff), made_photograph())
        assert read_image(phone).shape == made_photograph().shape


def test_bytes_open_files_and_tensors_are_images(tmp_path: Path) -> None:
    written = io.BytesIO()
    Image.fromarray(made_photograph()).save(written, "PNG")  # stands at its end
    content, path = written.getvalue(), tmp_path / "photo.png"
    path.write_bytes(content)
    stream = types.SimpleNamespace(read=lambda _=-1: content)  # a download, say: it can't seek
    with path.open("rb") as file:
        for source in (content, bytearray(content), memoryview(content), io.BytesIO(content), written, stream, file):
            assert np.array_equal(read_image(source), made_photograph())
    tensor = torch.from_numpy(made_photograph().transpose(2, 0, 1).copy())
    assert read_image(tensor).flags.c_contiguous and np.array_equal(read_image(tensor), made_photograph())
    assert np.array_equal(read_image(tensor[:, ::2, 1:]), made_photograph()[::2, 1:])


@given(
    st.sampled_from(["1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV", "LAB"]),
    st.integers(1, 9),
    st.integers(1, 9),
    st.randoms(use_true_random=False),
)
@settings(max_examples=60, deadline=None)
def test_every_mode_gives_8_bit_rgb_of_the_same_size(mode: str, width: int, height: int, random) -> None:
    size = len(Image.new(mode, (width, height)).tobytes())
    pixels = read_image(Image.frombytes(mode, (width, height), random.randbytes(size)))
    assert (pixels.shape, pixels.dtype) == ((height, width, 3), np.uint8)


@pytest.mark.skipif(sys.platform != "linux", reason="counts the open files of Linux")
def test_reading_leaves_no_file_open(tmp_path: Path) -> None:
    good = saved(Image.fromarray(made_photograph()), tmp_path / "photo.jpg")
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(good.read_bytes()[:300])
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        read_image(good)
        with pytest.raises(InputError):
            read_image(bad)
    assert len(os.listdir("/proc/self/fd")) <= before


def test_sizes_are_read_from_headers_and_limited() -> None:
    buffer = io.BytesIO()
    Image.new("L", (30, 20)).save(buffer, "PNG")
    header = buffer.getvalue()[:45]
    assert image_size(header) == upright_size("photo", header) == (20, 30)
    for reading in (image_size, decode_image):
        with pytest.raises(ImageTooLargeError, match=r"image is too large: 30 x 20 pixels; .* 0\.000599 megapixels"):
            reading(buffer.getvalue(), max_pixels=599)
    assert decode_image(buffer.getvalue(), max_pixels=600).shape == (20, 30, 3)
    with pytest.raises(InputError, match=r"'a\.png' is empty"):
        image_size(b"", "'a.png'")


def test_of_many_thumbnails_only_some_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[int] = []
    whole = TiffImagePlugin.TiffImageFile.seek
    monkeypatch.setattr(
        TiffImagePlugin.TiffImageFile, "seek", lambda image, frame: (looked.append(frame), whole(image, frame))[1]
    )
    with warnings.catch_warnings(action="error"):
        for number in (0, 1, 10, 5000):
            assert read_image(tiff_of_thumbnails(number)).shape == (1, 1, 3)
    assert max(looked) < MAX_THUMBNAILS
    with pytest.warns(FirstFrameWarning):
        read_image(tiff_of_thumbnails(5, last=0))


def test_files_that_would_take_minutes_are_refused() -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (16, 16), RED).save(buffer, "JPEG", progressive=True)
    *first, last = buffer.getvalue().removesuffix(b"\xff\xd9").split(b"\xff\xda")
    scans = [b"\xff\xda" + last] * MAX_SCANS
    assert read_image(b"\xff\xda".join(first) + scans[0] * 2 + b"\xff\xd9").shape == (16, 16, 3)
    with pytest.raises(InputError, match=f"more than {MAX_SCANS} scans"):
        read_image(b"\xff\xda".join(first) + b"".join(scans) + b"\xff\xd9")
    assert read_image(b"P3\n1 1\n255\n1 2 3\n").tolist() == [[[1, 2, 3]]]
    with pytest.raises(InputError, match="decimal numbers"):
        read_image(b"P3\n1 1\n255\n1 2 3\n" + b" " * MAX_PLAIN_BYTES)
