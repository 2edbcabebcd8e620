"""Makes a `ModelSpec` of whatever a user names: a preset, a file, a folder or a repository, also of other libraries."""

import os
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from segvoc.checkpoints.hub import CONFIG, SHARED_WEIGHTS, HubRepository, SharedModel, Token
from segvoc.errors import CheckpointError, UsageError, missing_extra, naming_torch
from segvoc.inference.exported.manifest import MANIFEST, is_exported
from segvoc.inference.taught.taught_words import TaughtWords
from segvoc.models.catalog import catalog, is_own_path, unknown_model
from segvoc.models.other_libraries import GetFile, foreign_model, read_model_config, saved_model
from segvoc.models.spec import ModelSpec, naming_place
from segvoc.storage.records import with_settings

if TYPE_CHECKING:
    from segvoc.networks.base import SegmentationNetwork

RANDOM = "random"
"""Name of untrained weights."""

SHIPPED_PROGRAMS = frozenset(("tiny",))
"""Presets whose exported programs ship with segvoc: they label images without PyTorch."""

RUN_ENTRY = "recipe"
"""Key that identifies the `config.json` of a run."""


def resolve(
    name: str | os.PathLike[str],
    *,
    weights: str | os.PathLike[str] | None = None,
    options: Mapping[str, object] | None = None,
    network: "SegmentationNetwork | None" = None,
    token: Token = None,
) -> ModelSpec:
    """Resolve what `segvoc.load` takes; see there for the arguments and errors.

    Reads the headers of files, not their weights, and fetches the files of a repository. PyTorch is imported only for
    files and options.
    """
    spec = _named(os.fsdecode(name), token)
    if spec.source == "exported":
        for setting, value in {"weights": weights, "options": options, "network": network}.items():
            if value:
                raise UsageError(
                    f"{spec.name!r} is an exported model with fixed weights and settings; leave out {setting}"
                )
        return spec
    if weights is not None:
        path = os.fspath(weights)
        if spec.path is not None or spec.is_place:
            raise UsageError(f"{spec.name!r} has its own weights, and weights={path!r} too; give one of them")
        spec = replace(spec, source=RANDOM) if path == RANDOM else _in_file(path, spec.name, spec.preset)
    return _with_options(replace(spec, network=network), options or {})


def _named(name: str, token: Token) -> ModelSpec:
    known = name in catalog().models
    repository = None if known or os.path.exists(name) else HubRepository.of(name, token)
    if repository is not None:
        return _in_repository(name, repository)
    if token is not None:
        raise UsageError(f"{name!r} is not a repository of the hub; leave out the token")
    if known:
        return ModelSpec(name=name, preset=name)
    if is_exported(name):
        return ModelSpec(name=name, preset=name, source="exported", path=name)
    if os.path.isdir(name):
        folder = Path(name)
        return _in_place(
            name,
            lambda file: folder / file if (folder / file).is_file() else None,
            lambda: sorted(os.listdir(folder)),
        )
    if is_own_path(name):
        return _in_file(name, name)
    if find_spec("torch") is None:
        raise unknown_model(name)
    from segvoc.models.presets import find_preset

    find_preset(name)
    return ModelSpec(name=name, preset=name)


def _in_repository(name: str, repository: HubRepository) -> ModelSpec:
    pinned = repository

    def fetch(file: str) -> Path | None:
        nonlocal pinned
        if (path := pinned.fetch(file)) is not None:
            pinned = replace(repository, revision=path.parent.name)  # other files are from the same commit
        return path

    return _in_place(name, fetch, repository.files)


def _in_place(name: str, get: GetFile, list_files: Callable[[], list[str]]) -> ModelSpec:
    """The model in a folder or repository."""
    config = read_model_config(get(CONFIG), name)
    shared = SharedModel.of(config, name)
    if shared is not None:
        return _shared(name, shared, get)
    if get(MANIFEST) is not None:
        raise CheckpointError(
            f"{name!r} is an exported model; download it (hf download {name} --local-dir DIR), and load that folder"
        )
    # identify an unknown repository without fetching its weights, which may be large
    own = get(SHARED_WEIGHTS) if os.path.isdir(name) or RUN_ENTRY in config else None
    if own is None and RUN_ENTRY in config:
        raise CheckpointError(
            f"the run in {name!r} isn't finished: it has no {SHARED_WEIGHTS}; continue it with --resume"
        )
    saved = None if RUN_ENTRY in config else saved_model(config, get, name)
    if saved is not None:
        return _with_options(ModelSpec(name=name, preset=saved.preset, source="file", path=saved.folder), saved.options)
    if own is None or (config and RUN_ENTRY not in config):
        raise foreign_model(name, config, list_files())
    return _in_file(str(own), name)


def _shared(name: str, shared: SharedModel, get: GetFile) -> ModelSpec:
    """The parts of a shared model that this installation needs."""
    light = find_spec("torch") is None
    if light and not (shared.model in SHIPPED_PROGRAMS and shared.taught):
        raise missing_extra("PyTorch", "torch")

    def path_of(file: str) -> str:
        if (path := get(file)) is None:
            raise CheckpointError(f"{name!r} has no {file}, which its {CONFIG} names; share the model again")
        return str(path)

    if shared.weights is not None and not light:
        spec = _in_file(path_of(shared.weights), name)
    else:
        with naming_place(name):
            taught = tuple(TaughtWords.load(path_of(file)) for file in shared.taught)
        spec = ModelSpec(name=name, preset=shared.model, taught=taught)
    words = {"known_words": shared.words, "background": shared.background} if shared.words else {}
    return replace(spec, **words)


def _in_file(path: str, name: str, preset: str | None = None) -> ModelSpec:
    """The model of a weights file, for a preset (None: that of its header)."""
    if path.lower().endswith(".words.safetensors") and find_spec("torch") is None:
        raise CheckpointError(
            f"{path!r} has taught words, and no model; load the model that they were taught to, then "
            f"model.with_taught(segvoc.TaughtWords.load({path!r})), or on the command line --taught"
        )
    with naming_torch():
        from segvoc.models.headers import spec_of_file

    with nullcontext() if name in (path, preset) else naming_place(name):
        return spec_of_file(path, name, preset)


def _with_options(spec: ModelSpec, options: Mapping[str, object]) -> ModelSpec:
    """Change settings of the network; those that are the preset's change nothing."""
    if not options:
        return spec
    with naming_torch():
        from segvoc.models.presets import find_preset

    usual = find_preset(spec.preset).configuration
    changed = with_settings(spec.configuration or usual, options, spec.preset)
    return spec if changed == (spec.configuration or usual) else replace(spec, configuration=changed)
