"""How long a project's changes take, by its images and the changes in its history.

Usage: PYTHONPATH=. python annotate/tools/project_speed.py [--points 100x100 20000x20000 20000x1000000].
Prints medians in milliseconds: of a save, a listing, what changed since the last change; and of opening, once.
"""

import argparse
import io
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from segvoc_annotate.projects.images import ImageFiles, encoded
from segvoc_annotate.projects.index import INDEX_FILE, Index, Stamps
from segvoc_annotate.projects.project import Project
from segvoc_annotate.projects.records import Change, now
from segvoc_annotate.projects.work_files import LabelWork, packed_work

POINTS = ("100x100", "20000x20000", "20000x1000000")
SIDE, TRIES = 512, 15


def milliseconds(call: Callable[[], object], tries: int = TRIES) -> float:
    """Median time of a call [ms]."""
    times = []
    for _ in range(tries):
        start = time.perf_counter()
        call()
        times.append(1000 * (time.perf_counter() - start))
    return statistics.median(times)


def filled(folder: Path, images: int, changes: int) -> None:
    """Make a project of at most 65,000 labeled images, all of them links to one, with a history."""
    labels = np.repeat(np.arange(2, dtype=np.uint16), SIDE // 2)[:, None].repeat(SIDE, axis=1)
    drawn = Image.fromarray(np.random.default_rng(0).integers(0, 256, (SIDE // 8, SIDE // 8, 3), np.uint8))
    names = [f"{number:06}.png" for number in range(images)]
    with Project.create(folder, words=["cat", "sofa"]) as project:
        project.add(names[0], encoded(drawn.resize((SIDE, SIDE)), "PNG"))
        state = project.write(names[0], LabelWork.of_labels(labels), expected=0)
    (folder / INDEX_FILE).unlink()
    about: Any = {"at": now(), "by": "anna", "what": "labels", "revision": 1}
    numbers = tqdm(range(1, changes + 1), unit="change")
    made = (Change(seq=seq, image=names[seq % images], change=f"c{seq}", **about) for seq in numbers)
    Index.create(folder / INDEX_FILE, made)
    with Project(folder) as project, project.index.transaction():
        first = project.images_folder / names[0], *ImageFiles.below(folder, names[0])
        for name in tqdm(names, unit="image"):
            image, files = project.images_folder / name, ImageFiles.below(folder, name)
            for old, new in zip(first, (image, *files), strict=True):
                if old.exists() and not new.exists():
                    new.hardlink_to(old)
            project.index.put(name, Stamps.of(image, files), replace(state, image=name))


def measured(folder: Path) -> dict[str, float]:
    """Times of an opened project [ms]."""
    found, opened = dict[str, float](), list[Project]()
    found["open"] = milliseconds(lambda: opened.append(Project(folder)), 1)
    (project,) = opened
    found["recover"] = milliseconds(lambda: project.recover() and sys.exit("the project is damaged"), 1)
    name = project.index.names()[-1]
    packed = packed_work(project.work(name)[1], name, project.record.colors)
    content, new = packed.content(packed.state), iter(range(TRIES))

    def save() -> None:
        revision = project.state(project.image(name)).revision
        project.receive(name, io.BytesIO(content), expected=revision, change=str(time.time_ns()))

    def listed_anew() -> None:
        (project.images_folder / f"new {next(new)}.png").hardlink_to(project.images_folder / name)
        project.listing()

    found["save"], found["listing"] = milliseconds(save), milliseconds(project.listing)
    found["after a new image"] = milliseconds(listed_anew)
    found["changes"] = milliseconds(lambda: project.index.changes(project.index.seq - 1))
    project.close()
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", nargs="+", default=POINTS, help="images x changes")
    for point in parser.parse_args().points:
        images, changes = map(int, point.split("x"))
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch, "project")
            filled(folder, images, changes)
            times = measured(folder)
        print(f"{images} images, {changes} changes:", ", ".join(f"{what} {ms:.1f} ms" for what, ms in times.items()))


if __name__ == "__main__":
    main()
