"""Time and memory of a caption set of a million images: scanning it, starting readers, and what each process keeps.

    python -m benchmarks.caption_scale [--images 1000000] [--folder FOLDER] [--readers 0 1 2 8]

The images have one pixel and made-up captions, in WebDataset tars of 10,000 samples; a set that is in the folder
already is used again. Three stages are measured, each in a process of its own: the first start builds the index, the
second finds it, and for each number of readers the training's batches are read (the order of images, their entries, the
images themselves; encoders are left out). Memory is private memory (USS: what no other process shares), its peak for
the parent while it builds, and at the end for the parent and for each reader.
"""

import argparse
import io
import json
import os
import pickle
import random
import subprocess
import sys
import tarfile
import time
from pathlib import Path

from PIL import Image
from torch.utils.data import Dataset

from benchmarks.machine import keep
from segvoc.data.captions.caption_dataset import CaptionDataset
from segvoc.data.captions.caption_index import build_index
from segvoc.data.captions.cleaning import CleaningRules
from segvoc.data.captions.sources import find_captions
from segvoc.data.training.training_set import ShardedSampler, read_ahead
from segvoc.hardware import peak_gigabytes
from segvoc.training.caption_task import Draw, DrawSampler

SAMPLES_PER_TAR = 10_000
BATCH, BATCHES = 256, 200

THINGS = (
    "dog cat horse sofa table lamp bicycle car bus boat kite ball tree bench clock vase plant bird cow sheep truck "
    "train laptop phone book cup bottle fork knife spoon bowl banana apple orange cake chair bed mirror window door"
).split()
MODIFIERS = "red blue small large wooden old shiny striped white black green tiny round metal plastic empty".split()
RELATIONS = ("beside", "on top of", "in front of", "behind", "under", "near")


def make_set(folder: Path, images: int) -> None:
    """Write the tars that are missing."""
    folder.mkdir(parents=True, exist_ok=True)
    content = io.BytesIO()
    Image.new("RGB", (1, 1), (90, 60, 30)).save(content, "PNG")
    for tar in range(-(-images // SAMPLES_PER_TAR)):
        path = folder / f"{tar:05d}.tar"
        if path.exists():
            continue
        generator = random.Random(tar)
        with path.with_suffix(".tmp").open("wb") as archive:
            for number in range(min(SAMPLES_PER_TAR, images - tar * SAMPLES_PER_TAR)):
                things = [f"{generator.choice(MODIFIERS)} {generator.choice(THINGS)}" for _ in range(3)]
                rare = f"a {generator.choice(THINGS)} {generator.choice(THINGS)} {generator.randrange(10**5):05d}x"
                text = f"A {things[0]} {generator.choice(RELATIONS)} a {things[1]} and the {things[2]} with {rare}."
                for suffix, data in (("png", content.getvalue()), ("txt", text.encode())):
                    member = tarfile.TarInfo(f"{tar:05d}{number:05d}.{suffix}")
                    member.size = len(data)
                    archive.write(member.tobuf(tarfile.USTAR_FORMAT))
                    archive.write(data.ljust(-(-len(data) // 512) * 512, b"\0"))
            archive.write(bytes(1024))
        path.with_suffix(".tmp").rename(path)


def private_megabytes(process: int | str = "self") -> float:
    """Memory of a process that it shares with no other [MB]."""
    lines = Path(f"/proc/{process}/smaps_rollup").read_text(encoding="utf-8").splitlines()
    return sum(1024 * int(line.split()[1]) for line in lines if line.startswith("Private_")) / 1e6


def children(process: int) -> list[int]:
    """All descendants of a process that are readers of a data loader."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text(encoding="utf-8").rpartition(")")[2].split()[1])
        except OSError:
            continue
        if parent == process:
            own = int(path.parent.name)
            found += [own, *children(own)]
    return found


def build(folder: Path) -> dict[str, object]:
    """Find or build the index; time, and the peak of this process' memory."""
    before, start = private_megabytes(), time.perf_counter()
    index = build_index(find_captions(folder / "set"), folder / "features", "rules", CleaningRules())
    dataset = CaptionDataset(index)
    return {
        "seconds": time.perf_counter() - start,
        "images": len(dataset),
        "phrases": dataset.facts["phrases"],
        "parent grew by [MB]": private_megabytes() - before,
        "peak resident [MB]": 1000 * peak_gigabytes(),
        "index [MB]": index.stat().st_size / 1e6,
        "index": str(index),
    }


def read(index: Path, readers: int) -> dict[str, object]:
    """Read batches as training does, and look at all processes' memory."""
    before, start = private_megabytes(), time.perf_counter()
    dataset = CaptionDataset(index)
    places = ShardedSampler(batch=BATCH, passes=1, rank=0, ranks=1, first_step=0, steps=BATCHES)
    draws = DrawSampler(places=places, images=len(dataset), seed=0, mirror=True)
    batches = read_ahead(_Entries(dataset), draws, list, readers, pinned=False)
    next(batches)
    first, done = time.perf_counter() - start, 1
    memory: list[float] = []
    for _ in batches:
        done += 1
        if done == BATCHES - 20:
            memory = sorted(map(private_megabytes, children(os.getpid())), reverse=True)[:readers]
    return {
        "readers": readers,
        "first batch [s]": first,
        "images/s": BATCH * BATCHES / (time.perf_counter() - start),
        "parent grew by [MB]": private_megabytes() - before,
        "each reader [MB]": memory,
        "pickled [bytes]": len(pickle.dumps(dataset)),
    }


class _Entries(Dataset[int]):
    """What a reader does for an image, without encoders: look up its entry and phrases, and read it."""

    def __init__(self, dataset: CaptionDataset) -> None:
        self.dataset = dataset

    def __getitem__(self, draw: Draw) -> int:
        image, phrases = self.dataset[draw.image]
        return image.size + len(phrases)


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, default=Path("/tmp/caption_scale"))
    parser.add_argument("--readers", nargs="+", type=int, default=[0, 1, 2, 8])
    parser.add_argument("--stage", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.stage:
        name, *values = arguments.stage
        row = build(Path(values[0])) if name == "build" else read(Path(values[0]), int(values[1]))
        print(json.dumps(row))
        return
    make_set(arguments.folder / "set", arguments.images)
    starts = [{"what": what, **_stage("build", arguments.folder)} for what in ("first start", "second start")]
    index = starts[0]["index"]
    keep("caption_scale_index", starts, images=str(arguments.images))
    rows = [_stage("read", index, readers) for readers in arguments.readers]
    keep("caption_scale_readers", rows, images=str(arguments.images))


def _stage(*values: object) -> dict[str, object]:
    command = [sys.executable, __file__, "--stage", *map(str, values)]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


if __name__ == "__main__":
    main()
