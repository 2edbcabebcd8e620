"""The regions of a label map as GeoJSON, in longitude and latitude."""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from segvoc.errors import InputError, one_line
from segvoc.imaging.rasters import RasterImage, gdal_errors, gdal_writing, require_rasterio
from segvoc.storage.atomic_writes import write_atomically

WGS84 = "EPSG:4326"
"""Longitude and latitude, which GeoJSON is in (RFC 7946)."""

Geometry = Mapping[str, Any]
"""A polygon, as GeoJSON has it."""

_Ring = list[tuple[float, float]]


def check_coordinates(image: RasterImage, name: str) -> None:
    """Check that the corners of an image have longitudes and latitudes, unless it has no coordinates.

    Args:
        image: the image.
        name: what the error calls it.

    Raises:
        InputError: they have none: it is of another planet or a local system, or shows more than the earth; or its
            coordinates aren't numbers.
    """
    around, crs = (
        [(0, 0), (image.width, 0), (image.width, image.height), (0, image.height), (0, 0)],
        _crs(image.dataset),
    )
    if (through := _through_points(image.dataset)) is not None:
        corners = through({"type": "Polygon", "coordinates": [around]})
    else:
        corners = {"type": "Polygon", "coordinates": [[image.dataset.transform @ corner for corner in around]]}
    if not np.isfinite(corners["coordinates"]).all():
        raise InputError(f"{name} has coordinates that aren't numbers; write it again, or leave out the regions")
    if crs is None:
        return
    try:
        _to_longitudes(crs, corners)
    except gdal_errors() as error:
        raise _without_longitudes(name, error) from None


def write_geojson(
    path: Path, label_map: Path, words: Sequence[str], colors: UInt8[np.ndarray, "K 3"], *, name: str
) -> int:
    """Write the regions of a label map, whose pixels touch along sides, as GeoJSON: one feature for each.

    Coordinates are longitudes and latitudes, cut at the antimeridian (RFC 7946), or columns and rows [px] of an image
    without coordinates. A feature's properties are "id", "name" and "color" (#rrggbb) of its class.

    Args:
        path: the file to write.
        label_map: the label map, as it was written before.
        words: names of the classes.
        colors: their colors.
        name: what errors call the image.

    Returns:
        The number of features.

    Raises:
        InputError: a region has no longitudes and latitudes.
        OutputError: the file can't be written.
    """
    rasterio = require_rasterio()
    hexadecimal = _hexadecimal(colors)
    written = 0

    def write(file: Any) -> None:
        nonlocal written
        file.write(b'{"type": "FeatureCollection", "features": [\n')
        with rasterio.open(label_map) as source:
            crs = _crs(source)
            for label, shape in _regions(source, len(words)):
                if crs is not None:
                    try:
                        shape = _to_longitudes(crs, shape)
                    except gdal_errors() as error:
                        raise _without_longitudes(name, error) from None
                properties = {"id": label, "name": words[label], "color": hexadecimal[label]}
                feature = {"type": "Feature", "properties": properties, "geometry": shape}
                file.write((("," if written else "") + json.dumps(feature, allow_nan=False) + "\n").encode())
                written += 1
        file.write(b"]}\n")

    with gdal_writing(path):
        write_atomically(path, write)
    return written


def _regions(label_map: Any, classes: int) -> Iterator[tuple[int, Geometry]]:
    """The class and the outline of each region, in the coordinates of the label map."""
    from rasterio import band, features

    through = _through_points(label_map)
    for shape, value in features.shapes(band(label_map, 1), mask=None, transform=label_map.transform):
        label = int(value)
        if label != label_map.nodata and label < classes:
            yield label, shape if through is None else through(shape)


def _crs(dataset: Any) -> Any:
    """The coordinate system of an image, or of its ground control points; None without coordinates."""
    return dataset.crs or dataset.gcps[1]


def _through_points(dataset: Any) -> Callable[[Geometry], Geometry] | None:
    """What takes polygons of columns and rows [px] to coordinates, if only ground control points tell these."""
    from rasterio.transform import GCPTransformer

    points, _ = dataset.gcps
    if not points or not dataset.transform.is_identity:
        return None
    transformer = GCPTransformer(points)

    def ring(corners: Any) -> list[tuple[float, float]]:
        columns, rows = np.array(corners, np.float64).T
        x, y = transformer.xy(rows, columns, offset="ul")
        return list(zip(np.asarray(x).tolist(), np.asarray(y).tolist(), strict=True))

    return lambda shape: {"type": "Polygon", "coordinates": [ring(corners) for corners in shape["coordinates"]]}


def _to_longitudes(crs: Any, shape: Geometry) -> Geometry:
    """A polygon in longitude and latitude, in parts where it crosses the antimeridian."""
    from rasterio import warp

    found = warp.transform_geom(crs, WGS84, shape, precision=9)
    parts = [found["coordinates"]] if found["type"] == "Polygon" else found["coordinates"]
    if all(-180 <= x <= 180 for part in parts for ring in part for x, _ in ring):
        return found
    # of coordinates that are longitudes already nothing is cut, and they may go from 0 to 360
    pieces = []
    for rings in parts:
        longitudes = [x for x, _ in rings[0]]
        for turn in range(int((min(longitudes) + 180) // 360), int((max(longitudes) + 180) // 360) + 1):
            moved = [[(x - 360 * turn, y) for x, y in ring] for ring in rings]
            cut = [_half(_half(ring, -180, 1), 180, -1) for ring in moved]
            if cut[0]:
                pieces.append([ring for ring in cut if ring])
    if len(pieces) == 1:
        return {"type": "Polygon", "coordinates": pieces[0]}
    return {"type": "MultiPolygon", "coordinates": pieces}


def _half(ring: _Ring, edge: float, side: int) -> _Ring:
    """What of a closed ring lies east (1) or west (-1) of a longitude; pieces are joined along it."""
    kept: _Ring = []
    for (x, y), (next_x, next_y) in pairwise(ring):
        is_in = side * (x - edge) >= 0
        if is_in:
            kept.append((x, y))
        if is_in != (side * (next_x - edge) >= 0):
            kept.append((edge, y + (next_y - y) * (edge - x) / (next_x - x)))
    # of a ring that only touches the edge no area is left
    return [*kept, kept[0]] if any(x != edge for x, _ in kept) else []


def _without_longitudes(name: str, error: BaseException) -> InputError:
    reason = re.split(r" from '{|\. To debug", one_line(error))[0][:120]
    return InputError(
        f"{name} has coordinates without longitude and latitude, which GeoJSON needs ({reason}); leave out the regions"
    )


def _hexadecimal(colors: UInt8[np.ndarray, "K 3"]) -> list[str]:
    return ["#{:02x}{:02x}{:02x}".format(*color) for color in colors.tolist()]
