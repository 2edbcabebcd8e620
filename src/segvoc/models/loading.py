"""Opens a `ModelSpec` as a PyTorch engine, on a device and in a dtype."""

from contextlib import nullcontext
from dataclasses import replace
from typing import cast, get_args

import torch

from segvoc.encoders.prompts import PartWordEncoder
from segvoc.encoders.vocabulary_encoder import VocabularyEncoder
from segvoc.errors import UsageError
from segvoc.inference.decision import Decision
from segvoc.inference.exported.segmenter import ExportedSegmenter
from segvoc.inference.segmenter import Segmenter
from segvoc.layers.precision import reduce_precision
from segvoc.models.headers import TRAINING, configuration_record
from segvoc.models.network_segmenter import NetworkSegmenter
from segvoc.models.spec import ModelSpec, naming_place
from segvoc.models.weights import architecture, has_shipped_weights, with_weights
from segvoc.networks.base import SegmentationNetwork
from segvoc.runtime.hardware import DtypeName, Optimize, bfloat16_instructions
from segvoc.storage.files import SHIPPED


def open_network(
    spec: ModelSpec,
    device: str | int | torch.device = "auto",
    dtype: DtypeName | torch.dtype = "auto",
    optimize: Optimize = "auto",
) -> NetworkSegmenter:
    """Open a model's network with its weights; see `segvoc.load` for the arguments and errors."""
    where = find_device(device)
    kind = find_dtype(dtype, where, keeps_labels=keeps_labels_in_bfloat16(spec))
    with naming_place(spec.name) if spec.is_place else nullcontext():
        network, configuration = with_weights(spec)
        network = network.requires_grad_(False).to(where)
        if kind != torch.float32:
            reduce_precision(network, kind)
        model = segmenter_of(replace(spec, configuration=configuration), network, optimize)
        encoder = model.encode_words
        encoder = encoder.encode if isinstance(encoder, PartWordEncoder) else encoder
        cast(VocabularyEncoder, encoder).on_disk = True
        return model


def require_network(model: Segmenter, what: str) -> NetworkSegmenter:
    """The model with its network, for a purpose, a verb: that of shipped programs is opened, with the same words.

    Raises: UsageError: the model was exported without its network.
    """
    if isinstance(model, NetworkSegmenter):
        return model
    preset = str(model.origin.get("preset", model.name))
    if not (isinstance(model, ExportedSegmenter) and model.folder == SHIPPED):
        raise UsageError(
            f"{model.name!r} is an exported model without its network; to {what} it, load the preset or file it was "
            f"exported from: segvoc.load_network({preset!r})"
        )
    words = {"taught": model.taught, "known_words": model.known_words, "background": model.known_background}
    return open_network(ModelSpec(name=model.name, preset=preset, **words), "cpu", "float32")


def segmenter_of(spec: ModelSpec, network: SegmentationNetwork, optimize: Optimize = "none") -> NetworkSegmenter:
    """Build the engine of a model's network, with the windows, prompts, class selection and votes of its configuration.

    Every engine of a preset is built here, so that a network scores the same in training, after loading and in
    evaluation.
    """
    preset, configuration = architecture(spec)
    trained = {TRAINING: spec.record[TRAINING]} if TRAINING in spec.record else {}
    model = NetworkSegmenter(
        name=spec.name,
        network=network,
        protocols=preset.protocols_of(configuration),
        templates=preset.templates_of(configuration),
        decision=decision_of(spec, network),
        refines_edges=preset.refines_edges,
        optimize=optimize,
        origin={"preset": spec.preset, **configuration_record(configuration), **trained},
    )
    return spec.describe(model)


def decision_of(spec: ModelSpec, network: SegmentationNetwork) -> Decision:
    """What becomes of a pixel of a model's network: by the preset's decision, if it was fitted to these weights."""
    preset, configuration = architecture(spec)
    if spec.source == "random":
        fits = False
    elif preset.decision.weights is None:
        fits = TRAINING not in spec.record
    else:
        plain = spec.path is None and spec.network is None and not spec.record
        fits = (plain and configuration == preset.configuration) or has_shipped_weights(spec.preset, network)
    return preset.decision if fits else preset.decision.of_other_weights()


def keeps_labels_in_bfloat16(spec: ModelSpec) -> bool:
    """Whether a model's labels hardly change in bfloat16; no folder's or repository's, which are the same anywhere."""
    return spec.is_stock and not spec.is_place and architecture(spec)[0].keeps_labels_in_bfloat16


def find_device(device: str | int | torch.device) -> torch.device:
    """Find a device by name or, as in other libraries, a GPU's index; raises `UsageError` if it is not available."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    name = f"cuda:{device}" if str(device).isdecimal() else str(device)
    try:
        known = torch.device(name)
    except RuntimeError:
        raise UsageError(f"unknown device {name!r}; use 'cuda' for a GPU, 'mps' for Apple's, or 'cpu'") from None
    counts = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}
    if (known.index or 0) < counts.get(known.type, 0):
        return known
    raise UsageError(f"device {name!r} is not available; use 'auto', 'cpu' or, where there is a GPU, 'cuda' or 'mps'")


def find_dtype(dtype: DtypeName | torch.dtype, device: torch.device, *, keeps_labels: bool) -> torch.dtype:
    """Resolve the dtype of most computations by name; raises `UsageError` if it is unknown, or for GPUs.

    "auto" is bfloat16 if the device has bfloat16 hardware and the network's labels are known not to change in bfloat16
    (`keeps_labels_in_bfloat16`), else float32.
    """
    name = str(dtype).removeprefix("torch.")
    if name not in get_args(DtypeName):
        raise UsageError(f"dtype {name!r} is unknown; it is 'auto', 'float32', 'bfloat16' or, on a GPU, 'float16'")
    if name == "float16" and device.type == "cpu":
        raise UsageError("dtype 'float16' is for GPUs; on a CPU use 'bfloat16'")
    if name == "auto":
        return torch.bfloat16 if keeps_labels and multiplies_bfloat16(device) else torch.float32
    return getattr(torch, name)


def multiplies_bfloat16(device: torch.device) -> bool:
    """Whether a device multiplies bfloat16 matrices in hardware."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)  # Ampere
    return device.type == "cpu" and bfloat16_instructions() is not None
