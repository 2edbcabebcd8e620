"""Files drawn by seed: whole and in windows they have the same pixels, and label maps have the values they hold."""

import warnings
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from segvoc.errors import InputError
from segvoc.imaging.decoding import DecodedImage, is_windowed
from segvoc.imaging.label_maps import UNLABELED, UNLABELED_8_BIT, read_label_map
from segvoc.imaging.rasters import RasterImage
from segvoc.imaging.reading import read_image
from segvoc.imaging.stretching import Stretch
from tests.images import made_photograph, png, utm, write_raster

HEIGHT, WIDTH = 32, 48


def _one_of(random: np.random.Generator, *choices: Any) -> Any:
    return choices[int(random.integers(len(choices)))]


def _drawn_tiff(random: np.random.Generator, path: Path) -> Path:
    """A TIFF of GDAL: type, bits, bands and their order, masks, nodata, palette, place, layout and compression."""
    from rasterio.enums import ColorInterp

    dtype = _one_of(random, "uint8", "uint8", "uint16", "int16", "uint32", "int32", "float32", "float64")
    bits = {"uint8": (8, 8, 8, 4, 2, 1), "uint16": (16, 16, 12, 10)}.get(dtype, (0,))
    bits = int(_one_of(random, *bits))
    bands = int(_one_of(random, 1, 1, 2, 3, 3, 4, 5))
    largest = (1 << bits) - 1 if bits else 3000
    photo = made_photograph().transpose(2, 0, 1)
    values = (np.concatenate([photo, photo])[:bands].astype(np.float64) * largest / 255).astype(dtype)
    options: dict[str, Any] = {"compress": _one_of(random, "none", "deflate", "lzw"), "photometric": "minisblack"}
    options |= {"tiled": True, "blockxsize": 16, "blockysize": 16} if random.integers(2) else {}
    options |= {"interleave": _one_of(random, "pixel", "band")} if bands > 1 else {}
    options |= {"nbits": bits} if bits not in (0, 8, 16) else {}
    options |= utm() if random.integers(2) else {}
    options |= {"nodata": int(values.flat[7])} if not random.integers(3) else {}
    if bands >= 3 and bits in (8, 16):
        options["photometric"] = "rgb"
    if bands in (2, 4) and bits in (8, 16):
        options["alpha"] = _one_of(random, "yes", "no", "unspecified")
    elif bands == 1 and bits in (0, 8, 16) and dtype in ("uint8", "uint16"):
        options["photometric"] = _one_of(random, "minisblack", "miniswhite", "palette" if bits == 8 else "minisblack")
    write_raster(path, values, **options)
    rasterio = pytest.importorskip("rasterio", reason="needs the extra geo")
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=bool(random.integers(2))), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with rasterio.open(path, "r+") as file:
            if options["photometric"] == "palette":
                file.write_colormap(1, {n: (*random.integers(0, 256, 3).tolist(), 255) for n in range(256)})
            elif bands == 3 and random.integers(2):
                file.colorinterp = [ColorInterp.blue, ColorInterp.green, ColorInterp.red]
            if "nodata" not in options and "alpha" not in options and not random.integers(3):
                file.write_mask((random.random((HEIGHT, WIDTH)) < 0.8).astype(np.uint8) * 255)
    return path


def _drawn_picture(random: np.random.Generator, folder: Path) -> Path:
    """A picture of Pillow: format, mode and orientation."""
    suffix = _one_of(random, "tif", "tif", "png", "jpg", "webp", "jp2", "gif", "bmp")
    modes = {
        "tif": ("1", "L", "P", "RGB", "RGBA", "LA", "CMYK", "YCbCr", "LAB", "I;16", "I", "F"),
        "png": ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"),
        "jpg": ("L", "RGB", "CMYK"),
        "webp": ("RGB", "RGBA"),
        "jp2": ("L", "LA", "RGB", "RGBA", "I;16"),
    }
    mode, photo = _one_of(random, *modes.get(suffix, ("RGB",))), Image.fromarray(made_photograph())
    if mode in ("I;16", "I", "F"):
        kind = {"I;16": np.uint16, "I": np.int32, "F": np.float32}[mode]
        image = Image.fromarray(np.asarray(photo.convert("L")).astype(kind) * kind(_one_of(random, 1, 9, 257)))
    elif mode in ("RGBA", "LA"):
        image = photo.convert(mode)
        image.putalpha(Image.fromarray(random.integers(0, 256, (HEIGHT, WIDTH), np.uint8)))
    elif mode == "LAB":
        image = Image.fromarray(made_photograph(), "LAB")
    else:
        image = photo.convert(mode)
    exif = Image.Exif()
    exif[0x0112] = int(_one_of(random, 1, 1, 2, 3, 5, 6, 7, 8))
    options: dict[str, Any] = {} if suffix in ("gif", "bmp") else {"exif": exif}
    options |= {"compression": _one_of(random, "raw", "tiff_lzw", "tiff_adobe_deflate")} if suffix == "tif" else {}
    image.save(folder / f"a.{suffix}", **options)
    return folder / f"a.{suffix}"


