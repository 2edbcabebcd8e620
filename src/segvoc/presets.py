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
from segvoc.layers.no_aggregation import CostSum, NoAggregation
from segvoc.networks.cat_seg import CAT_SEG
from segvoc.networks.options import Options
from segvoc.networks.pca_seg import PCA_SEG, AggregationNetwork, CostAggregationConfig
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

    summary: one line. build: makes it with random weights, as `Options` want it. templates: prompts, `{}` stands for
    the word. protocols: the ways of a picture through it. shipped: files in `WEIGHTS` that together are its weights.
    record: JSON file there that tells their origin. how_to_get: where weights come from if none ship. from_official:
    key map of released checkpoints.
    """

    summary: str
    build: Callable[[Options], AggregationNetwork]
    templates: tuple[str, ...]
    protocols: Protocols
    shipped: tuple[str, ...] = ()
    record: str | None = None
    how_to_get: str = ""
    from_official: Callable[[Mapping[str, Tensor], AggregationNetwork], dict[str, Tensor]] | None = None

    def read_record(self) -> dict[str, Any]:
        """What is known of the shipped weights: origin, licences, data, command, date, sha256, scores."""
        return {} if self.record is None else json.loads((WEIGHTS / self.record).read_text(encoding="utf-8"))


def _eva(vit: VitConfig, config: CostAggregationConfig, options: Options) -> AggregationNetwork:
    # towers are imported where they are built: their libraries take seconds, and no model needs them all
    from segvoc.encoders.clip_text import ClipTextEncoder, eva_text
    from segvoc.encoders.eva_clip import EvaClipConfig, EvaClipImageEncoder

    image_encoder = EvaClipImageEncoder(EvaClipConfig(vit=vit, dense=options.dense or "csa"))
    text_encoder = ClipTextEncoder(eva_text(vit.channels))
    return AggregationNetwork(image_encoder, text_encoder, options.build_aggregation(config, image_encoder))


def _openai(vit: VitConfig, config: CostAggregationConfig, options: Options) -> AggregationNetwork:
    from segvoc.encoders.clip_text import ClipTextEncoder, openai_text
    from segvoc.encoders.openai_clip import OpenAIClipImageEncoder

    if options.dense is not None:
        raise UsageError(f"dense={options.dense} is for EVA towers; OpenAI's last block is read in one way")
    image_encoder, text_encoder = OpenAIClipImageEncoder(vit), ClipTextEncoder(openai_text(vit.channels))
    return AggregationNetwork(image_encoder, text_encoder, options.build_aggregation(config, image_encoder))


def _tiny(options: Options) -> AggregationNetwork:
    from segvoc.encoders.efficientnet import EfficientNetLite
    from segvoc.encoders.minilm import MiniLM

    if options.chosen():
        raise UsageError(f"tiny has no options, and {', '.join(options.chosen())} is given; leave it out")
    image_encoder = EfficientNetLite()
    return AggregationNetwork(
        image_encoder, MiniLM(), NoAggregation(CostSum(3, FAMILIAR_WORDS, image_encoder.channels))
    )


def _from_official(official: Mapping[str, Tensor], network: AggregationNetwork) -> dict[str, Tensor]:
    from segvoc.checkpoints.official_cost_aggregation import network_state

    return network_state(official, network)


@dataclass(frozen=True, kw_only=True)
class _Towers:
    """A pair of published towers. name: as people call it. start: the file that training starts from."""

    name: str
    start: str
    vit: VitConfig
    build: Callable[[VitConfig, CostAggregationConfig, Options], AggregationNetwork]


_EVA_B = _Towers(name="EVA02-CLIP-B/16", start="EVA02-CLIP-B-16 of DeCLIP", vit=vit_b16(), build=_eva)
_EVA_L = _Towers(name="EVA02-CLIP-L/14", start="EVA02-CLIP-L-14-336 of DeCLIP", vit=vit_l14(), build=_eva)
_OPENAI_B = _Towers(name="OpenAI CLIP ViT-B/16", start="OpenAI's ViT-B/16", vit=vit_b16(), build=_openai)
_OPENAI_L = _Towers(name="OpenAI CLIP ViT-L/14", start="OpenAI's ViT-L/14@336px", vit=vit_l14(), build=_openai)


def _clip_preset(network: str, config: CostAggregationConfig, towers: _Towers) -> Preset:
    return Preset(
        summary=f"{network} with {towers.name} at {towers.vit.input_size} px",
        build=partial(towers.build, towers.vit, config),
        templates=(CLIP_TEMPLATE,),
        protocols=clip_protocols(towers.vit.input_size, towers.vit.patch_size),
        how_to_get=(
            "its authors published no weights; give a checkpoint trained with their code or with segvoc "
            f"(towers start from {towers.start})"
        ),
        from_official=_from_official,
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
    "pca-seg-b": _clip_preset("PCA-Seg", PCA_SEG, _EVA_B),
    "pca-seg-l": _clip_preset("PCA-Seg", PCA_SEG, _EVA_L),
    "pca-seg-clip-b": _clip_preset("PCA-Seg", PCA_SEG, _OPENAI_B),
    "pca-seg-clip-l": _clip_preset("PCA-Seg", PCA_SEG, _OPENAI_L),
    "cat-seg-b": _clip_preset("CAT-Seg", CAT_SEG, _OPENAI_B),
    "cat-seg-l": _clip_preset("CAT-Seg", CAT_SEG, _OPENAI_L),
    "cat-seg-eva-b": _clip_preset("CAT-Seg", CAT_SEG, _EVA_B),
    "cat-seg-eva-l": _clip_preset("CAT-Seg", CAT_SEG, _EVA_L),
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
    options: Mapping[str, object] | None = None,
) -> Segmenter:
    """Load a network, ready to segment.

    Args:
        name: a preset (`segvoc models` lists them), or the path of a .safetensors file that segvoc wrote.
        weights: None for the preset's own; a path, of ours or of an official checkpoint; "random" for untrained
            weights, the same each time.
        device: "auto" (the GPU if there is one), "cpu", "cuda", "cuda:1", ...
        dtype: type of the weights and of most of the arithmetic.
        options: departures from the preset by name, for example {"dense": "qq"} for weights that were distilled so
            (`segvoc.networks.options.Options`). A file of segvoc brings its own.

    Raises:
        UsageError: an unknown name, device, dtype or option.
        CheckpointError: weights that are missing, damaged or another network's.
    """
    where, kind, chosen = _device(device), _dtype(dtype), Options.of(options or {})
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
            network = preset.build(chosen)
    else:
        file = file or _weights_file(name, preset, weights)
        network = filled(name, preset, file, chosen)
    network = network.requires_grad_(False).to(where, kind)
    return Segmenter(name=name, network=network, protocols=preset.protocols, templates=preset.templates)


def filled(name: str, preset: Preset, file: WeightsFile, options: Options) -> AggregationNetwork:
    """The preset's network with the weights of a file, of ours or released.

    Raises:
        CheckpointError: the weights are another network's.
    """
    try:
        options = options.over(_options_of(file))
        with torch.device("meta"):
            network = preset.build(options)
        network.load_state_dict(_state(name, preset, network, file), assign=True)
    except CheckpointError as error:
        error.args = (f"{file.path!r}: {error}",)
        raise
    return network


def _options_of(file: WeightsFile) -> Options:
    chosen = file.record.get("options", {})
    try:
        return Options.of(chosen if isinstance(chosen, dict) else {"options": chosen})
    except UsageError as error:
        raise CheckpointError(
            f"its header names what this segvoc doesn't know ({error}); install a newer segvoc"
        ) from None


def _weights_file(name: str, preset: Preset, weights: str | os.PathLike[str] | None) -> WeightsFile:
    if weights is not None:
        return read_weights(weights)
    if not preset.shipped:
        raise CheckpointError(f"{name} has no weights here: {preset.how_to_get}, as weights=... or --weights")
    tensors: dict[str, Tensor] = {}
    for file in preset.shipped:
        tensors |= read_weights(WEIGHTS / file).tensors
    return WeightsFile(path=str(WEIGHTS), tensors=tensors, preset=name)


def _state(name: str, preset: Preset, network: AggregationNetwork, file: WeightsFile) -> dict[str, Tensor]:
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
