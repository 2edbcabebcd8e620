"""Photographs in other color spaces: Display P3, Adobe RGB, gray and printing inks."""

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps

from segvoc.errors import ColorProfileWarning
from segvoc.imaging.decoding import DecodedImage
from segvoc.imaging.rasters import RasterImage
from segvoc.imaging.reading import read_image
from tests.images import made_photograph

D50 = (0.9642, 1.0, 0.8249)
D65 = (0.3127, 0.3290)
PRIMARIES = {
    "P3": ((0.68, 0.32), (0.265, 0.69), (0.15, 0.06)),
    "Adobe": ((0.64, 0.33), (0.21, 0.71), (0.15, 0.06)),
    "sRGB": ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06)),
    "swapped": ((0.15, 0.06), (0.30, 0.60), (0.64, 0.33)),
}
"""The chromaticities of red, green and blue; the red of "swapped" is blue."""
GAMMA = 2.2
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def xyz_of_rgb(space: str) -> np.ndarray:
    """Linear RGB -> XYZ under D65."""
    columns = [np.array([x / y, 1.0, (1 - x - y) / y]) for x, y in (*PRIMARIES[space], D65)]
    primaries = np.stack(columns[:3], axis=1)
    return primaries * np.linalg.solve(primaries, columns[3])


def fixed(*values: float) -> bytes:
    return b"".join(struct.pack(">i", round(value * 65536)) for value in values)


def profile(kind: bytes, space: bytes, tags: dict[bytes, bytes], connection: bytes = b"XYZ ") -> bytes:
    """An ICC profile of version 2."""
    text = b"desc\0\0\0\0" + struct.pack(">I", 2) + b"x\0" + b"\0" * 79
    tags = {b"desc": text, b"cprt": b"text\0\0\0\0none\0\0\0\0", b"wtpt": b"XYZ \0\0\0\0" + fixed(*D50)} | tags
    table, body, start = struct.pack(">I", len(tags)), b"", 132 + 12 * len(tags)
    for name, content in tags.items():
        table += name + struct.pack(">II", start + len(body), len(content))
        body += content + b"\0" * (-len(content) % 4)
    size = start + len(body)
    head = struct.pack(">I4sI4s4s4s", size, b"none", 0x02100000, kind, space, connection)
    head += struct.pack(">6H", 2024, 1, 1, 0, 0, 0) + b"acsp" + b"\0" * 28 + fixed(*D50)
    return head.ljust(128, b"\0") + table + body


def curve(gamma: float) -> bytes:
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256)) + b"\0\0"


def rgb_profile(space: str) -> bytes:
    bradford = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
    white = xyz_of_rgb(space).sum(axis=1)
    adapted = np.linalg.inv(bradford) @ np.diag((bradford @ D50) / (bradford @ white)) @ bradford @ xyz_of_rgb(space)
    columns = {name + b"XYZ": b"XYZ \0\0\0\0" + fixed(*adapted[:, at]) for at, name in enumerate((b"r", b"g", b"b"))}
    return profile(b"mntr", b"RGB ", columns | {name + b"TRC": curve(GAMMA) for name in (b"r", b"g", b"b")})


def ink_profile() -> bytes:
    """Each ink takes a quarter of the lightness, and no color."""
    corners = np.stack(np.meshgrid(*[[0, 1]] * 4, indexing="ij"), axis=-1).reshape(16, 4)
    lab = [bytes((int(255 - 255 * inks.sum() / 4), 128, 128)) for inks in corners]
    ramp = bytes(range(256))
    table = b"mft1\0\0\0\0\4\3\2\0" + fixed(1, 0, 0, 0, 1, 0, 0, 0, 1) + ramp * 4 + b"".join(lab) + ramp * 3
    return profile(b"prtr", b"CMYK", {b"A2B0": table, b"A2B1": table}, connection=b"Lab ")


def in_srgb(pixels: np.ndarray, space: str) -> np.ndarray:
    """By the formulas: to linear light, to sRGB's primaries, and back."""
    linear = (pixels / 255) ** GAMMA @ np.linalg.solve(xyz_of_rgb("sRGB"), xyz_of_rgb(space)).T
    linear = np.clip(linear, 0, 1)
    return 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def tagged(image: Image.Image, icc_profile: bytes, path: Path, **options: object) -> Path:
    image.save(path, icc_profile=icc_profile, **options)
    return path


