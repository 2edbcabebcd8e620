"""Modules that take long to import, or much memory: collecting tests doesn't import them, running them does."""

from importlib import import_module
from importlib.util import find_spec
from typing import Any

import pytest


class LazyModule:
    """A module that is imported when a test first uses it."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __getattr__(self, attribute: str) -> Any:
        if attribute.startswith(("__", "_pytest", "pytest", "_mock")):  # what pytest asks each name of a file for
            raise AttributeError(attribute)
        return getattr(import_module(self.name), attribute)


def lazily(name: str, reason: str, module: str | None = None) -> Any:
    """A module, here of the package `name`; the tests of the file that asks for it skip where that isn't installed."""
    if find_spec(name) is None:
        pytest.skip(reason, allow_module_level=True)
    return LazyModule(module or name)
