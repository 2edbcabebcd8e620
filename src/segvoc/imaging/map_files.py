"""Maps as files of geographic information systems: GeoJSON and GeoPackage."""

import math
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal, get_args

import numpy as np

from segvoc.errors import InputError, OutputError, UsageError, missing_extra, one_line
from segvoc.imaging.map_features import LabeledMap, MapFeatures, require_shapely
from segvoc.imaging.rasters import gdal_errors, require_rasterio
from segvoc.storage.atomic_writes import write_atomically, write_path_atomically
from segvoc.storage.files import strict_json

MapName = Literal["geojson", "gpkg"]
"""A format of maps, which is also the suffix of the files."""

MAP_NAMES: tuple[MapName, ...] = get_args(MapName)

_WGS84 = "EPSG:4326"
"""GeoJSON has no other coordinates (RFC 7946)."""

_DIGITS = 9
"""Of degrees: a tenth of a millimeter."""


@dataclass(frozen=True, kw_only=True)
class MapFormat:
    """How maps are written; `UsageError` for a negative `simplify`, or without the extra `geo`."""

    name: MapName
    simplify: float = 0.0
    """See `LabeledMap.features` [m]."""

    def __post_init__(self) -> None:
        if not math.isfinite(self.simplify) or self.simplify < 0:
            raise UsageError(f"simplify={self.simplify} is no length; give meters, such as 2, or 0 for every corner")
        require_rasterio()
        require_shapely()
        if self.name == "gpkg":
            _require_pyogrio()

    def write(self, labeled: LabeledMap, path: Path) -> None:
        """Write a map, atomically; `OutputError` if that fails."""
        if self.name == "gpkg":
            write_path_atomically(path, lambda temporary: self._write_geopackage(labeled, path, temporary))
        else:
            write_geojson(path, geojson_features(labeled, self.simplify))

    def _write_geopackage(self, labeled: LabeledMap, path: Path, temporary: Path) -> None:
        pyogrio, shapely = _require_pyogrio(), require_shapely()
        place = {"driver": "GPKG", "layer": path.stem, "crs": labeled.place.crs.to_wkt()}
        words, is_new = np.array(labeled.words, object), True
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", ".*extension", RuntimeWarning)  # of the temporary file
                for found in _with_none(labeled.features(simplify=self.simplify)):
                    pyogrio.raw.write(
                        temporary,
                        geometry=shapely.to_wkb(found.polygons),
                        field_data=[words[found.labels], *_figures(found)],
                        fields=["word", "confidence", "area"],
                        geometry_type="MultiPolygon",
                        promote_to_multi=True,
                        append=not is_new,
                        **place,
                    )
                    is_new = False
        except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError) as error:
            raise OutputError(f"{str(path)!r} can't be written ({one_line(error)}); check the disk") from None


def write_geojson(path: Path, features: Iterable[Mapping[str, Any]]) -> None:
    """Write features, a line each, atomically; `OutputError` if that fails."""

    def write(file: BinaryIO) -> None:
        file.write(b'{"type": "FeatureCollection", "features": [')
        for number, feature in enumerate(features):
            file.write(f"{',' if number else ''}\n{strict_json(feature)}".encode())
        file.write(b"\n]}\n")

    write_atomically(path, write)


def geojson_features(labeled: LabeledMap, simplify: float) -> Iterator[Mapping[str, Any]]:
    """The features of a map as GeoJSON, in WGS 84; those that cross 180 degrees are cut there."""
    from rasterio.warp import transform_geom

    for found in labeled.features(simplify=simplify):
        given = [polygon.__geo_interface__ for polygon in found.polygons]
        try:
            moved = transform_geom(labeled.place.crs, _WGS84, given, antimeridian_cutting=True, precision=_DIGITS)
        except gdal_errors() as error:
            raise InputError(f"the map can't be moved to WGS 84 ({one_line(error)}); correct the image's CRS") from None
        figures = (values.tolist() for values in _figures(found))
        for geometry, label, confidence, area in zip(moved, found.labels.tolist(), *figures, strict=True):
            properties = {"word": labeled.words[label], "confidence": confidence, "area": area}
            yield {"type": "Feature", "properties": properties, "geometry": geometry}


def _figures(found: MapFeatures) -> tuple[np.ndarray, np.ndarray]:
    return np.round(found.confidence, 6), np.round(found.area, 6)


def _with_none(features: Iterator[MapFeatures]) -> Iterator[MapFeatures]:
    """No features first, so that there is a file if there are none."""
    none = np.zeros(0)
    yield MapFeatures(none.astype(object), none.astype(int), none, none)
    yield from features


def _require_pyogrio() -> Any:
    try:
        import pyogrio
    except ImportError:
        raise missing_extra("pyogrio", "geo") from None
    return pyogrio
