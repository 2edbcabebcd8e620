"""Rows of tensors on disk, in files of safetensors of so many rows each: written once, whole or not at all."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from jaxtyping import Shaped
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from segvoc.errors import InputError, one_line
from segvoc.storage.atomic_writes import write_atomically
from segvoc.storage.digests import digest_of

DAMAGE = (OSError, SafetensorError, ValueError)
"""What reading a damaged file raises."""

OPEN_SHARDS = 64
"""Files that a process keeps open for reading."""


@dataclass(frozen=True, kw_only=True)
class Shards:
    """Files of `size` rows each, the last of fewer.

    folder: where they are. kind: how their names begin. digests: of each shard's content, before it is computed: of all
    that it depends on. A shard is named by its own, so that one of other content is never met, and only those shards
    whose content has changed are computed again. rows: of all. names: of the tensors of a row.
    """

    folder: Path
    kind: str
    digests: tuple[str, ...]
    rows: int
    size: int

    @classmethod
    def of(cls, folder: Path, kind: str, contents: Sequence[object], size: int, *settings: object) -> "Shards":
        """The shards for rows that depend on `settings`, and each on its own one of `contents`."""
        starts = range(0, len(contents), size)
        digests = tuple(digest_of(settings, list(contents[start : start + size])) for start in starts)
        return cls(folder=folder, kind=kind, digests=digests, rows=len(contents), size=size)

    def path(self, shard: int) -> Path:
        """The file of a shard."""
        return self.folder / f"{self.kind}-{shard:06d}-{self.digests[shard][:16]}.safetensors"

    def span(self, shard: int) -> range:
        """The rows of a shard."""
        return range(shard * self.size, min((shard + 1) * self.size, self.rows))

    def missing(self, rank: int = 0, ranks: int = 1) -> list[int]:
        """The shards that this one of several processes has to write: those of its share that aren't there, whole."""
        return [shard for shard in range(rank, len(self.digests), ranks) if not self._whole(shard)]

    def write(self, shard: int, tensors: Mapping[str, Tensor], notes: Mapping[int, str] | None = None) -> None:
        """Write a shard, atomically. tensors: (rows of the shard, ...). notes: by row of the shard.

        Raises: OutputError: the system refused, for example because the disk is full.
        """
        content = save(dict(tensors), {"notes": json.dumps(notes or {})})
        write_atomically(self.path(shard), lambda file: file.write(content))

    def read(self, row: int) -> dict[str, Shaped[Tensor, "..."]]:
        """The tensors of a row, by name.

        Raises: InputError: its file is missing or damaged.
        """
        shard, place = divmod(row, self.size)
        path = self.path(shard)
        try:
            file = _opened(str(path))[0]
            return {name: file.get_slice(name)[place] for name in file.keys()}
        except DAMAGE as error:
            raise InputError(f"{str(path)!r} can't be read ({one_line(error)}); run the same command again") from None

    def note(self, row: int) -> str | None:
        """What was noted of a row.

        Raises: InputError: its file is missing or damaged.
        """
        shard, place = divmod(row, self.size)
        path = self.path(shard)
        try:
            return _opened(str(path))[1].get(place)
        except DAMAGE as error:
            raise InputError(f"{str(path)!r} can't be read ({one_line(error)}); run the same command again") from None

    def bytes(self) -> int:
        """Of all files that are there."""
        paths = map(self.path, range(len(self.digests)))
        return sum(os.path.getsize(path) for path in paths if path.exists())

    def _whole(self, shard: int) -> bool:
        path = self.path(shard)
        if not path.exists():
            return False
        try:
            # safetensors checks that the file is as long as its header says
            with safe_open(path, framework="pt") as file:
                _notes(file)
                return all(file.get_slice(name).get_shape()[0] == len(self.span(shard)) for name in file.keys())
        except DAMAGE:
            return False


@lru_cache(maxsize=OPEN_SHARDS)
def _opened(path: str) -> tuple[Any, dict[int, str]]:
    """A file, mapped into memory, and its notes."""
    file = safe_open(path, framework="pt")
    return file, _notes(file)


def _notes(file: Any) -> dict[int, str]:
    notes = json.loads((file.metadata() or {}).get("notes", "{}"))
    return {int(row): note for row, note in notes.items()}
