"""Label maps of big images as files: PNG, or GeoTIFF in the coordinates of the image, and polygons as GeoJSON."""

import json
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from segvoc.big_images.partial_labels import PartialLabels
from segvoc.errors import OutputError, one_line
from segvoc.imaging.label_maps import UNLABELED, UNLABELED_8_BIT, label_palette
from segvoc.imaging.rasters import CACHE_BYTES, RasterImage, require_rasterio
from segvoc.storage.atomic_writes import write_atomically, write_path_atomically

BLOCK = 512
"""Side of the blocks of a GeoTIFF [px]."""

SMALLEST_OVERVIEW = 512
"""Overviews are added to a GeoTIFF until their longer side is about this [px]."""

WGS84 = "EPSG:4326"
"""Longitude and latitude, which GeoJSON is in (RFC 7946)."""


def write_png(path: Path, labels: PartialLabels, colors: UInt8[np.ndarray, "K 3"]) -> None:
    """Write a label map as `segvoc.imaging.label_maps.write_label_map` does; as a whole it is in memory once.

    Raises:
        OutputError: the file can't be written.
    """
    image = Image.fromarray(labels.read(slice(0, labels.height)))
    if labels.dtype == np.uint8:
        image.putpalette(label_palette(colors).tobytes())
    write_atomically(path, lambda file: image.save(file, "PNG", compress_level=4))


def write_geotiff(
    path: Path, labels: PartialLabels, raster: RasterImage, words: Sequence[str], colors: UInt8[np.ndarray, "K 3"]
) -> None:
    """Write a label map with the coordinates of an image, a color table and overviews.

    It has one band, compressed in blocks, of 8 bits (255: nodata), or of 16 (65535: nodata) beyond 255 words. The
    tag SEGVOC_WORDS holds the words as JSON.

    Raises:
        OutputError: the file can't be written.
    """
    rasterio, source = require_rasterio(), raster.dataset
    nodata = UNLABELED_8_BIT if labels.dtype == np.uint8 else UNLABELED
    profile = {
        "driver": "GTiff",
        "height": raster.height,
        "width": raster.width,
        "count": 1,
        "dtype": labels.dtype.name,
        "nodata": nodata,
        "tiled": True,
        "blockxsize": BLOCK,
        "blockysize": BLOCK,
        "compress": "deflate",
        "photometric": "palette",
        "bigtiff": "if_safer",
    }
    points, their_crs = source.gcps
    if source.crs is not None:
        profile["crs"] = source.crs
    if not source.transform.is_identity:
        profile["transform"] = source.transform

    def write(temporary: Path) -> None:
        with rasterio.open(temporary, "w", **profile) as file:
            if points:
                file.gcps = (points, their_crs)
            table = {number: (*color, 255) for number, color in enumerate(colors.tolist())}
            file.write_colormap(1, {**table, nodata: (0, 0, 0, 0)})
            file.update_tags(SEGVOC_WORDS=json.dumps(list(words)))
            for rows, values in labels.bands(BLOCK):
                file.write(values, 1, window=((rows.start, rows.stop), (0, raster.width)))
        longer, factors = max(raster.height, raster.width), [2]
        while longer / factors[-1] > SMALLEST_OVERVIEW:
            factors.append(2 * factors[-1])
        if longer > 2 * SMALLEST_OVERVIEW:
            with rasterio.open(temporary, "r+") as file:
                file.build_overviews(factors, rasterio.enums.Resampling.nearest)

    with _writing(path):
        write_path_atomically(path, write)


def write_polygons(path: Path, label_map: Path, words: Sequence[str], colors: UInt8[np.ndarray, "K 3"]) -> int:
    """Write the regions of a label map, whose pixels touch along sides, as GeoJSON: one feature for each.

    Coordinates are longitudes and latitudes (RFC 7946), or columns and rows [px] of an image without coordinates. A
    feature's properties are "id", "name" and "color" (#rrggbb) of its class.

    Args:
        path: the file to write.
        label_map: the label map, as it was written before.
        words: names of the classes.
        colors: their colors.

    Returns:
        The number of features.

    Raises:
        OutputError: the file can't be written.
    """
    rasterio = require_rasterio()
    from rasterio import features, warp

    hexadecimal = ["#{:02x}{:02x}{:02x}".format(*color) for color in colors.tolist()]
    written = 0

    def lines() -> Iterator[str]:
        nonlocal written
        with rasterio.open(label_map) as file:
            band = rasterio.band(file, 1)
            for shape, value in features.shapes(band, mask=None, transform=file.transform):
                label = int(value)
                if label == file.nodata or label >= len(words):
                    continue
                if file.crs is not None:
                    shape = warp.transform_geom(file.crs, WGS84, shape, precision=9)
                properties = {"id": label, "name": words[label], "color": hexadecimal[label]}
                feature = {"type": "Feature", "properties": properties, "geometry": shape}
                yield ("," if written else "") + json.dumps(feature, allow_nan=False) + "\n"
                written += 1

    def write(file: Any) -> None:
        file.write(b'{"type": "FeatureCollection", "features": [\n')
        for line in lines():
            file.write(line.encode())
        file.write(b"]}\n")

    with _writing(path):
        write_atomically(path, write)
    return written


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """GDAL's errors as ours."""
    rasterio = require_rasterio()
    from rasterio.errors import RasterioError

    try:
        with rasterio.Env(GDAL_CACHEMAX=CACHE_BYTES), warnings.catch_warnings():
            warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
            yield
    except RasterioError as error:
        raise OutputError(f"{str(path)!r} can't be written ({one_line(error)}); check the disk") from None
