"""What can be named: models, recipes and the files that they start from, without importing any network.

`catalog.json` says it, so that lists, help and errors need neither PyTorch nor the seconds that it takes to import.
`tools/make_catalog.py` writes it from the tables of presets and recipes, and the tests compare it with them.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from segvoc.errors import UsageError, did_you_mean
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
    how_to_get: str
    """Where its weights come from, if none ship or are fetched."""
    parameters: int
    """Number of its parameters."""
    trainable: int
    """Those that the published recipe trains."""


@dataclass(frozen=True, kw_only=True)
class Catalog:
    """All names."""

    models: Mapping[str, ListedModel]
    """By name, in the order of the lists."""
    recipes: Mapping[str, str]
    """The model that each recipe of the papers trains."""


def unknown_model(name: str) -> UsageError:
    """The error for a name that no model has; it lists the names."""
    models = catalog().models
    return UsageError(
        f"model {name!r} is unknown{did_you_mean(name, models)}; it is one of {', '.join(models)}, or a "
        ".safetensors of segvoc"
    )


def check_name_without_torch(name: str) -> None:
    """Check, where PyTorch is missing, that it would help: that a name is a model's, a path, or may be a repository's.

    Raises:
        UsageError: it is none of these.
    """
    known = name in catalog().models or os.path.exists(name) or "/" in name or name.lower().endswith(".safetensors")
    if not known and find_spec("torch") is None:
        raise unknown_model(name)


@cache
def catalog() -> Catalog:
    """The names of this version."""
    return from_json(Catalog, read_json(CATALOG))
