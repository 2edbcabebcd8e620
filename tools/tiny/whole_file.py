"""Make one file that loads by itself from tiny's image encoder and aggregation, whose text encoder is another file."""

import os
from dataclasses import replace
from pathlib import Path

import torch

from segvoc.checkpoints.files import WeightsFile, read_weights, write_weights
from segvoc.errors import CheckpointError
from segvoc.models.headers import CONFIGURATION, configuration_of, configuration_record
from segvoc.models.presets import find_preset
from segvoc.models.shipped_weights import shipped_weights
from segvoc.networks.tiny import TinyAggregationConfig, TinyConfig

FAMILIAR = "aggregation.skip.familiar"
"""Tensor with a row for each word that the weights were trained on."""

TEXT = "text_encoder."
"""Prefix of the tensors of the text encoder."""

FIRST_AGGREGATION = TinyAggregationConfig(
    order="parallel",
    blocks=1,
    fusion="concatenation",
    skip="sum",
    costs=3,
    known_classes=0,
    pad_classes=0,
    appearance_channels=472,
    dim=48,
    guidance_dim=48,
    heads=3,
    window=7,
)
"""The aggregation of weights that shipped before their headers stated a configuration."""


def write_whole_file(weights: Path, out: Path) -> None:
    """Write weights of tiny with a text encoder and a configuration, so that every command takes the file.

    Args:
        weights: weights of tiny. A missing text encoder is the shipped one; a missing configuration is that of the
            preset, or of the first weights that shipped, with as many familiar words as the weights have.
        out: the file to write.

    Raises:
        CheckpointError: the file can't be read, isn't for tiny, or fits neither configuration.
        OutputError: the new file can't be written.
    """
    file = read_weights(weights)
    if file.preset != "tiny":
        raise CheckpointError(f"{os.fspath(weights)!r} holds no weights of tiny; give a file that `make tiny` wrote")
    tensors = file.tensors
    if not any(name.startswith(TEXT) for name in tensors):
        shipped = shipped_weights("tiny", find_preset("tiny")).tensors
        tensors = tensors | {name: value for name, value in shipped.items() if name.startswith(TEXT)}
    configuration = fitting_configuration(replace(file, tensors=tensors))
    record = {key: value for key, value in file.record.items() if key != "preset"}
    write_weights(out, tensors, "tiny", **record | configuration_record(configuration))


def fitting_configuration(file: WeightsFile) -> TinyConfig:
    """The configuration that a complete file states, or the one whose network has these tensors.

    Raises:
        CheckpointError: no known configuration fits.
    """
    preset = find_preset("tiny")
    stated = configuration_of(file, preset)
    assert isinstance(stated, TinyConfig)
    if CONFIGURATION in file.record:
        return stated
    words = len(file.tensors[FAMILIAR]) if FAMILIAR in file.tensors else 0
    shapes = {name: value.shape for name, value in file.tensors.items()}
    for aggregation in (stated.aggregation, FIRST_AGGREGATION):
        if not isinstance(aggregation, TinyAggregationConfig):
            continue
        configuration = TinyConfig(aggregation=replace(aggregation, familiar_words=words))
        with torch.device("meta"):
            network = preset.build(configuration)
        if {name: value.shape for name, value in network.state_dict().items()} == shapes:
            return configuration
    raise CheckpointError(f"{file.path!r} states no configuration and fits none that is known; make its weights again")
