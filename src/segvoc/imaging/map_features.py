"""The regions of a georeferenced label map as features with ground areas, read and made by bands of rows.

Only the regions that reach the last row read are in memory, so that it doesn't matter how many there are before.
"""

import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Integer, Shaped, UInt16

from segvoc.errors import InputError, missing_extra, one_line
from segvoc.imaging.label_maps import UNLABELED
from segvoc.imaging.pixel_polygons import pixel_polygons
from segvoc.imaging.rasters import driver_of, gdal_errors, opened_raster, require_rasterio
from segvoc.imaging.tiff_tags import place_of

BAND_PIXELS = 8_000_000
"""Pixels of a band; each takes about 50 bytes."""

FAITHFUL = 0.01
"""Where the areas of a projection differ by more than this from those on the ground, such as in Web Mercator, those on
the ground count."""

_EQUAL_AREA, _AROUND = "EPSG:6933", 34_735_060.89
"""A projection of the whole world that keeps areas, and the length of its equator [m]."""

_COLUMNS = 32
"""Within so many parts of a row, ground areas of pixels count as equal."""


def require_shapely() -> Any:
    """Import shapely; raises `UsageError` if it isn't installed."""
    try:
        import shapely
    except ImportError:
        raise missing_extra("shapely", "geo") from None
    return shapely


@dataclass(frozen=True, kw_only=True, eq=False)
class MapPlace:
    """Where the pixels of an image lie."""

    crs: Any
    """rasterio's CRS."""
    transform: Any
    """From columns and rows to coordinates (affine)."""
    pixel_area: float
    """The area of a pixel, on the ground at the center [m²]."""
    is_faithful: bool
    """Whether all pixels have this area."""

    @classmethod
    def of(cls, path: str | os.PathLike[str]) -> "MapPlace":
        """The place of an image file.

        Raises:
            InputError: it has no coordinates, no coordinate system, or only control points.
            UsageError: the extra `geo` isn't installed.
        """
        require_rasterio()
        require_shapely()
        name = repr(os.fspath(path))
        if place_of(path) is None:
            raise InputError(f"{name} has no coordinates, which maps need; leave out --format, or save it as GeoTIFF")
        with opened_raster(path, name, driver_of(path)) as dataset:
            crs, transform, size = dataset.crs, dataset.transform, (dataset.height, dataset.width)
        if transform.is_identity:
            raise InputError(f"{name} has control points or RPCs but no transform; warp it first (rio warp, gdalwarp)")
        if crs is None:
            raise InputError(f"{name} has no coordinate system; give it one, such as rio edit-info --crs EPSG:32633")
        try:
            row, column = size[0] // 2, size[1] // 2
            ground = _ground_areas(crs, transform, slice(row, row + 1), np.array([column, column + 1])).item()
            factor = crs.linear_units_factor[1] if crs.is_projected else math.nan
        except (*gdal_errors(), ValueError) as error:
            raise InputError(f"{name}: its coordinates are unusable ({one_line(error)}); correct them") from None
        if not math.isfinite(ground) or not ground:
            raise InputError(f"{name}: its coordinates are nowhere on Earth; correct its coordinate system")
        plane = abs(transform.determinant) * factor**2
        is_faithful = abs(plane / ground - 1) < FAITHFUL
        return cls(crs=crs, transform=transform, pixel_area=plane if is_faithful else ground, is_faithful=is_faithful)

    def areas(self, rows: slice, width: int) -> Float64[np.ndarray, "h W"] | None:
        """The area of each pixel of some rows [m²]; None if all have that of the center."""
        if self.is_faithful:
            return None
        columns = np.unique(np.linspace(0, width, min(width, _COLUMNS) + 1).astype(int))
        return np.repeat(_ground_areas(self.crs, self.transform, rows, columns), np.diff(columns), axis=1)

    def placed(self, polygons: np.ndarray) -> np.ndarray:
        """Move polygons from pixels to the map; outer rings run counterclockwise, those of holes clockwise."""
        shapely = require_shapely()
        return shapely.orient_polygons(shapely.transform(polygons, partial(_moved, self.transform)))


def _moved(transform: Any, points: Float64[np.ndarray, "V 2"]) -> Float64[np.ndarray, "V 2"]:
    a, b, c, d, e, f = transform[:6]
    x, y = points.T
    return np.stack([a * x + b * y + c, d * x + e * y + f], axis=-1)


