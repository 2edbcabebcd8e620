"""The one table of networks: for each name its sizes, protocols and prompts, and where its weights come from."""

import contextlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from segvoc.checkpoints.files import WeightsFile, read_weights
from segvoc.checkpoints.strict import fit_exactly
from segvoc.encoders.vit import VitConfig, vit_b16, vit_l14
from segvoc.errors import CheckpointError, UsageError
from segvoc.inference.segmenter import Segmenter
from segvoc.networks.pca_seg import PCASeg, PCASegConfig
from segvoc.networks.protocols import Protocol, Protocols, clip_protocols

WEIGHTS = Path(__file__).parent / "weights"
"""The folder of the weights that ship with the package."""

FAMILIAR_WORDS = 190
"""Words that tiny's projections were trained on."""

CLIP_TEMPLATE = "A photo of a {} in the scene"
"""The template of the published networks."""


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A network by name.

    summary: one line. build: makes it with random weights. templates: prompts, `{}` stands for the word. protocols: the
    ways of a picture through it. shipped: files in `WEIGHTS` that together are its weights. record: JSON file there
    that tells their origin. how_to_get: where weights come from if none ship. from_official: key map of released
    checkpoints.
    """

    summary: str
    build: Callable[[], PCASeg]
    templates: tuple[str, ...]
    protocols: Protocols
    shipped: tuple[str, ...] = ()
    record: str | None = None
    how_to_get: str = ""
    from_official: Callable[[Mapping[str, Tensor], PCASeg], dict[str, Tensor]] | None = None

    def read_record(self) -> dict[str, Any]:
        """What is known of the shipped weights: origin, licences, data, command, date, sha256, scores."""
        return {} if self.record is None else json.loads((WEIGHTS / self.record).read_text(encoding="utf-8"))


def _eva_pca_seg(vit: VitConfig) -> PCASeg:
    # towers are imported where they are built: their libraries take seconds, and no model needs them all
    from segvoc.encoders.clip_text import ClipTextEncoder, eva_text
    from segvoc.encoders.eva_clip import EvaClipConfig, EvaClipImageEncoder

    return PCASeg(PCASegConfig(), EvaClipImageEncoder(EvaClipConfig(vit=vit)), ClipTextEncoder(eva_text(vit.channels)))


def _openai_pca_seg(vit: VitConfig) -> PCASeg:
    from segvoc.encoders.clip_text import ClipTextEncoder, openai_text
    from segvoc.encoders.openai_clip import OpenAIClipImageEncoder

    return PCASeg(PCASegConfig(), OpenAIClipImageEncoder(vit), ClipTextEncoder(openai_text(vit.channels)))


def _tiny() -> PCASeg:
    from segvoc.encoders.efficientnet import EfficientNetLite
    from segvoc.encoders.minilm import MiniLM

    config = PCASegConfig(costs=3, blocks=0, lifts=(), familiar_words=FAMILIAR_WORDS)
    return PCASeg(config, EfficientNetLite(), MiniLM())


def _official_pca_seg(official: Mapping[str, Tensor], network: PCASeg) -> dict[str, Tensor]:
    from segvoc.checkpoints.official_pca_seg import pca_seg_state

    return pca_seg_state(official, network)


def _clip_preset(vit: VitConfig, build: Callable[[VitConfig], PCASeg], summary: str, source: str) -> Preset:
    return Preset(
        summary=summary,
        build=partial(build, vit),
        templates=(CLIP_TEMPLATE,),
        protocols=clip_protocols(vit.input_size, vit.patch_size),
        how_to_get=(
            "its authors published no weights; give a checkpoint trained with their code or with segvoc "
            f"(towers start from {source})"
        ),
        from_official=_official_pca_seg,
    )


def _tiny_protocols() -> Protocols:
    single = Protocol(size=448)
    # photographs up to 2:1 score the same or better as squares than in their own shape (LOG.md)
    shaped = replace(single, multiple=32, squash=2.0, max_aspect=4.0)
    return {"auto": shaped, "single": single, "official": single, "official-single": single}


PRESETS: dict[str, Preset] = {
    "tiny": Preset(
        summary="ships with segvoc: EfficientNet-Lite2 and MiniLM, for any photograph and any words, on a laptop",
        build=_tiny,
        templates=("{}",),
        protocols=_tiny_protocols(),
        shipped=("minilm_l6.safetensors", "tiny.safetensors"),
        record="tiny.json",
    ),
    "pca-seg-b": _clip_preset(
        vit_b16(), _eva_pca_seg, "PCA-Seg with EVA02-CLIP-B/16 at 384 px", "EVA02-CLIP-B-16 of DeCLIP"
    ),
    "pca-seg-l": _clip_preset(
        vit_l14(), _eva_pca_seg, "PCA-Seg with EVA02-CLIP-L/14 at 336 px", "EVA02-CLIP-L-14-336 of DeCLIP"
    ),
    "pca-seg-clip-b": _clip_preset(
        vit_b16(), _openai_pca_seg, "PCA-Seg with OpenAI CLIP ViT-B/16 at 384 px", "ViT-B/16"
    ),
    "pca-seg-clip-l": _clip_preset(
        vit_l14(), _openai_pca_seg, "PCA-Seg with OpenAI CLIP ViT-L/14 at 336 px", "ViT-L/14@336px"
    ),
}
"""Every preset, by name."""


def find_preset(name: str) -> Preset:
    """The preset of a name.

    Raises: UsageError: there is none of that name; the names are listed.
    """
    if name not in PRESETS:
        raise UsageError(f"model {name!r} is unknown; it is one of {', '.join(PRESETS)}, or a .safetensors of segvoc")
    return PRESETS[name]


def load(
    name: str | os.PathLike[str] = "tiny",
    *,
    weights: str | os.PathLike[str] | None = None,
    device: str = "auto",
    dtype: Literal["float32", "bfloat16"] = "float32",
) -> Segmenter:
    """Load a network, ready to segment.

    Args:
        name: a preset (`segvoc models` lists them), or the path of a .safetensors file that segvoc wrote.
        weights: None for the preset's own; a path, of ours or of an official checkpoint; "random" for untrained
            weights, the same each time.
        device: "auto" (the GPU if there is one), "cpu", "cuda", "cuda:1", ...
        dtype: type of the weights and of most of the arithmetic.

    Raises:
        UsageError: an unknown name, device or dtype.
        CheckpointError: weights that are missing, damaged or another network's.
    """
    where, kind = _device(device), _dtype(dtype)
    name = os.fspath(name)
    file = None
    if name not in PRESETS and name.lower().endswith(".safetensors"):
        if weights is not None:
            raise UsageError(f"{name!r} is a file of weights, and weights={os.fspath(weights)!r} too; give one of them")
        file = read_weights(name)
        if file.preset is None:
            raise CheckpointError(f"{name!r} was not written by segvoc; name its preset and give the file as weights")
        if file.preset not in PRESETS:
            raise CheckpointError(f"{name!r} is for {file.preset!r}, unknown here; install a newer segvoc")
    preset = find_preset(name if file is None else file.preset or "")
    if weights == "random":
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)  # `torch.manual_seed` would reach the GPUs' generators as well
            network = preset.build()
    else:
        with torch.device("meta"):
            network = preset.build()
        file = file or _weights_file(name, preset, weights)
        try:
            network.load_state_dict(_state(name, preset, network, file), assign=True)
        except CheckpointError as error:
            raise CheckpointError(f"{file.path!r}: {error}") from None
    network = network.requires_grad_(False).to(where, kind)
    return Segmenter(name=name, network=network, protocols=preset.protocols, templates=preset.templates)


def _weights_file(name: str, preset: Preset, weights: str | os.PathLike[str] | None) -> WeightsFile:
    if weights is not None:
        return read_weights(weights)
    if not preset.shipped:
        raise CheckpointError(f"{name} has no weights here: {preset.how_to_get}, as weights=... or --weights")
    tensors: dict[str, Tensor] = {}
    for file in preset.shipped:
        tensors |= read_weights(WEIGHTS / file).tensors
    return WeightsFile(path=str(WEIGHTS), tensors=tensors, preset=name)


def _state(name: str, preset: Preset, network: PCASeg, file: WeightsFile) -> dict[str, Tensor]:
    """The network's state out of a file; released checkpoints are renamed."""
    ours = network.state_dict()
    if file.preset is None and preset.from_official is not None:
        state = preset.from_official(file.tensors, network)
    elif file.preset is not None and PRESETS.get(file.preset) is not preset:
        raise CheckpointError(f"these weights are for {file.preset}, not for {name}; load them as {file.preset}")
    else:
        expected = {key: value.shape for key, value in ours.items()}
        state = fit_exactly(((key, key, value) for key, value in file.tensors.items()), expected, name)
    for key, value in state.items():
        if value.is_floating_point() != ours[key].is_floating_point() or not value.isfinite().all():
            raise CheckpointError(f"{key} holds what can't be a weight (NaN, infinity or {value.dtype}); take another")
    return state


def _device(device: str) -> torch.device:
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with contextlib.suppress(RuntimeError):
        found = torch.device(device)
        if found.type == "cpu" or (found.type == "cuda" and (found.index or 0) < torch.cuda.device_count()):
            return found
    raise UsageError(f"device {device!r} is not here; use 'auto', 'cpu' or, where there is a GPU, 'cuda'")


def _dtype(dtype: str) -> torch.dtype:
    if dtype not in ("float32", "bfloat16"):
        raise UsageError(f"dtype {dtype!r} is unknown; it is 'float32' or 'bfloat16'")
    return getattr(torch, dtype)
