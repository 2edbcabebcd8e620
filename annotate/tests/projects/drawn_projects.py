"""Small projects, and their killers."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np

from hardening.faults import Fault, faults
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


def writes_of(call: Callable[[], object], folder: Path) -> int:
    """The number of writes, flushes and renames of a call in a folder."""
    with faults(Fault(kind="", moment=0, below=str(folder))) as counted:
        call()
    return counted.calls


def kill_at(call: Callable[[], object], folder: Path, moment: int) -> None:
    """Call it in a process that is killed at one of its writes."""
    pid = os.fork()
    if pid == 0:
        try:
            with faults(Fault(kind="SIGKILL", moment=moment, below=str(folder))):
                call()
        finally:
            os._exit(1)
    status = os.waitpid(pid, 0)[1]
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
