"""Models that transformers and open_clip saved: which preset has their network, by their configuration."""

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from segvoc.checkpoints.published import IN_FOLDERS, file_of_weights
from segvoc.errors import CheckpointError, one_line
from segvoc.storage.files import read_json

GetFile = Callable[[str], Path | None]
"""Maps a file name of a folder or repository to a local path; None if the file is missing."""


class SavedModel(NamedTuple):
    """A model that another library saved."""

    preset: str
    folder: str
    """Folder of the weights."""
    options: Mapping[str, object]
    """Settings of its network that differ from the preset's."""


def saved_model(config: Mapping[str, Any], get: GetFile, name: str) -> SavedModel | None:
    """Find the preset and the weights of a folder or repository by its `config.json`; None if there is no preset.

    Raises: CheckpointError: there are no weights, or the model is a CLIP or SigLIP without a preset.
    """
    preset = _transformers_preset(config, name) or _open_clip_preset(get, name)
    if preset is None:
        return None
    if preset.startswith("siglip"):
        get("tokenizer.json")  # beside the weights, where it is looked for
    weights = file_of_weights(get)
    if weights is None:
        raise CheckpointError(f"{name!r} has none of {', '.join(IN_FOLDERS)}; get the missing weights")
    gelu = _sizes_in(config, "vision_config").get("hidden_act") == "gelu"  # OpenAI's CLIPs have quick_gelu
    options = {"activation": "gelu"} if config.get("model_type") == "clip" and gelu else {}
    return SavedModel(preset, os.fspath(weights.parent), options)


def read_model_config(path: Path | None, name: str) -> Mapping[str, Any]:
    """Read any `config.json` (None: an empty one); raises a `CheckpointError` that names the folder or repository."""
    try:
        config = {} if path is None else read_json(path)
    except (OSError, ValueError) as error:
        file = path and path.name
        raise CheckpointError(f"the {file} of {name!r} can't be read ({one_line(error)}); get it again") from None
    return config if isinstance(config, Mapping) else {}


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


def _open_clip_preset(get: GetFile, name: str) -> str | None:
    """The preset for a CLIP saved by open_clip with a timm image encoder; None if there is none."""
    path = get("open_clip_config.json")
    model = read_model_config(path, name).get("model_cfg")
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


def foreign_model(name: str, config: Mapping[str, Any], files: list[str]) -> CheckpointError:
    """The error for a folder or repository of a model that segvoc can't run: what it holds, and what to do."""
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
