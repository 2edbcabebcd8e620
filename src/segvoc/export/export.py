"""Exports a model as a folder that runs without PyTorch, and checks that it gives the same results."""

import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, cast

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor

from segvoc.arrays import to_numpy
from segvoc.checkpoints.int8_rows import pack_int8_rows, unpack_int8_rows
from segvoc.encoders.base import ImageEncoder
from segvoc.encoders.clip_text import ClipTextEncoder
from segvoc.encoders.minilm import TOKENIZER_FILE, MiniLM
from segvoc.encoders.prompt_tokenizer import UnknownBy
from segvoc.errors import UsageError
from segvoc.export.comparison import Comparison, compare_with_export
from segvoc.export.onnx_files import write_onnx
from segvoc.export.programs import image_program, smallest_grid, text_program, word_program
from segvoc.export.tokenizers import clip_tokenizer, write_tokenizer
from segvoc.exported.manifest import MANIFEST, ExportManifest, TextPart, is_exported
from segvoc.exported.segmenter import ExportedSegmenter
from segvoc.layers.precision import reduce_precision
from segvoc.models.loading import shipped_weights
from segvoc.models.network_segmenter import NetworkSegmenter
from segvoc.models.presets import PRESETS, WEIGHTS, Preset, preset_name
from segvoc.networks.base import SegmentationNetwork
from segvoc.networks.part_cat_seg import PartNetwork
from segvoc.storage.atomic_writes import output_error
from segvoc.storage.digests import file_sha256
from segvoc.vocabulary import Vocabulary

ExportDtype = Literal["float32", "float16", "int8"]
"""Precision of most weights: "float16" also computes in it, "int8" in float32."""

WEIGHTS_FILE = "weights.safetensors"
"""File of the weights, by their names in the network."""

EXAMPLE_PROMPTS = ("cat", "a photo of a traffic light beside the road in the scene")
"""Prompts that the text encoder is traced with."""


def export(
    model: NetworkSegmenter,
    out: str | os.PathLike[str],
    *,
    dtype: ExportDtype = "float32",
    vocabulary: Vocabulary | None = None,
    say: Callable[[str], object] = lambda step: None,
) -> Comparison:
    """Write a model as a folder of ONNX programs that `segvoc.load` takes, without PyTorch.

    The folder appears when it is complete and was compared with the model, on three images and two vocabularies; an
    earlier export of the same name is replaced.

    Args:
        model: the model, in float32, on a CPU.
        out: the folder.
        dtype: precision of most weights.
        vocabulary: fixes the words; the folder then has no text encoder. None: any words.
        say: called with each step before it begins.

    Returns:
        How the folder compares with the model.

    Raises:
        UsageError: `out` is something else than an exported folder, the model can't be exported like this, or its
            programs differ from it.
        OutputError: the folder can't be written.
    """
    out = Path(out)
    if out.exists() and not is_exported(out) and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{str(out)!r} is there and is no exported model; name another folder")
    if model.dtype != "float32" or model.device.type != "cpu":
        raise UsageError(f"{model.name!r} is in {model.dtype} on {model.device}; export it from float32 on the CPU")
    network = model.network
    if vocabulary is not None and isinstance(network, PartNetwork):
        raise UsageError("a network of parts sorts its words by itself; export it without fixed words")
    with _folder_in_the_making(out) as folder:
        with _in_dtype(network, dtype) as traced:
            weights = _write_weights(model, traced, folder, dtype, with_text=vocabulary is None)
            names = _write_programs(model, traced, folder, weights, vocabulary is None, say)
        if vocabulary is not None:
            say("encoding the words")
            np.savez(folder / "words.npz", embeddings=to_numpy(model.encode_words(vocabulary)))
        _write_manifest(model, folder, names, dtype, vocabulary)
        say("comparing the programs with the model")
        comparison = compare_with_export(model, ExportedSegmenter(folder), dtype, vocabulary)
        if not comparison.agrees:
            raise UsageError(
                f"the programs differ from {model.name!r}: by {comparison.difference:.2g} of the largest logit "
                f"({comparison.tolerance:g} allowed); nothing was exported, please report it"
            )
    return comparison


def _write_weights(
    model: NetworkSegmenter, network: SegmentationNetwork, folder: Path, dtype: ExportDtype, *, with_text: bool
) -> list[Path]:
    """Write the weights, or copy those that ship: they are the same, in fewer bits."""
    preset = PRESETS.get(str(model.origin.get("preset")))
    state = {name: value.contiguous() for name, value in network.state_dict().items()}
    if dtype == "float32" and with_text and preset is not None and preset.shipped and _are_shipped(state, preset):
        return [Path(shutil.copy(WEIGHTS / file, folder)) for file in preset.shipped]
    if not with_text:
        state = {name: value for name, value in state.items() if not name.startswith("text_encoder.")}
    packed = pack_int8_rows(state) if dtype == "int8" else state
    (folder / WEIGHTS_FILE).write_bytes(save(packed))  # `save_file` makes a file that only its owner can read
    return [folder / WEIGHTS_FILE]


