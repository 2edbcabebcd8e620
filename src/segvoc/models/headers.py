"""Reads and writes the network configuration in the header of a weights file, including older formats."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from segvoc.checkpoints.files import WeightsFile
from segvoc.configuration import with_settings
from segvoc.encoders.base import TOWERS
from segvoc.errors import CheckpointError, UsageError
from segvoc.models.builders import NetworkConfig
from segvoc.models.presets import PRESETS, Preset
from segvoc.networks.cost_aggregation_config import ClipNetworkConfig, EvaEncoders
from segvoc.networks.tiny import TWO_BLOCKS, TinyConfig
from segvoc.records import from_json, to_json

CONFIGURATION = "configuration"
"""Header entry of the configuration."""

CUSTOM = "custom"
"""Header entry that marks a network that no preset builds."""

TRAINING = "training"
"""Header entry that tells how `segvoc train` has trained a network."""

OPTIONS = "options"
"""Header entry in files of version 0.1, which holds the differences from the preset."""


def configuration_record(configuration: NetworkConfig) -> dict[str, Any]:
    """Header entries from which `configuration_of` restores the configuration."""
    return {CONFIGURATION: to_json(configuration)}


def configuration_of(file: WeightsFile, preset: Preset) -> NetworkConfig:
    """The configuration of the network that a file's weights belong to; for a released checkpoint, that of the preset.

    Args:
        file: a weights file, or its header alone.
        preset: the preset to load it as. A file with only the encoders fits every preset with these encoders, whose
            aggregation and prompts are then used; EVA's encoders keep the dense mode that they were distilled in.

    Raises:
        CheckpointError: the file needs a setting that this version doesn't know.
    """
    own = None if file.preset is None else PRESETS.get(file.preset)
    if own is None:
        fitted = preset.fit_to_official if file.preset is None else None
        return preset.configuration if fitted is None else fitted(file.tensors, preset.configuration)
    try:
        configuration = _read(file.record, own)
    except UsageError as error:
        raise CheckpointError(
            f"{file.path!r} was made with what this segvoc doesn't know ({error}); install a newer one"
        ) from None
    if own is preset:
        return configuration
    ours = preset.configuration
    if isinstance(ours, ClipNetworkConfig) and isinstance(configuration, ClipNetworkConfig):
        same = isinstance(ours.encoder, EvaEncoders) and isinstance(configuration.encoder, EvaEncoders)
        if same and file.record.get("parts") == list(TOWERS):
            return replace(ours, encoder=configuration.encoder)
    return ours


def _read(record: Mapping[str, Any], preset: Preset) -> NetworkConfig:
    if CONFIGURATION in record:
        return from_json(type(preset.configuration), record[CONFIGURATION], CONFIGURATION)
    return from_options(record.get(OPTIONS, {}), preset.configuration)


def from_options(options: object, configuration: NetworkConfig) -> NetworkConfig:
    """Restore the configuration of a file of version 0.1 from its options, the settings that differ from the preset's.

    In that version, tiny switched to a second aggregation of two blocks as soon as an option was given, and a number of
    experts implied a fusion by experts.

    Raises:
        UsageError: an option or a value is unknown.
    """
    if not isinstance(options, Mapping):
        raise UsageError(f"{OPTIONS} is {str(options)[:100]!r}, not an object of named values")
    settings = {str(name): value for name, value in options.items()}
    if "experts" in settings:
        settings.setdefault("fusion", "experts")
    if settings and isinstance(configuration, TinyConfig) and settings.get("aggregation") != "none":
        configuration = TinyConfig(aggregation=TWO_BLOCKS)
    return with_settings(configuration, settings, "this network")
