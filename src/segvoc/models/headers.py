"""The configuration of a network in the header of its file of weights, as it is written and as it used to be."""

from collections.abc import Mapping
from typing import Any

from segvoc.checkpoints.files import WeightsFile
from segvoc.configuration import from_json, to_json, with_settings
from segvoc.encoders.base import TOWERS
from segvoc.errors import CheckpointError, UsageError
from segvoc.models.builders import NetworkConfig
from segvoc.models.presets import PRESETS, Preset
from segvoc.networks.cost_aggregation_config import ClipNetworkConfig
from segvoc.networks.tiny import TWO_BLOCKS, TinyConfig

CONFIGURATION = "configuration"
"""The header's entry for the configuration."""

OPTIONS = "options"
"""The entry of files of version 0.1, which tells what departs from the preset."""


def configuration_record(configuration: NetworkConfig) -> dict[str, Any]:
    """The entries that a header needs for `configuration_of`."""
    return {CONFIGURATION: to_json(configuration)}


def configuration_of(file: WeightsFile, preset: Preset) -> NetworkConfig:
    """The configuration of the network that a file's weights are for; a released checkpoint's is the preset's.

    Args:
        file: a file of weights, or its header alone.
        preset: the preset under which it is loaded. Towers alone serve any preset that has them, with its aggregation.

    Raises:
        CheckpointError: the file asks for something that is unknown here.
    """
    own = None if file.preset is None else PRESETS.get(file.preset)
    if own is None:
        return preset.configuration
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
        same = type(ours.encoders) is type(configuration.encoders)
        if same and file.record.get("parts") == list(TOWERS):
            return ClipNetworkConfig(encoders=configuration.encoders, aggregation=ours.aggregation)
    return ours


def _read(record: Mapping[str, Any], preset: Preset) -> NetworkConfig:
    if CONFIGURATION in record:
        return from_json(type(preset.configuration), record[CONFIGURATION], CONFIGURATION)
    return from_options(record.get(OPTIONS, {}), preset.configuration)


def from_options(options: object, configuration: NetworkConfig) -> NetworkConfig:
    """What files of version 0.1 meant by their options: departures from a preset, whose names are those of settings.

    tiny had a second aggregation, of two blocks, which took the place of its own as soon as an option was given. The
    number of experts implied that there are some.

    Raises: UsageError: an unknown option or value.
    """
    if not isinstance(options, Mapping):
        raise UsageError(f"{OPTIONS} is {str(options)[:100]!r}, not an object of named values")
    settings = {str(name): value for name, value in options.items()}
    if "experts" in settings:
        settings.setdefault("fusion", "experts")
    if settings and isinstance(configuration, TinyConfig) and settings.get("aggregation") != "none":
        configuration = TinyConfig(aggregation=TWO_BLOCKS)
    return with_settings(configuration, settings, "this network")
