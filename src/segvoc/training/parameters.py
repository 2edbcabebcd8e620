"""Which parameters learn, at which rate and with which decay."""

from collections.abc import Iterator
from typing import Any, cast

from torch import nn

from segvoc.encoders.base import TOWERS, Tower
from segvoc.encoders.vit import projection_weights
from segvoc.networks.base import SegmentationNetwork
from segvoc.training.recipe import Recipe

UNDECAYED = (nn.BatchNorm2d, nn.GroupNorm, nn.LayerNorm, nn.Embedding)
"""Modules whose own parameters don't decay, as in detectron2's defaults."""


def learning_rates(network: SegmentationNetwork, recipe: Recipe) -> dict[str, float]:
    """The learning rate of every parameter that learns, by name: of the aggregation all, of the towers some."""
    tuned = {f"{place}.{name}" for place in TOWERS for name in _tuned(network, place, recipe)}
    rates: dict[str, float] = {}
    for name, _ in network.named_parameters():
        if not name.startswith(tuple(f"{place}." for place in TOWERS)):
            rates[name] = recipe.learning_rate
        elif name in tuned and recipe.tower_rate:
            rates[name] = recipe.learning_rate * recipe.tower_rate
        elif name.startswith("image_encoder.") and recipe.trunk_rate:
            rates[name] = recipe.learning_rate * recipe.trunk_rate
    return rates


def _tuned(network: SegmentationNetwork, place: str, recipe: Recipe) -> tuple[str, ...]:
    if recipe.tuned == "none" or recipe.towers not in ("both", place.removesuffix("_encoder")):
        return ()
    tower = network.get_submodule(place)
    if recipe.tuned == "published":
        return cast(Tower, tower).fine_tuned_parameters()
    names = tuple(name for name, _ in tower.named_parameters())
    if recipe.tuned == "all":
        return names
    if recipe.tuned == "attention":
        return tuple(name for name in names if ".attn." in name)
    return projection_weights(tower, recipe.tuned)


def freeze_others(network: nn.Module, rates: dict[str, float]) -> None:
    """Only the parameters that have a rate get gradients."""
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name in rates)


def parameter_groups(network: nn.Module, rates: dict[str, float], weight_decay: float) -> list[dict[str, Any]]:
    """AdamW's groups: one for each rate and decay; "rate" is the group's learning rate before the schedule.

    Norms and embeddings don't decay; biases, pads and scales do, as in detectron2's defaults.
    """
    undecayed = set(_undecayed(network))
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        if name in rates:
            groups.setdefault((rates[name], 0.0 if name in undecayed else weight_decay), []).append(parameter)
    return [
        {"params": members, "lr": rate, "rate": rate, "weight_decay": decay}
        for (rate, decay), members in sorted(groups.items(), reverse=True, key=lambda entry: entry[0])
    ]


def _undecayed(network: nn.Module) -> Iterator[str]:
    for place, module in network.named_modules():
        if isinstance(module, UNDECAYED):
            for name, _ in module.named_parameters(recurse=False):
                yield f"{place}.{name}"


def trainable_count(network: SegmentationNetwork, recipe: Recipe) -> int:
    """Numbers that learn, all together."""
    rates = learning_rates(network, recipe)
    return sum(parameter.numel() for name, parameter in network.named_parameters() if name in rates)
