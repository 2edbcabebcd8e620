"""The prepared data of a paper's recipe: what it trains on, and what it is watched on."""

from dataclasses import replace
from pathlib import Path

from segvoc.data.benchmarks import find_benchmark, prepared
from segvoc.data.labeled_images import LabeledImages
from segvoc.evaluation.task import EvaluationTask
from segvoc.training.recipe import Recipe

HELD_OUT = "coco-stuff"
"""The benchmark on whose first images a network is evaluated while a paper's recipe runs, if its data isn't the
training set of a benchmark."""

LOOKED_AT = 100
"""How many of them."""


def held_out_benchmark(recipe: Recipe) -> str:
    """The benchmark on which a recipe is watched: that of its training set.

    Raises:
        UsageError: the recipe's data set is no benchmark.
    """
    name = find_benchmark(recipe.data.dataset).name
    return name.removesuffix("-train") if name.endswith("-train") else HELD_OUT


def recipe_data(recipe: Recipe, root: str | Path) -> tuple[LabeledImages, EvaluationTask]:
    """The training set of a paper's recipe, and the first images of its held-out benchmark.

    Raises:
        UsageError: one of them isn't prepared.
    """
    watched = EvaluationTask.of_benchmark(find_benchmark(held_out_benchmark(recipe)), root)
    first = watched.images.only(range(min(LOOKED_AT, len(watched.images))))
    return prepared(find_benchmark(recipe.data.dataset), root), replace(watched, images=first)
