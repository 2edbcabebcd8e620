"""The regions of a label map as files: GeoJSON in longitude and latitude, or a GeoPackage in the map's coordinates."""

import json
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from segvoc.errors import InputError, missing_extra, one_line
from segvoc.imaging.rasters import RasterImage, gdal_errors, gdal_writing, require_rasterio
from segvoc.storage.atomic_writes import write_atomically, write_path_atomically

WGS84 = "EPSG:4326"
"""Longitude and latitude, which GeoJSON is in (RFC 7946)."""

LAYER = "regions"
"""The layer of a GeoPackage."""

_BATCH = 10_000
"""Regions that are written to a GeoPackage at once."""

Geometry = Mapping[str, Any]
"""A polygon, as GeoJSON has it."""


def require_vector_files() -> tuple[Any, Any]:
    """The modules pyogrio and shapely.

    Raises:
        UsageError: they aren't installed.
    """
    try:
        import pyogrio
        import shapely
    except ImportError:
        raise missing_extra("pyogrio", "geo") from None
    return pyogrio, shapely


def check_coordinates(image: RasterImage, name: str, *, longitudes: bool) -> None:
    """Check that the corners of an image have coordinates, and longitudes and latitudes unless it has no coordinates.

    Args:
        image: the image.
        name: what the error calls it.
        longitudes: whether these are needed.

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
    if crs is None or not longitudes:
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


def write_geopackage(path: Path, label_map: Path, words: Sequence[str], colors: UInt8[np.ndarray, "K 3"]) -> int:
    """Write the regions of a label map as the polygons of a GeoPackage, in the coordinates of the label map.

    The layer `regions` has the columns "id", "name" and "color" (#rrggbb) of a region's class, and its "area" in the
    square of the coordinates' unit. Without coordinates they are columns and rows [px].

    Args:
        path: the file to write.
        label_map: the label map, as it was written before.
        words: names of the classes.
        colors: their colors.

    Returns:
        The number of regions.

    Raises:
        OutputError: the file can't be written.
        UsageError: pyogrio isn't installed.
    """
    rasterio, (pyogrio, shapely) = require_rasterio(), require_vector_files()
    hexadecimal = _hexadecimal(colors)
    written = 0

    def write(temporary: Path) -> None:
        nonlocal written
        package = temporary.with_suffix(".gpkg")  # GDAL warns of another suffix
        try:
            with rasterio.open(label_map) as source:
                crs = _crs(source)
                layer: dict[str, Any] = {"layer": LAYER, "driver": "GPKG", "geometry_type": "Polygon"}
                layer["crs"] = None if crs is None else crs.to_wkt()
                regions = _regions(source, len(words))
                while (some := list(islice(regions, _BATCH))) or not written:
                    shapes = np.array([shapely.geometry.shape(shape) for _, shape in some], object)
                    labels = np.array([label for label, _ in some], np.int32)
                    columns = {
                        "id": labels,
                        "name": np.array([words[label] for label in labels], object),
                        "color": np.array([hexadecimal[label] for label in labels], object),
                        "area": shapely.area(shapes).astype(np.float64),
                    }
                    geometry, values = shapely.to_wkb(shapes), list(columns.values())
                    pyogrio.raw.write(package, geometry, values, list(columns), append=written > 0, **layer)
                    written += len(some)
                    if not some:
                        break
            package.replace(temporary)
        finally:
            package.unlink(missing_ok=True)

    with gdal_writing(path, pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError):
        warnings.filterwarnings("ignore", "'crs' was not provided")  # of an image without coordinates
        write_path_atomically(path, write)
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
    _, shapely = require_vector_files()
    whole, pieces = shapely.geometry.shape(found), []
    west, _, east, _ = whole.bounds
    for turn in range(int((west + 180) // 360), int((east + 180) // 360) + 1):
        piece = shapely.intersection(whole, shapely.box(360 * turn - 180, -90, 360 * turn + 180, 90))
        moved = shapely.affinity.translate(piece, -360 * turn)
        pieces += [one for one in getattr(moved, "geoms", [moved]) if one.geom_type == "Polygon" and not one.is_empty]
    return shapely.geometry.mapping(pieces[0] if len(pieces) == 1 else shapely.MultiPolygon(pieces))


def _without_longitudes(name: str, error: BaseException) -> InputError:
    reason = re.split(r" from '{|\. To debug", one_line(error))[0][:120]
    return InputError(
        f"{name} has coordinates without longitude and latitude, which GeoJSON needs ({reason}); write a GeoPackage "
        "of its regions, which keeps its own"
    )


def _hexadecimal(colors: UInt8[np.ndarray, "K 3"]) -> list[str]:
    return ["#{:02x}{:02x}{:02x}".format(*color) for color in colors.tolist()]
