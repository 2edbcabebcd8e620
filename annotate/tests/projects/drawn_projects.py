"""Small projects."""

from pathlib import Path

import numpy as np

from segvoc_annotate.projects.project import Project
from segvoc_annotate.projects.work_files import LabelWork
from tests.serving.services import drawn_image, png

SIZE = (48, 64)


def drawn_labels(*ids: int) -> np.ndarray:
    return np.repeat(np.array(ids, np.uint16), SIZE[0] // len(ids))[:, None].repeat(SIZE[1], axis=1)


def drawn_work(*ids: int) -> LabelWork:
    """The work of such labels, with a draft that found the first alone, and an object in each band."""
    labels = drawn_labels(*ids)
    draft = np.full(SIZE, ids[0], np.uint16)
    corrections = np.where(labels == draft, 0, labels + 2).astype(np.uint16)
    confidence = np.full(SIZE, 204, np.uint8)
    return LabelWork(labels=labels, draft=draft, confidence=confidence, corrections=corrections, objects=labels + 1)


def drawn_project(folder: Path, *names: str, words: tuple[str, ...] = ("cat", "sofa", "wall")) -> Project:
    project = Project.create(folder, words=words)
    for number, name in enumerate(names):
        project.add(name, png(drawn_image(number, SIZE)), by="anna")
    return project


def damaged(archive: bytes, name: bytes, length: int) -> bytes:
    """A zip with other bytes from the fifth to `length` of its first file of a name."""
    content, start = bytearray(archive), archive.find(name) + len(name)
    content[start + 4 : start + length] = bytes(value ^ 0xFF for value in content[start + 4 : start + length])
    return bytes(content)


def forget_place(project: Project) -> Path:
    """The folder of a project whose copies aren't told from it, as if it had moved to each of their places."""
    with project.index.transaction():
        project.index.put_fact("folder", None)
    return project.folder