def _ground_areas(
    crs: Any, transform: Any, rows: slice, columns: Integer[np.ndarray, " C"]
) -> Float64[np.ndarray, "h _"]:
    """The mean areas of the pixels of each row between columns [m²]."""
    from rasterio.warp import transform as projected

    column, row = np.meshgrid(columns.astype(float), np.arange(rows.start, rows.stop + 1, dtype=float))
    at = _moved(transform, np.stack([column.ravel(), row.ravel()], axis=-1)).T.tolist()
    x, y = (np.reshape(values, row.shape) for values in projected(crs, _EQUAL_AREA, *at))
    falling = _around(x[1:, 1:] - x[:-1, :-1]), y[1:, 1:] - y[:-1, :-1]
    rising = _around(x[:-1, 1:] - x[1:, :-1]), y[:-1, 1:] - y[1:, :-1]
    return abs(falling[0] * rising[1] - falling[1] * rising[0]) / 2 / np.diff(columns)


def _around(distance: Float64[np.ndarray, "*shape"]) -> Float64[np.ndarray, "*shape"]:
    """The shorter way around the world, which an image may cross at 180 degrees."""
    return (distance + _AROUND / 2) % _AROUND - _AROUND / 2


# ---- regions


class MapRows(NamedTuple):
    """Rows of a labeled image."""

    labels: UInt16[np.ndarray, "h W"]
    confidence: Shaped[np.ndarray, "h W"]
    """In [0, 1]."""
    objects: UInt16[np.ndarray, "h W"] | None = None
    """The number of each pixel's object, 0 for none."""


class MapFeatures(NamedTuple):
    """Some of the features of a map."""

    polygons: Shaped[np.ndarray, " F"]
    """shapely's, in the coordinates of the map; those of objects may be of several parts."""
    labels: Integer[np.ndarray, " F"]
    confidence: Float64[np.ndarray, " F"]
    """Mean of the pixels."""
    area: Float64[np.ndarray, " F"]
    """Of the pixels [m²]."""