@pytest.mark.filterwarnings("ignore")
def test_whole_and_in_windows_pixels_are_the_same(tmp_path: Path) -> None:
    for seed in range(120):
        random = np.random.default_rng(seed)
        path = _drawn_tiff(random, tmp_path / "a.tif") if seed % 2 else _drawn_picture(random, tmp_path)
        stretch = _one_of(random, None, None, Stretch.parsed("5%,95%"), Stretch.parsed("3,200"))
        whole = read_image(path, stretch)
        decoded = nullcontext(DecodedImage(path, stretch=stretch)) if not is_windowed(path) else None
        with decoded or RasterImage(path, stretch=stretch) as image:
            assert (image.height, image.width) == whole.shape[:2], (seed, path)
            for _ in range(3):
                top, left = int(random.integers(image.height - 9)), int(random.integers(image.width - 9))
                rows, columns = slice(top, top + 9), slice(left, left + 9)
                np.testing.assert_array_equal(image.read(rows, columns), whole[rows, columns], str((seed, path)))
                assert decoded is None or image.valid(rows, columns) is None
        if len(list(tmp_path.iterdir())) == 1:  # no mask in a file beside it
            np.testing.assert_array_equal(read_image(path.read_bytes(), stretch), whole, str((seed, path)))
        for left in tmp_path.iterdir():
            left.unlink()


def _drawn_map(random: np.random.Generator, folder: Path) -> tuple[Path, np.ndarray, bool]:
    """A label map, the values in it, and whether these have up to 8 bits."""
    kind = _one_of(random, "gdal", "gdal", "gdal", "png", "palette", "bits", "colors", "npy", "pillow tiff")
    dtypes = ("uint8", "uint16", "int16", "uint32", "int32", "int64", "uint64", "float32", "float64")
    dtype = np.dtype(_one_of(random, *dtypes))
    if kind in ("palette", "bits"):
        dtype = np.dtype(np.uint8)
    elif kind in ("png", "colors"):
        dtype = np.dtype(_one_of(random, "uint8", "uint16"))
    elif kind == "pillow tiff":
        dtype = np.dtype(_one_of(random, "uint8", "uint16", "int32", "float32"))
    bits = int(_one_of(random, 1, 2, 4)) if kind == "bits" else 8 if dtype.itemsize == 1 else 16
    most = (1 << bits) if kind == "bits" else _one_of(random, 3, 200) if bits == 8 else _one_of(random, 3, 200, 32_000)
    values = random.integers(0, most, (HEIGHT, WIDTH)).astype(dtype)
    if bits == 8:
        values[3, 4:9] = UNLABELED_8_BIT
    path = folder / ("a.npy" if kind == "npy" else "a.png" if kind in ("png", "palette") else "a.tif")
    if kind == "npy":
        np.save(path, values)
    elif kind in ("gdal", "bits", "colors"):
        options: dict[str, Any] = {"compress": _one_of(random, "none", "deflate", "lzw", "packbits")}
        options |= {"tiled": True, "blockxsize": 16, "blockysize": 16} if random.integers(2) else {}
        options |= {"bigtiff": "yes"} if not random.integers(4) else {}
        options |= utm() if random.integers(2) else {}
        options |= {"nbits": bits} if kind == "bits" else {}
        alpha = kind == "colors" and bool(random.integers(2))
        options |= {"photometric": "rgb"} if kind == "colors" else {"photometric": "minisblack"}
        bands = [values] * 3 if kind == "colors" else [values]
        bands += [np.full_like(values, np.iinfo(dtype).max)] if alpha else []
        write_raster(path, np.stack(bands), **options, **({"alpha": "yes"} if alpha else {}))
    else:
        image = Image.fromarray(values)
        if kind == "palette":
            image.putpalette(random.integers(0, 256, 768, np.uint8).tobytes())
        image.save(path, **({"compression": "tiff_lzw"} if kind == "pillow tiff" and random.integers(2) else {}))
    return path, values, bits <= 8


