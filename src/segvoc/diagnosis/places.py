"""The folders that segvoc writes to: where they are, whether they can be written, how much room there is."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from segvoc.storage.user_cache import CACHE_VARIABLE, cache_folder

LEAST_SPACE = 1_000_000_000
"""Free space of which less is called a problem [bytes]."""

SHARED_MEMORY = Path("/dev/shm")
"""Through which the processes that read images hand them on in training."""

LEAST_SHARED_MEMORY = 256 << 20
"""Size of it of which less is called a problem [bytes]; containers often have 64 MiB."""


def places() -> dict[str, Path]:
    """The folders by what they are for."""
    found = {"working directory": Path.cwd(), "temporary files": Path(tempfile.gettempdir())}
    cache = cache_folder()
    if cache is not None:
        found[f"encoded words ({CACHE_VARIABLE})"] = cache
    if find_spec("huggingface_hub") is not None:
        from huggingface_hub import constants

        found["fetched weights (HF_HOME)"] = Path(constants.HF_HOME)
    return found


def described(folder: Path) -> str:
    """A folder with its free space, the home folder written as ~."""
    text, home = str(folder), str(Path.home())
    shown = f"~{text.removeprefix(home)}" if folder.is_relative_to(home) and home != "/" else text
    return f"{shown} ({_free(folder) / 1e9:.1f} GB free)"


def problems_of_places() -> Iterator[str]:
    """Folders that can't be written, or have no room."""
    for purpose, folder in places().items():
        existing = _existing(folder)
        if not os.access(existing, os.W_OK | os.X_OK):
            yield f"{str(existing)!r} can't be written, which is for {purpose}; change its permissions, or take another"
        elif _free(folder) < LEAST_SPACE:
            yield (
                f"{str(existing)!r} has {_free(folder) / 1e6:.0f} MB of free space, which is for {purpose}; make room, "
                "or take another folder"
            )
    if SHARED_MEMORY.is_dir() and shutil.disk_usage(SHARED_MEMORY).total < LEAST_SHARED_MEMORY:
        yield (
            f"{str(SHARED_MEMORY)!r} is only {shutil.disk_usage(SHARED_MEMORY).total / 1e6:.0f} MB, too little for "
            "training; start the container with --shm-size=2g, say"
        )


def _free(folder: Path) -> int:
    return shutil.disk_usage(_existing(folder)).free


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists."""
    return next(one for one in (folder, *folder.parents) if one.is_dir())
