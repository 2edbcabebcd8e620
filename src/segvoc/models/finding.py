"""Models from shared folders and repositories, runs, and other libraries."""

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from segvoc.checkpoints.hub import CONFIG, LIBRARY, SHARED_WEIGHTS, HubRepository, SharedModel, Token
from segvoc.checkpoints.published import IN_FOLDERS, file_of_weights
from segvoc.errors import CheckpointError, UsageError, missing_extra, one_line
from segvoc.inference.engine import AnyEngine as AnySegmenter
from segvoc.inference.exported.manifest import MANIFEST, is_exported
from segvoc.inference.taught.taught_words import TaughtWords
from segvoc.models.catalog import list_models
from segvoc.storage.files import read_json

RUN_ENTRY = "recipe"
"""Key that identifies the `config.json` of a run."""


@dataclass(frozen=True, kw_only=True)
class FoundModel:
    """A preset, a file or an exported folder, or the parts of a model in another folder or a repository."""

    name: str
    model: str
    """The preset, or the path of a file of segvoc or of a folder written by `segvoc export`."""
    is_exported: bool = False
    """Whether it is such a folder."""
    weights: str | None = None
    """A folder of another library's weights for the preset; None: the weights of the preset or file."""
    options: Mapping[str, object] = field(default_factory=dict)
    taught: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    """The classes that it was trained on or taught."""
    background: str | None = None

    @property
    def is_place(self) -> bool:
        """Whether it is a folder or a repository."""
        return self.name != self.model

    @contextmanager
    def naming_errors(self) -> Iterator[None]:
        """Name the folder or repository in errors of its files."""
        try:
            yield
        except CheckpointError as error:
            if not self.is_place:
                raise
            raise CheckpointError(f"{self.name}: {error}") from error

    def named(self, model: AnySegmenter) -> AnySegmenter:
        """Apply the name, and the taught and known words, to a model loaded from these parts."""
        if self.taught:
            model = model.with_taught(*map(TaughtWords.load, self.taught))
        model.name = self.name
        if self.words:
            model.known_words, model.known_background = self.words, self.background
        return model


def resolve(name: str | os.PathLike[str], *, token: Token = None) -> FoundModel:
    """Resolve what `segvoc.load` takes: a preset, a file, a folder, or a repository, whose files are then fetched.

    See there for the token and the errors; an unknown name is refused when its preset is looked up.
    """
    name = os.fsdecode(name)
    place = None if name in list_models() else _place(name, token)
    if place is None:
        if token is not None:
            raise UsageError(f"{name!r} is not a repository of the hub; leave out the token")
        return FoundModel(name=name, model=name)
    return FoundModel(name=name, model=name, is_exported=True) if is_exported(name) else _in_place(name, *place)


def _in_place(name: str, get: "Get", listed: Callable[[], list[str]]) -> FoundModel:
    config_path = get(CONFIG)
    config = {} if config_path is None else _read_model_config(config_path, name)
    shared = SharedModel.of(config, name)
    if shared is not None:
        return _shared(name, shared, get)
    if get(MANIFEST) is not None:
        raise CheckpointError(
            f"{name!r} is an exported model; download it (hf download {name} --local-dir DIR), and load that folder"
        )
    # identify an unknown repository without fetching its weights, which may be large
    own = get(SHARED_WEIGHTS) if os.path.isdir(name) or RUN_ENTRY in config else None
    if own is not None and _named_weights(own, name):
        return FoundModel(name=name, model=str(own))
    if own is None and RUN_ENTRY in config:
        raise CheckpointError(
            f"the run in {name!r} isn't finished: it has no {SHARED_WEIGHTS}; continue it with --resume"
        )
    preset = _transformers_preset(config, name) or _open_clip_preset(get, name)
    if preset is None:
        raise _foreign(name, config, listed())
    if preset.startswith("siglip"):
        get("tokenizer.json")  # beside the weights, where it is looked for
    weights = file_of_weights(get)
    if weights is None:
        raise CheckpointError(f"{name!r} has none of {', '.join(IN_FOLDERS)}; get the missing weights")
    return FoundModel(name=name, model=preset, weights=str(weights.parent), options=_transformers_options(config))


