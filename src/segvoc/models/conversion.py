"""Converts official checkpoints to segvoc's format: keys are renamed, values are kept, and the origin is recorded."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from segvoc.checkpoints.files import WeightsFile, read_weights, write_weights
from segvoc.checkpoints.origins import clip_family
from segvoc.checkpoints.published import PublishedFile, known_file
from segvoc.checkpoints.strict import check_values
from segvoc.encoders.base import TOWERS
from segvoc.encoders.official_clip import is_plain_clip
from segvoc.errors import CheckpointError, UsageError
from segvoc.inference.segmenter import Segmenter
from segvoc.layers.cost_sum import NoAggregation
from segvoc.models.headers import CUSTOM, PARTS, configuration_record, origin_record, words_of_model
from segvoc.models.loading import require_network
from segvoc.models.preset import Preset
from segvoc.models.resolving import resolve
from segvoc.models.weightless import weightless
from segvoc.models.weights import architecture, fitted, is_custom, naming_file
from segvoc.networks.base import SegmentationNetwork
from segvoc.networks.official_weights import clip_state
from segvoc.networks.syn_seg import holds_decoder, is_decoder_alone
from segvoc.runtime.suggestions import checked_call
from segvoc.storage.files import file_sha256


@checked_call
def save(
    model: Segmenter,
    path: str | os.PathLike[str],
    *,
    origin: str = "saved by segvoc.save",
    license: str = "that of the weights it started from and of its training data",
) -> None:
    """Write a model's weights, with everything that `segvoc.load` needs to rebuild it.

    The words that it knows, their background and the taught words are in the file, too. A network that the preset
    doesn't build (for example with another aggregation) is marked as custom. Load it with
    `segvoc.load(path, network=...)`.

    Args:
        model: a model made by `segvoc.load`; its weights and modules may have changed since.
        path: a file that ends in .safetensors; an existing one is replaced.
        origin: where the weights come from; `segvoc info` shows it.
        license: license of the weights.

    Raises:
        UsageError: the path doesn't end in .safetensors, the model is an exported one or wasn't made by `segvoc.load`,
            or its weights were rounded to a shorter dtype than float32.
        OutputError: the file can't be written.
    """
    model = require_network(model, "save")
    if not os.fspath(path).lower().endswith(".safetensors"):
        raise UsageError(
            f"{os.fspath(path)!r} doesn't end in .safetensors, the format that is written; use that suffix"
        )
    name, network, built = model.name, model.network, model.origin
    if "preset" not in built:
        raise UsageError(f"the preset of {name!r} is unknown; save a model that segvoc.load made")
    if model.dtype in ("bfloat16", "float16"):
        raise UsageError(f"the weights of {name!r} were rounded to {model.dtype}; save it loaded with dtype='float32'")
    record = origin_record(origin, license) | built
    if is_custom(network, built):
        record[CUSTOM] = True
    preset = str(record.pop("preset"))
    tensors, words = words_of_model(model)
    write_weights(path, network.state_dict() | tensors, preset, **record, **words)


@dataclass(frozen=True, kw_only=True)
class Conversion:
    """Summary of a conversion."""

    tensors: int
    parts: tuple[str, ...]
    """Modules of the network in the file; empty: all."""
    sha256: str
    """SHA-256 of the original file."""
    published: PublishedFile | None
    """The known published file with the same contents, if any."""


def convert(
    official: str | os.PathLike[str],
    out: str | os.PathLike[str],
    name: str,
    options: Mapping[str, object] | None = None,
    *,
    encoder_weights: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
) -> Conversion:
    """Convert a published checkpoint to a segvoc file, which records its preset, origin and license.

    Values and dtypes are kept. A plain CLIP has no aggregation, so its file contains only the encoders, unless the
    options (network settings that differ from the preset's) ask for no aggregation. A checkpoint without encoders needs
    `encoder_weights`: a plain CLIP, or DINOv3 for dino.txt's. If writing fails, an existing file stays as it was.

    `UsageError` if the preset or an option is unknown, or `out` can't be used; `CheckpointError` if the checkpoint is
    missing, damaged, of another network, or already a segvoc file.
    """
    preset, _ = architecture(resolve(name, options=options))
    if preset.from_official is None:
        raise UsageError(f"{name} has no official checkpoints; its weights ship with segvoc")
    _refuse_place(Path(official), Path(out), overwrite)
    spec = resolve(name, weights=official, options=options)
    if spec.record:
        same = spec == resolve(name, weights=official)
        fix = "nothing to convert; use it as is" if same else "convert the official checkpoint with these settings"
        raise CheckpointError(f"{spec.path!r} is already a segvoc file for {name}: {fix}")
    file = read_weights(official)
    configuration = fitted(spec, file)
    with weightless():
        network = preset.build(configuration)
    tensors = file.tensors if encoder_weights is None else _with_towers(file, encoder_weights)
    with naming_file(file.path):
        state, parts = _state(tensors, preset, network)
        check_values(state, network.state_dict())
    digest = file_sha256(official)
    published = known_file(digest)
    license = "unknown; the original file's" if published is None else published.license
    record = origin_record(Path(official).name, license)
    record |= {"sha256": digest, **configuration_record(configuration)}
    if published is not None:
        record["published"] = published.record()
    if parts:
        record[PARTS] = list(parts)
    write_weights(out, state, name, **record)
    return Conversion(tensors=len(state), parts=parts, sha256=digest, published=published)


def _with_towers(file: WeightsFile, encoder_weights: str | os.PathLike[str]) -> dict[str, Tensor]:
    if clip_family(file.tensors) == "DINOv3":
        return file.tensors | read_weights(encoder_weights).tensors
    if not is_decoder_alone(file.tensors):
        raise UsageError(
            f"{file.path!r} is not a decoder without encoders, like CLIPSeg's, and not dino.txt's; leave the encoder "
            "weights out"
        )
    clip = read_weights(encoder_weights)
    if clip.preset is not None or not is_plain_clip(clip.tensors):
        raise CheckpointError(f"{clip.path!r} is not a plain CLIP; give the one that the checkpoint was trained with")
    return file.tensors | clip.tensors


def _refuse_place(official: Path, out: Path, overwrite: bool) -> None:
    if out.suffix.lower() != ".safetensors":
        raise UsageError(f"{str(out)!r} doesn't end in .safetensors, the format that is written; use that suffix")
    if out.is_dir():
        raise UsageError(f"{str(out)!r} is a folder; name a file in it")
    if os.path.exists(out) and os.path.exists(official) and os.path.samefile(out, official):
        raise UsageError(f"{str(out)!r} is the official checkpoint itself; choose another name for the result")
    if os.path.lexists(out) and not overwrite:
        raise UsageError(f"{str(out)!r} already exists; choose another name, or replace it with --overwrite")


def _state(
    official: Mapping[str, Tensor], preset: Preset, network: SegmentationNetwork
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """The weights by segvoc's keys, and the names of the modules they belong to (empty: the whole network)."""
    if is_plain_clip(official) and not holds_decoder(official) and not isinstance(network.aggregation, NoAggregation):
        return clip_state(official, network), TOWERS
    assert preset.from_official is not None
    return preset.from_official(official, network), ()
