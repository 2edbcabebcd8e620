"""What other distributions add to the service: routes, and options of `segvoc serve`.

A distribution names an `Extension` in the entry-point group `segvoc.routes`. segvoc-annotate has one: the page,
projects and Label Studio's addresses.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Any

import click

GROUP = "segvoc.routes"
"""The entry-point group."""

AddRoutes = Callable[[Any, Any], AbstractAsyncContextManager[None]]
"""Adds routes to an application (`FastAPI`) of a `Service`, and returns what is entered once the model is loaded, and
left when the service stops."""


@dataclass(frozen=True, kw_only=True)
class Extension:
    """Routes of another distribution."""

    options: Sequence[click.Option] = ()
    """Options that `segvoc serve` has for them."""
    routes: Callable[[Mapping[str, Any]], AddRoutes]
    """From the values of these options, by name, to what adds the routes; raises `UsageError` where they don't fit."""


def installed_extensions() -> list[Extension]:
    """The extensions of the distributions that are installed, in the order of their names."""
    return [entry.load() for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name)]
