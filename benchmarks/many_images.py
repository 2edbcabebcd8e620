"""Many images with `segvoc segment`: does it keep the network busy, does memory stay flat, does a kill lose anything?

    python -m benchmarks.many_images [PHOTOS] [--images 2000] [--kills 20] [--engine onnx] [--threads 2]
                                     [--only rate kills]

The images are crops of the photographs in the folder PHOTOS (default: samples/), made at run time. Rates are taken in
turns in one process, so that a busy machine slows both alike: the command's work (reading, network, label search,
overlays, reports, files, journal), and the network with the label search alone, on images that are in memory. The first
tenth of the turns warms the memory up; after it, the growth of the process (resident) and of what its code has
allocated is told: the difference is freed memory that glibc keeps. The share of the CPU time that the network takes is
what the share of its rate comes to where all cores are busy. Then the command is killed at random moments and resumed,
and all of its results are compared with those of an unbroken run. Fails if one is lost, double or different. Each part
keeps its row in results/many_images.json when it is done.
"""

import argparse
import ctypes
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from PIL import Image
from tqdm import tqdm

import segvoc
from benchmarks.machine import update
from segvoc import process_settings
from segvoc.cli.segment import summary_line
from segvoc.exported.shipped import open_tiny
from segvoc.imaging.reading import read_image
from segvoc.imaging.result_paths import ResultPaths, image_paths
from segvoc.inference.prepared_vocabulary import PreparedVocabulary
from segvoc.inference.segmenter import Segmenter
from segvoc.labeling.labeling import Labeling, label_images
from segvoc.storage.journal import read_journal
from segvoc.storage.resume import RESUME_FOLDER
from segvoc.vocabulary import Vocabulary

ROOT = Path(__file__).parents[1]
WORDS = Path(__file__).with_name("coco_panoptic_words.txt")
TURN = 20
"""Images of a turn."""


def make_crops(photos: Path, folder: Path, number: int, seed: int = 0) -> list[Path]:
    """Write crops of photographs, of 70 to 100 % of their sides, as JPEG files."""
    sources = [image.path for image in image_paths([photos]) if image.problem is None]
    draw, crops = random.Random(seed), []
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(number):
        with Image.open(sources[index % len(sources)]) as opened:
            photo = opened.convert("RGB")
        width, height = (round(side * draw.uniform(0.7, 1)) for side in photo.size)
        left, top = draw.randint(0, photo.width - width), draw.randint(0, photo.height - height)
        crops.append(folder / f"{index:05}.jpg")
        photo.crop((left, top, left + width, top + height)).save(crops[-1], quality=90)
    return crops


def measure(model: Segmenter, crops: Sequence[Path], words: Sequence[str], out: Path) -> dict[str, object]:
    """Rates in turns, and how much memory grows after the first tenth of the turns."""
    labeling = Labeling(load=lambda: model, words=Vocabulary(words), out=str(out), describe=summary_line)
    prepared = model.encode(words)
    _network_seconds(model, crops[:2], prepared)
    command, network, memory, allocated, busy = [], [], [], [], [0.0, 0.0]
    for start in tqdm(range(0, len(crops), TURN), "rate", unit="turn"):
        turn = crops[start : start + TURN]
        planned = [(path, ResultPaths.below(out, path.stem)) for path in turn]
        at_first = time.process_time()
        network.append(_network_seconds(model, turn, prepared))
        began, half_way = time.perf_counter(), time.process_time()
        lines = list(label_images(labeling, model, planned))
        command.append(time.perf_counter() - began)
        busy[0] += half_way - at_first
        busy[1] += time.process_time() - half_way
        memory.append(_resident_bytes())
        allocated.append(_allocated_bytes())
        assert all(isinstance(line, str) for line in lines)
    warm = len(memory) // 10
    return {
        "images": len(crops),
        "words": len(words),
        "command_seconds": round(sum(command), 2),
        "network_seconds": round(sum(network), 2),
        "share_of_network_rate": round(sum(network) / sum(command), 3),
        "median_share": round(statistics.median(n / c for n, c in zip(network, command, strict=True)), 3),
        "share_of_cpu_time": round(busy[0] / busy[1], 3),
        "memory_gb": round(memory[-1] / 1e9, 3),
        "memory_growth": round(max(memory[warm:]) / memory[warm] - 1, 4),
        "allocated_growth": round(max(allocated[warm:]) / allocated[warm] - 1, 4),
        "load": [round(load, 2) for load in os.getloadavg()],
    }


