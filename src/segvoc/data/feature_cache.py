"""On-disk cache of tensor rows, in write-once safetensors shards with a fixed number of rows.

    FOLDER/images-000000-<digest>.safetensors     tap0, tap1, ... (rows, views, tokens, width)
    FOLDER/phrases-000000-<digest>.safetensors    embeddings (rows, width)

A shard's file name has a digest of everything that its content depends on (encoder, settings, images), so a stale
shard is never read.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

from jaxtyping import Shaped
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from segvoc.errors import InputError, one_line
from segvoc.runtime.distributed import Processes
from segvoc.runtime.progress import Progress
from segvoc.storage.atomic_writes import write_bytes
from segvoc.storage.files import digest_of

DAMAGE = (OSError, SafetensorError, ValueError)

OPEN_SHARDS = 64
"""Max files that a process keeps open for reading."""


@dataclass(frozen=True, kw_only=True)
class FeatureCache:
    """Features of images or phrases, in files of `shard_rows` rows each; the last one may have fewer."""

    folder: Path
    kind: str
    digests: tuple[str, ...]
    """The digests of all shards."""
    rows: int
    shard_rows: int

    @classmethod
    def of(
        cls, folder: Path, kind: str, contents: Iterable[object], shard_rows: int, *settings: object
    ) -> "FeatureCache":
        """Create a cache whose rows depend on `settings` and on their item of `contents`."""
        rows, digests, remaining = 0, list[str](), iter(contents)
        while chunk := list(islice(remaining, shard_rows)):
            digests.append(digest_of(settings, chunk)[:16])
            rows += len(chunk)
        return cls(folder=folder, kind=kind, digests=tuple(digests), rows=rows, shard_rows=shard_rows)

    def path(self, shard: int) -> Path:
        """The file of a shard."""
        return self.folder / f"{self.kind}-{shard:06d}-{self.digests[shard]}.safetensors"

    def span(self, shard: int) -> range:
        """The rows of a shard."""
        return range(shard * self.shard_rows, min((shard + 1) * self.shard_rows, self.rows))

    def missing(self) -> list[int]:
        """The shards whose file is missing, truncated, or has a damaged header."""
        return [shard for shard in range(len(self.digests)) if not self._is_whole(shard)]

    def write(self, shard: int, tensors: Mapping[str, Tensor], problems: Mapping[int, str] | None = None) -> None:
        """Write a shard atomically.

        The first axis of all tensors is the shard's rows. `problems` maps rows without features to the reason.
        """
        content = save(dict(tensors), {"problems": json.dumps(problems or {})})
        write_bytes(self.path(shard), content)
        _opened.cache_clear()  # a damaged file may be open

    def fill(
        self,
        encode: Callable[[range, Progress], tuple[Mapping[str, Tensor], Mapping[int, str]]],
        processes: Processes,
        what: str,
        *,
        unit: str = "image",
        silent: bool = False,
    ) -> None:
        """Compute and write the missing shards, shared evenly by all processes; returns when all have finished.

        `encode` maps some rows to what `write` takes, and counts them as done; `what` and `unit` are for progress.
        """
        missing = processes.share(processes.gather(self.missing())[0])  # other ranks may see files being written
        total = sum(len(self.span(shard)) for shard in missing)
        with Progress(what, total=total, unit=unit, silent=silent) as progress:
            for shard in missing:
                self.write(shard, *encode(self.span(shard), progress))
        processes.gather(None)  # wait until all have finished

    def read(self, row: int) -> dict[str, Shaped[Tensor, "..."]]:
        """Read the tensors of a row, by name; `InputError` if its file is missing or damaged."""
        shard, place = divmod(row, self.shard_rows)
        with _damage_named(self.path(shard)) as path:
            file = _opened(path)[0]
            return {name: file.get_slice(name)[place] for name in file.keys()}

    def problem(self, row: int) -> str | None:
        """Why a row has no features; None if it has some. `InputError` if its file is missing or damaged."""
        shard, place = divmod(row, self.shard_rows)
        with _damage_named(self.path(shard)) as path:
            return _opened(path)[1].get(place)

    def _is_whole(self, shard: int) -> bool:
        path = self.path(shard)
        if not path.exists():
            return False
        try:
            # safetensors checks that the file is as long as its header says
            with safe_open(path, framework="pt") as file:
                _problems(file)
                return all(file.get_slice(name).get_shape()[0] == len(self.span(shard)) for name in file.keys())
        except DAMAGE:
            return False


@contextmanager
def _damage_named(path: Path) -> Iterator[str]:
    try:
        yield str(path)
    except DAMAGE as error:
        raise InputError(f"{str(path)!r} can't be read ({one_line(error)}); run the same command again") from None


@lru_cache(maxsize=OPEN_SHARDS)
def _opened(path: str) -> tuple[Any, dict[int, str]]:
    """A file, mapped into memory, and its problems by row."""
    file = safe_open(path, framework="pt")
    return file, _problems(file)


def _problems(file: Any) -> dict[int, str]:
    problems = json.loads((file.metadata() or {}).get("problems", "{}"))
    return {int(row): problem for row, problem in problems.items()}