@pytest.mark.filterwarnings("ignore")
def test_label_maps_have_the_values_they_hold(tmp_path: Path) -> None:
    for seed in range(150):
        path, values, is_narrow = _drawn_map(np.random.default_rng(seed), tmp_path)
        expected = values.astype(np.uint16)
        if is_narrow:
            expected[expected == UNLABELED_8_BIT] = UNLABELED
        np.testing.assert_array_equal(read_label_map(path), expected, str((seed, path, values.dtype)))
        for left in tmp_path.iterdir():
            left.unlink()


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (np.array([[0.5]]), "the value 0.5; labels are whole numbers"),
        (np.array([[np.nan]]), "the value nan"),
        (np.array([[-1]]), "the value -1"),
        (np.array([[70_000]]), "the value 70000"),
        (np.zeros((2, 2, 2, 2)), "no array of rows and columns"),
        (np.array([["a"]]), "values of the type <U1"),
    ],
)
def test_what_is_no_label_is_named(tmp_path: Path, values: np.ndarray, said: str) -> None:
    np.save(tmp_path / "a.npy", values)
    with pytest.raises(InputError, match=said):
        read_label_map(tmp_path / "a.npy")


def test_pages_bands_and_inverted_values_are_refused(tmp_path: Path) -> None:
    one = Image.fromarray(np.zeros((4, 4), np.uint8))
    one.save(tmp_path / "pages.tif", save_all=True, append_images=[one])
    write_raster(tmp_path / "bands.tif", np.zeros((2, 4, 4), np.int32), photometric="minisblack")
    write_raster(tmp_path / "white.tif", np.zeros((1, 4, 4), np.uint8), photometric="miniswhite")
    write_raster(tmp_path / "signed.tif", np.full((1, 4, 4), -2, np.int16), photometric="minisblack")
    for name, said in {
        "pages.tif": "several pages",
        "bands.tif": "2 bands",
        "white.tif": "MinIsWhite",
        "signed.tif": "the value -2",
    }.items():
        with pytest.raises(InputError, match=said):
            read_label_map(tmp_path / name)


def test_transparent_pixels_of_a_mask_are_unlabeled(tmp_path: Path) -> None:
    values = np.array([[2, 2, 0], [1, 1, 1]], np.uint8)
    alpha = np.array([[255, 0, 255], [1, 255, 0]], np.uint8)
    expected = [[2, UNLABELED, 0], [1, 1, UNLABELED]]
    for channels in ([values, alpha], [values, values, values, alpha]):
        Image.fromarray(np.dstack(channels)).save(tmp_path / "a.png")
        assert read_label_map(tmp_path / "a.png").tolist() == expected


def test_transparency_of_a_palette_or_a_gray_level_hides_pixels_too(tmp_path: Path) -> None:
    values, expected = np.array([[0, 1, 2]], np.uint8), [[0, UNLABELED, 2]]
    palette = Image.fromarray(values)
    palette.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
    palette.save(tmp_path / "palette.png", transparency=b"\xff\0\xff")
    Image.fromarray(values).save(tmp_path / "gray.png", transparency=1)
    deep = np.array([[1, 65_535], [300, 0]], ">u2")
    (tmp_path / "alpha.png").write_bytes(png(2, 1, 16, 4, b"\0" + deep.tobytes()))
    assert read_label_map(tmp_path / "palette.png").tolist() == expected
    assert read_label_map(tmp_path / "gray.png").tolist() == expected
    assert read_label_map(tmp_path / "alpha.png").tolist() == [[1, UNLABELED]]


def test_a_jpeg_is_no_label_map(tmp_path: Path) -> None:
    Image.fromarray(np.ones((8, 8), np.uint8)).save(tmp_path / "a.jpg")
    with pytest.raises(InputError, match="is a JPEG, which changes values"):
        read_label_map(tmp_path / "a.jpg")