def _are_shipped(state: Mapping[str, Tensor], preset: Preset) -> bool:
    shipped = shipped_weights(preset_name(preset), preset).tensors
    return state.keys() == shipped.keys() and all(torch.equal(value, shipped[name]) for name, value in state.items())


def _write_programs(
    model: NetworkSegmenter,
    network: SegmentationNetwork,
    folder: Path,
    weights: list[Path],
    with_text: bool,
    say: Callable[[str], object],
) -> dict[tuple[int, int], str]:
    """Write the programs, and return those of the words by pooling."""
    say("writing the program for images")
    write_onnx(image_program(network), folder / "image.onnx", weights)
    prompts = 1 if network.average_prompts else len(model.templates)
    poolings = sorted({protocol.pooling for protocol in model.protocols.values()}, reverse=True)
    names = {pooling: f"words_{pooling[0]}x{pooling[1]}.onnx" for pooling in poolings} | {poolings[0]: "words.onnx"}
    for pooling, name in names.items():
        say(f"writing the program for words ({name})")
        write_onnx(word_program(network, pooling, prompts, model.votes), folder / name, weights)
    if with_text:
        say("writing the program for text")
        encoder = cast(ClipTextEncoder | MiniLM, network.text_encoder)
        tokens = encoder.tokenize(EXAMPLE_PROMPTS, multiple=_text_part(model).max_tokens)
        write_onnx(text_program(network, torch.as_tensor(tokens)), folder / "text.onnx", weights)
        if isinstance(encoder, MiniLM):
            shutil.copyfile(TOKENIZER_FILE, folder / "tokenizer.json")
        else:
            write_tokenizer(clip_tokenizer(), folder / "tokenizer.json")
    return names


def _text_part(model: NetworkSegmenter) -> TextPart:
    encoder = cast(ClipTextEncoder | MiniLM, model.network.text_encoder)
    rule: UnknownBy = "fragments" if isinstance(encoder, MiniLM) else "script"
    return TextPart(
        program="text.onnx",
        tokenizer="tokenizer.json",
        max_tokens=encoder.config.max_tokens if isinstance(encoder, MiniLM) else encoder.config.context_length,
        padding=0,
        unknown_by=rule,
        templates=tuple(model.templates),
        average=model.network.average_prompts,
        unit_length=encoder.unit_length,
    )


def _write_manifest(
    model: NetworkSegmenter,
    folder: Path,
    words: dict[tuple[int, int], str],
    dtype: ExportDtype,
    vocabulary: Vocabulary | None,
) -> None:
    network, preset = model.network, PRESETS.get(str(model.origin.get("preset")))
    stride = cast(ImageEncoder, network.image_encoder).stride
    record = {} if preset is None or model.origin.get("training") else preset.read_record()
    manifest = ExportManifest(
        name=model.name,
        dtype=dtype,
        image="image.onnx",
        stride=stride,
        smallest=stride * smallest_grid(network),
        words=words,
        text=_text_part(model) if vocabulary is None else None,
        vocabulary=() if vocabulary is None else vocabulary.words,
        embeddings=None if vocabulary is None else "words.npz",
        protocols=model.protocols,
        selects=model.selects,
        has_parts=isinstance(network, PartNetwork),
        has_background=model.has_background,
        own_selection=model.own_selection,
        votes=model.votes,
        parts_against=model.parts_against,
        # they are words, too, which a fixed vocabulary doesn't have
        background_words=model.background_words if vocabulary is None else None,
        origin=model.origin | ({"record": record} if record else {}),
        files={path.name: _described(path) for path in sorted(folder.iterdir())},
    )
    (folder / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")


def _described(path: Path) -> dict[str, object]:
    return {"bytes": path.stat().st_size, "sha256": file_sha256(path)}


@contextmanager
def _in_dtype(network: SegmentationNetwork, dtype: ExportDtype) -> Iterator[SegmentationNetwork]:
    """The network with its weights in a dtype; they are restored afterwards."""
    if dtype == "float32":
        yield network
        return
    kept = {name: tensor.data for name, tensor in (*network.named_parameters(), *network.named_buffers())}
    if dtype == "int8":
        kept = {name: value.clone() for name, value in kept.items()}
    try:
        if dtype == "int8":
            network.load_state_dict(unpack_int8_rows(pack_int8_rows(network.state_dict())))
        else:
            reduce_precision(network, getattr(torch, dtype))
        yield network
    finally:
        for name, tensor in (*network.named_parameters(), *network.named_buffers()):
            tensor.data = kept[name]


@contextmanager
def _folder_in_the_making(out: Path) -> Iterator[Path]:
    """A hidden folder beside `out` that takes its place if nothing fails; a kill leaves no folder that looks done."""
    folder = out.parent / f".segvoc-{secrets.token_hex(8)}.tmp"
    try:
        folder.mkdir(parents=True)
        try:
            yield folder
            old = out.parent / f".segvoc-{secrets.token_hex(8)}.tmp"
            if out.exists():
                out.rename(old)
            folder.rename(out)
            shutil.rmtree(old, ignore_errors=True)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    except OSError as error:
        raise output_error(out, error) from error
