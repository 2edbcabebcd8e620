"""Words that an exported model was taught: files in its folder, which its description lists."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from segvoc.exported.manifest import MANIFEST, ExportManifest, described_files
from segvoc.teaching.taught_words import TaughtWords

TAUGHT_FILE = "taught_{}.words.safetensors"
"""Name of a file by its place, from 1."""


def add_taught(folder: Path, taught: Sequence[TaughtWords]) -> None:
    """Write taught words into an exported folder that has none, and list them in its description.

    Raises:
        OutputError: the folder can't be written.
    """
    if not taught:
        return
    names = tuple(TAUGHT_FILE.format(place) for place in range(1, len(taught) + 1))
    for name, one in zip(names, taught, strict=True):
        one.save(folder / name)
    files = described_files(folder)
    del files[MANIFEST]
    manifest = replace(ExportManifest.read(folder / MANIFEST), files=files, taught=names)
    (folder / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")


def read_taught(folder: Path, manifest: ExportManifest) -> tuple[TaughtWords, ...]:
    """Read the taught words that a description lists.

    Raises:
        CheckpointError: a file is no file of taught words.
    """
    return tuple(TaughtWords.load(folder / name) for name in manifest.taught)