def _network_seconds(model: Segmenter, crops: Sequence[Path], words: PreparedVocabulary) -> float:
    images = [read_image(path) for path in crops]
    start = time.perf_counter()
    for image in images:
        model.segment(image, words)
    return time.perf_counter() - start


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class _Mallinfo2(ctypes.Structure):
    """glibc's `struct mallinfo2`."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost".split()
    )


def _allocated_bytes() -> int:
    """What glibc has handed out, in its heaps and in mappings."""
    mallinfo2 = ctypes.CDLL(None).mallinfo2
    mallinfo2.restype = _Mallinfo2
    counts = mallinfo2()
    return int(counts.uordblks + counts.hblkhd)


def broken_run(command: Sequence[str], images: int, kills: int, *, cwd: Path, seed: int = 0) -> list[str]:
    """Run `segvoc segment ... --resume`, kill it several times at random moments, and let it end.

    Args:
        command: the command, without --json.
        images: number of images.
        kills: how many times it is killed, on average after `images / kills` more images each.
        cwd: where it runs.
        seed: of the moments.

    Returns:
        The lines that the last run prints with --json.
    """
    draw = random.Random(seed)
    for _ in tqdm(range(kills), "kills", unit="kill"):
        run = subprocess.Popen(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert run.stdout is not None
        for _ in range(draw.randint(0, max(1, 2 * images // kills))):
            run.stdout.readline()
        time.sleep(draw.uniform(0, 0.3))
        run.kill()
        run.communicate()
    done = subprocess.run([*command, "--json"], cwd=cwd, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def problems_of(broken: Path, whole: Path, printed: Sequence[str]) -> list[str]:
    """What is wrong with the results of a broken run: lost, double or different from those of an unbroken one."""
    found, expected = _results(broken), _results(whole)
    wrong = [f"{name} is lost" for name in expected.keys() - found.keys()]
    wrong += [f"{name} is too many" for name in found.keys() - expected.keys()]
    wrong += [f"{name} differs" for name in expected.keys() & found.keys() if expected[name] != found[name]]
    reports = [name for name in expected if name.endswith(".json")]
    lines = Counter(json.loads(line)["image"] for line in printed)
    wrong += [f"{image} was printed {times} times" for image, times in lines.items() if times != 1]
    entries = [entry for path in Path(broken, RESUME_FOLDER).iterdir() for entry in read_journal(path)]
    kept = Counter(entry["item"] for entry in entries if "item" in entry)
    wrong += [f"{stem} is in the journal {times} times" for stem, times in kept.items() if times != 1]
    if not len(reports) == len(lines) == len(kept):
        wrong.append(f"{len(reports)} reports, {len(lines)} lines, {len(kept)} entries")
    return wrong


def _results(folder: Path) -> dict[str, object]:
    """The content of all results below a folder; reports without the time that they took."""
    found: dict[str, object] = {}
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and not any(part.startswith(".segvoc") for part in path.relative_to(folder).parts):
            found[name] = path.read_bytes()
            if path.suffix == ".json":
                found[name] = {key: value for key, value in json.loads(path.read_bytes()).items() if key != "seconds"}
    return found


def kill(folder: Path, images: int, words: Sequence[str], kills: int) -> dict[str, object]:
    """The row of kills, of the images in `folder/in`; raises SystemExit with what is wrong."""
    command = [sys.executable, "-m", "segvoc", "segment", "in", "--words", ",".join(words), "--resume"]
    start = time.perf_counter()
    subprocess.run([*command, "--out", "whole"], cwd=folder, capture_output=True, check=True)
    whole = time.perf_counter() - start
    printed = broken_run([*command, "--out", "broken"], images, kills, cwd=folder)
    if wrong := problems_of(folder / "broken", folder / "whole", printed):
        sys.exit("\n".join(wrong))
    seconds = {"whole_seconds": round(whole), "broken_seconds": round(time.perf_counter() - start - whole)}
    return {"images": images, "words": len(words), "kills": kills, "wrong": 0, **seconds}


def main() -> None:
    """Measure, kill, compare; each part prints and keeps its row when it is done."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path, nargs="?", default=ROOT / "samples", help="folder of photographs")
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--words", type=int, default=20)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--engine", choices=["torch", "onnx"], default="torch")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", nargs="*", choices=["rate", "kills"], default=["rate", "kills"])
    arguments = parser.parse_args()
    process_settings.for_own_process(arguments.threads)
    words = WORDS.read_text(encoding="utf-8").split("\n")[: arguments.words]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        crops = make_crops(arguments.photos, folder / "in", arguments.images)
        for part in arguments.only:
            if part == "rate":
                onnx = arguments.engine == "onnx"
                model = open_tiny() if onnx else segvoc.load("tiny", device="cpu", dtype="float32")
                row = measure(model, crops, words, folder / "measured")
                row |= {"engine": arguments.engine, "threads": arguments.threads}
            else:
                row = kill(folder, len(crops), words, arguments.kills)
            print(json.dumps({"part": part, **row}), flush=True)
            update("many_images", [{"part": part, **row}], ["part"])


if __name__ == "__main__":
    main()
