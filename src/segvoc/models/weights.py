"""Loads the weights of a `ModelSpec` into its network: segvoc's files, the preset's own, and official checkpoints."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from segvoc.checkpoints.fetching import fetch
from segvoc.checkpoints.files import WeightsFile, read_weights
from segvoc.checkpoints.origins import TOKENIZER
from segvoc.checkpoints.strict import check_values, fit_exactly
from segvoc.encoders.base import TOWERS
from segvoc.errors import CheckpointError, UsageError
from segvoc.layers.cost_sum import NoAggregation
from segvoc.models.headers import CUSTOM, PARTS, TAUGHT, recorded_configuration
from segvoc.models.preset import Preset
from segvoc.models.presets import PRESETS, find_preset
from segvoc.models.spec import ModelSpec
from segvoc.models.weightless import weightless
from segvoc.networks.base import NetworkConfig, SegmentationNetwork
from segvoc.networks.official_weights import cosine_state
from segvoc.storage.files import SHIPPED

ENCODERS = tuple(f"{tower}." for tower in TOWERS)
"""Key prefixes of the encoders."""

COSTS = ("aggregation.skip.", "aggregation.synthesized.")
"""Key prefixes of the cost sum."""

COMMON = ENCODERS + COSTS
"""Key prefixes shared by networks with different aggregations."""


def architecture(spec: ModelSpec) -> tuple[Preset, NetworkConfig]:
    """The preset and the configuration of a model's network; `UsageError` for an exported folder."""
    if spec.source == "exported":
        raise UsageError(
            f"{spec.name!r} is an exported model, which only labels images (segvoc.load, --model); name the preset, "
            "file or run that it was exported from"
        )
    preset = find_preset(spec.preset)
    return preset, spec.configuration or preset.configuration


def with_weights(spec: ModelSpec) -> tuple[SegmentationNetwork, NetworkConfig]:
    """Build a model's network with its weights, on the CPU.

    Returns:
        The network (the custom one, if there is one), and its configuration.

    Raises:
        CheckpointError: the weights are missing, damaged, can't be fetched, or don't fit the network.
    """
    preset, configuration = architecture(spec)
    if spec.source == "random":
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)  # `torch.manual_seed` would also seed the GPUs
            return spec.network or preset.build(configuration), configuration
    file = own_weights(spec)
    configuration, network = fitted(spec, file), spec.network
    if network is None:
        if spec.record.get(CUSTOM):
            raise CheckpointError(
                f"{file.path!r} holds a custom network; build it and load it with network=..., or with "
                "--network FILE.py:FUNCTION"
            )
        with weightless():
            network = preset.build(configuration)
    with naming_file(file.path):
        network.load_state_dict(checked(whole_state(spec, network, file), network, spec.preset), assign=True)
    return network, configuration


def own_weights(spec: ModelSpec) -> WeightsFile:
    """Read a model's weights: from its file, or the preset's own, which are fetched if they don't ship."""
    preset = find_preset(spec.preset)
    if spec.path is not None:
        return read_weights(spec.path)
    if preset.published is not None:
        return read_weights(fetch(preset.published))
    if not preset.shipped:
        raise CheckpointError(f"{spec.preset} has no weights here: {preset.how_to_get} (weights=... or --weights)")
    return shipped_weights(spec.preset, preset)


def fitted(spec: ModelSpec, file: WeightsFile) -> NetworkConfig:
    """The configuration for a model's weights: the variant of it that an official checkpoint has, if there are any."""
    preset, configuration = architecture(spec)
    if file.preset is not None or preset.fit_to_official is None:
        return configuration
    return preset.fit_to_official(file.tensors, configuration)


def whole_state(spec: ModelSpec, network: SegmentationNetwork, file: WeightsFile) -> dict[str, Tensor]:
    """The state dict of the whole network in a file, by our names for those of an official checkpoint.

    Raises:
        CheckpointError: the file has other weights, or only those of encoders.
    """
    preset = find_preset(spec.preset)
    if file.preset is None and preset.from_official is not None:
        return preset.from_official(file.tensors, network)
    if PARTS in file.record:
        if file.record[PARTS] != list(TOWERS):
            raise CheckpointError("its header names modules unknown to this segvoc; install a newer segvoc")
        return file.tensors | cosine_state(network.aggregation, preset.cosine_logits)
    if isinstance(network.aggregation, NoAggregation):
        return shared_tensors(file, network)
    return {name: value for name, value in file.tensors.items() if not name.startswith(f"{TAUGHT}.")}


def shared_tensors(file: WeightsFile, network: SegmentationNetwork) -> dict[str, Tensor]:
    """Those of a file that fit another aggregation: the encoders, and the cost sum if the network has the same."""
    theirs, ours = (
        {name: value.shape for name, value in tensors.items() if name.startswith(COSTS)}
        for tensors in (file.tensors, network.state_dict())
    )
    common = COMMON if theirs == ours else ENCODERS
    return {name: value for name, value in file.tensors.items() if name.startswith(common)}


def checked(
    state: Mapping[str, Tensor], network: SegmentationNetwork, whose: str, modules: tuple[str, ...] = ("",)
) -> dict[str, Tensor]:
    """Check that weights are exactly those of a preset's network, or of its modules with these key prefixes.

    Raises:
        CheckpointError: weights are missing or unexpected, or a value isn't finite.
    """
    ours = network.state_dict()
    shapes = {name: value.shape for name, value in ours.items() if name.startswith(modules)}
    state = fit_exactly(((name, name, value) for name, value in state.items()), shapes, whose)
    check_values(state, ours)
    return state


@contextmanager
def naming_file(path: str) -> Iterator[None]:
    """Name the file of weights in errors."""
    try:
        yield
    except CheckpointError as error:
        error.args = (f"{path!r}: {error}",)
        raise


def shipped_weights(name: str, preset: Preset) -> WeightsFile:
    """Read a preset's shipped weights."""
    tensors: dict[str, Tensor] = {}
    for file in preset.shipped:
        tensors |= read_weights(SHIPPED / file).tensors
    return WeightsFile(path=str(SHIPPED), tensors=tensors, preset=name)


def has_shipped_weights(name: str, network: SegmentationNetwork) -> bool:
    """Whether a network, in any precision, has exactly its preset's shipped weights."""
    preset = PRESETS[name]
    if not preset.shipped:
        return False
    shipped, ours = shipped_weights(name, preset).tensors, network.state_dict()
    return shipped.keys() == ours.keys() and all(
        value.shape == ours[key].shape and bool((value.to(ours[key].dtype) == ours[key].cpu()).all())
        for key, value in shipped.items()
    )


def is_custom(network: SegmentationNetwork, origin: Mapping[str, Any]) -> bool:
    """Whether a network differs in module classes or weight shapes from that of its preset and configuration."""
    preset = find_preset(str(origin["preset"]))
    with weightless():
        plain = preset.build(recorded_configuration(origin, preset, str(origin["preset"])))
    return _structure(plain) != _structure(network)


def _structure(network: nn.Module) -> tuple[object, object]:
    modules = [(name, type(module)) for name, module in network.named_modules()]
    state = network.state_dict()  # excludes the tokenizer, whose size varies
    return modules, {name: value.shape for name, value in state.items() if not name.endswith(f".{TOKENIZER}")}
