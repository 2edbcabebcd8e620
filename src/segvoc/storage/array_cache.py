"""On-disk cache of arrays by key, shared by all processes of a user."""

import hashlib
import sqlite3
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing, suppress
from itertools import islice
from pathlib import Path

import numpy as np
from jaxtyping import Float32

LARGEST_FILE = 4 << 30
"""Maximum size of the cache file, which then starts over [bytes]."""

_WAIT = 10.0
"""Timeout for other writers [s]."""

_AT_ONCE = 500
"""Maximum number of keys per query."""

_TABLE = "create table if not exists kept (key text primary key, shape text, content blob, checksum blob)"


class ArrayCache:
    """Cache of float32 arrays in an SQLite file.

    Safe for concurrent processes and kills. Damaged, unreadable or unwritable data counts as a cache miss; a damaged
    file is removed. The file is created with its folder if needed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self, keys: Iterable[str]) -> dict[str, Float32[np.ndarray, "..."]]:
        """The cached arrays among the keys."""
        found: dict[str, np.ndarray] = {}
        pending = iter(keys)

        def look_up(database: sqlite3.Connection) -> None:
            while batch := list(islice(pending, _AT_ONCE)):
                marks = ", ".join("?" * len(batch))
                for key, shape, content, checksum in database.execute(
                    f"select key, shape, content, checksum from kept where key in ({marks})", batch
                ):
                    if checksum == _checksum(key, shape, content):
                        sides = [int(side) for side in shape.split()]
                        found[key] = np.frombuffer(content, "<f4").reshape(sides).copy()

        if self.path.is_file():
            self._attempt(look_up)
        return found

    def add(self, arrays: Mapping[str, Float32[np.ndarray, "..."]]) -> None:
        """Add arrays in a single transaction."""
        rows = []
        for key, array in arrays.items():
            shape, content = " ".join(map(str, array.shape)), array.astype("<f4").tobytes()
            rows.append((key, shape, content, _checksum(key, shape, content)))

        def insert(database: sqlite3.Connection) -> None:
            with database:
                database.execute(_TABLE)
                database.executemany("insert or replace into kept values (?, ?, ?, ?)", rows)

        self._attempt(insert)

    def _attempt(self, work: Callable[[sqlite3.Connection], None]) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if self.path.is_file() and self.path.stat().st_size > LARGEST_FILE:
                self._remove()
            with closing(sqlite3.connect(self.path, timeout=_WAIT)) as database:
                work(database)
        except (OSError, sqlite3.OperationalError):
            pass  # no space, no permission, or a timeout
        except (sqlite3.DatabaseError, TypeError, ValueError, AttributeError):
            self._remove()

    def _remove(self) -> None:
        # the journal too, which SQLite would apply to the next file of this name
        with suppress(OSError):
            for path in (self.path, self.path.with_name(f"{self.path.name}-journal")):
                path.unlink(missing_ok=True)


def _checksum(key: str, shape: str, content: bytes) -> bytes:
    return hashlib.blake2b(f"{key} {shape} ".encode() + content, digest_size=8).digest()
