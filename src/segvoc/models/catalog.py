"""The names of models, recipes and their initial weights, without importing any network.

They are in `catalog.json`, so that lists, help and errors don't have to import PyTorch, which takes seconds.
`tools/make_catalog.py` writes it from the tables of presets and recipes, and the tests compare it with them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from segvoc.errors import UsageError
from segvoc.storage.files import read_json
from segvoc.storage.records import from_json

CATALOG = Path(__file__).with_name("catalog.json")


@dataclass(frozen=True, kw_only=True)
class ListedModel:
    """A model as listed by `segvoc models`."""

    summary: str
    ships: bool
    """Whether its weights ship with segvoc."""
    published: str | None
    """The weights file for `segvoc fetch`; None if it can't be fetched."""
    unconfirmed: str | None
    """Published weights that aren't fetched, since they can't be checked."""
    encoders: tuple[str, ...]
    """Published files that its training starts from."""
    fetches_encoders: bool
    """Whether `encoders` is all that its training starts from."""
    how_to_get: str
    """Where its weights come from, if none ship or are fetched."""
    parameters: int
    trainable: int
    """Number of parameters that the published recipe trains."""


@dataclass(frozen=True, kw_only=True)
class Catalog:
    """All names."""

    models: Mapping[str, ListedModel]
    recipes: Mapping[str, str]
    """The model that each recipe of the papers trains."""


def list_models() -> tuple[str, ...]:
    """List the presets that `segvoc.load` takes; without PyTorch, only `tiny`."""
    return ("tiny",) if find_spec("torch") is None else tuple(catalog().models)


def is_own_path(name: str) -> bool:
    """Whether a model name is the path of a segvoc file."""
    return name not in catalog().models and name.lower().endswith(".safetensors")


def unknown_model(name: str) -> UsageError:
    """The error for an unknown model; it has up to three near names."""
    near = ", ".join(get_close_matches(name.lower(), list(catalog().models), n=3, cutoff=0.5))
    meant = f"; the nearest {'are' if ', ' in near else 'is'} {near}" if near else ""
    if "sam" in name.lower():
        meant = "; `segvoc click` finds objects by clicks and boxes"
    return UsageError(f"model {name!r} is unknown{meant}; `segvoc models` lists all, and a file ends with .safetensors")


@cache
def catalog() -> Catalog:
    """The names of this version."""
    return from_json(Catalog, read_json(CATALOG))