def find_model(name: str | os.PathLike[str], *, token: Token = None) -> FoundModel:
    """Resolve a model with a network; raises the errors of `resolve`, and `UsageError` for an exported folder."""
    found = resolve(name, token=token)
    if found.is_exported:
        raise UsageError(
            f"{found.name!r} is an exported model, which only labels images (segvoc.load, --model); name the preset, "
            "file or run that it was exported from"
        )
    return found


def trainable_model(name: str) -> str:
    """Resolve a model for fine-tuning, whose weights are segvoc's, to a preset or the path of a file."""
    resolved = find_model(name)
    if resolved.taught or resolved.weights is not None:
        options = f"--model {resolved.model}" + ("" if resolved.weights is None else f" --weights {resolved.weights}")
        raise UsageError(f"{name!r} has no segvoc weights to train; train its network: {options}")
    return resolved.model


def _read_model_config(path: Path, name: str) -> Mapping[str, Any]:
    """Read any `config.json`; raises a `CheckpointError` that names the folder or repository."""
    try:
        config = read_json(path)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"the {CONFIG} of {name!r} can't be read ({one_line(error)}); get it again") from None
    return config if isinstance(config, Mapping) else {}


def _named_weights(path: Path, name: str) -> str:
    """Read the preset in the header of a weights file, without the safetensors library; "" if segvoc didn't write it.

    Raises a `CheckpointError` that names the folder or repository if the file is damaged.
    """
    try:
        with open(path, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(min(length, 1 << 26)))
        return str(json.loads(header.get("__metadata__", {}).get(LIBRARY, "{}")).get("preset", ""))
    except (OSError, ValueError, AttributeError, TypeError, RecursionError) as error:
        raise CheckpointError(f"{path.name} of {name!r} is damaged ({one_line(error)}); get it again") from None


Get = Callable[[str], Path | None]
"""Maps a file name to a local path; None if the file is missing."""


def _place(name: str, token: Token) -> tuple[Get, Callable[[], list[str]]] | None:
    """How to get the files of a folder or a repository, and their names; None if the name is neither."""
    if os.path.isdir(name):
        folder = Path(name)

        def local(file: str) -> Path | None:
            return folder / file if (folder / file).is_file() else None

        return local, lambda: sorted(path.name for path in folder.iterdir())
    repository = None if os.path.exists(name) else HubRepository.of(name, token)
    if repository is None:
        return None
    pinned = repository

    def fetch(file: str) -> Path | None:
        nonlocal pinned
        if (path := pinned.fetch(file)) is not None:
            pinned = repository.at_commit_of(path)
        return path

    return fetch, repository.files


def _shared(name: str, shared: SharedModel, get: Get) -> FoundModel:
    """The parts of a shared model that this installation needs."""
    light = find_spec("torch") is None
    if light and not (shared.model == "tiny" and shared.taught):
        raise missing_extra("PyTorch", "torch")
    wanted = [shared.weights] if shared.weights is not None and not light else list(shared.taught)
    paths: list[str] = []
    for file in wanted:
        if (path := get(file)) is None:
            raise CheckpointError(f"{name!r} has no {file}, which its {CONFIG} names; share the model again")
        paths.append(str(path))
    model, taught = (paths[0], ()) if wanted == [shared.weights] else (shared.model, tuple(paths))
    return FoundModel(name=name, model=model, taught=taught, words=shared.words, background=shared.background)


_SAVED = {
    "clip": {(768, 16, 224): "clip-b", (1024, 14, 336): "clip-l"},
    "siglip": {(768, 16, 256000): "siglip2-b", (1024, 16, 256000): "siglip2-l", (1152, 16, 256000): "siglip2-so400m"},
}
"""Presets by transformers' type of a model, the image encoder's width, the side of its patches [px], and of CLIP the
side of its images [px], of SigLIP 2 the number of tokens that the text encoder knows."""