@dataclass(frozen=True, kw_only=True, eq=False)
class LabeledMap:
    """A labeled image with its place; not in memory, if `read` reads files."""

    height: int
    width: int
    words: Sequence[str]
    read: Callable[[slice], MapRows]
    """Reads rows; each is asked for at most twice, from top to bottom."""
    place: MapPlace

    def features(self, *, simplify: float = 0.0, band_pixels: int = BAND_PIXELS) -> Iterator[MapFeatures]:
        """The features: each 4-connected region of a word, or each object. They cover all labeled pixels, once.

        Args:
            simplify: remove corners that change areas by less than a square of this side [m]. Borders stay shared.
                Points where a border crosses from one band of rows to the next stay.
            band_pixels: pixels of a band.
        """
        step = max(1, band_pixels // self.width)
        unfinished, above = _Regions.none(), None
        for start in range(0, self.height, step):
            stop = min(start + step, self.height)
            rows = self.read(slice(start, min(stop + 1, self.height)))
            keys = rows.labels.astype(np.int64)
            if rows.objects is not None:
                keys |= rows.objects.astype(np.int64) << _OBJECT
            band = self._band(keys, above, slice(start, stop), rows.confidence, simplify)
            finished, unfinished = _joined(unfinished, band, above, keys[0], is_last=stop == self.height)
            above = keys[stop - start - 1]
            if len(finished.keys):
                yield self._features(finished)

    def _band(
        self,
        keys: Integer[np.ndarray, "h W"],
        above: Integer[np.ndarray, " W"] | None,
        rows: slice,
        confidence: Shaped[np.ndarray, "h W"],
        simplify: float,
    ) -> "_Regions":
        """The regions of some rows; `keys` may have a row more."""
        from skimage.measure import label

        shapely, height = require_shapely(), rows.stop - rows.start
        own = keys[:height]
        regions: Any = label(own, background=-1, connectivity=1)
        flat = regions.ravel()
        pixels = np.bincount(flat)[1:].astype(float)
        areas = self.place.areas(rows, self.width)
        of_region = np.empty(len(pixels), np.int64)
        of_region[flat - 1] = own.ravel()
        below = keys[height] if len(keys) > height else None
        polygons = pixel_polygons(regions, above, below)
        if simplify:
            # it compares areas, so that pixels needn't be square
            tolerance = simplify / math.sqrt(self.place.pixel_area)
            polygons = shapely.coverage_simplify(polygons, tolerance, simplify_boundary=False)
        if rows.start:
            polygons = shapely.transform(polygons, lambda points: np.add(points, [0.0, rows.start]))
        return _Regions(
            keys=of_region,
            pixels=pixels,
            confidence=np.bincount(flat, confidence[:height].ravel())[1:],
            area=pixels * self.place.pixel_area if areas is None else np.bincount(flat, areas.ravel())[1:],
            polygons=polygons,
            owners=np.arange(len(pixels)),
            first_row=regions[0] - 1,
            last_row=regions[-1] - 1,
        )

    def _features(self, regions: "_Regions") -> MapFeatures:
        return MapFeatures(
            polygons=self.place.placed(regions.whole()),
            labels=regions.keys & UNLABELED,
            confidence=regions.confidence / regions.pixels,
            area=regions.area,
        )


_OBJECT = 16
"""Bits of a label; a key of a region has the number of the object above them."""

_NO_ROW = np.zeros(0, np.int64)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Regions:
    """Regions of rows read so far; of those that go on, as far as they were read."""

    keys: Integer[np.ndarray, " N"]
    """The label, and the number of the object."""
    pixels: Float64[np.ndarray, " N"]
    confidence: Float64[np.ndarray, " N"]
    """Sum."""
    area: Float64[np.ndarray, " N"]
    polygons: Shaped[np.ndarray, " P"]
    """Each a piece of a region."""
    owners: Integer[np.ndarray, " P"]
    """The region of each."""
    first_row: Integer[np.ndarray, " _"]
    """The region of each pixel there."""
    last_row: Integer[np.ndarray, " _"]

    @classmethod
    def none(cls) -> "_Regions":
        none, whole = np.zeros(0), _NO_ROW
        return cls(
            keys=whole,
            pixels=none,
            confidence=none,
            area=none,
            polygons=np.zeros(0, object),
            owners=whole,
            first_row=whole,
            last_row=whole,
        )

    def whole(self) -> Shaped[np.ndarray, " N"]:
        """The polygon of each region."""
        shapely, order = require_shapely(), np.argsort(self.owners, kind="stable")
        pieces = np.split(self.polygons[order], np.flatnonzero(np.diff(self.owners[order])) + 1)
        found = np.empty(len(self.keys), object)
        found[:] = [same[0] if len(same) == 1 else shapely.coverage_union_all(same) for same in pieces]
        return found

    def of(self, chosen: Bool[np.ndarray, " N"]) -> "_Regions":
        """The chosen regions."""
        numbers, has = np.cumsum(chosen) - 1, chosen[self.owners]
        return _Regions(
            keys=self.keys[chosen],
            pixels=self.pixels[chosen],
            confidence=self.confidence[chosen],
            area=self.area[chosen],
            polygons=self.polygons[has],
            owners=numbers[self.owners[has]],
            first_row=_NO_ROW,
            last_row=numbers[self.last_row],  # of regions that go on, which are chosen together
        )


def _joined(
    before: _Regions,
    band: _Regions,
    above: Integer[np.ndarray, " W"] | None,
    first: Integer[np.ndarray, " W"],
    *,
    is_last: bool,
) -> tuple[_Regions, _Regions]:
    """Join regions to those of the rows above; returns the finished ones that have a word, and the others."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    offset, keys = len(before.keys), np.concatenate([before.keys, band.keys])
    meets = np.flatnonzero(above == first) if above is not None else _NO_ROW
    in_objects = np.flatnonzero(keys >> _OBJECT)
    _, leader, which = np.unique(keys[in_objects], return_index=True, return_inverse=True)
    one = np.concatenate([before.last_row[meets], in_objects])
    other = np.concatenate([offset + band.first_row[meets], in_objects[leader[which]]])
    links = coo_array((np.ones(len(one), bool), (one, other)), shape=(len(keys), len(keys)))
    number, region = connected_components(links, directed=False)
    whole_keys = np.empty(number, np.int64)
    whole_keys[region] = keys

    def total(name: str) -> np.ndarray:
        return np.bincount(region, np.concatenate([getattr(before, name), getattr(band, name)]))

    joined = _Regions(
        keys=whole_keys,
        pixels=total("pixels"),
        confidence=total("confidence"),
        area=total("area"),
        polygons=np.concatenate([before.polygons, band.polygons]),
        owners=region[np.concatenate([before.owners, offset + band.owners])],
        first_row=_NO_ROW,
        last_row=region[offset + band.last_row],
    )
    goes_on = np.zeros(number, bool)
    if not is_last:
        goes_on[joined.last_row] = True
        goes_on |= whole_keys >> _OBJECT > 0  # an object may have several parts
    finished = ~goes_on & (whole_keys & UNLABELED != UNLABELED)
    return joined.of(finished), joined.of(goes_on)
