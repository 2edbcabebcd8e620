"""What can be named: models, recipes and the files that they start from, without importing any network.

`catalog.json` says it, so that lists, help and errors need neither PyTorch nor the seconds that it takes to import.
`tools/make_catalog.py` writes it from the tables of presets and recipes, and the tests compare it with them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from segvoc.records import from_json
from segvoc.storage.json_files import read_json

CATALOG = Path(__file__).with_name("catalog.json")
"""The file."""


@dataclass(frozen=True, kw_only=True)
class ListedModel:
    """A model that can be named, as the lists show it."""

    summary: str
    """One-line description."""
    ships: bool
    """Whether its weights ship with segvoc."""
    published: str | None
    """The file of its weights, for `segvoc fetch`; None: none is fetched."""
    encoders: tuple[str, ...]
    """Published files that its training starts from."""
    fetches_encoders: bool
    """Whether these are all that its training starts from."""


@dataclass(frozen=True, kw_only=True)
class Catalog:
    """All names."""

    models: Mapping[str, ListedModel]
    """By name, in the order of the lists."""
    recipes: Mapping[str, str]
    """The model that each recipe of the papers trains."""


@cache
def catalog() -> Catalog:
    """The names of this version."""
    return from_json(Catalog, read_json(CATALOG))