@pytest.fixture
def photograph() -> Image.Image:
    return Image.fromarray(made_photograph() // 2 + 60)


@pytest.mark.parametrize("suffix", [".png", ".tiff", ".webp"])
@pytest.mark.parametrize("space", ["P3", "Adobe"])
def test_colors_become_srgb_however_the_file_is_read(tmp_path, photograph, space, suffix):
    path = tagged(photograph, rgb_profile(space), tmp_path / f"a{suffix}", lossless=True)
    expected = in_srgb(np.asarray(photograph), space)
    assert np.abs(expected - np.asarray(photograph)).max() > 10, "the space is another one"
    pixels = read_image(path)
    assert np.abs(pixels - expected).max() <= 2
    with Image.open(path) as image:
        np.testing.assert_array_equal(read_image(image), pixels)
    np.testing.assert_array_equal(read_image(path.read_bytes()), pixels)
    window = slice(3, 20), slice(5, 40)
    np.testing.assert_array_equal(DecodedImage(path).read(*window), pixels[window])
    if suffix == ".tiff":
        with RasterImage(path) as raster:
            np.testing.assert_array_equal(raster.read(*window), pixels[window])


ORIENTATION = 0x0112


@pytest.mark.parametrize(
    ("mode", "suffix"),
    [
        *((mode, ".jpg") for mode in ("RGB", "L", "CMYK")),
        *((mode, ".png") for mode in ("RGB", "RGBA", "P", "PA", "LA", "1")),
    ],
)
def test_stored_colors_are_those_of_the_loaders_of_published_protocols(tmp_path, photograph, mode, suffix):
    """Of detectron2's `read_image` and transformers' `load_image`: the EXIF orientation, and Pillow's RGB."""
    image = photograph.convert({"PA": "P"}.get(mode, mode))
    if mode in ("RGBA", "LA"):
        image.putalpha(Image.new("L", image.size, 40))
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    content = ink_profile() if mode == "CMYK" else rgb_profile("swapped")
    more = {"transparency": 3} if mode == "PA" else {}
    path = tagged(image, content, tmp_path / f"a{suffix}", exif=exif, **more)
    with Image.open(path) as opened:
        expected = np.asarray(ImageOps.exif_transpose(opened).convert("RGB"))
        np.testing.assert_array_equal(read_image(opened, colors="stored"), expected)
    for source in (path, path.read_bytes(), io.BytesIO(path.read_bytes())):
        np.testing.assert_array_equal(read_image(source, colors="stored"), expected)
    window = slice(3, 20), slice(5, 30)
    np.testing.assert_array_equal(DecodedImage(path, colors="stored").read(*window), expected[window])
    assert mode in ("1", "L") or (read_image(path) != expected).any(), "the profile changes colors"


def test_windows_of_tiffs_have_stored_colors_too(tmp_path: Path, photograph: Image.Image) -> None:
    path = tagged(photograph, rgb_profile("swapped"), tmp_path / "a.tiff")
    window = slice(3, 20), slice(5, 40)
    with RasterImage(path, colors="stored") as raster:
        np.testing.assert_array_equal(raster.read(*window), np.asarray(photograph)[window])


def test_grays_of_16_bits_keep_their_range_in_stored_colors(tmp_path: Path) -> None:
    """Pillow's conversion would make all of them white."""
    values = np.linspace(300, 65535, 64).reshape(8, 8).astype(np.uint16)
    path = tagged(Image.fromarray(values), profile(b"mntr", b"GRAY", {b"kTRC": curve(1.5)}), tmp_path / "a.png")
    assert np.abs(read_image(path, colors="stored")[..., 0] - values / 257).max() <= 0.5


@pytest.mark.parametrize("icc_profile", [b"", SRGB], ids=["none", "sRGB"])
def test_srgb_stays_as_it_is(tmp_path: Path, photograph: Image.Image, icc_profile: bytes) -> None:
    path = tagged(photograph, icc_profile, tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(path), np.asarray(photograph))


@pytest.mark.parametrize("mode", ["P", "RGBA", "L"])
def test_palettes_transparency_and_gray_are_converted(tmp_path: Path, photograph: Image.Image, mode: str) -> None:
    image = photograph.convert(mode)
    if mode == "RGBA":
        image.putalpha(Image.new("L", image.size, 0))
        image.paste(photograph.crop((0, 0, 24, 32)), (0, 0))
    path = tagged(image, rgb_profile("P3"), tmp_path / "a.png")
    expected = in_srgb(np.asarray(image.convert("RGB")), "P3")
    if mode == "RGBA":
        expected[np.asarray(image)[..., 3] == 0] = 255
    assert np.abs(read_image(path) - expected).max() <= 2


@pytest.mark.parametrize("mode", ["L", "I;16"])
def test_gray_of_another_curve_is_converted(tmp_path: Path, mode: str) -> None:
    levels = np.tile(np.arange(256, dtype=np.uint8), (4, 1))
    image = Image.fromarray(levels if mode == "L" else levels.astype(np.uint16) * 257)
    path = tagged(image, profile(b"mntr", b"GRAY", {b"kTRC": curve(1.5)}), tmp_path / "a.png")
    linear = (levels / 255) ** 1.5
    expected = 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    pixels = read_image(path)
    assert np.abs(pixels - expected[..., None]).max() <= 4


def test_inks_are_converted_by_their_profile(tmp_path: Path) -> None:
    inks = Image.new("CMYK", (8, 8), (255, 0, 0, 0))
    plain, profiled = (read_image(tagged(inks, one, tmp_path / "a.tiff")) for one in (b"", ink_profile()))
    assert plain[0, 0].tolist() == [0, 255, 255]
    assert np.ptp(profiled[0, 0].astype(int)) <= 3, "the profile's cyan is gray"
    assert abs(int(profiled[0, 0, 0]) - 185) <= 6, "at 75 % of the lightness"


@pytest.mark.parametrize(
    "broken", [b"no profile", rgb_profile("P3")[:200], ink_profile(), profile(b"mntr", b"GRAY", {b"kTRC": curve(1.0)})]
)
def test_a_profile_that_does_not_fit_is_ignored_and_told(tmp_path, photograph, broken):
    path = tagged(photograph, broken, tmp_path / "a.png")
    with pytest.warns(ColorProfileWarning, match=r"^the color profile of '.*a\.png' is ignored \([^\n]+\); [^\n]+$"):
        pixels = read_image(path)
    np.testing.assert_array_equal(pixels, np.asarray(photograph))


def test_the_image_of_the_caller_stays_as_it_is(photograph: Image.Image) -> None:
    photograph.info["icc_profile"] = rgb_profile("P3")
    before = np.array(photograph)
    assert (read_image(photograph) != before).any()
    np.testing.assert_array_equal(np.asarray(photograph), before)
