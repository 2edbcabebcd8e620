"""Is tiny a better start for fine-tuning than other weights? Small runs on the parts of cars.

    git show COMMIT:src/segvoc/weights/tiny.safetensors > build/before.safetensors
    python -m benchmarks.tiny_finetune RUNS.jsonl --against build/before.safetensors [--counts 0 20 50 131] [--seeds 5]

A run is `segvoc train tiny` on a few photographs, from the shipped weights or from those of
`--against`, the `tiny.safetensors` of another version. The seed draws the held-out photographs and the order of the
others, of which the first N are trained on, so both starts learn from the same photographs. Without any ("0") the start
itself is scored. Scores are those of the held-out photographs: of all pixels, where a pixel without a likely part is
background (threshold 0.5), and within the true parts, where the parts alone compete.

RUNS.jsonl has a line per finished run; a repeated call only makes the missing ones. By default a run takes about 40 s
on one thread of a shared core, and the table of four counts and five seeds 25 minutes.

The table is written to results/tiny_finetune.md and .json: means over the seeds, and the mean difference between the
starts with its standard error over the seeds.
"""

import argparse
import math
import os
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.machine import RESULTS, keep
from benchmarks.part_learning import BACKGROUND, scores
from segvoc.data.labeled_images import LabeledImages
from segvoc.errors import UsageError
from segvoc.models.loading import load_network
from segvoc.models.presets import WEIGHTS
from segvoc.process_settings import keep_freed_memory
from segvoc.storage.digests import file_sha256
from segvoc.storage.journal import Journal, read_journal
from segvoc.training.recipe import Recipe
from segvoc.training.recipes import RECIPES
from segvoc.training.run import train
from segvoc.training.start import Start
from tools.tiny.whole_file import write_whole_file

