"""The labels of an image that is being labeled row by row of tiles, on disk, so that a later call can go on."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Integer, UInt16

from segvoc.errors import OutputError
from segvoc.imaging.label_maps import UNLABELED, stored_dtype
from segvoc.inference.reports import LabelStatistics
from segvoc.labeling.journal import JOURNAL_FOLDER, Settings, Stamp, refuse_other_settings
from segvoc.storage.atomic_writes import output_error
from segvoc.storage.digests import digest_of
from segvoc.storage.journal import Journal, read_journal
from segvoc.storage.json_files import strict_json

PARTIAL_FORMAT = 1
"""Version of the entries; journals of other versions are ignored."""

BAND_BYTES = 64 << 20
"""Labels that are read at a time when all are."""


@dataclass(frozen=True, kw_only=True)
class Identity:
    """What the labels of an image depend on, and how large they are."""

    settings: Settings
    """Words, model and options."""
    image: Stamp
    """Size and time of the image's file."""
    height: int
    """[px]"""
    width: int
    """[px]"""
    classes: int
    """Number of words."""

    def header(self) -> dict[str, Any]:
        """The first entry of the journal, as it comes back from JSON."""
        header = {
            "format": PARTIAL_FORMAT,
            "settings": self.settings,
            "image": self.image,
            "size": (self.height, self.width),
        }
        return json.loads(strict_json(header))


class PartialLabels:
    """The labels of the rows of tiles that are done, in a file of raw values beside the journal that names them.

    The values are those of the label map: 8 bits with 255 for unlabeled, or 16 bits. A row is on the disk before the
    journal names it, so a kill at any moment costs at most the row that was being labeled. Use it in a `with` block;
    `remove` it once the results are written.

    Args:
        out: the folder of the results, in whose `.segvoc` both files are.
        stem: the stem of the image's results.
        identity: what the labels depend on.
        resume: go on with what an earlier call has left; otherwise begin anew.

    Raises:
        UsageError: another process labels this image, or an earlier call has left labels of other settings.
        OutputError: the system refused.
    """

    def __init__(self, out: str | os.PathLike[str], stem: str, identity: Identity, *, resume: bool) -> None:
        base = Path(out, JOURNAL_FOLDER, f"tiles-{digest_of(stem)[:16]}")
        self.path, self._journal_path = base.with_suffix(".labels"), base.with_suffix(".jsonl")
        self.identity, self.dtype = identity, np.dtype(stored_dtype(identity.classes))
        self.rows, self.statistics, self.seconds = 0, LabelStatistics.none(), 0.0
        self.selected: tuple[int, ...] | None = None
        self._stop = 0
        Journal(self._journal_path, exclusive=True).close()  # nobody else labels this image
        entries = self._earlier(out) if resume else []
        if not entries:
            self.remove()
        self._journal = Journal(self._journal_path, exclusive=True)
        try:
            self._file = self.path.open("r+b" if entries else "w+b")
        except OSError as error:
            self._journal.close()
            raise output_error(self.path, error) from error
        for entry in entries:
            self._take(entry)
        self.is_new = not entries

    def __enter__(self) -> "PartialLabels":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close both files, which stay."""
        self._journal.close()
        self._file.close()

    def begin(self, selected: tuple[int, ...] | None) -> None:
        """Note the classes that were selected for the image, before the first row."""
        self.selected = selected
        self._journal.append({**self.identity.header(), "selected": selected})

    def add(self, stop: int, labels: UInt16[np.ndarray, "h W"], statistics: LabelStatistics, seconds: float) -> None:
        """Keep the next rows of the image, which a row of tiles has decided.

        Args:
            stop: the row after the last of them.
            labels: their labels; 65535 is unlabeled.
            statistics: of these labels.
            seconds: time that they took.

        Raises:
            OutputError: the system refused, for example because the disk is full.
        """
        try:
            self._file.seek(self._stop * self.identity.width * self.dtype.itemsize)
            self._file.write(np.ascontiguousarray(labels, self.dtype).data)
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise output_error(self.path, error) from error
        present = np.flatnonzero(statistics.pixels).tolist()
        entry = {
            "row": self.rows,
            "stop": stop,
            "pixels": {str(label): int(statistics.pixels[label]) for label in present},
            "confidence": {str(label): float(statistics.confidence[label]) for label in present},
            "seconds": seconds,
        }
        self._journal.append(entry)
        self._take(entry)

    def read(self, rows: slice) -> Integer[np.ndarray, "h W"]:
        """The values of some rows of the image, as they are stored.

        Raises:
            OutputError: the file can't be read.
        """
        width, count = self.identity.width, rows.stop - rows.start
        try:
            self._file.seek(rows.start * width * self.dtype.itemsize)
            content = self._file.read(count * width * self.dtype.itemsize)
            return np.frombuffer(content, self.dtype).reshape(count, width)
        except (OSError, ValueError) as error:
            raise OutputError(f"{str(self.path)!r} can't be read ({error}); label the image again") from None

    def bands(self, multiple: int = 1) -> Iterator[tuple[slice, Integer[np.ndarray, "h W"]]]:
        """All values from top to bottom, some rows at a time: a multiple of `multiple`, but for the last ones."""
        height = self.identity.height
        step = max(1, BAND_BYTES // (self.identity.width * self.dtype.itemsize) // multiple) * multiple
        for start in range(0, height, step):
            rows = slice(start, min(start + step, height))
            yield rows, self.read(rows)

    def reduced(self, height: int, width: int) -> UInt16[np.ndarray, "{height} {width}"]:
        """The labels at the centers of the pixels of a smaller image; 65535 is unlabeled."""
        rows = ((np.arange(height) + 0.5) * self.identity.height / height).astype(int)
        columns = ((np.arange(width) + 0.5) * self.identity.width / width).astype(int)
        found = np.stack([self.read(slice(row, row + 1))[0, columns] for row in rows.tolist()]).astype(np.uint16)
        if self.dtype == np.uint8:
            found[found == np.iinfo(np.uint8).max] = UNLABELED
        return found

    def remove(self) -> None:
        """Remove both files, and their folder if nothing else is in it."""
        for path in (self.path, self._journal_path):
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise output_error(path, error) from error
        with suppress(OSError):
            self.path.parent.rmdir()

    def _earlier(self, out: str | os.PathLike[str]) -> list[dict[str, Any]]:
        """The entries of a call that was stopped; none if there was none, or the image has changed since."""
        entries = list(read_journal(self._journal_path))
        if not entries or entries[0].get("format") != PARTIAL_FORMAT:
            return []
        header, own = entries[0], self.identity.header()
        if header.get("settings") != own["settings"]:
            refuse_other_settings(out, self.identity.settings, self._journal_path)
        if any(header.get(name) != own[name] for name in ("image", "size")):
            return []
        rows = [entry for number, entry in enumerate(entries[1:]) if entry.get("row") == number]
        needed = (rows[-1]["stop"] if rows else 0) * self.identity.width * self.dtype.itemsize
        if not self.path.is_file() or self.path.stat().st_size < needed:
            return []
        return [header, *rows]

    def _take(self, entry: Mapping[str, Any]) -> None:
        if "row" not in entry:
            self.selected = None if entry["selected"] is None else tuple(entry["selected"])
            return
        more = LabelStatistics.none()
        for label, count in entry["pixels"].items():
            more.pixels[int(label)], more.confidence[int(label)] = count, entry["confidence"][label]
        self.statistics += more
        self.rows, self._stop = entry["row"] + 1, entry["stop"]
        self.seconds += entry["seconds"]
