"""Which images or videos of a folder of results are done, by the stems of their results (`segvoc.storage.resume`)."""

import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

from segvoc.imaging.result_paths import ResultFiles
from segvoc.storage.digests import digest_of
from segvoc.storage.json_files import strict_json
from segvoc.storage.resume import RESUME_FOLDER, Key, ResumableWork, Stamp, read_done, stamp_of

_JOURNALS = "images-*.jsonl"

_Files = TypeVar("_Files", bound=ResultFiles)

Planned = tuple[Path, ResultFiles]
"""An image, and where its results go."""

FolderWork = ResumableWork[object]
"""The images of a call."""

BeginWork = Callable[[Key], FolderWork]
"""Begins the work of a call, once the settings that its results depend on are known (`image_work`)."""


def image_work(out: str | os.PathLike[str], key: Key, sources: Sequence[str], shard: str | None = None) -> FolderWork:
    """The work of a call, which no other call does at the same time.

    Args:
        out: the folder of the results.
        key: all settings that they depend on.
        sources: what the call labels: files, folders, patterns.
        shard: its share of them; None: all.

    Raises:
        UsageError: another call labels the same.
        OutputError: the folder can't be written.
    """
    name = f"images-{digest_of(sorted(map(os.path.realpath, sources)), shard)[:16]}"
    what, share = ("the same images", "stop it and share them: --shard 1/2 in one call and 2/2 in the other")
    if shard is not None:
        what, share = f"--shard {shard} of the same images", "give another --shard"
    busy = f"another call is labeling {what} into {os.fspath(out)!r}; wait until it ends, or {share}"
    return ResumableWork(Path(out, RESUME_FOLDER, f"{name}.jsonl"), key, writers=_JOURNALS, busy=busy)


def work_of_process(work: FolderWork, number: int) -> Callable[[], FolderWork]:
    """Begins the work of one of several processes of a call, there: with a journal of its own."""
    return partial(ResumableWork, work.path.with_stem(f"{work.path.stem}-{number}"), work.key)


def result_stamp(path: Path, read: Stamp, results: ResultFiles) -> list[object]:
    """The stamp of an image that is done.

    Args:
        path: the image.
        read: its stamp, from before it was read.
        results: the files that were written.
    """
    return [path.name, read, [stamp_of(file) for file in results]]


def finished(work: FolderWork, planned: Iterable[Planned]) -> set[str]:
    """The images that need no more work, by the stems of their results.

    Args:
        work: that of the call.
        planned: its images.

    Raises:
        UsageError: the folder only has results of other settings, which the message names.
    """
    work.done.require_key(work.path.parents[1], "leave out --resume to replace them, or give another --out")
    return {
        results.stem
        for path, results in planned
        if work.done.has(results.stem, result_stamp(path, stamp_of(path), results))
    }


def written(out: str | os.PathLike[str], key: Key, files_of: Callable[[str, str], _Files]) -> Iterator[_Files]:
    """The results in a folder that calls with these settings have written, whichever images they were called with.

    Args:
        out: the folder of the results.
        key: of the calls.
        files_of: the files of an image, by their stem and the image's file name.
    """
    given: set[str] = set()
    for stem, (name, _, stamps), _ in read_done(Path(out, RESUME_FOLDER).glob(_JOURNALS), key):
        if stem not in given and stamps == json.loads(strict_json([stamp_of(file) for file in files_of(stem, name)])):
            given.add(stem)
            yield files_of(stem, name)
