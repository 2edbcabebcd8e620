"""What other distributions add to the service: routes, and options of `segvoc serve`.

A distribution names an `Extension` in the entry-point group `segvoc.routes`. That of segvoc-annotate adds the page,
projects and Label Studio's addresses.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from fastapi import FastAPI

    from segvoc.serving.service import Service

GROUP = "segvoc.routes"
"""The entry-point group."""

AddRoutes = Callable[["FastAPI", "Service"], AbstractAsyncContextManager[None]]
"""Adds routes to the application when that is made, and returns what is entered once the model is loaded, and left when
the service stops. Each process of the service calls it, so it has to be picklable."""


@dataclass(frozen=True, kw_only=True)
class Extension:
    """Routes of another distribution."""

    options: Sequence[click.Option] = ()
    """Options that `segvoc serve` has for them."""
    routes: Callable[[Mapping[str, Any]], AddRoutes]
    """From the values of these options, by name, and the number of "workers", to what adds the routes; raises
    `UsageError` where they don't fit."""


def installed_extensions() -> list[Extension]:
    """The extensions of the distributions that are installed, in the order of their names."""
    return [entry.load() for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name)]
