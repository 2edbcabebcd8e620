"""The folder in which segvoc keeps what it can compute again."""

import os
from pathlib import Path

from platformdirs import user_cache_path

CACHE_VARIABLE = "SEGVOC_CACHE"
"""Environment variable that moves the folder, or switches it off: "off"."""


def cache_folder() -> Path | None:
    """The folder, which need not exist: SEGVOC_CACHE, or "segvoc" among the user's caches by the platform's convention.

    Returns:
        The folder (on Linux ~/.cache/segvoc, on macOS ~/Library/Caches/segvoc); None where nothing is to be kept.
    """
    given = os.environ.get(CACHE_VARIABLE)
    if given:
        return None if given.lower() == "off" else Path(given).expanduser().absolute()
    folder = user_cache_path("segvoc", appauthor=False)
    return folder if folder.is_absolute() else None  # a user without a home
