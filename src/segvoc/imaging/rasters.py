"""TIFFs of any kind, read by windows with rasterio (GDAL): many bands, 16 bits, floats, coordinates, nodata."""

import base64
import logging
import os
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from jaxtyping import Bool, Float32, Shaped, UInt8
from PIL import Image

from segvoc.errors import ImageTooLargeError, InputError, OutputError, UsageError, install_line, missing_extra, one_line
from segvoc.imaging.color_profiles import Colors, to_srgb
from segvoc.imaging.image_formats import check_size, damaged_image, quiet_libtiff
from segvoc.imaging.pictures import Picture
from segvoc.imaging.stretching import (
    NO_IMAGE,
    PERCENTILES,
    SAMPLE_SIDE,
    Stretch,
    full_range,
    is_measured,
    reduced_size,
    stretched,
    warn_if_dark,
)
from segvoc.imaging.tiff_tags import TagsOnly

CACHE_BYTES = 512 << 20
"""GDAL's block cache: enough for the rows of a wide file stored in strips."""


def require_rasterio() -> Any:
    """Import rasterio; raises `UsageError` if it isn't installed."""
    os.environ.setdefault("CPL_LOG", os.devnull)  # for messages that GDAL doesn't raise
    try:
        import rasterio
    except ImportError:
        raise missing_extra("rasterio", "geo") from None
    # its warnings are about files that it reads anyway; without a handler, Python prints them
    logging.getLogger("rasterio").addHandler(_SILENT)
    quiet_libtiff("rasterio")
    return rasterio


def gdal_errors() -> tuple[type[Exception], ...]:
    """Errors of rasterio when GDAL or PROJ fail, including `SystemError` for failures without a reason."""
    from rasterio._err import CPLE_BaseError
    from rasterio.errors import CRSError, RasterioError

    return RasterioError, CRSError, CPLE_BaseError, SystemError


@contextmanager
def gdal_writing(path: Path) -> Iterator[None]:
    """Turn errors of GDAL while writing a file into an `OutputError`."""
    rasterio = require_rasterio()
    try:
        with rasterio.Env(GDAL_CACHEMAX=CACHE_BYTES), warnings.catch_warnings():
            warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
            yield
    except gdal_errors() as error:
        raise OutputError(f"{str(path)!r} can't be written ({one_line(error)}); check the disk") from None


@contextmanager
def opened_raster(source: str | os.PathLike[str] | BinaryIO | BytesIO, name: str, driver: str) -> Iterator[Any]:
    """A file that GDAL reads, as rasterio's dataset, for its stored values; `InputError` if it can't be read."""
    rasterio = require_rasterio()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
            with rasterio.open(source, driver=driver) as dataset:
                yield dataset
    except (*gdal_errors(), OSError) as error:
        raise InputError(f"{name}: damaged or truncated ({one_line(error)}); copy it again") from None


_SILENT = logging.NullHandler()


_Window = tuple[tuple[int, int], tuple[int, int]]
"""Rows and columns, as rasterio takes them."""


