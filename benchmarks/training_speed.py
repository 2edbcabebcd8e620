"""Time and memory of our training step at real size, on any device and with any settings.

    python -m benchmarks.training_speed [--rows NAME ...] [--repeats N] [--device cuda] [--set NAME=VALUE]

A step is the forward and backward pass of one 384 px image with random weights, in fp32 unless `--set
precision=bfloat16` says otherwise, including the text encoder, which is fine-tuned as in the recipe, but not the
optimizer's step. Classes are processed in chunks with recomputed activations. Each of several rows runs in a process of
its own, whose peak resident memory it reports (on a GPU the peak allocated memory). On a CPU with 2 threads.
`against_official.py` has the official code's step beside ours.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from typing import cast

import torch
from torch import Tensor

from benchmarks.machine import fastest, keep
from segvoc.hardware import peak_gigabytes
from segvoc.training.loop import AUTOCAST_TYPES
from segvoc.training.objectives.segmentation import Objective
from segvoc.training.parameters import freeze_others, learning_rates
from segvoc.training.recipes import RECIPES
from segvoc.training.start import Start, build
from segvoc.training.training_data import class_words
from segvoc.vocabulary import Vocabulary

CACHED_TEXT = ("trainable_encoders=image",)
ROWS: dict[str, tuple[str, int, tuple[str, ...]]] = {
    "pca-59": ("pca-seg-b-released", 59, ()),
    "pca-59-cached-text": ("pca-seg-b-released", 59, CACHED_TEXT),
    "pca-171": ("pca-seg-b-released", 171, ()),
    "cat-59": ("cat-seg-b", 59, ()),
    "cat-59-cached-text": ("cat-seg-b", 59, CACHED_TEXT),
    "cat-171": ("cat-seg-b", 171, ()),
}
"""Recipe, number of classes, and changes to the recipe, as for `--set`."""

CHUNKED = ("class_chunk_size=16", "activation_checkpointing=true")


def measured(name: str, settings: Sequence[str], repeats: int, device: str) -> dict[str, object]:
    """Measure one row in this process."""
    torch.set_num_threads(2)
    recipe_name, count, changes = ROWS[name]
    recipe = RECIPES[recipe_name]().with_settings((*CHUNKED, *changes, *settings))
    built = build(recipe, Start(weights="random"), 0)
    recipe, preset, network = built.recipe, built.preset, built.network
    freeze_others(network, learning_rates(network, recipe))
    network = network.to(device)
    words = class_words(network, preset.templates, Vocabulary([f"word {n}" for n in range(count)]), recipe)
    objective = Objective(network, recipe).train()
    generator = torch.Generator().manual_seed(0)
    image = torch.randint(256, (1, 3, 384, 384), generator=generator).to(device)
    labels = torch.randint(count, (1, 384, 384), generator=generator).to(device)
    words = cast(Tensor, words).to(device)
    kind = AUTOCAST_TYPES[recipe.runtime.precision]

    def step() -> None:
        objective.zero_grad(set_to_none=True)
        with nullcontext() if kind is None else torch.autocast(image.device.type, kind):
            loss = objective(image, labels, words)["loss"]
        loss.backward()
        if device != "cpu":
            torch.cuda.synchronize()

    return {
        "row": name,
        "words": count,
        "precision": recipe.runtime.precision,
        "device": device,
        "seconds": fastest(step, repeats),
        "gigabytes": peak_gigabytes() if device == "cpu" else torch.cuda.max_memory_allocated() / 1e9,
    }


def main() -> None:
    """Measure each row in a process of its own; print and save the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", nargs="+", choices=list(ROWS), default=list(ROWS))
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--set", dest="settings", action="append", default=[])
    arguments = parser.parse_args()
    if len(arguments.rows) == 1:
        print(json.dumps(measured(arguments.rows[0], arguments.settings, arguments.repeats, arguments.device)))
        return
    rows: list[dict[str, object]] = []
    for name in arguments.rows:
        options = ["--repeats", str(arguments.repeats), "--device", arguments.device]
        options += [part for setting in arguments.settings for part in ("--set", setting)]
        command = [sys.executable, "-m", "benchmarks.training_speed", "--rows", name, *options]
        environment = {"GOMP_SPINCOUNT": "1000"} | os.environ  # as the command line sets it
        output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment).stdout
        rows.append(json.loads(output.splitlines()[-1]))
        print(rows[-1], file=sys.stderr)
    if len(rows) == len(ROWS):
        keep("training_speed" if arguments.device == "cpu" else "training_speed_gpu", rows)


if __name__ == "__main__":
    main()
