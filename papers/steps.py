"""A training step with several settings of a recipe: parameters, memory and seconds. CAT-Seg, Table 3 and Fig. 5a.

Weights and images are random, since costs don't depend on them. Encoding frozen words is not included.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import torch
from torch import Tensor

from papers.blocks import measure
from papers.drawing import markdown_table, save_table
from papers.view_options import out_option
from segvoc.cli import run_command
from segvoc.cli.output import echo
from segvoc.errors import UsageError
from segvoc.models.loading import find_device
from segvoc.models.presets import find_preset
from segvoc.runtime.version import __version__
from segvoc.training.objectives import Objective
from segvoc.training.parameters import freeze_others, learning_rates, parameter_groups
from segvoc.training.recipe import Recipe
from segvoc.training.recipes import RECIPES
from segvoc.training.training_data import class_words
from segvoc.vocabulary import Vocabulary


@click.command()
@click.argument("recipe")
@click.option(
    "--vary",
    multiple=True,
    metavar="SETTINGS",
    help='Settings as of --set, e.g. "trainable=all trainable_encoders=image".',
)
@click.option("--classes", type=click.IntRange(1), default=171, show_default=True, help="Number of words.")
@click.option("--images", type=click.IntRange(1), default=1, show_default=True, help="Images of a step, on one GPU.")
@click.option("--repeat", type=click.IntRange(1), default=3, metavar="N", help="Time the fastest of N steps.")
@click.option("--device", default="auto", metavar="DEVICE", help="auto, cpu, cuda, cuda:1, ...")
@out_option
def steps(recipe: str, vary: Sequence[str], classes: int, images: int, repeat: int, device: str, out: str) -> None:
    """Measure a training step of RECIPE unchanged and with each --vary (CAT-Seg, Table 3 and Fig. 5a).

    \b
    python -m papers.steps cat-seg-l --vary trainable=none --vary trainable=all

    Writes steps.md and steps.json.
    """
    if recipe not in RECIPES:
        raise UsageError(f"recipe {recipe!r} is unknown; it is one of {', '.join(RECIPES)}")
    where = find_device(device)
    chosen = {text: RECIPES[recipe]().with_settings(text.split()) for text in ("", *vary)}
    rows = [step_costs(own, text, classes, images, where, repeat) for text, own in chosen.items()]
    head = ("settings", "learns of CLIP [2^20]", "learns [2^20]", "memory [GiB]", "seconds per step")
    cells = (
        (
            *(row["settings"] or "as it is", f"{row['of_clip'] / 2**20:.1f}", f"{row['trainable'] / 2**20:.1f}"),
            *("" if row["memory"] is None else f"{row['memory']:.1f}", f"{row['seconds']:.3f}"),
        )
        for row in rows
    )
    table = markdown_table(head, cells)
    about = {"segvoc": __version__, "recipe": recipe, "device": str(where), "classes": classes, "images": images}
    save_table(Path(out), "steps", table, about | {"rows": rows})
    echo(table, nl=False)


def step_costs(
    recipe: Recipe, settings: str, classes: int, images: int, device: torch.device, repeat: int
) -> dict[str, Any]:
    """Measure forward pass, backward pass and update of one step with random weights, images and labels.

    Returns:
        "settings"; trained parameters: "of_clip", in the image encoder, and "trainable",
        all; "memory", the GPU peak above the weights [GiB] (None on a CPU); and "seconds" of the fastest step.
    """
    preset, configuration, side = find_preset(recipe.model), recipe.network_config(), recipe.data.input_size
    network = preset.build(configuration).to(device)
    rates = learning_rates(network, recipe)
    freeze_others(network, rates)
    objective = Objective(network, recipe).train()
    optimizer = torch.optim.AdamW(parameter_groups(network, rates, recipe.optimizer.weight_decay))
    vocabulary = Vocabulary([f"class {number}" for number in range(classes)])
    words = class_words(network, preset.templates_of(configuration), vocabulary, recipe).to(device)
    pixels = torch.rand(images, 3, side, side, device=device) * 255
    labels = torch.randint(classes, (images, side, side), device=device)

    def step() -> None:
        losses: dict[str, Tensor] = objective(pixels, labels, words)
        losses["loss"].backward()
        optimizer.step()
        optimizer.zero_grad()

    memory, seconds = measure(step, device, repeat)
    sizes = {name: value.numel() for name, value in network.named_parameters() if name in rates}
    clip = [name for name in sizes if name.startswith("image_encoder.")]
    counts = {"of_clip": sum(sizes[name] for name in clip), "trainable": sum(sizes.values())}
    gibibytes = None if memory is None else memory * 1e9 / 2**30
    return {"settings": settings, **counts, "memory": gibibytes, "seconds": seconds}


if __name__ == "__main__":
    run_command(steps, "python -m papers.steps")