class RasterImage(AbstractContextManager["RasterImage"]):
    """A TIFF as an 8-bit RGB image, read by windows; call `close`. Needs rasterio (`UsageError`).

    By default, the bands are those with the color interpretations red, green and blue, else the first three that aren't
    alpha, else the first as gray; a palette is applied. 8-bit values are unchanged, 16-bit values of files without
    coordinates are scaled by their full range, and all others by the 2nd and 98th percentile of each band. Colors of an
    ICC profile become sRGB in files without coordinates, unless `colors` is "stored". The orientation tag isn't
    applied.

    A pixel is invalid if all of its bands are nodata or masked, any is NaN or beyond `LARGEST_VALUE`, or if the band
    with the color interpretation alpha is 0. With `bands` (1-based, for red, green and blue, or a single gray one), no
    other band counts as alpha, since infrared is often tagged as alpha.

    `InputError` if the file is missing, damaged, not a TIFF, or lacks the bands.
    """

    def __init__(
        self,
        source: str | os.PathLike[str] | BinaryIO | BytesIO,
        *,
        bands: Sequence[int] | None = None,
        stretch: Stretch | None = None,
        colors: Colors = "srgb",
        name: str | None = None,
    ) -> None:
        rasterio = require_rasterio()
        is_path = isinstance(source, str | os.PathLike)
        self._name, self._lock = name or repr(os.fspath(source) if is_path else "the file"), threading.Lock()
        if is_path and not os.path.isfile(source):
            raise InputError(f"{self._name} does not exist; check the path")
        self._environment = rasterio.Env(GDAL_CACHEMAX=CACHE_BYTES)
        with self._reading(), warnings.catch_warnings():
            warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
            self.dataset = rasterio.open(source, driver=driver_of(source))
        try:
            self._examine(bands, stretch, colors)
        except gdal_errors() as error:  # of tags that are only read now
            raise self._damage(error) from None

    def _examine(self, bands: Sequence[int] | None, stretch: Stretch | None, colors: Colors) -> None:
        self.height, self.width = int(self.dataset.height), int(self.dataset.width)
        self._interpretation = [color.name for color in self.dataset.colorinterp]
        self.bands = self._checked(bands)
        kinds = {np.dtype(self.dataset.dtypes[band - 1]).kind for band in self.bands}
        self._has_floats = "f" in kinds
        if "c" in kinds:
            raise InputError(f"{self._name} has complex values; save their magnitudes")
        if any(self.dataset.dtypes[band - 1] == "int8" for band in self.bands):
            raise InputError(f"{self._name} has signed values of 8 bits; save them unsigned, or in 16 bits")
        self._nodata = [self.dataset.nodatavals[band - 1] for band in self.bands]
        self._masks = self._mask_kind(alpha=bands is None)
        self._palette = self._colors() if bands is None else None
        self._limits = self._find_limits(stretch)
        is_converted = colors == "srgb" and bands is None and stretch is None
        self._profile = self._color_profile() if is_converted else None

    @property
    def is_georeferenced(self) -> bool:
        """Whether the file has georeferencing."""
        # GDAL leaves the transform of a PPM uninitialized
        is_placed = self.dataset.driver != "PNM" and not self.dataset.transform.is_identity
        return self.dataset.crs is not None or is_placed or bool(self.dataset.gcps[0])

    def close(self) -> None:
        """Close the file."""
        self.dataset.close()

    def __exit__(self, *_: object) -> None:
        self.close()

    def read(self, rows: slice, columns: slice) -> UInt8[np.ndarray, "h w 3"]:
        """RGB of a window; invalid pixels have the color `NO_IMAGE`."""
        window = _window(rows, columns)
        values = self._values(window)
        return self._rgb(values, self._valid(window, None, values))

    def valid(self, rows: slice, columns: slice) -> Bool[np.ndarray, "h w"] | None:
        """Which pixels of a window are valid; None: all."""
        if self._masks is None:
            return None
        window = _window(rows, columns)
        return self._valid(window, None, self._values(window) if self._has_floats else None)

    def overview(self, longest: int) -> UInt8[np.ndarray, "h w 3"]:
        """The downscaled image, from the file's overviews if it has any."""
        size = reduced_size(self.height, self.width, longest)
        # a mean would mix measurements with nodata, or palette entries
        resampling = "nearest" if self._masks or self._palette is not None else "average"
        values = self._values(None, size, resampling)
        return self._rgb(values, self._valid(None, size, values))

    def _checked(self, bands: Sequence[int] | None) -> tuple[int, ...]:
        count = int(self.dataset.count)
        if bands is not None:
            wrong = [band for band in bands if not 1 <= band <= count]
            if wrong or len(bands) not in (1, 3):
                have = "one band" if count == 1 else f"bands 1 to {count}"
                raise InputError(
                    f"{self._name} has {have}, not {','.join(map(str, bands))}; give one or three of its bands"
                )
            return tuple(bands)
        names = self._interpretation
        if "cyan" in names:
            raise InputError(f"{self._name} has printing inks (CMYK); convert it to RGB, or give the bands to use")
        if all(name in names for name in ("red", "green", "blue")):
            return tuple(names.index(name) + 1 for name in ("red", "green", "blue"))
        colors = [number for number, name in enumerate(names, 1) if name != "alpha"]
        return tuple(colors[:3]) if len(colors) >= 3 else tuple(colors[:1] or [1])

    def _mask_kind(self, *, alpha: bool) -> str | None:
        """The source of invalid pixels: GDAL's masks, or only nodata values; None: all pixels are valid."""
        flags = {flag.name for band in self.bands for flag in self.dataset.mask_flag_enums[band - 1]}
        if "alpha" in flags and not alpha:
            return "values" if self._has_floats or self._nodata.count(None) < len(self.bands) else None
        if flags == {"all_valid"}:
            return "values" if self._has_floats else None
        return "masks"

    def _colors(self) -> UInt8[np.ndarray, "256 3"] | None:
        if self._interpretation[self.bands[0] - 1] != "palette" or self.dataset.dtypes[self.bands[0] - 1] != "uint8":
            return None
        colors = np.zeros((256, 3), np.uint8)
        for index, color in self.dataset.colormap(self.bands[0]).items():
            colors[index] = color[:3]
        return colors

    def _find_limits(self, stretch: Stretch | None) -> Float32[np.ndarray, "n 2"] | None:
        """Values of black and white in each band; None: unchanged 8-bit values."""
        kinds = {self.dataset.dtypes[band - 1] for band in self.bands}
        about = self.dataset.tags(self.bands[0], ns="IMAGE_STRUCTURE")
        bits = int(about.get("NBITS", 8 if kinds == {"uint8"} else 16))
        is_inverted = self.dataset.tags(ns="IMAGE_STRUCTURE").get("MINISWHITE") == "YES"
        if stretch is None:
            if kinds == {"uint8"} and bits == 8 and not is_inverted:
                return None
            stretch = PERCENTILES
            if kinds == {"uint8"} or (kinds == {"uint16"} and not self.is_georeferenced):  # a photo
                if bits == 16:
                    warn_if_dark(self._sample())
                stretch = full_range(bits)
        values = self._sample() if stretch.percent else np.zeros((len(self.bands), 0, 0))
        valid = self._valid(None, (values.shape[1], values.shape[2]), values) if stretch.percent else None
        limits = stretch.limits(values, valid)
        return limits[:, ::-1] if is_inverted else limits

    def _color_profile(self) -> bytes | None:
        """The ICC profile of a photo."""
        with self._reading():
            encoded = self.dataset.tags(ns="COLOR_PROFILE").get("SOURCE_ICC_PROFILE", "")
        return None if self.is_georeferenced or self._has_floats else base64.b64decode(encoded)

    def _sample(self) -> Shaped[np.ndarray, "n h w"]:
        return self._values(None, reduced_size(self.height, self.width, SAMPLE_SIDE))

    def _values(
        self, window: _Window | None, size: tuple[int, int] | None = None, resampling: str = "nearest"
    ) -> Shaped[np.ndarray, "n h w"]:
        from rasterio.enums import Resampling

        shape = None if size is None else (len(self.bands), *size)
        with self._reading():
            return self.dataset.read(
                list(self.bands), window=window, out_shape=shape, resampling=Resampling[resampling]
            )

    def _valid(
        self, window: _Window | None, size: tuple[int, int] | None, values: Shaped[np.ndarray, "n h w"] | None
    ) -> Bool[np.ndarray, "h w"] | None:
        if self._masks is None:
            return None
        valid = None
        if self._masks == "masks":
            shape = None if size is None else (len(self.bands), *size)
            from rasterio.errors import NodataShadowWarning

            with self._reading(), warnings.catch_warnings():
                warnings.simplefilter("ignore", NodataShadowWarning)  # nodata counts, not alpha
                masks = self.dataset.read_masks(list(self.bands), window=window, out_shape=shape)
            valid = np.any(masks > 0, axis=0)
        elif self._nodata.count(None) < len(self.bands):
            values = self._values(window, size) if values is None else values
            same = [band == none for band, none in zip(values, self._nodata, strict=True) if none is not None]
            valid = ~np.all(same, axis=0)
        if self._has_floats and values is not None:
            finite = np.all(is_measured(values), axis=0)
            valid = finite if valid is None else valid & finite
        return valid

    def _rgb(
        self, values: Shaped[np.ndarray, "n h w"], valid: Bool[np.ndarray, "h w"] | None
    ) -> UInt8[np.ndarray, "h w 3"]:
        if self._palette is not None:
            pixels = self._palette[values[0]]
        else:
            bands = values
            if self._limits is not None:
                bands = [stretched(*band) for band in zip(values, self._limits, strict=True)]
            pixels = np.stack([bands[number % len(bands)] for number in range(3)], axis=-1)
        if self._profile:
            image = Image.fromarray(pixels if len(self.bands) == 3 or self._palette is not None else pixels[..., 0])
            pixels = np.array(to_srgb(image, self._profile, self._name).convert("RGB"))
        if valid is not None:
            pixels[~valid] = NO_IMAGE
        return pixels

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Lock for one thread at a time, and convert GDAL's errors to ours."""
        with self._lock:
            try:
                with self._environment:
                    yield
            except (*gdal_errors(), OSError) as error:
                raise self._damage(error) from None

    def _damage(self, error: BaseException) -> InputError:
        return InputError(f"{self._name}: damaged, truncated or not a TIFF ({one_line(error)}); copy it again")


