"""Rare formats: found by their first bytes or, of TGA, by their names; HEIC through an extra."""

import base64
import sys
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segvoc.errors import InputError
from segvoc.imaging.reading import read_image
from segvoc.imaging.result_paths import image_paths, passed_over_line
from tests.images import one_line_error

HEIC = base64.b64decode(
    "AAAAHGZ0eXBoZWljAAAAAG1pZjFoZWljbWlhZgAAAXxtZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAAAAAAAAAAACJpbG9jAA"
    "AAAERAAAEAAQAAAAABoAABAAAAAAAAADMAAAAjaWluZgAAAAAAAQAAABVpbmZlAgAAAAABAABodmMxAAAAAA5waXRtAAAAAAABAAAA/GlwcnAA"
    "AADcaXBjbwAAAHVodmNDAQNwAAAAkAAAAAAAHvAA/P34+AAADwNgAAEAGEABDAH//wNwAAADAJAAAAMAAAMAHroCQGEAAQApQgEBA3AAAAMAkA"
    "AAAwAAAwAeoCCBBZbqrprm4CGgwIAAAAyAAAADAIRiAAEABkQBwXPBiQAAABNjb2xybmNseAABAA0ABoAAAAAUaXNwZQAAAAAAAABAAAAAQAAA"
    "AChjbGFwAAAAEAAAAAEAAAAMAAAAAf///9AAAAAC////zAAAAAIAAAAQcGl4aQAAAAADCAgIAAAAGGlwbWEAAAAAAAAAAQABBYECAwWEAAAAO2"
    "1kYXQAAAAvKAGvEyFkY0D4EPdn/tUl/6iuj/sjsenOyEdAwNIggJtASJNdUAsWEICHdqVW3Pg="
)
"""16 x 12 pixels of (10, 200, 30), written by pillow-heif."""


@pytest.mark.parametrize("suffix", [".tga", ".ico", ".dds", ".qoi", ".sgi", ".pcx", ".dib", ".jpf", ".avifs"])
def test_rare_formats_are_read(tmp_path: Path, suffix: str) -> None:
    pixels = np.zeros((32, 48, 3), np.uint8)
    pixels[:16], pixels[16:] = (10, 200, 30), (250, 0, 90)
    path = tmp_path / f"photo{suffix}"
    options = {"sizes": [(48, 32)]} if suffix == ".ico" else {}
    Image.fromarray(pixels).save(path, **options)
    assert [image.path for image in image_paths([tmp_path])] == [path]
    found = read_image(path)
    assert found.shape == pixels.shape
    assert np.abs(found.astype(int) - pixels).mean() < 8
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
    with one_line_error(InputError, path.name, 'pip install "segvoc[data]"'):
        read_image(path)


def test_libraries_print_nothing_of_their_own(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    Image.effect_noise((64, 64), 50).save(tmp_path / "a.tif", compression="tiff_lzw")
    content = bytearray((tmp_path / "a.tif").read_bytes())
    content[8:2000] = b"\xff" * 1992  # codes that LZW doesn't have
    (tmp_path / "a.tif").write_bytes(content)
    with one_line_error(InputError, "a.tif"):
        read_image(tmp_path / "a.tif")
    assert capfd.readouterr() == ("", "")


def test_other_files_of_folders_are_counted(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "photo.png")
    for name in ("a.txt", "b.TXT", "sub/c.eps", "README", ".hidden.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    counted: Counter[str] = Counter()
    assert len(image_paths([tmp_path], passed_over=counted)) == 1
    assert counted == {".txt": 2, ".eps": 1, "": 1}
    line = passed_over_line(counted)
    assert line is not None and line.startswith("passed over 4 files that aren't images by their suffix: 2 .txt, ")
    assert "1 without a suffix" in line and passed_over_line(Counter()) is None
    many = Counter({f".{letter}": 1 for letter in "abcdefgh"})
    assert str(passed_over_line(many)).endswith("1 .f, 2 others")
