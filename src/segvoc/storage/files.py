"""Files: untrusted names, scratch folders, the user's cache, the shipped weights, and digests."""

import hashlib
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from platformdirs import user_cache_path

from segvoc.errors import OutputError


def digest_of(*parts: object) -> str:
    """A short hexadecimal digest of values: equal for values of equal `repr`."""
    return hashlib.blake2b(repr(parts).encode(errors="surrogatepass"), digest_size=16).hexdigest()


def file_sha256(path: str | os.PathLike[str]) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


SHIPPED = Path(__file__).parents[1] / "weights"
"""Folder of the weights and programs that ship with the package."""

CACHE_VARIABLE = "SEGVOC_CACHE"
"""Environment variable with the cache folder, or "off"."""


def cache_folder() -> Path | None:
    """The cache folder, which need not exist: SEGVOC_CACHE, or "segvoc" in the platform's user cache.

    Returns:
        The folder (on Linux ~/.cache/segvoc, on macOS ~/Library/Caches/segvoc); None if caching is off.
    """
    given = os.environ.get(CACHE_VARIABLE)
    if given:
        return None if given.lower() == "off" else Path(given).expanduser().absolute()
    folder = user_cache_path("segvoc", appauthor=False)
    return folder if folder.is_absolute() else None  # a user without a home


@contextmanager
def scratch_folder() -> Iterator[str]:
    """Create a folder in the system's temporary directory, deleted on exit."""
    try:
        folder = tempfile.TemporaryDirectory(prefix="segvoc-", ignore_cleanup_errors=True)
    except OSError as error:
        problem = f"no temporary folder can be made: {error.strerror or error}"
        raise OutputError(f"{problem}; free some space, or set TMPDIR to another folder") from error
    with folder as path:
        yield path


def safe_path(name: str) -> Path:
    """Validate a file name from a dataset or archive as a relative path that can't escape its folder.

    Raises:
        ValueError: the name is a URL, absolute, or points outside the folder.
    """
    if re.match(r"[a-zA-Z][a-zA-Z0-9+.-]*://", name):
        raise ValueError(f"{name[:100]!r} is a URL, which isn't fetched")
    pieces = re.split(r"[/\\]", name)
    if "\0" in name or "\n" in name or any(len(piece.encode("utf-8", "replace")) > 255 for piece in pieces):
        raise ValueError(f"{name[:100]!r} is not a file name")
    path = Path(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or re.match(r"[a-zA-Z]:", name):
        raise ValueError(f"{name[:100]!r} points outside the folder")
    return path
