"""What all trackers need before they start."""

import importlib.util

from segvoc.errors import missing_extra

PROJECT = "segvoc"
"""The project of a run for which none was named."""


def require(module: str, package: str, extra: str) -> None:
    """Raise `UsageError` at once where a tracker's package is missing, before anything is trained."""
    if importlib.util.find_spec(module) is None:
        raise missing_extra(package, extra)
