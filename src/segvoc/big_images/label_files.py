"""Label maps of big images as files: PNG, or GeoTIFF in the coordinates of the image."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from segvoc.big_images.partial_labels import PartialLabels
from segvoc.imaging.label_maps import UNLABELED, UNLABELED_8_BIT, label_palette
from segvoc.imaging.rasters import RasterImage, gdal_writing, require_rasterio
from segvoc.storage.atomic_writes import write_atomically, write_path_atomically

BLOCK = 512
"""Side of the blocks of a GeoTIFF [px]."""

SMALLEST_OVERVIEW = 512
"""Overviews are added to a GeoTIFF until their longer side is about this [px]."""


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
            if source.rpcs is not None:
                file.rpcs = source.rpcs
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

    with gdal_writing(path):
        write_path_atomically(path, write)
