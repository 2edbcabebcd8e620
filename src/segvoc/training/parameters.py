"""Which parameters are trained, with which learning rate and weight decay."""

from typing import Any, cast

from torch import nn

from segvoc.encoders.base import TOWERS, Tower
from segvoc.encoders.vit import projection_weights
from segvoc.networks.base import SegmentationNetwork
from segvoc.training.recipe import OptimizerConfig, Recipe


def learning_rates(network: SegmentationNetwork, recipe: Recipe) -> dict[str, float]:
    """The learning rate of every trained parameter, by name: all of the aggregation, some of the encoders."""
    optimizer = recipe.optimizer
    tuned = {f"{place}.{name}" for place in TOWERS for name in _trainable(network, place, optimizer)}
    rates: dict[str, float] = {}
    for name, _ in network.named_parameters():
        if not name.startswith(tuple(f"{place}." for place in TOWERS)):
            rates[name] = optimizer.lr
        elif name in tuned and optimizer.encoder_lr_scale:
            rates[name] = optimizer.lr * optimizer.encoder_lr_scale
        elif name.startswith("image_encoder.") and optimizer.trunk_lr_scale:
            rates[name] = optimizer.lr * optimizer.trunk_lr_scale
    return rates


def _trainable(network: SegmentationNetwork, place: str, optimizer: OptimizerConfig) -> tuple[str, ...]:
    chosen, encoders = optimizer.trainable, optimizer.trainable_encoders
    if chosen == "none" or encoders not in ("both", place.removesuffix("_encoder")):
        return ()
    tower = network.get_submodule(place)
    if chosen == "published":
        return cast(Tower, tower).fine_tuned_parameters()
    if chosen == "all":
        return tuple(name for name, _ in tower.named_parameters())
    return projection_weights(tower, chosen)


def freeze_others(network: nn.Module, rates: dict[str, float]) -> None:
    """Turn off gradients for all parameters without a learning rate."""
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name in rates)


def parameter_groups(network: nn.Module, rates: dict[str, float], weight_decay: float) -> list[dict[str, Any]]:
    """Build AdamW's parameter groups: one per learning rate and weight decay.

    "rate" is a group's learning rate before the schedule. As in detectron2's defaults, norms and embeddings have no
    weight decay, while biases, padding values and scales do.
    """
    undecayed = {
        f"{place}.{name}"
        for place, module in network.named_modules()
        if isinstance(module, nn.BatchNorm2d | nn.GroupNorm | nn.LayerNorm | nn.Embedding)
        for name, _ in module.named_parameters(recurse=False)
    }
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        if name in rates:
            groups.setdefault((rates[name], 0.0 if name in undecayed else weight_decay), []).append(parameter)
    return [
        {"params": members, "lr": rate, "rate": rate, "weight_decay": decay}
        for (rate, decay), members in sorted(groups.items(), reverse=True, key=lambda entry: entry[0])
    ]
