"""A short video of two disks that move, and frames of it that are done in a project."""

from pathlib import Path

import numpy as np
import pytest

from segvoc_annotate.projects.project import Project
from segvoc_annotate.projects.work_files import LabelWork

HEIGHT, WIDTH, STEP = 160, 220, 12

WORDS = ("blorp", "zing")
"""Words that no model knows: what frames have of them, they took over."""


def moved(number: int) -> np.ndarray:
    """A frame: a red and a blue disk, side by side, on stripes."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    pixels = np.stack([np.full((HEIGHT, WIDTH), 200), 120 + 80 * ((columns // 10) % 2), rows], axis=2).astype(np.uint8)
    for disk, color in zip(disks(number), ((210, 20, 30), (20, 40, 220)), strict=True):
        pixels[disk] = color
    return pixels


def disks(number: int) -> tuple[np.ndarray, np.ndarray]:
    """The pixels of both disks, which touch, in a frame."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    left, right = ((rows - 80) ** 2 + (columns - x - STEP * number) ** 2 <= 30**2 for x in (45, 106))
    return left, right & ~left


def labels_of(number: int, ids: tuple[int, int] = (0, 1)) -> np.ndarray:
    """The disks are the first word, all else the second."""
    left, right = disks(number)
    return np.where(left | right, ids[0], ids[1]).astype(np.uint16)


def objects_of(number: int) -> np.ndarray:
    """The number of each disk."""
    left, right = disks(number)
    return np.where(left, 4, np.where(right, 2, 0)).astype(np.uint16)


def drawn_video(path: Path, frames: int = 4) -> Path:
    """Write the video; skips where PyAV is missing."""
    av = pytest.importorskip("av")
    with av.open(path, "w") as file:
        stream = file.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = WIDTH, HEIGHT, "yuv420p", 4_000_000
        for number in range(frames):
            file.mux(stream.encode(av.VideoFrame.from_ndarray(moved(number))))
        file.mux(stream.encode(None))
    return path


def mark_done(project: Project, name: str, number: int, *, has_objects: bool = True) -> None:
    """Label a frame as it is, and mark it as done."""
    work = LabelWork.of_labels(labels_of(number), objects_of(number) if has_objects else None)
    state = project.write(name, work, expected=project.state(project.image(name)).revision)
    project.set_done(name, True, expected=state.revision)
