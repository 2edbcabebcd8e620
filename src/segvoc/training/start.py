"""Builds the recipe's network and loads its initial weights."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor

from segvoc.checkpoints.fetching import fetch
from segvoc.checkpoints.files import WeightsFile, read_weights
from segvoc.checkpoints.published import UnconfirmedFile, known_file
from segvoc.data.training.training_set import seed_of
from segvoc.encoders.base import ImageEncoder
from segvoc.encoders.official_clip import PublishedTower
from segvoc.encoders.vit import TIMM_CLIPS
from segvoc.errors import UsageError
from segvoc.models.catalog import is_own_path
from segvoc.models.headers import TRAINING
from segvoc.models.loading import segmenter_of
from segvoc.models.network_segmenter import NetworkSegmenter
from segvoc.models.preset import Preset
from segvoc.models.presets import find_preset
from segvoc.models.resolving import resolve
from segvoc.models.spec import ModelSpec
from segvoc.models.weights import (
    COMMON,
    architecture,
    checked,
    fitted,
    naming_file,
    own_weights,
    shared_tensors,
    shipped_weights,
    whole_state,
)
from segvoc.networks.base import NetworkConfig, SegmentationNetwork
from segvoc.networks.clip_network import ClipNetworkConfig
from segvoc.networks.official_weights import clip_state
from segvoc.networks.syn_seg import is_decoder_alone
from segvoc.storage.files import SHIPPED, file_sha256
from segvoc.training.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class Start:
    """The initial weights of a run."""

    weights: str | None = None
    """Weights of the whole network: a .safetensors file written by segvoc, a released checkpoint, or "random". None:
    the preset's shipped weights, or else published ones, which are fetched (see `Recipe.init_from`). An aggregation
    that differs from the shipped weights' is initialized randomly, except for the cost sum that its output is added
    to."""
    encoder_weights: str | None = None
    """Weights of the encoders only: a plain CLIP (for networks with DINOv2, a comma and its file follow), or a file
    written by segvoc. The aggregation is initialized randomly, as above."""


@dataclass(frozen=True, kw_only=True)
class BuiltNetwork:
    """A network with its initial weights."""

    recipe: Recipe
    """The recipe with the name of its preset and the network's full configuration."""
    spec: ModelSpec
    """What the network was built from; also the words that were taught or tuned before."""
    network: SegmentationNetwork
    started_from: tuple[dict[str, str], ...]
    """The source files of its weights: name and SHA-256; for a published file also its place and license."""

    def segmenter(self, record: dict[str, Any], step: int) -> NetworkSegmenter:
        """The model with the network's current weights, after some steps of the run with this record."""
        spec = ModelSpec(
            name=f"step {step}",
            preset=self.recipe.model,
            configuration=self.recipe.network_config(),
            taught=self.spec.taught,
            record={TRAINING: record},
        )
        return segmenter_of(spec, self.network)


def build(recipe: Recipe, start: Start, seed: int, own: SegmentationNetwork | None = None) -> BuiltNetwork:
    """Build the network with its initial weights, fetching published weights as needed; or take a custom network.

    `UsageError`: the model is unknown, required weights are missing, or the crop doesn't fit the network's stride;
    `CheckpointError`: the weights don't fit the network, or can't be fetched.
    """
    if own is not None:
        spec = ModelSpec(name=recipe.model, preset=recipe.model, source="random", network=own)
        return BuiltNetwork(recipe=recipe, spec=spec, network=own, started_from=())
    spec = resolve(recipe.model, weights=start.weights)
    preset, configuration = architecture(spec)
    file = _network_weights(spec, recipe, start)
    if recipe.network is not None:
        configuration = recipe.network
    elif file is not None:
        configuration = fitted(spec, file)
    recipe = replace(recipe, model=spec.preset, network=configuration)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed_of(seed, "weights"))
        network = preset.build(configuration)
    _check_side(recipe, cast(ImageEncoder, network.image_encoder).stride)
    paths, is_whole = list[str](), False
    if file is not None:
        paths = [str(SHIPPED / name) for name in preset.shipped] if file.path == str(SHIPPED) else [file.path]
        is_whole = spec.source == "file" or not preset.shipped or file.tensors.keys() == network.state_dict().keys()
        with naming_file(file.path):
            state = whole_state(spec, network, file) if is_whole else shared_tensors(file, network)
            modules = ("",) if is_whole else _modules_of(state)
            network.load_state_dict(checked(state, network, spec.preset, modules), strict=False)
    encoders = list[str]()
    if start.encoder_weights is not None:
        encoders = _paths(start.encoder_weights, network)
    elif file is None and spec.source == "preset":
        encoders = _fetched_encoders(recipe.model, preset, configuration)
    if encoders:
        towers, *others = (read_weights(path) for path in encoders)
        with naming_file(towers.path):
            state = _towers_of(towers, network, *others)
            network.load_state_dict(checked(state, network, spec.preset, _modules_of(state)), strict=False)
    started_from = tuple(_origin(path) for path in (*paths, *encoders))
    return BuiltNetwork(recipe=recipe, spec=spec, network=network, started_from=started_from)


