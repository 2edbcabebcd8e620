"""Do part networks learn? Small training runs on two data sets, scored on the held-out half.

    python -m benchmarks.part_learning RESULTS.jsonl --cars DIR --clothing DIR [--seeds 3] [--steps N]

For each seed and half, tiny's projections are reinitialized and trained without aggregation; then the towers are
frozen, and serial (PartCATSeg) and parallel (PCA-Seg's part mode) aggregations are trained on top of them. The baseline
of a network is its own cost volume: the argmax of the summed costs for the full names of the parts, with the same
towers on the same images. RESULTS.jsonl has a line per finished run; a repeated call only trains the missing ones.
"""

import argparse
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from papers.ablation_runs import Ablation, redraw_projections
from segvoc.checkpoints.files import write_weights
from segvoc.data.labeled_images import ImageAndLabels, LabeledImages
from segvoc.encoders.efficientnet import EfficientNetLite
from segvoc.evaluation.metrics.confusion import Confusion
from segvoc.imaging.label_maps import UNLABELED
from segvoc.inference.protocols import Protocol
from segvoc.models.headers import configuration_record
from segvoc.models.loading import load_network
from segvoc.models.network_segmenter import NetworkSegmenter
from segvoc.networks.base import SegmentationNetwork
from segvoc.process_settings import keep_freed_memory
from segvoc.training.recipe import Recipe
from segvoc.training.recipes.tiny import tiny_parts
from segvoc.training.run import train
from segvoc.training.start import Start, build
from segvoc.vocabulary import Vocabulary

NETWORKS = {"serial": (), "parallel": ("order=parallel", "fusion=experts", "fod_weight=0.01")}
SETS = {"cars": "car", "clothing": "person"}
"""The data sets, and the object whose parts their classes are."""

BACKGROUND = "background"
FOLDS = 2


def main() -> None:
    """Train the missing runs and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path)
    for name in SETS:
        parser.add_argument(f"--{name}", metavar="DIR", help="folder of images/, labels/ and classes.json")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--side", type=int, default=128, help="side of the squares to train and score on [px]")
    parser.add_argument("--align", type=int, default=60, help="training steps of the projections")
    parser.add_argument("--steps", type=int, default=100, help="training steps of each aggregation")
    parser.add_argument("--parts", type=int, default=8, help="use the parts with the most pixels; others are unlabeled")
    parser.add_argument("--limit", type=int, default=25, help="number of held-out images to score")
    parser.add_argument(
        "--set", dest="settings", action="append", default=["lr=3e-3", "warmup_steps=10"], metavar="NAME=VALUE"
    )
    chosen = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(1)
    done = {line["run"]: line for line in _lines(chosen.results)}
    sets = {name: folder for name in SETS if (folder := getattr(chosen, name)) is not None}
    # one half of every seed first
    splits = [(seed, (seed + turn) % FOLDS) for turn in range(FOLDS) for seed in range(chosen.seeds)]
    for seed, fold in splits:
        for name, folder in sets.items():
            numbers = (chosen.side, chosen.align, chosen.steps, chosen.parts, chosen.limit, *chosen.settings)
            split = f"{name} seed {seed} half {fold} {numbers}"
            missing = [network for network in NETWORKS if f"{split} {network}" not in done]
            if not missing:
                continue
            images = MostFrequent.of(_images(name, folder), chosen.parts)
            for network, result in train_and_score(images, missing, seed, fold, chosen):
                run = {"run": f"{split} {network}", "set": name, "network": network, "seed": seed, "half": fold}
                done[run["run"]] = run | result
                with chosen.results.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(run | result) + "\n")
                print(json.dumps(run | result), flush=True)
    print(table(list(done.values())))


@dataclass(frozen=True, kw_only=True)
class MostFrequent(LabeledImages):
    """A data set reduced to some of its classes; pixels of the others are unlabeled."""

    known: tuple[int, ...]
    """Original labels of these classes, in ascending order."""

    @classmethod
    def of(cls, images: LabeledImages, parts: int) -> "MostFrequent":
        """Reduce a data set to the background and the parts with the most pixels."""
        words = images.vocabulary.words
        pixels = np.zeros(UNLABELED + 1, np.int64)
        for index in range(len(images)):
            pixels += np.bincount(images.read(index).labels.ravel(), minlength=len(pixels))
        order = sorted((label for label in range(len(words)) if words[label] != BACKGROUND), key=lambda at: -pixels[at])
        known = tuple(sorted([words.index(BACKGROUND), *order[:parts]]))
        kept = Vocabulary(words[label] for label in known)
        return cls(name=images.name, vocabulary=kept, images=images.images, background=BACKGROUND, known=known)

    def read(self, index: int) -> ImageAndLabels:
        """See `LabeledImages.read`."""
        image, labels = self.images[index].read(UNLABELED)
        table = np.full(UNLABELED + 1, UNLABELED, np.uint16)
        table[list(self.known)] = np.arange(len(self.known))
        return ImageAndLabels(image, table[labels])


def _images(name: str, folder: str) -> LabeledImages:
    root = Path(folder)
    paths = root / "images", root / "labels", root / "classes.json"
    return LabeledImages.from_folders(*paths, background=BACKGROUND, owner=SETS[name])


def train_and_score(
    images: LabeledImages, networks: list[str], seed: int, fold: int, chosen: argparse.Namespace
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Train networks on the other half; scores of the networks and of the costs that they aggregate."""
    side = chosen.side
    settings = (
        f"crop_size={side}",
        f"short_sides={side},{side * 5 // 4}",
        "num_workers=0",
        "batch_size=2",
        "save_every=100000",
    )
    recipe = tiny_parts().with_settings(settings)
    halves = Ablation(recipe=recipe, images=images, folds=FOLDS)
    training = halves.training_images(fold)
    scored = replace(images, images=halves.held_out(fold).images[: chosen.limit])
    watched = replace(images, images=scored.images[:1])
    with tempfile.TemporaryDirectory() as folder:

        def trained(recipe: Recipe, start: Start, name: str) -> tuple[str, float]:
            out, start_time = Path(folder) / name, time.perf_counter()
            train(recipe, training, out, start=start, watched=watched, seed=seed, device="cpu", progress=False)
            return os.fspath(out / "model.safetensors"), time.perf_counter() - start_time

        alone = recipe.with_settings(aggregation="none", trainable="published", batch_size=4, steps=chosen.align)
        aligned, _ = trained(alone, Start(weights=_reinitialized(alone, seed, Path(folder))), "aligned")
        costs = scores(load_network(aligned, device="cpu").network, scored, side)
        for network in networks:
            own = recipe.with_settings([*NETWORKS[network], *chosen.settings])
            own = own.with_settings(steps=chosen.steps)
            model, seconds = trained(own, Start(encoder_weights=aligned), network)
            trained_network = load_network(model, device="cpu").network
            metrics = json.loads((Path(model).parent / "metrics.jsonl").read_text().splitlines()[-1])
            yield (
                network,
                {
                    **scores(trained_network, scored, side),
                    **{f"costs_{key}": value for key, value in costs.items()},
                    "loss": metrics["segmentation"],
                    "fod": [value for key, value in metrics.items() if key.startswith("fod_")],
                    "seconds": seconds,
                },
            )
            shutil.rmtree(Path(model).parent)


