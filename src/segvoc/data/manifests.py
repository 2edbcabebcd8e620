"""The manifest of a prepared benchmark: a JSON file in the data folder that lists the files written."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from segvoc.errors import UsageError, one_line
from segvoc.records import check_amounts, from_json, to_json
from segvoc.storage.files import read_json, write_json

PREPARED_LAYOUT = 1
"""Version of the prepared files; other versions are prepared again."""

PREPARATION_FOLDER = "segvoc"
"""Folder of the manifests and of the journals of unfinished preparations, below the data folder."""


@dataclass(frozen=True, kw_only=True)
class ManifestRecord:
    """A label map and its image, or one object of an image in a part benchmark; paths are below the data folder."""

    stem: str
    image: str
    labels: str
    part_object: int | None = None
    """In a part benchmark: index of the object whose parts are labeled."""
    mask: str | None = None
    """In a part benchmark: path of the object's mask. In a training set of parts: path of the map of all objects."""

    @property
    def files(self) -> tuple[str, ...]:
        """Paths of all files of the record."""
        return (self.image, self.labels) if self.mask is None else (self.image, self.labels, self.mask)


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The result of `segvoc prepare` for a benchmark."""

    benchmark: str
    records: tuple[ManifestRecord, ...]
    sha256: str
    """SHA-256 over the names and contents of all files written."""
    left_out: Mapping[str, str] = field(default_factory=dict)
    """Images or records left out as in the published evaluations, with the reason."""
    missing: tuple[str, ...] = ()
    """Images with missing files, if allowed."""
    failed: tuple[str, ...] = ()
    partial: bool = False
    sources: Mapping[str, int] = field(default_factory=dict)
    """Original folders and files, with the number of files read from each."""
    versions: Mapping[str, str] = field(default_factory=dict)

    @staticmethod
    def path(root: Path, benchmark: str) -> Path:
        """Path of the manifest of a benchmark."""
        return root / PREPARATION_FOLDER / f"{benchmark}.json"

    @classmethod
    def read(cls, root: Path, benchmark: str) -> "Manifest | None":
        """The manifest of a benchmark; None if there is none of this layout, `UsageError` if it is damaged."""
        path = cls.path(root, benchmark)
        try:
            content: dict[str, Any] = read_json(path)
            if content.pop("layout") != PREPARED_LAYOUT:
                return None
            content.pop("images")
            manifest = from_json(cls, content)
            check_amounts(manifest)
            return manifest
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (UsageError, OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise UsageError(
                f"the manifest {str(path)!r} can't be read ({one_line(error)}); delete it and prepare again"
            ) from None

    def write(self, root: Path) -> None:
        """Write the manifest, atomically."""
        content = {"layout": PREPARED_LAYOUT, "images": len(self.records), **to_json(self)}
        content["records"] = [
            {name: value for name, value in record.items() if value is not None} for record in content["records"]
        ]
        write_json(self.path(root, self.benchmark), content)

    def lost_files(self, root: Path) -> list[str]:
        """Paths of the records' files that no longer exist."""
        return [name for record in self.records for name in record.files if not os.path.exists(root / name)]