def _transformers_preset(config: Mapping[str, Any], name: str) -> str | None:
    """The preset for a model saved by transformers, whose defaults a configuration may leave out; None without any."""
    kind = config.get("model_type")
    if kind == "clipseg":
        return "clipseg" if config.get("use_complex_transposed_convolution") else "clipseg-rd64"
    if kind not in ("clip", "siglip"):
        return None
    vision, text = (_sizes_in(config, part) for part in ("vision_config", "text_config"))
    width, patch = vision.get("hidden_size", 768), vision.get("patch_size", 32 if kind == "clip" else 16)
    sizes = f"{width} channels, patches of {patch} px"
    if kind == "clip":
        last = vision.get("image_size", 224)
        model, advice = f"CLIP with {sizes} and images of {last} px", "ViT-B/16 at 224 px or ViT-L/14 at 336 px"
    else:
        last = text.get("vocab_size", 32000)
        model = f"SigLIP with {sizes} and {last} tokens"
        advice = "a SigLIP 2 ViT-B/16, ViT-L/16 or So400m/16 of fixed resolution"
    preset = next((preset for known, preset in _SAVED[kind].items() if known == (width, patch, last)), None)
    if preset is None:
        raise CheckpointError(f"{name!r} is a {model}, for which segvoc has no preset; take {advice}")
    return preset


def _sizes_in(config: Mapping[str, Any], part: str) -> Mapping[str, Any]:
    sizes = config.get(part)
    return sizes if isinstance(sizes, Mapping) else {}


def _open_clip_preset(get: Get, name: str) -> str | None:
    """The preset for a CLIP saved by open_clip with a timm image encoder; None if there is none."""
    path = get("open_clip_config.json")
    model = None if path is None else _read_model_config(path, name).get("model_cfg")
    if not isinstance(model, Mapping):
        return None
    from open_clip import get_model_config

    from segvoc.encoders.vit import TIMM_CLIPS

    wanted = _architecture(model)
    models = {preset: sizes.model for preset, sizes in TIMM_CLIPS.items() if sizes.model is not None}
    known = {preset: get_model_config(model) or {} for preset, model in models.items()}
    return next((preset for preset, config in known.items() if _architecture(config) == wanted), None)


def _architecture(model: Mapping[str, Any]) -> tuple[object, ...]:
    """What distinguishes open_clip models, apart from the input size."""
    vision, text = (_sizes_in(model, part) for part in ("vision_cfg", "text_cfg"))
    timms = re.sub(r"_\d+$", "", str(vision.get("timm_model_name")))
    return timms, model.get("embed_dim"), text.get("vocab_size"), text.get("width"), text.get("layers")


def _transformers_options(config: Mapping[str, Any]) -> Mapping[str, object]:
    """Preset settings from a transformers configuration: a CLIP's activation, if it isn't OpenAI's."""
    gelu = _sizes_in(config, "vision_config").get("hidden_act") == "gelu"
    return {"activation": "gelu"} if config.get("model_type") == "clip" and gelu else {}


def _foreign(name: str, config: Mapping[str, Any], files: list[str]) -> CheckpointError:
    kind, architectures = config.get("model_type"), config.get("architectures")
    classes = [str(entry) for entry in architectures] if isinstance(architectures, list) else []
    classes = classes or ([str(kind)] if kind else [])
    library = config.get("library_name") or ("transformers" if "model_type" in config else "")
    advice = "name a model that segvoc shared (segvoc push), or a preset with --weights FILE (segvoc models)"
    if kind == "dinov2":
        advice = "give it as --encoder-weights of a network of parts"
    listed = ", ".join(files[:4]) + (", ..." if len(files) > 4 else "") or "nothing"
    content = (
        f"{' '.join(classes) or 'a model'}{f' of {library}' if library else ''}" if config else f"files ({listed})"
    )
    return CheckpointError(f"{name!r} holds {content}, no model of segvoc; {advice}")