def decoded_raster(picture: Picture) -> Image.Image:
    """The RGB of an image that GDAL decodes, as its file stores it; takes those that are `Picture.is_raster`."""
    assert picture.file is not None
    picture.file.seek(0)
    # by its path, GDAL finds the files beside it
    path = getattr(picture.file, "name", None)
    source = path if isinstance(path, str) else picture.file
    try:
        with RasterImage(source, name=picture.name, stretch=picture.stretch, colors=picture.colors) as raster:
            check_size(raster.width, raster.height, picture.name)
            return Image.fromarray(raster.read(slice(0, raster.height), slice(0, raster.width)))
    except UsageError:
        problem = f"{picture.name} is a TIFF of an unusual kind, which needs rasterio"
        raise InputError(f"{problem}: {install_line('geo')}, or export it as 8-bit RGB") from None
    except InputError as error:
        if isinstance(picture.image, TagsOnly) and not isinstance(error, ImageTooLargeError):
            raise damaged_image(picture.name, "TIFF", picture.image.problem) from None
        raise


def driver_of(source: str | os.PathLike[str] | BinaryIO | BytesIO) -> str:
    """GDAL's driver of a file, by its first bytes, so that no other one is tried."""
    if isinstance(source, str | os.PathLike):
        with open(source, "rb") as file:
            start = file.read(4)
    else:
        start = source.read(4)
        source.seek(0)
    if start[:2] == b"P6":
        return "PNM"
    return {b"\x89PNG": "PNG", b"\0\0\0\x0c": "JP2OpenJPEG", b"\xff\x4f\xff\x51": "JP2OpenJPEG"}.get(start, "GTiff")


def _window(rows: slice, columns: slice) -> _Window:
    return (rows.start, rows.stop), (columns.start, columns.stop)
