"""What a run starts from: recipe and weights to a network."""

import os
from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor

from segvoc.checkpoints.files import WeightsFile, read_header, read_weights
from segvoc.checkpoints.strict import check_values, fit_exactly
from segvoc.data.training.training_set import seed_of
from segvoc.encoders.base import ImageEncoder
from segvoc.errors import CheckpointError, UsageError
from segvoc.layers.cost_sum import NoAggregation
from segvoc.models.headers import configuration_of
from segvoc.models.loading import (
    COMMON,
    begin_with,
    is_own_path,
    named_preset,
    shipped_weights,
    state_of,
)
from segvoc.models.presets import Preset, find_preset
from segvoc.networks.base import SegmentationNetwork
from segvoc.training.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class Start:
    """What a run starts from.

    weights: of the whole network: a file of segvoc or a released checkpoint; "random"; None: what the preset ships, of
    which an aggregation that departs from the preset's is left out and starts random, but for the sum of costs that it
    adds to. encoder_weights: of the towers alone: a plain CLIP (and after a comma DINOv2, where there is one beside
    it), or a file of segvoc; the aggregation starts likewise.
    """

    weights: str | None = None
    encoder_weights: str | None = None


def build(
    recipe: Recipe, start: Start, seed: int, network: SegmentationNetwork | None = None
) -> tuple[Recipe, Preset, SegmentationNetwork]:
    """The network at its start; the recipe with its preset's name and the whole configuration of the network.

    Args:
        recipe: how it is trained.
        start: the weights that it starts from.
        seed: of weights that are random.
        network: one of the caller's own, in place of what the recipe's configuration describes.

    Raises:
        UsageError: no such model, none of the weights that it needs are given, or a crop that it can't read.
        CheckpointError: weights that don't fit.
    """
    file = None
    if is_own_path(recipe.model):
        if start.weights is not None:
            raise UsageError(f"{recipe.model!r} is a file of weights, and --weights is given too; give one of them")
        file = read_weights(recipe.model)
        recipe = replace(recipe, model=named_preset(file))
    elif start.weights not in (None, "random"):
        file = _with_towers(read_weights(start.weights), start)
    preset = find_preset(recipe.model)
    configuration = recipe.network or (preset.configuration if file is None else configuration_of(file, preset))
    recipe = replace(recipe, network=configuration)
    if network is None:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed_of(seed, "weights"))
            network = preset.build(configuration)
    same = file is not None
    if file is not None:
        _fill(network, state_of(recipe.model, preset, network, file), file)
    elif start.weights is None and preset.shipped:
        file = shipped_weights(recipe.model, preset)
        same = file.tensors.keys() == network.state_dict().keys() or isinstance(network.aggregation, NoAggregation)
        _fill(network, state_of(recipe.model, preset, network, file) if same else begin_with(file, network), file)
    if start.encoder_weights is not None:
        towers, *others = (read_weights(path) for path in _paths(start.encoder_weights, network))
        _fill(network, _towers_of(towers, network, *others), towers)
    elif file is None and start.weights is None:
        raise UsageError(
            f"{recipe.model} starts from published towers: give their file with --encoder-weights, a network by "
            f"--weights, or begin from nothing with --weights random ({preset.how_to_get or 'see segvoc info'})"
        )
    _refuse_strange_side(recipe, cast(ImageEncoder, network.image_encoder).stride)
    if preset.start_from_towers is not None and not (same or start.weights == "random"):
        preset.start_from_towers(network)
    return recipe, preset, network


def with_file_configuration(recipe: Recipe, start: Start) -> Recipe:
    """The recipe with the network configuration of the file of segvoc that it starts from, if there is one.

    Settings of the network are then changes of that one.

    Raises: CheckpointError: the file can't be read.
    """
    path = recipe.model if is_own_path(recipe.model) else start.weights
    if path is None or not is_own_path(path) or not os.path.exists(path):
        return recipe
    file = read_header(path)
    if file.preset is None:
        return recipe
    preset = find_preset(named_preset(file) if path == recipe.model else recipe.model)
    return replace(recipe, network=configuration_of(file, preset))


def _refuse_strange_side(recipe: Recipe, stride: int) -> None:
    if recipe.side % stride:
        name = "input_size" if recipe.input_size else "crop"
        raise UsageError(
            f"{name}={recipe.side} does not divide into the {stride} px wide cells of {recipe.model}; take "
            f"{max(1, round(recipe.side / stride)) * stride}"
        )


def _with_towers(file: WeightsFile, start: Start) -> WeightsFile:
    """A released decoder without towers gets those of `encoder_weights` beside it; other files stay as they are."""
    from segvoc.checkpoints.official_syn_seg import holds_decoder  # here, since timm takes seconds to import
    from segvoc.checkpoints.official_towers import is_plain_clip

    if start.encoder_weights is None or not holds_decoder(file.tensors) or is_plain_clip(file.tensors):
        return file
    return replace(file, tensors=file.tensors | read_weights(start.encoder_weights).tensors)


def _paths(encoder_weights: str, network: SegmentationNetwork) -> list[str]:
    """One file, or of a network on CLIP and DINOv2 one of each.

    Raises: UsageError: that of DINOv2 is missing.
    """
    from segvoc.encoders.clip_with_dino import ClipWithDino  # here, since timm takes seconds to import

    if not isinstance(network.image_encoder, ClipWithDino) or encoder_weights.endswith(".safetensors"):
        return [encoder_weights]
    paths = encoder_weights.split(",")
    if len(paths) != 2:
        raise UsageError(
            f"--encoder-weights {encoder_weights!r} is one file, and this network has the towers of CLIP and DINOv2; "
            "give both, CLIP first: ViT-B-16.pt,dinov2_vits14_pretrain.pth"
        )
    return paths


def _towers_of(file: WeightsFile, network: SegmentationNetwork, *others: WeightsFile) -> dict[str, Tensor]:
    """The towers: of a file of segvoc, with the sum of costs if both have one, or of a plain CLIP (and DINOv2)."""
    if file.preset is not None:
        return begin_with(file, network)
    if others:
        from segvoc.checkpoints.official_part_cat_seg import clip_and_dino_state

        return clip_and_dino_state(file.tensors, others[0].tensors, network)
    from segvoc.checkpoints.official_towers import clip_state  # here, since timm takes seconds to import

    return clip_state(file.tensors, network)


def _fill(network: SegmentationNetwork, state: dict[str, Tensor], file: WeightsFile) -> None:
    """Give the network these weights: all of them, or all of the parts that it has in common with others."""
    ours = network.state_dict()
    parts = tuple(part for part in COMMON if any(name.startswith(part) for name in state))
    if any(not name.startswith(parts) for name in state):
        parts = ("",)
    shapes = {name: value.shape for name, value in ours.items() if name.startswith(parts)}
    try:
        state = fit_exactly(((name, name, value) for name, value in state.items()), shapes, "network's")
        check_values(state, ours)
    except CheckpointError as error:
        error.args = (f"{file.path!r}: {error}",)
        raise
    network.load_state_dict(state, strict=False)