def _reinitialized(recipe: Recipe, seed: int, folder: Path) -> str:
    """Tiny without aggregation and with new projections, since the shipped ones were trained on clothing."""
    built = build(recipe, Start(), seed)
    network = built.network
    tower = network.image_encoder
    assert isinstance(tower, EfficientNetLite)
    redraw_projections(tower, seed)
    record = configuration_record(built.recipe.network_config())
    write_weights(folder / "fresh.safetensors", network.state_dict(), built.recipe.model, **record)
    return os.fspath(folder / "fresh.safetensors")


def scores(network: SegmentationNetwork, images: LabeledImages, side: int) -> dict[str, float]:
    """MIoU and pixel accuracy in percent.

    "parts" are within the ground truth of parts and among parts only, "all" are of every pixel, with the background.
    """
    segmenter = NetworkSegmenter(name="", network=network, protocols={"auto": Protocol(size=side)}, templates=("{}",))
    words = images.vocabulary.words
    parts = [index for index, word in enumerate(words) if word != BACKGROUND]
    whole, inside = [], []
    for index in range(len(images)):
        image, labels = images.read(index)
        result = segmenter.segment(image, images.vocabulary, background=BACKGROUND, groups=[parts])
        assert result.group_labels is not None
        whole.append(Confusion.count(labels, result.labels, len(words)))
        true = np.where(labels == words.index(BACKGROUND), np.uint16(UNLABELED), labels)
        inside.append(Confusion.count(true, result.group_labels[0], len(words)))
    found = {"all": Confusion.total(whole, len(words)).scores(), "parts": Confusion.total(inside, len(words)).scores()}
    accuracies = {f"{name}_accuracy": score.pixel_accuracy for name, score in found.items()}
    return {name: score.miou for name, score in found.items()} | accuracies


def table(runs: list[dict[str, Any]]) -> str:
    """Mean scores over seeds and halves, of parts only and with the background.

    The gain over the costs is given with its standard error, and in units of it.
    """
    lines = ["set       network   runs  parts  costs  above         in SE   whole  costs  above         in SE"]
    for name in SETS:
        for network in NETWORKS:
            chosen = [run for run in runs if (run["set"], run["network"]) == (name, network)]
            if len(chosen) > 1:
                columns = [f"{name:9} {network:8} {len(chosen):5}"]
                for score in ("parts", "all"):
                    own, costs = (np.array([run[key] for run in chosen]) for key in (score, f"costs_{score}"))
                    gain = own - costs
                    error = float(gain.std(ddof=1)) / len(gain) ** 0.5
                    means = f"{own.mean():6.2f} {costs.mean():6.2f}"
                    columns.append(f"{means} {gain.mean():6.2f} ± {error:.2f} {gain.mean() / error:6.1f}")
                lines.append("  ".join(columns))
    return "\n".join(lines)


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    if path.exists():
        yield from map(json.loads, path.read_text(encoding="utf-8").splitlines())


if __name__ == "__main__":
    main()