def _network_weights(spec: ModelSpec, recipe: Recipe, start: Start) -> WeightsFile | None:
    """The given, shipped or fetched weights of the whole network, if any."""
    preset = find_preset(spec.preset)
    if spec.source == "preset":
        published = recipe.init_from == "network" and start == Start() and preset.published is not None
        return shipped_weights(spec.preset, preset) if preset.shipped else own_weights(spec) if published else None
    if spec.source == "random":
        return None
    file = own_weights(spec)
    if start.encoder_weights is not None and is_decoder_alone(file.tensors):
        file = replace(file, tensors=file.tensors | read_weights(start.encoder_weights).tensors)
    return file


def configured(recipe: Recipe, start: Start) -> Recipe:
    """Take the network configuration, to which settings apply, from the segvoc file that a recipe starts from."""
    configuration = resolve(recipe.model, weights=start.weights).configuration
    return recipe if configuration is None else replace(recipe, network=configuration)


def _modules_of(state: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Key prefixes of the modules whose weights these are, which networks with different aggregations share."""
    return tuple(prefix for prefix in COMMON if any(name.startswith(prefix) for name in state))


def _fetched_encoders(model: str, preset: Preset, configuration: NetworkConfig) -> list[str]:
    """The files of the initial encoders, fetched if not cached."""
    encoders = preset.encoders
    if isinstance(configuration, ClipNetworkConfig) and isinstance(preset.configuration, ClipNetworkConfig):
        kind = configuration.encoder.kind
        if kind in TIMM_CLIPS:
            encoders = find_preset(kind).encoders
        elif kind != preset.configuration.encoder.kind:
            raise UsageError(f"{model} with encoder={kind} has no default encoders; give --encoder-weights")
    if encoders is preset.encoders and preset.fetched_encoders:
        return [str(fetch(file)) for file in preset.fetched_encoders]
    unconfirmed = [file for file in encoders if isinstance(file, UnconfirmedFile)]
    sources = "; ".join(f"{file.summary}: {file.page} ({file.reason})" for file in unconfirmed)
    raise UsageError(
        f"{model} starts from published encoders that segvoc can't check, and so doesn't fetch: give their file with "
        f"--encoder-weights, a whole network with --weights, or start with --weights random ({sources})"
    )


def _origin(path: str) -> dict[str, str]:
    digest = file_sha256(path)
    known = known_file(digest)
    return {"filename": os.path.basename(path), "sha256": digest} if known is None else known.record()


def _check_side(recipe: Recipe, stride: int) -> None:
    side = recipe.data.input_size
    if side % stride:
        name = "resize_crop_to" if recipe.data.resize_crop_to else "crop_size"
        raise UsageError(
            f"{name}={side} does not divide into the {stride} px wide cells of {recipe.model}; take "
            f"{max(1, round(side / stride)) * stride}"
        )


def _paths(encoder_weights: str, network: SegmentationNetwork) -> list[str]:
    """The encoder weight files: one file, or two for a network whose image encoder has two towers."""
    tower = network.image_encoder
    companion = tower.companion if isinstance(tower, PublishedTower) else None
    paths = encoder_weights.split(",")
    one_file = os.path.exists(encoder_weights) or (len(paths) == 1 and is_own_path(encoder_weights))
    if one_file or companion is None:
        return [encoder_weights]
    if len(paths) != 2:
        raise UsageError(
            f"--encoder-weights {encoder_weights!r} names one file, but this network has CLIP and {companion}; "
            "give both, CLIP first: CLIP.pt,OTHER.pth"
        )
    return paths


def _towers_of(file: WeightsFile, network: SegmentationNetwork, *others: WeightsFile) -> dict[str, Tensor]:
    """The encoder weights from a segvoc file (with the sum of costs if both have one), or from CLIP (and DINOv2)."""
    if file.preset is not None:
        if others:
            raise UsageError(f"{file.path!r} is a segvoc file, which holds all encoders; give only this file")
        own, state = network.state_dict(), shared_tensors(file, network)
        added = {name: value for name, value in own.items() if ADDITION in name}
        return added | {name: value for name, value in state.items() if name in own or ADDITION not in name}
    return clip_state(file.tensors, network, *(other.tensors for other in others))


ADDITION = ".stride_one."
"""Part of the names of parameters that a setting adds to an encoder, learned in training."""
