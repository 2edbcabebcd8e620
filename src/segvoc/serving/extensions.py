"""Extensions of the service by other distributions: routes, and options of `segvoc serve`.

A distribution registers an `Extension` in the entry-point group `segvoc.routes`, as segvoc-annotate does for the page,
projects and Label Studio.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Any

import click

GROUP = "segvoc.routes"

AddRoutes = Callable[[Any, Any], AbstractAsyncContextManager[None]]
"""Adds routes to the application (`FastAPI`) of a `Service`, and returns a context manager that is entered after the
model is loaded and exited when the service stops."""


@dataclass(frozen=True, kw_only=True)
class Extension:
    """Routes of another distribution."""

    options: Sequence[click.Option] = ()
    """Their options of `segvoc serve`."""
    routes: Callable[[Mapping[str, Any]], AddRoutes]
    """Builds the route function from the options' values, by name; raises `UsageError` for bad values."""


def installed_extensions() -> list[Extension]:
    """The extensions of installed distributions, sorted by name."""
    return [entry.load() for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name)]
