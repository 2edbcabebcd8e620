"""The journals of an output folder: which inputs are finished, and the dataset that all calls write there."""

import json
import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from segvoc.labeling.formats.dataset import Dataset, EntryFiles
from segvoc.labeling.task import FolderWork, Labeling, Planned
from segvoc.storage.atomic_writes import writing
from segvoc.storage.files import digest_of, strict_json
from segvoc.storage.journal import lock_folder
from segvoc.storage.resume import RESUME_FOLDER, ResumableWork, RunSettings, read_done, stamp_of

_JOURNALS = "images-*.jsonl"


def image_work(labeling: Labeling, settings: RunSettings) -> FolderWork:
    """Start the work of a call on its inputs (or a shard K/N), locked against other calls."""
    out, shard = labeling.out, labeling.shard
    name = f"images-{digest_of(sorted(map(os.path.realpath, labeling.inputs)), shard)[:16]}"
    what, share = ("the same images", "stop it and share them: --shard 1/2 in one call and 2/2 in the other")
    if shard is not None:
        what, share = f"--shard {shard} of the same images", "give another --shard"
    busy = f"another call is labeling {what} into {os.fspath(out)!r}; wait until it ends, or {share}"
    return ResumableWork(Path(out, RESUME_FOLDER, f"{name}.jsonl"), settings, writers=_JOURNALS, busy=busy)


def finish_dataset(
    dataset: Dataset, words: Sequence[str], settings: RunSettings, inputs: Iterable[str], named: Iterable[Planned]
) -> None:
    """Write the dataset-wide files, from the results of all calls with the same settings so far.

    Concurrent calls are serialized by a lock, so the last call sees all images. An image is in the dataset once: under
    the stem that it has among the images `named` by this call (of all shards). One that has been removed from a folder
    of the `inputs`, on this machine, has left the dataset, with its label files.
    """
    stems = {recorded_path(path): files.stem for path, files in named}
    folders = tuple(f"{recorded_path(Path(source))}{os.sep}" for source in inputs if os.path.isdir(source))
    with lock_folder(Path(dataset.folder, RESUME_FOLDER), wait=True):
        images: dict[str, EntryFiles] = {}
        journals = Path(dataset.folder, RESUME_FOLDER).glob(_JOURNALS)
        for stem, (name, _, stamps), place in read_done(journals, settings):
            files = dataset.files(stem, name)
            if stamps != json.loads(strict_json([stamp_of(file) for file in files])):
                continue
            if place is not None and _has_left(place, stem, stems, folders):
                for path in files.own:
                    with writing(files.folder / path):
                        (files.folder / path).unlink(missing_ok=True)
            else:
                images[stem] = files
        if images:
            dataset.finish(words, images.values())


def _has_left(place: str, stem: str, stems: Mapping[str, str], folders: tuple[str, ...]) -> bool:
    if place in stems:
        return stems[place] != stem
    return place.startswith(folders) and not os.path.lexists(place.partition(":")[2])


def recorded_path(path: Path) -> str:
    """Machine and absolute path of a file or folder; another machine may have another file there."""
    return f"{platform.node()}:{os.path.abspath(path)}"
