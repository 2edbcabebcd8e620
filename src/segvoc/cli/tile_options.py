"""Options of big images, which are labeled in tiles: how their files are read, and what is written."""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import click

from segvoc.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class TileOptions:
    """The values of the options that `tile_options` adds, as typed."""

    bands: str | None
    stretch: str | None
    polygons: bool
    max_megapixels: float | None

    @property
    def given(self) -> bool:
        """Whether any of the options is there, which means tiles."""
        return any(value not in (None, False) for value in vars(self).values())

    @property
    def band_numbers(self) -> tuple[int, ...] | None:
        """The bands for red, green and blue, or for gray.

        Raises:
            UsageError: they are neither three numbers nor one.
        """
        if self.bands is None:
            return None
        try:
            numbers = tuple(int(one) for one in self.bands.split(","))
        except ValueError:
            numbers = ()
        if len(numbers) not in (1, 3) or min(numbers) < 1:
            raise UsageError(f"--bands {self.bands!r} is invalid; give three numbers from 1, such as 3,2,1, or one")
        return numbers


def tile_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options to a command, which gets them by the names of `TileOptions`."""
    return functools.reduce(lambda command, name: _OPTIONS[name](command), reversed(list(_OPTIONS)), function)


_OPTIONS: Mapping[str, Callable[[Callable[..., Any]], Callable[..., Any]]] = {
    "bands": click.option(
        "--bands", metavar="R,G,B", help="Bands of a TIFF to use as red, green and blue, from 1; or one for gray."
    ),
    "stretch": click.option(
        "--stretch", metavar="B,W", help="Values of a TIFF to map to black and white, such as 0,3000 or 2%,98%."
    ),
    "polygons": click.option("--polygons", is_flag=True, help="Also write the regions as GeoJSON."),
    "max_megapixels": click.option(
        "--max-megapixels",
        type=click.FloatRange(min=0, min_open=True),
        metavar="M",
        help="With tiles: largest image other than TIFF; 200 by default.",
    ),
}
