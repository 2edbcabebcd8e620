"""The header of a segvoc file: configuration, words, taught words (with tensors taught.N.NAME), training."""

import os
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import torch
from torch import Tensor

from segvoc.checkpoints.files import FORMAT, WeightsFile, read_header
from segvoc.encoders.base import TOWERS
from segvoc.errors import CheckpointError, UsageError
from segvoc.inference.segmenter import Segmenter
from segvoc.inference.taught.taught_words import TaughtWords, is_half
from segvoc.models.preset import Preset
from segvoc.models.presets import PRESETS, find_preset
from segvoc.models.spec import ModelSpec
from segvoc.networks.base import NetworkConfig
from segvoc.networks.clip_network import ClipNetworkConfig, EvaEncoders
from segvoc.runtime.version import __version__
from segvoc.storage.records import from_json, to_json

CONFIGURATION = "configuration"
"""Entry of the configuration."""

CUSTOM = "custom"
"""Entry that marks a custom network."""

TRAINING = "training"
"""Entry that records how `segvoc train` trained a network."""

CLASSES, BACKGROUND_CLASS = "classes", "background"
"""Entries of the words that a model knows, and of the one among them that means "none of the others"."""

PARTS = "parts"
"""Entry of the modules in a file that doesn't hold the whole network."""

TAUGHT = "taught"
"""Entry with the records of taught words, and prefix of their tensors."""


def spec_of_file(path: str | os.PathLike[str], name: str, preset: str | None = None) -> ModelSpec:
    """The model of a weights file, by its header.

    Args:
        path: a segvoc file; for a preset also an official checkpoint, or a folder with one.
        name: the model's name.
        preset: the preset that takes the weights; None: that of the header.

    Raises:
        CheckpointError: the file is missing, damaged, for another preset, or of a newer segvoc; or it isn't segvoc's,
            and there is no preset.
    """
    path = os.fspath(path)
    file = None if preset is not None and os.path.isdir(path) else read_header(path, f"{TAUGHT}.")
    if file is None or file.preset is None:
        if preset is None:
            raise CheckpointError(
                f"{path!r} is no model of segvoc; give a preset with it as weights (--weights), or if `segvoc teach` "
                "wrote it, as words (--taught, model.with_taught(segvoc.TaughtWords.load(path))), or convert it"
            )
        return ModelSpec(name=name, preset=preset, source="file", path=path)
    if file.preset not in PRESETS:
        raise CheckpointError(f"{path!r} is for {file.preset!r}, unknown here; install a newer segvoc")
    if preset not in (None, file.preset) and PARTS not in file.record:
        raise CheckpointError(
            f"{path!r}: these weights are for {file.preset!r}, not for {preset}; load them under that name"
        )
    classes, background = file.record.get(CLASSES), file.record.get(BACKGROUND_CLASS)
    return ModelSpec(
        name=name,
        preset=preset or file.preset,
        source="file",
        path=path,
        configuration=_configuration(file, find_preset(preset or file.preset)),
        taught=_taught_words(file),
        known_words=tuple(map(str, classes)) if isinstance(classes, list) else (),
        background=background if isinstance(background, str) else None,
        record=file.record,
    )


def origin_record(origin: str, license: str) -> dict[str, Any]:
    """The entries of where weights come from, and of this version and moment."""
    date = datetime.now(UTC).isoformat(timespec="seconds")
    return {"format": FORMAT, "origin": origin, "license": license, "version": __version__, "date": date}


def configuration_record(configuration: NetworkConfig) -> dict[str, Any]:
    """The entry of a network's configuration."""
    return {CONFIGURATION: to_json(configuration)}


def words_record(words: tuple[str, ...], background: str | None) -> dict[str, Any]:
    """The entries of the words that a model knows; none without words."""
    return {CLASSES: list(words), **({BACKGROUND_CLASS: background} if background else {})} if words else {}


def words_of_model(model: Segmenter) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and the entries of the words that a model knows and was taught."""
    tensors, taught = taught_tensors(model.taught)
    return tensors, words_record(model.known_words, model.known_background) | taught


def taught_tensors(taught: tuple[TaughtWords, ...]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and the entries of taught words; both are empty without any."""
    tensors = {
        f"{TAUGHT}.{number}.{name}": torch.from_numpy(array.copy())
        for number, words in enumerate(taught)
        for name, array in words.arrays().items()
    }
    return tensors, {TAUGHT: [to_json(words.record) for words in taught]} if taught else {}


def recorded_configuration(record: Mapping[str, Any], preset: Preset, path: str) -> NetworkConfig:
    """The configuration in a header of a preset's file; raises `CheckpointError` if it has an unknown setting."""
    entry = record.get(CONFIGURATION)
    try:
        return preset.configuration if entry is None else from_json(type(preset.configuration), entry, CONFIGURATION)
    except UsageError as error:
        raise CheckpointError(f"{path!r} needs a newer segvoc ({error}); update it") from None


def _configuration(file: WeightsFile, preset: Preset) -> NetworkConfig:
    """The configuration for a file's weights.

    A file of encoders fits every preset with these encoders, and takes that preset's aggregation and prompts; EVA
    encoders keep the dense mode of their distillation.
    """
    own = find_preset(str(file.preset))
    found, ours = recorded_configuration(file.record, own, file.path), preset.configuration
    if own is preset:
        return found
    if file.record[PARTS] == list(TOWERS) and isinstance(ours, ClipNetworkConfig):
        theirs = found.encoder if isinstance(found, ClipNetworkConfig) else None
        if isinstance(ours.encoder, EvaEncoders) and isinstance(theirs, EvaEncoders):
            return replace(ours, encoder=theirs)
    return ours


def _taught_words(file: WeightsFile) -> tuple[TaughtWords, ...]:
    records = file.record.get(TAUGHT, [])
    if not isinstance(records, list):
        raise CheckpointError(f"the header of {file.path!r} is damaged; fetch or train the model again")
    taught: list[TaughtWords] = []
    for number, record in enumerate(records):
        prefix = f"{TAUGHT}.{number}."
        arrays = {
            name.removeprefix(prefix): value.numpy() for name, value in file.tensors.items() if name.startswith(prefix)
        }
        # weights files are read as float32
        halves = {name: array.astype(np.float16) for name, array in arrays.items() if is_half(name)}
        taught.append(TaughtWords.of(file.path, record, arrays | halves))
    return tuple(taught)
