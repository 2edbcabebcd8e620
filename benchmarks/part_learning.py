"""Do networks of parts learn? Trained in small on two sets, scored on the half that was held out.

    python benchmarks/part_learning.py RESULTS.jsonl --cars DIR --clothing DIR [--seeds 3] [--steps N]

Serial (PartCATSeg) and parallel (PCA-Seg's part mode) aggregation learn on tiny's frozen towers. A run is compared with
the argmax of raw costs: of the full names of the parts, by the same towers and the same pictures. What is done stands
in RESULTS.jsonl, a line a run; called again, only what is missing is trained.
"""

import argparse
import json
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from segvoc.analysis.ablation import Ablation
from segvoc.data.labelled_images import LabelledImages
from segvoc.evaluation.confusion import Confusion
from segvoc.inference.segmenter import Segmenter
from segvoc.label_maps import UNLABELLED
from segvoc.layers.no_aggregation import NoAggregation
from segvoc.loading import load
from segvoc.networks.part_cat_seg import PartNetwork
from segvoc.networks.pca_seg import AggregationNetwork
from segvoc.networks.protocols import Protocol
from segvoc.training.recipes.tiny import tiny_parts
from segvoc.training_run import train

NETWORKS = {
    "serial": (),
    "parallel": ("order=parallel", "fusion=experts", "fod=0.01"),
}
SETS = {"cars": "car", "clothing": "person"}
"""The sets, and whose parts their classes are."""

BACKGROUND = "background"
FOLDS = 2


def main() -> None:
    """Train what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path)
    for name in SETS:
        parser.add_argument(f"--{name}", metavar="DIR", help="folder of images/, labels/ and classes.json")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--side", type=int, default=160, help="of the squares that are learnt and scored [px]")
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--limit", type=int, default=50, help="held-out pictures that are scored")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--set", dest="settings", action="append", default=[], metavar="NAME=VALUE")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    done = {line["run"]: line for line in _lines(chosen.results)}
    sets = {name: folder for name in SETS if (folder := getattr(chosen, name)) is not None}
    for seed in range(chosen.seeds):
        for name, folder in sets.items():
            for fold in range(FOLDS):
                for network in NETWORKS:
                    run = f"{name} {network} {seed} {fold} {chosen.side} {chosen.steps} {' '.join(chosen.settings)}"
                    if run not in done:
                        done[run] = {"run": run, "set": name, "network": network, "seed": seed, "fold": fold}
                        done[run] |= learnt_and_scored(name, folder, network, seed, fold, chosen)
                        with chosen.results.open("a", encoding="utf-8") as file:
                            file.write(json.dumps(done[run]) + "\n")
                        print(json.dumps(done[run]), flush=True)
    print(table(list(done.values())))


def learnt_and_scored(
    name: str, folder: str, network: str, seed: int, fold: int, chosen: argparse.Namespace
) -> dict[str, Any]:
    """Scores of a network that has learnt from the other half, and of the costs that it aggregates."""
    root = Path(folder)
    pictures = LabelledImages.from_folders(
        root / "images", root / "labels", root / "classes.json", background=BACKGROUND, owner=SETS[name]
    )
    side = chosen.side
    settings = (f"crop={side}", f"shortest={side},{side * 5 // 4}", f"steps={chosen.steps}", "workers=0", "batch=2")
    recipe = tiny_parts().with_settings([*settings, *NETWORKS[network]])
    recipe = replace(recipe.with_settings(chosen.settings), save_every=chosen.steps, watch_every=0)
    halves = Ablation(recipe=recipe, pictures=pictures, folds=FOLDS)
    held_out = halves.held_out(fold).images[: chosen.limit]
    watched = replace(pictures, images=held_out[:1])
    start = time.perf_counter()
    out = Path(tempfile.mkdtemp())
    try:
        train(recipe, halves.learnt(fold), out, watched=watched, seed=seed, device=chosen.device, progress=False)
        trained = load(out / "model.safetensors", device=chosen.device)
        losses = json.loads((out / "metrics.jsonl").read_text().splitlines()[-1])
    finally:
        shutil.rmtree(out)
    seconds = time.perf_counter() - start
    scored = replace(pictures, images=held_out)
    network_of_parts = trained.network
    assert isinstance(network_of_parts, PartNetwork) and network_of_parts.aggregation.skip is not None
    costs = AggregationNetwork(
        network_of_parts.image_encoder,
        network_of_parts.text_encoder,
        NoAggregation(network_of_parts.aggregation.skip),  # pyright: ignore[reportArgumentType]
    )
    shipped = load("tiny", options={"aggregation": "none"}, device=chosen.device).network
    return {
        **scores(trained.network, trained.encode_words.templates, scored, side),
        **{f"own_cost_{key}": value for key, value in scores(costs, ("{}",), scored, side).items()},
        **{f"cost_{key}": value for key, value in scores(shipped, ("{}",), scored, side).items()},
        "loss": losses["segmentation"],
        "fod": [value for key, value in losses.items() if key.startswith("fod_")],
        "seconds": seconds,
    }


def scores(network: AggregationNetwork, templates: tuple[str, ...], pictures: LabelledImages, side: int) -> dict[str, float]:
    """mIoU in percent: "parts" of parts where a part is true, no background among them; "all" with the background."""
    segmenter = Segmenter(name="", network=network, protocols={"auto": Protocol(size=side)}, templates=templates)
    words = pictures.vocabulary.words
    parts = [index for index, word in enumerate(words) if word != BACKGROUND]
    whole, inside = [], []
    for index in range(len(pictures)):
        image, labels = pictures.read(index)
        result = segmenter.segment(image, pictures.vocabulary, background=BACKGROUND, among=[parts])
        assert result.among is not None
        whole.append(Confusion.count(labels, result.labels, len(words)))
        true = np.where(labels == words.index(BACKGROUND), np.uint16(UNLABELLED), labels)
        inside.append(Confusion.count(true, result.among[0], len(words)))
    found = {"all": Confusion.total(whole, len(words)).scores(), "parts": Confusion.total(inside, len(words)).scores()}
    return {name: score.miou for name, score in found.items()} | {"parts_accuracy": found["parts"].pixel_accuracy}


def table(runs: list[dict[str, Any]]) -> str:
    """Means over seeds and halves, and how far they are from the costs', in standard errors of that difference."""
    lines = ["set        network   parts  costs  own costs  difference  in SE  with background"]
    for name in SETS:
        for network in NETWORKS:
            chosen = [run for run in runs if (run["set"], run["network"]) == (name, network)]
            if len(chosen) > 1:
                mean = {key: np.mean([run[key] for run in chosen]) for key in ("parts", "cost_parts", "own_cost_parts", "all")}
                apart = np.array([run["parts"] - max(run["cost_parts"], run["own_cost_parts"]) for run in chosen])
                error = apart.std(ddof=1) / len(apart) ** 0.5
                lines.append(
                    f"{name:10} {network:8} {mean['parts']:6.2f} {mean['cost_parts']:6.2f} {mean['own_cost_parts']:10.2f} "
                    f"{apart.mean():7.2f} ±{error:.2f} {apart.mean() / error:6.1f} {mean['all']:9.2f}"
                )
    return "\n".join(lines)


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    if path.exists():
        yield from map(json.loads, path.read_text(encoding="utf-8").splitlines())


if __name__ == "__main__":
    main()
