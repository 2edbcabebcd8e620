"""What the runs of `benchmarks.gpu_runs` would take on a GPU, estimated from counted multiply-adds.

    python -m benchmarks.gpu_costs

Counts the multiply-adds of one training step and of all images of the benchmarks, on the meta device, and divides twice
these by the peak rate of a GPU times the share of it that may be reached. Prints the table of docs/papers/gpu_plan.md.
Nothing here was measured on a GPU. Reading images, scoring and drawing aren't counted.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch

from segvoc.data.benchmarks import find_benchmark
from segvoc.data.published_scores import published_rows, recipe_rows
from segvoc.encoders.base import ImageEncoder
from segvoc.encoders.part_names import PartNames
from segvoc.evaluation.multiply_adds import multiply_adds_of
from segvoc.evaluation.published_protocols import ERR_SEG_KEPT
from segvoc.inference.protocols import Sliding
from segvoc.models.presets import PRESETS
from segvoc.networks.base import SegmentationNetwork
from segvoc.networks.part_cat_seg import PartNetwork
from segvoc.networks.part_words import PartWords
from segvoc.selection_rules import Voted
from segvoc.training.recipes import RECIPES

PEAKS = {"A100": (19.5e12, 156e12), "H100": (67e12, 494e12)}
"""Rates that NVIDIA states for float32, in which we evaluate, and for TF32, in which we train on GPUs [FLOP/s]."""

SHARES = (0.15, 0.4)
"""Share of the peak that a run reaches, at worst and at best; official and our calls reach 0.2 to 0.6 on CPUs
(docs/explanation/speed.md), and memory limits GPUs more."""

TOKENS = 16
"""Length of most class prompts [tokens]."""

UNKNOWN_COUNTS = {"pascal-part-116": 6000}
"""Records of benchmarks that no source counts: a guess, from about 850 images with several objects each."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Multiply-adds of a run."""

    training: float = 0.0
    """Of all steps."""
    evaluation: float = 0.0
    """Of all images of its benchmarks."""

    def hours(self, gpu: str) -> tuple[float, float]:
        """The least and the most time on a GPU [h]."""
        float32, tf32 = PEAKS[gpu]
        seconds = [2 * (self.training / tf32 + self.evaluation / float32) / share for share in SHARES]
        return seconds[1] / 3600, seconds[0] / 3600


def built(preset: str) -> SegmentationNetwork:
    """The network without memory, whose published parameters learn."""
    known = PRESETS[preset]
    with torch.device("meta"):
        network = known.build(known.configuration)
    network.requires_grad_(False)
    for name in network.trainable_parameters():
        network.get_parameter(name).requires_grad_(True)
    return network


def part_words(classes: tuple[str, ...], prompts: int, channels: int) -> PartWords:
    """Words of two levels without content."""
    names = PartNames.of(classes)
    count = len(names.specific)
    places = {name: torch.zeros(count, dtype=torch.int64) for name in ("part_of", "object_of")}
    return PartWords(
        general=torch.empty(len(names.parts) + len(names.objects), prompts, channels),
        specific=torch.empty(count, prompts, channels),
        **places,
        places=torch.zeros(len(names.places), dtype=torch.int64),
        parts=len(names.parts),
        names_objects=True,
    )


def training_cost(recipe_name: str) -> float:
    """Multiply-adds of all steps: forward, backward, what is computed again, and the text encoder once a step."""
    recipe = RECIPES[recipe_name]()
    network = built(recipe.model).train()
    classes = find_benchmark(recipe.data.dataset).classes
    chunks: Any = {
        "recompute": recipe.runtime.activation_checkpointing,
        "chunk": recipe.runtime.class_chunk_size or None,
    }
    channels = cast(ImageEncoder, network.image_encoder).channels
    with torch.device("meta"):
        image = torch.empty(1, 3, recipe.data.input_size, recipe.data.input_size)
        if isinstance(network, PartNetwork):
            words = part_words(classes, 80, channels)

            def step() -> None:
                levels = network.levels(image, words, **chunks)
                torch.stack([level.logits.sum() for level in levels if level is not None]).sum().backward()

            return recipe.optimizer.steps * recipe.optimizer.batch_size * multiply_adds_of(step)
        text = torch.empty(len(classes), 1, channels, requires_grad=True)
        tokens = torch.zeros(len(classes), TOKENS, dtype=torch.int64)
        images = multiply_adds_of(lambda: network.selected_logits(image, text, **chunks)[0].sum().backward())
        prompts = multiply_adds_of(lambda: network.text_encoder(tokens).sum().backward())
    return recipe.optimizer.steps * (recipe.optimizer.batch_size * images + prompts)


def evaluation_cost(preset: str, benchmarks: Mapping[str, None]) -> float:
    """Multiply-adds of all images of benchmarks in the window `official`, with cached words."""
    network, protocol = built(preset).eval().requires_grad_(False), PRESETS[preset].protocols["official"]
    total, channels = 0.0, cast(ImageEncoder, network.image_encoder).channels
    for name in benchmarks:
        benchmark = find_benchmark(name)
        images = benchmark.image_count or UNKNOWN_COUNTS[name]
        side, views = protocol.size or 640, 1
        if isinstance(protocol.sliding, Sliding):
            views = 1 + (1 + (protocol.sliding.canvas - protocol.sliding.window) // protocol.sliding.stride) ** 2
        words = len(benchmark.classes)
        with torch.device("meta"):
            image = torch.empty(1, 3, side, side)
            if isinstance(network, PartNetwork):
                asked: Any = part_words(benchmark.classes, 80, channels)
                options: Any = {}
            else:
                kept = ERR_SEG_KEPT.get(name) if PRESETS[preset].family == "ERR-Seg" else None
                asked = torch.empty(words if kept else min(words, 256), 1, channels)
                options = {"selection": Voted(kept)} if kept else {}
                options["pooling"] = protocol.pooling
            total += (
                images
                * views
                * multiply_adds_of(
                    lambda image=image, asked=asked, options=options: network.selected_logits(image, asked, **options)
                )
            )
    return total


def costs() -> dict[str, Cost]:
    """The costs of all runs of `benchmarks.gpu_runs`, by name."""

    def scored(*rows: Any) -> dict[str, None]:
        return dict.fromkeys(name for row in rows if row.main for name in row.scores)

    def trained(recipe: str) -> Cost:
        benchmarks = scored(*recipe_rows(recipe))
        return Cost(training=training_cost(recipe), evaluation=evaluation_cost(RECIPES[recipe]().model, benchmarks))

    serial, parallel = trained("cat-seg-eva-b"), trained("pca-seg-b")
    return {
        "cat-seg-b": Cost(evaluation=evaluation_cost("cat-seg-b", scored(*published_rows("cat-seg-b")))),
        "err-seg": Cost(evaluation=evaluation_cost("err-seg-b", scored(*published_rows("err-seg-b")))),
        "cat-seg-b-trained": trained("cat-seg-b"),
        "serial-against-parallel": Cost(
            training=serial.training + parallel.training, evaluation=serial.evaluation + parallel.evaluation
        ),
        "pca-part-b": trained("pca-part-b"),
    }


def main() -> None:
    """Print the table."""
    print("| run | training [peta-multiply-adds] | evaluation | A100 [h] | H100 [h] |\n|---|---|---|---|---|")
    for name, cost in costs().items():
        hours = [f"{least:.1f} to {most:.1f}" for least, most in map(cost.hours, PEAKS)]
        print(f"| `{name}` | {cost.training / 1e15:,.0f} | {cost.evaluation / 1e15:,.1f} | {' | '.join(hours)} |")


if __name__ == "__main__":
    main()