MEASURES = {
    "miou": "mIoU, all pixels",
    "pixel_accuracy": "pixel accuracy, all pixels",
    "parts_miou": "mIoU, within the parts",
    "parts_accuracy": "pixel accuracy, within the parts",
}
"""The scores [%], and what the table calls them."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What both starts have in common."""

    steps: int
    """Training steps."""
    side: int
    """Side of the squares to train and score on [px]."""
    held_out: int
    """Number of photographs to score."""

    def recipe(self) -> Recipe:
        """The recipe of `segvoc train tiny`, with smaller images and fewer steps."""
        side = self.side
        sizes = (f"crop_size={side}", f"short_sides={side},{side * 8 // 7},{side * 9 // 7}")
        small = ("num_workers=0", "save_every=100000", "activation_checkpointing=false", "class_chunk_size=0")
        recipe = RECIPES["tiny"]().with_settings([*sizes, *small])
        return recipe.with_settings(steps=self.steps, warmup_steps=min(recipe.optimizer.warmup_steps, self.steps // 10))


def main() -> None:
    """Make the missing runs, print the table and write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, help="JSON Lines file of the finished runs")
    parser.add_argument("--against", type=Path, required=True, help="tiny.safetensors of another version")
    parser.add_argument(
        "--photos", type=Path, default=Path("../shared/data/photos/car-parts"), help="images/, labels/, classes.json"
    )
    parser.add_argument("--counts", type=int, nargs="+", default=[0, 20, 50, 131], help="photographs to train on")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=32)
    parser.add_argument("--side", type=int, default=160, help="side of the squares to train and score on [px]")
    parser.add_argument("--held-out", type=int, default=19, help="number of photographs to score")
    parser.add_argument("--print-only", action="store_true", help="print the table without writing it to results/")
    chosen = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(1)
    settings = Settings(steps=chosen.steps, side=chosen.side, held_out=chosen.held_out)
    files = {"against": chosen.against, "shipped": WEIGHTS / "tiny.safetensors"}
    digests = {name: file_sha256(path)[:12] for name, path in files.items()}
    paths = chosen.photos / "images", chosen.photos / "labels", chosen.photos / "classes.json"
    images = LabeledImages.from_folders(*paths, background=BACKGROUND)
    for count in chosen.counts:
        split(len(images), settings.held_out, count, seed=0)  # an error before any work
    done = {run["run"]: run for run in read_journal(chosen.runs)}
    with tempfile.TemporaryDirectory() as folder, Journal(chosen.runs, exclusive=True) as journal:
        for seed in range(chosen.seeds):
            for count in chosen.counts:
                for name, digest in digests.items():
                    if (run := run_name(digest, count, seed, settings)) in done:
                        continue
                    start = Path(folder) / f"{name}.safetensors"
                    if not start.exists():
                        write_whole_file(files[name], start)
                    found = train_and_score(images, start, count, seed, settings)
                    done[run] = {"run": run, "weights": digest, "count": count, "seed": seed, **found}
                    journal.append(done[run])
                    print(f"{name:8} {done[run]}", flush=True)
    wanted = [(count, seed) for count in chosen.counts for seed in range(chosen.seeds)]
    against, shipped = ([done[run_name(digest, *of, settings)] for of in wanted] for digest in digests.values())
    rows = compared(against, shipped)
    text = page(rows, settings, digests, chosen.seeds)
    print(text)
    if not chosen.print_only:
        facts = {"steps": str(settings.steps), "side": str(settings.side), **digests}
        keep("tiny_finetune", rows, **facts)
        (RESULTS / "tiny_finetune.md").write_text(text, encoding="utf-8")


def run_name(weights: str, count: int, seed: int, settings: Settings) -> str:
    """Everything that the scores of a run depend on: the start's digest, the photographs and the settings."""
    return f"{weights} {count} photographs, seed {seed}, {settings}"


def split(photographs: int, held_out: int, count: int, seed: int) -> tuple[list[int], list[int]]:
    """Indices to train on, and held-out indices.

    With the same seed, the held-out photographs are the same for each count, and a smaller count takes the first ones
    of a larger.

    Raises:
        UsageError: there aren't enough photographs.
    """
    if held_out < 1 or count < 0 or held_out + count > photographs:
        raise UsageError(
            f"of {photographs} photographs, {count} can't be trained on with {held_out} held out; hold out at least 1, "
            "and give smaller numbers"
        )
    order = torch.randperm(photographs, generator=torch.Generator().manual_seed(seed)).tolist()
    return order[held_out : held_out + count], order[:held_out]


def train_and_score(images: LabeledImages, start: Path, count: int, seed: int, settings: Settings) -> dict[str, float]:
    """Scores on the held-out photographs, after fine-tuning on `count` others, and the time that this took [s]."""
    training, held_out = (images.only(part) for part in split(len(images), settings.held_out, count, seed))
    begun, model = time.perf_counter(), start
    with tempfile.TemporaryDirectory() as folder:
        if count:
            out = Path(folder) / "run"
            begin, watched = Start(weights=os.fspath(start)), training.only([0])
            recipe = settings.recipe()
            train(recipe, training, out, start=begin, watched=watched, seed=seed, device="cpu", progress=False)
            model = out / "model.safetensors"
        trained = time.perf_counter()
        found = scores(load_network(model, device="cpu").network, held_out, settings.side)
    return {
        "miou": found["all"],
        "pixel_accuracy": found["all_accuracy"],
        "parts_miou": found["parts"],
        "parts_accuracy": found["parts_accuracy"],
        "training_seconds": trained - begun,
        "scoring_seconds": time.perf_counter() - trained,
    }


def compared(against: Sequence[dict[str, Any]], shipped: Sequence[dict[str, Any]]) -> list[dict[str, object]]:
    """A row for each number of photographs and score: means over the seeds, and the paired difference.

    Args:
        against: the runs from the other weights.
        shipped: the runs from the shipped weights, with the same photographs and seeds.
    """
    rows: list[dict[str, object]] = []
    for count in dict.fromkeys(run["count"] for run in shipped):
        for measure, title in MEASURES.items():
            theirs, ours = (
                {run["seed"]: run[measure] for run in runs if run["count"] == count} for runs in (against, shipped)
            )
            mean, error = mean_and_error([ours[seed] - theirs[seed] for seed in ours])
            rows.append(
                {
                    "photographs": count,
                    "score": title,
                    "runs": len(ours),
                    "against": statistics.fmean(theirs.values()),
                    "shipped": statistics.fmean(ours.values()),
                    "difference": mean,
                    "standard_error": error,
                }
            )
    return rows


def mean_and_error(values: Sequence[float]) -> tuple[float, float | None]:
    """The mean and its standard error, which a single value doesn't have."""
    mean = statistics.fmean(values)
    return mean, statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else None


def page(rows: Sequence[dict[str, Any]], settings: Settings, digests: dict[str, str], seeds: int) -> str:
    """The results as Markdown."""
    return "\n".join([*_lines(rows, settings, digests, seeds), ""])


def _lines(rows: Sequence[dict[str, Any]], settings: Settings, digests: dict[str, str], seeds: int) -> Iterator[str]:
    yield "# Fine-tuning tiny on the parts of cars\n"
    recipe = settings.recipe()
    yield f"Scores [%] on {settings.held_out} held-out photographs, means over {seeds} seeds. A run has"
    yield f"{settings.steps} steps of {recipe.optimizer.batch_size} photographs on squares of {settings.side} px; 0"
    yield "photographs are the start itself."
    yield f'"Shipped" starts from the weights in the package (SHA-256 {digests["shipped"]}), "against" from others'
    yield f"({digests['against']}). ± is the standard error of the mean paired difference."
    yield "Made by `python -m benchmarks.tiny_finetune`.\n"
    yield "| photographs | score | against | shipped | difference |"
    yield "|---|---|---|---|---|"
    for row in rows:
        error = "" if row["standard_error"] is None else f" ± {row['standard_error']:.2f}"
        yield (
            f"| {row['photographs']} | {row['score']} | {row['against']:.2f} | {row['shipped']:.2f} | "
            f"{row['difference']:+.2f}{error} |"
        )


if __name__ == "__main__":
    main()
