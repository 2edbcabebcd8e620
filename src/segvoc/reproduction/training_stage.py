"""The training of a reproduction: one run for each seed, each continued or left alone if it is finished."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from segvoc.data.benchmarks import find_benchmark
from segvoc.errors import UsageError
from segvoc.records import to_json
from segvoc.reproduction.availability import Availability
from segvoc.storage.json_files import read_json
from segvoc.storage.resume import difference
from segvoc.training.caption_task import CaptionFiles
from segvoc.training.recipe import Recipe
from segvoc.training.recipe_data import held_out_benchmark, recipe_data
from segvoc.training.run import train
from segvoc.training.run_folder import RunFolder
from segvoc.training.start import Start

RUN = "run"
"""Folder of a run, below that of its seed."""


@dataclass(frozen=True, kw_only=True)
class TrainingCall:
    """How the networks of a reproduction are trained; the recipes are their own."""

    seeds: tuple[int, ...] = ()
    """A run for each seed; empty: those of the recipe."""
    start: Start = field(default_factory=Start)
    """The initial weights; by default those that the authors started from, which are fetched."""
    captions: CaptionFiles | None = None
    """The training data of a recipe that learns from captions."""
    settings: tuple[str, ...] = ()
    """Changes of the recipe, as NAME=VALUE."""
    steps: int | None = None
    """Number of steps; None: the recipe's."""

    def seeds_of(self, recipe: Recipe) -> tuple[int, ...]:
        """The seeds of the runs."""
        return self.seeds or recipe.seeds

    def check(self, name: str, recipe: Recipe) -> None:
        """Check that the data fits what the recipe learns from.

        Raises:
            UsageError: it doesn't.
        """
        if recipe.supervision == "captions" and self.captions is None:
            raise UsageError(f"{name} learns from captions; name them: --captions captions.json --images DIR")
        if recipe.supervision != "captions" and self.captions is not None:
            raise UsageError(f"{name} learns from label maps in the data folder; leave out --captions")
        if recipe.supervision != "captions" and not recipe.data.dataset:
            raise UsageError(f"{name} is not a recipe of a paper; train it with `segvoc train {name}`")

    def described(self) -> dict[str, Any]:
        """What must not change between the calls of a reproduction; seeds may be added."""
        return {
            "settings": list(self.settings),
            "steps": self.steps,
            "weights": self.start.weights,
            "encoder_weights": self.start.encoder_weights,
        }


def needed_data(recipe: Recipe) -> tuple[str, ...]:
    """The benchmarks that a recipe trains and is watched on; none for captions."""
    return () if recipe.supervision == "captions" else (recipe.data.dataset, held_out_benchmark(recipe))


def incomplete_data(recipe: Recipe, states: dict[str, Availability]) -> tuple[str, ...]:
    """Says in a few words if the training set was prepared from a part of its images."""
    if not needed_data(recipe) or not states[recipe.data.dataset].partial:
        return ()
    dataset = recipe.data.dataset
    found, whole = states[dataset].images, find_benchmark(dataset).image_count
    return (f"trained on {found:,}{'' if whole is None else f' of {whole:,}'} images of {dataset}",)


def trained(recipe: Recipe, seed: int, folder: Path, call: TrainingCall, data: Path, device: str) -> Path:
    """Train a network, or continue a run, or do nothing if it is finished.

    Returns:
        The file of the trained weights.

    Raises:
        UsageError: the folder holds a run with other settings.
        TrainingError, InputError, OutputError, SystemExit: see `segvoc.training.run.train`.
    """
    run = folder / RUN
    weights = run / "model.safetensors"
    if weights.exists():
        _check_finished(run, recipe, seed, call)
        return weights
    if call.captions is not None:
        train(recipe, call.captions, run, start=call.start, seed=seed, device=device, resume=True)
    else:
        images, watched = recipe_data(recipe, data)
        train(recipe, images, run, start=call.start, watched=watched, seed=seed, device=device, resume=True)
    return weights


def _check_finished(run: Path, recipe: Recipe, seed: int, call: TrainingCall) -> None:
    RunFolder.check(run, to_json(replace(recipe, network=recipe.network_config())))
    try:
        config = read_json(run / "config.json")
        found = {"seed": config["seed"], **config["start"]}
    except (OSError, ValueError, KeyError, TypeError):
        raise UsageError(f"{str(run)!r} has weights but no record of its run; choose another --out") from None
    wanted = {"seed": seed, "weights": call.start.weights, "encoder_weights": call.start.encoder_weights}
    if told := difference({name: found.get(name) for name in wanted}, wanted):
        raise UsageError(f"{str(run)!r} was trained otherwise ({told}); choose another --out")
