"""What a preparation has made: a file of JSON beside the data, without which nothing counts as prepared."""

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from segvoc.errors import UsageError
from segvoc.storage.json_files import read_json, write_json

PREPARED_LAYOUT = 1
"""Of the prepared files; those of another number are made anew."""

PREPARATION_FOLDER = "segvoc"
"""Below the data's root: the manifests, and journals of unfinished preparations."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """One picture to score, all paths below the data's root.

    stem: names it. part_object, mask: of a record of parts its object's index and mask; of a picture that parts are
    learnt from, `mask` is the map of its objects.
    """

    stem: str
    image: str
    labels: str
    part_object: int | None = None
    mask: str | None = None

    @property
    def files(self) -> tuple[str, ...]:
        """All that it consists of."""
        return (self.image, self.labels) if self.mask is None else (self.image, self.labels, self.mask)


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What `segvoc prepare` has made of a benchmark.

    records: in the order of their stems. sha256: over names and contents of all files that it has written. left_out:
    pictures that the published evaluations leave out as well, and why. missing: pictures that aren't there, where that
    was allowed (`partial`). failed: pictures whose files are damaged. sources: what was read, with the number of files.
    versions: of segvoc and of what reads and writes pictures.
    """

    benchmark: str
    records: tuple[Record, ...]
    sha256: str
    left_out: Mapping[str, str] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    partial: bool = False
    sources: Mapping[str, int] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)

    @staticmethod
    def path(root: Path, benchmark: str) -> Path:
        """Where the manifest of a benchmark lies."""
        return root / PREPARATION_FOLDER / f"{benchmark}.json"

    @classmethod
    def read(cls, root: Path, benchmark: str) -> "Manifest | None":
        """The manifest of a benchmark; None if there is none, or one of another layout.

        Raises: UsageError: it is damaged.
        """
        path = cls.path(root, benchmark)
        try:
            content: dict[str, Any] = read_json(path)
            if content.pop("layout") != PREPARED_LAYOUT:
                return None
            content.pop("pictures")
            records = tuple(Record(**record) for record in content.pop("records"))
            lists = {name: tuple(content.pop(name)) for name in ("missing", "failed")}
            return cls(records=records, **lists, **content)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise UsageError(
                f"the manifest {str(path)!r} can't be read ({type(error).__name__}); delete it and prepare again"
            ) from None

    def write(self, root: Path) -> None:
        """Write it, atomically.

        Raises: OutputError: the system refused.
        """
        content = {
            "benchmark": self.benchmark,
            "layout": PREPARED_LAYOUT,
            "pictures": len(self.records),
            **asdict(self),
        }
        content["records"] = [
            {name: value for name, value in record.items() if value is not None} for record in content["records"]
        ]
        write_json(self.path(root, self.benchmark), content)

    def lost_files(self, root: Path) -> list[str]:
        """Files of the records that are no longer there."""
        return [name for record in self.records for name in record.files if not os.path.exists(root / name)]
