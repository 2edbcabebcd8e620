"""Windows of images are what reading the whole image gives there."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segvoc.errors import ImageTooLargeError
from segvoc.imaging import windowed_images
from segvoc.imaging.reading import read_image
from segvoc.imaging.windowed_images import ArrayImage, DecodedImage
from tests.images import made_photograph, saved

WINDOWS = [(slice(0, 5), slice(0, 7)), (slice(10, 20), slice(3, 30)), (slice(0, 20), slice(0, 30))]


def _sources(folder: Path) -> dict[str, Path]:
    photo = Image.fromarray(made_photograph(30, 20))
    turned = Image.Exif()
    turned[0x0112] = 6
    transparent = photo.convert("RGBA")
    transparent.putalpha(photo.convert("L"))
    deep = Image.fromarray(made_photograph(30, 20)[..., 0].astype(np.uint16) * 200)
    floats = Image.fromarray(made_photograph(30, 20)[..., 0].astype(np.float32) * 7)
    return {
        "jpeg": saved(photo, folder / "a.jpg", quality=95),
        "turned": saved(photo.transpose(Image.Transpose.ROTATE_90), folder / "turned.jpg", exif=turned, quality=95),
        "palette": saved(photo.quantize(20), folder / "palette.png"),
        "transparent": saved(transparent, folder / "transparent.png"),
        "deep": saved(deep, folder / "deep.png"),
        "floats": saved(floats, folder / "floats.tif"),
        "gray": saved(photo.convert("LA"), folder / "gray.png"),
    }


@pytest.mark.parametrize("kind", ["jpeg", "turned", "palette", "transparent", "deep", "floats", "gray"])
def test_windows_of_files(tmp_path: Path, kind: str) -> None:
    path = _sources(tmp_path)[kind]
    whole, image = read_image(path), DecodedImage(path)
    assert (image.height, image.width) == (20, 30)
    for rows, columns in WINDOWS:
        np.testing.assert_array_equal(image.read(rows, columns), whole[rows, columns])
        assert image.valid(rows, columns) is None


@pytest.mark.parametrize("strip", [1, 90, 10**6])
def test_overviews_are_means_whatever_the_strips(monkeypatch: pytest.MonkeyPatch, strip: int) -> None:
    monkeypatch.setattr(windowed_images, "STRIP_PIXELS", strip)
    pixels = made_photograph(30, 20)
    reduced = ArrayImage(pixels).overview(10)
    assert reduced.shape == (7, 10, 3)
    means = pixels[:18].reshape(6, 3, 10, 3, 3).mean((1, 3))
    assert np.abs(reduced[:6] - means).max() <= 0.51
    np.testing.assert_array_equal(ArrayImage(pixels).overview(30), pixels)


def test_the_limit_can_be_raised(tmp_path: Path) -> None:
    path = saved(Image.new("RGB", (40, 30)), tmp_path / "a.png")
    with pytest.raises(ImageTooLargeError, match="--max-megapixels"):
        DecodedImage(path, max_pixels=1199)
    assert DecodedImage(path, max_pixels=1200).width == 40
