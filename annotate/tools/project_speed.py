"""How long a project's changes take, by its images and the changes in its history.

Usage: PYTHONPATH=. python annotate/tools/project_speed.py [--points 100x100 20000x20000 20000x1000000].
Prints medians in milliseconds: of a save, a listing, what changed since the last change; and of opening, once.
"""

import argparse
import io
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from segvoc_annotate.projects.index import Index, Stamps
from segvoc_annotate.projects.project import Project
from segvoc_annotate.projects.records import Change, now
from segvoc_annotate.projects.work_files import LabelWork, packed_work

POINTS = ("100x100", "20000x20000", "20000x1000000")
SIDE = 512
TRIES = 15


def median(call: Callable[[], object], tries: int = TRIES) -> float:
    """Median time of a call [ms]."""
    times = []
    for _ in range(tries):
        start = time.perf_counter()
        call()
        times.append(1000 * (time.perf_counter() - start))
    return statistics.median(times)


def filled(folder: Path, images: int, changes: int) -> None:
    """Make a project of labeled images, all of them links to one, with a history."""
    drawn = np.random.default_rng(0).integers(0, 256, (SIDE // 8, SIDE // 8, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(drawn).resize((SIDE, SIDE)).save(buffer, "PNG")
    labels = np.repeat(np.arange(2, dtype=np.uint16), SIDE // 2)[:, None].repeat(SIDE, axis=1)
    with Project.create(folder, words=["cat", "sofa"]) as project:
        first = project.write(
            project.add("000000.png", buffer.getvalue()).image, LabelWork.of_labels(labels), expected=0
        )
        with project.index.transaction():
            for number in tqdm(range(1, images), unit="image"):
                name, files = f"{number:06}.png", project.files(project.image(first.image))
                path = project.images_folder / name
                linked = [
                    (project.images_folder / first.image, path),
                    *((file, file.with_stem(path.stem)) for file in files),
                ]
                for old, new in linked:
                    if old.exists():
                        if number % 50_000 == 0:
                            new.write_bytes(old.read_bytes())  # a file has at most 65,000 names
                        else:
                            new.hardlink_to(old)
                stamps = Stamps.of(path, type(files).below(folder, name))
                project.index.put(name, stamps, first.__class__(**{**vars(first), "image": name}))
    path = folder / "index.sqlite"
    with Project(folder) as project:
        rows = [(name, project.index.image(name)) for name in project.index.names()]
    path.unlink()
    history = (
        Change(
            seq=seq, at=now(), by="anna", what="labels", image=f"{seq % images:06}.png", revision=1, change=f"c{seq}"
        )
        for seq in tqdm(range(1, changes + 1), unit="change")
    )
    Index.create(path, history)
    with Project(folder) as project, project.index.transaction():
        for name, row in rows:
            assert row is not None
            project.index.put(name, row.stamps, row.state)


def measured(folder: Path) -> dict[str, float]:
    """Times of an opened project [ms]."""
    start = time.perf_counter()
    project = Project(folder)
    opened = 1000 * (time.perf_counter() - start)
    start = time.perf_counter()
    assert project.recover() == []
    recovered = 1000 * (time.perf_counter() - start)
    name = project.index.names()[-1]
    labels = project.work(name)[1]
    packed = packed_work(labels, name, project.record.colors)
    content = packed.content(packed.state)
    numbers = iter(range(project.state(project.image(name)).revision, 10_000))
    save = median(
        lambda: project.receive(name, io.BytesIO(content), expected=next(numbers), change=str(time.time_ns()))
    )
    listing = median(project.listing)
    new = iter(range(TRIES))

    def listed_anew() -> None:
        (project.images_folder / f"new {next(new)}.png").hardlink_to(project.images_folder / name)
        project.listing()

    after_new = median(listed_anew)
    changes = median(lambda: project.index.changes(project.index.seq - 1))
    project.close()
    return {
        "open": opened,
        "recover": recovered,
        "save": save,
        "listing": listing,
        "after a new image": after_new,
        "changes": changes,
    }


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
