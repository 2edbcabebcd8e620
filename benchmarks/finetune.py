"""What `segvoc train finetune` makes of a few labeled photographs, how long it takes and how much memory.

    python -m benchmarks.finetune [--sets car-parts:30 indoor:20] [--held-out 40] [--network]

Photographs are those of `../shared/data/photos`; scores are of others of the same set. "text" is tiny without any
training, "finetune" the command as it is, and "network" the recipe `tiny`, which trains the network's own weights
(only with --network: it takes five times as long). Commands run on two threads each; nothing is cached before.
"""

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

import segvoc
from benchmarks.machine import update
from benchmarks.teach import WITH_BACKGROUND, Examples, mean, scores
from segvoc import process_settings
from segvoc.data.labeled_images import LabeledImages

THREADS = 2


def copied(images: LabeledImages, folder: Path, classes: Path) -> list[str]:
    """Copy photographs and labels into a folder; returns the options that name it."""
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True)
    for one in images.images:
        shutil.copy(one.image, folder / "images")
        shutil.copy(one.labels, folder / "labels")
    shutil.copy(classes, folder / "classes.json")
    return [f"--{name}={folder / file}" for name, file in FILES.items()]


FILES = {"images": "images", "labels": "labels", "classes": "classes.json"}


def trained(arguments: list[str], out: Path) -> dict[str, object]:
    """Run `segvoc train` in a process of its own; returns its seconds and its memory."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    command = [sys.executable, "-m", "segvoc", "train", *arguments, "--out", str(out), "--device", "cpu"]
    subprocess.run(command, check=True, env=os.environ | {"OMP_NUM_THREADS": str(THREADS)}, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "seconds": round(time.perf_counter() - start, 1),
        "processor_seconds": round(after.ru_utime - before.ru_utime, 1),
        "largest_gb_so_far": round(after.ru_maxrss / 1e6, 2),
    }


def rows_of(folder: Path, count: int, held_out: int, seed: int, *, network: bool) -> list[dict[str, object]]:
    """The rows of one set."""
    images = LabeledImages.from_folders(*(folder / file for file in FILES.values()))
    images = replace(images, name=folder.name)
    order = np.random.default_rng(seed).permutation(len(images)).tolist()
    words = [word for word in images.vocabulary.words if word != "background" or images.name in WITH_BACKGROUND]
    test = Examples(images.only(sorted(order[:held_out])), words)
    rows: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as scratch:
        options = copied(
            images.only(sorted(order[held_out : held_out + count])), Path(scratch) / "set", folder / "classes.json"
        )
        methods = {"text": None, "finetune": ["finetune", "--model", "tiny"], "network": ["tiny"] if network else None}
        for method, arguments in methods.items():
            if arguments is None and method != "text":
                continue
            model, cost = "tiny", dict[str, object]()
            if arguments is not None:
                cost = trained([*arguments, *options], Path(scratch) / method)
                model = str(Path(scratch) / method / "model.safetensors")
            iou, accuracy = scores(segvoc.load(model, device="cpu", dtype="float32"), test)
            base = {"set": images.name, "words": len(words), "photographs": count, "held_out": len(test), "seed": seed}
            rows.append(base | {"method": method, "miou": mean(iou), "accuracy": round(float(accuracy), 1)} | cost)
            print(rows[-1], flush=True)
    return rows


def main() -> None:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, default=Path("../shared/data/photos"))
    parser.add_argument("--sets", nargs="+", default=["car-parts:30", "indoor:20"], help="SET:PHOTOGRAPHS")
    parser.add_argument("--held-out", type=int, default=40, help="photographs to score")
    parser.add_argument("--seed", type=int, default=0, help="draws the photographs")
    parser.add_argument("--network", action="store_true", help="train the network's own weights, too")
    chosen = parser.parse_args()
    process_settings.for_own_process(THREADS)
    for name in chosen.sets:
        folder, _, count = name.partition(":")
        rows = rows_of(chosen.photos / folder, int(count or 20), chosen.held_out, chosen.seed, network=chosen.network)
        update("finetune", rows, ["set", "photographs", "method", "seed"], threads=str(THREADS))


if __name__ == "__main__":
    main()
