"""Files that were verified once aren't read again for that, as long as the file system says they are the same."""

import contextlib
import os
from pathlib import Path

from segvoc.errors import OutputError
from segvoc.storage.digests import digest_of, file_sha256
from segvoc.storage.json_files import read_json, write_json
from segvoc.storage.user_cache import cache_folder


def has_sha256(path: Path, sha256: str) -> bool:
    """Whether a file has a SHA-256.

    What was verified is noted in the user's cache with the file's identity, size and times, so that the next call takes
    milliseconds instead of seconds for each gigabyte. Without a cache, every call reads the file.

    Args:
        path: the file.
        sha256: in hexadecimal.

    Raises: OSError: the file can't be read.
    """
    folder = cache_folder()
    note = None if folder is None else folder / "verified" / f"{digest_of(os.fspath(path.resolve()))}.json"
    found = {"sha256": sha256, **_identity(path)}
    if note is not None and _noted(note) == found:
        return True
    if file_sha256(path) != sha256:
        return False
    if note is not None and _identity(path) | {"sha256": sha256} == found:  # nobody wrote it meanwhile
        with contextlib.suppress(OutputError, OSError):
            note.parent.mkdir(parents=True, exist_ok=True)
            write_json(note, found)
    return True


def _identity(path: Path) -> dict[str, int]:
    status = os.stat(path)
    times = {"modified": status.st_mtime_ns, "changed": status.st_ctime_ns}
    return {"device": status.st_dev, "inode": status.st_ino, "size": status.st_size, **times}


def _noted(note: Path) -> object:
    try:
        return read_json(note)
    except (OSError, ValueError):
        return None
