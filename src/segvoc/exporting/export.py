"""Exports a model to a folder that runs without PyTorch, and checks that the results match."""

import copy
import os
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np
import torch
from jaxtyping import UInt8
from packaging.version import Version
from PIL import Image
from safetensors.torch import save
from torch import Tensor

from segvoc.checkpoints.files import pack_int8_rows, unpack_int8_rows
from segvoc.encoders.base import ImageEncoder
from segvoc.encoders.clip_text import ClipTextEncoder
from segvoc.encoders.minilm import TOKENIZER_FILE, MiniLM
from segvoc.encoders.word_encoder import lexicon_of
from segvoc.errors import UsageError, missing_extra
from segvoc.exporting.decision_programs import decision_files, decision_programs
from segvoc.exporting.programs import (
    comes_apart,
    image_program,
    programs_apart,
    smallest_grid,
    text_program,
    word_program,
)
from segvoc.inference.encoded_image import EncodedImage
from segvoc.inference.exported.manifest import (
    ExportDtype,
    ExportFormat,
    ExportManifest,
    TextPart,
    WordsProgram,
    add_taught,
    export_in_the_making,
)
from segvoc.inference.exported.segmenter import ExportedSegmenter, fixed_words
from segvoc.inference.label_options import LabelOptions
from segvoc.inference.segmenter import Segmenter
from segvoc.layers.precision import reduce_precision
from segvoc.layers.selection import PUBLISHED_VOTES
from segvoc.models.loading import require_network
from segvoc.models.network_segmenter import NetworkSegmenter
from segvoc.models.presets import PRESETS
from segvoc.models.shipped import TINY_MANIFEST, copy_tiny, is_tiny
from segvoc.models.weights import has_shipped_weights
from segvoc.networks.base import SegmentationNetwork
from segvoc.networks.part_cat_seg import PartNetwork
from segvoc.runtime.arrays import to_numpy
from segvoc.runtime.suggestions import checked_call
from segvoc.storage.files import SHIPPED
from segvoc.vocabulary import Vocabulary

SIZES = ((480, 640), (333, 500), (640, 427))
"""Heights and widths of the images [px]."""

WORDS = (
    "cat", "dog", "person", "sky", "grass", "wall", "floor", "tree", "road", "water", "table", "chair", "car",
    "building", "window", "door", "bread", "cup", "horse", "boat", "mountain", "snow", "flower", "lamp", "bottle",
    "shoe", "bicycle",
)  # fmt: skip
"""The larger of two vocabularies; the smaller is its first three words."""

LARGEST_DIFFERENCES = {"float32": 1e-4, "float16": 0.05, "int8": 0.3}
"""Maximum difference of a logit, relative to the image's largest logit."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Comparison of an exported model with the original."""

    difference: float
    """Largest difference of a logit, relative to the largest logit of its image."""
    tolerance: float
    equal_labels: float
    """Share of the pixels with equal labels, in [0, 1]."""
    confidence: float = 0.0
    """Mean difference of the confidence in the worst image."""

    @property
    def agrees(self) -> bool:
        """Whether the logits, and so the confidence, are close enough."""
        return self.difference <= self.tolerance and self.confidence <= self.tolerance


def compare_with_export(
    model: NetworkSegmenter, exported: ExportedSegmenter, dtype: str, vocabulary: Vocabulary | None = None
) -> Comparison:
    """Compare logits of all words, and labels, for three images and two vocabularies, in windows of each pooling.

    If the model has taught words, a third vocabulary has these and the first of the others. `vocabulary`: fixed words.
    """
    words = WORDS if vocabulary is None else vocabulary.words
    vocabularies = [words[:3], words]
    taught = [word for known in model.taught for word in known.words if vocabulary is None or word in words]
    if taught:
        vocabularies.append(tuple(dict.fromkeys((*taught, *words[:3]))))
    differences, equal, sure = [], [], []
    for number, size in enumerate(SIZES):
        image = _scene(*size, seed=number)
        # windows of another pooling have several views: one image is enough
        for options in _options(model)[: None if number == 0 else 1]:
            both = [(engine, engine.encode_image(image, window=options.window)) for engine in (model, exported)]
            for some in vocabularies:
                ours, theirs = (_logits(engine, encoded, some, options) for engine, encoded in both)
                differences.append(np.abs(ours - theirs).max() / np.abs(ours).max())
                if options.window == "auto":
                    ours, theirs = (engine.start([encoded], some)()[0] for engine, encoded in both)
                    equal.append(float((ours.labels == theirs.labels).mean()))
                    sure.append(float(np.abs(ours.confidence - theirs.confidence).mean()))
    return Comparison(
        difference=float(max(differences)),
        tolerance=LARGEST_DIFFERENCES[dtype],
        equal_labels=float(np.mean(equal)),
        confidence=max(sure),
    )


def _options(model: Segmenter) -> list[LabelOptions]:
    """A window for each pooling, `auto` first, without class selection."""
    by_pooling: dict[tuple[int, int], LabelOptions] = {}
    for window, protocol in model.protocols.items():
        options = LabelOptions(window=window)
        by_pooling.setdefault(protocol.pooling, options.keeping_all() if model.traits.selects else options)
    return list(by_pooling.values())


def _logits(model: Segmenter, image: EncodedImage, words: Sequence[str], options: LabelOptions) -> np.ndarray:
    job = model.job(words, replace(options, edges=False), None)
    return to_numpy(job.compare([image.views])[0].logits)


def _scene(height: int, width: int, seed: int) -> UInt8[np.ndarray, "H W 3"]:
    """Blurred patches of random colors, in which every feature of an encoder varies."""
    random = np.random.default_rng(seed)
    patches = random.integers(0, 256, (7, 9, 3), np.uint8)
    smooth = Image.fromarray(patches).resize((width, height), Image.Resampling.BICUBIC)
    grain = random.normal(0, 12, (height, width, 3))
    return (np.asarray(smooth) + grain).clip(0, 255).astype(np.uint8)


OLDEST_PYTORCH = "2.10"
"""The first PyTorch that exports class selection: earlier versions don't support data-dependent sizes."""

WEIGHTS_FILE = "weights.safetensors"
"""File of the weights, by their names in the network."""

TEXT_FILES = ("text.onnx", "tokenizer.json")
"""Files of the text encoder: its program and its tokenizer."""

TEXT_WEIGHTS = "minilm_l6.safetensors"
"""Its weights in the folder of the shipped programs."""

EXAMPLE_PROMPTS = ("cat", "a photo of a traffic light beside the road in the scene")
"""Prompts that the text encoder is traced with."""


@checked_call
def export(
    model: Segmenter,
    out: str | os.PathLike[str],
    *,
    format: ExportFormat = "onnx",
    dtype: ExportDtype = "float32",
    vocabulary: Vocabulary | None = None,
    afresh: bool = False,
    say: Callable[[str], object] = lambda step: None,
) -> Comparison:
    """Export a model with its taught words to a folder of programs for `segvoc.load`, without its network's code.

    The folder appears once it is complete and its results match the model's, on three images and two vocabularies; an
    earlier export of the same name is replaced.

    Args:
        model: the model, in float32, on a CPU.
        out: the folder.
        format: layout of the folder.
        dtype: precision of most weights.
        vocabulary: fixes the words; the folder then has no text encoder. None: any words.
        afresh: also write the programs of `tiny`, instead of copying the shipped ones.
        say: called with each step before it starts.

    Returns:
        The comparison of the folder with the model.

    Raises:
        UsageError: `out` exists and is not an exported folder, the model is an export or can't be exported with these
            settings, or its programs differ from it.
        OutputError: the folder can't be written.
    """
    model = require_network(model, "export")
    if Version(torch.__version__) < Version(OLDEST_PYTORCH):
        raise UsageError(
            f"exporting needs PyTorch {OLDEST_PYTORCH} or newer, and this is {torch.__version__}; upgrade it"
        )
    if model.dtype != "float32" or model.device.type != "cpu":
        raise UsageError(f"{model.name!r} is in {model.dtype} on {model.device}; export it from float32 on the CPU")
    if Path(out).suffix.lower() == ".onnx":
        raise UsageError(
            f"{os.fspath(out)!r} is the name of one program, and an export is a folder of them; name a folder"
        )
    if vocabulary is not None and isinstance(model.network, PartNetwork):
        raise UsageError("a part network sorts its words; export it without fixed words")
    if model.taught and format == "triton":
        raise UsageError(
            "Triton runs programs alone, which know nothing of taught words; export without them, and give them "
            "where the folder labels images: segvoc segment --model OUT --taught FILE"
        )
    # programs for words are also split in two, which is faster on CPUs
    splits = format == "onnx" and dtype != "float16" and comes_apart(model.network)
    copies = (format, dtype) == ("onnx", "float32") and not afresh and _has_shipped_network(model)
    with export_in_the_making(Path(out)) as folder:
        if copies:
            _copy_programs(model, folder, vocabulary, say)
        else:
            _write_programs(model, folder, dtype, vocabulary, splits, say)
        if not copies or vocabulary is not None or not is_tiny(model.origin) or model.known_words:
            _manifest(model, dtype, vocabulary, splits).write(folder)
        add_taught(folder, model.taught)
        if format == "triton":
            from segvoc.exporting.triton_repository import make_repository  # here, since it needs the extra

            make_repository(folder)
        say("comparing the programs with the model")
        comparison = compare_with_export(model, ExportedSegmenter(folder), dtype, vocabulary)
        if not comparison.agrees:
            raise UsageError(
                f"the programs differ from {model.name!r}: by {comparison.difference:.2g} of the largest logit "
                f"({comparison.tolerance:g} allowed); nothing was exported, please report it"
            )
    return comparison


def _has_shipped_network(model: NetworkSegmenter) -> bool:
    """Whether a model's network is the shipped `tiny`, with or without taught words."""
    built = {name: model.origin.get(name) for name in ("preset", "configuration")}
    if not is_tiny(built) or model.protocols != ExportManifest.read(SHIPPED / TINY_MANIFEST).protocols:
        return False
    return has_shipped_weights("tiny", model.network)


def _word_programs(model: NetworkSegmenter) -> dict[tuple[int, int], str]:
    """Files of the programs for words, by pooling."""
    poolings = sorted({protocol.pooling for protocol in model.protocols.values()}, reverse=True)
    return {pooling: f"words_{pooling[0]}x{pooling[1]}.onnx" for pooling in poolings} | {poolings[0]: "words.onnx"}


def _write_programs(
    model: NetworkSegmenter,
    folder: Path,
    dtype: ExportDtype,
    vocabulary: Vocabulary | None,
    splits: bool,
    say: Callable[[str], object],
) -> None:
    """Write weights, programs and fixed words; see `export` for the settings."""
    try:
        from segvoc.exporting.onnx_files import write_onnx  # here, since it needs the extra
    except ImportError:
        raise missing_extra("onnxscript", "export") from None
    network = _in_dtype(model.network, dtype)
    write = partial(write_onnx, weights=_write_weights(model, network, folder, dtype, free=vocabulary is None))
    say("writing the program for images")
    write(image_program(network), folder / "image.onnx")
    prompts = 1 if network.average_prompts else len(model.templates)
    selections = [protocol.selection for protocol in model.protocols.values() if protocol.selection is not None]
    votes = selections[0].votes if selections else PUBLISHED_VOTES
    for pooling, name in _word_programs(model).items():
        say(f"writing the program for words ({name})")
        whole = word_program(network, pooling, prompts, votes)
        write(whole, folder / name)
        if splits:
            halves = programs_apart(whole, network, pooling, votes)
            for half, file in zip(halves, files_apart(name), strict=True):
                write(half, folder / file)
    files = decision_files(model.traits.decision)
    for name, program in decision_programs(model.traits.decision):
        say(f"writing the decision's program ({name})")
        write_onnx(program, folder / files[name], [])
    if vocabulary is not None:
        _write_words(model, folder, vocabulary, say)
        return
    say("writing the program for text")
    encoder, text = cast(ClipTextEncoder | MiniLM, network.text_encoder), _text_part(model)
    tokens = encoder.tokenize(EXAMPLE_PROMPTS, multiple=text.max_tokens)
    write(text_program(network, torch.as_tensor(tokens)), folder / text.program)
    if isinstance(encoder, MiniLM):
        shutil.copyfile(TOKENIZER_FILE, folder / text.tokenizer)
    else:
        (folder / text.tokenizer).write_text(encoder.own_tokenizer().to_str(), encoding="utf-8")


def _copy_programs(
    model: NetworkSegmenter, folder: Path, vocabulary: Vocabulary | None, say: Callable[[str], object]
) -> None:
    """Copy the programs that ship, for a fixed vocabulary without the text encoder's."""
    say("copying the programs that ship")
    copy_tiny(folder)
    if vocabulary is not None:
        for file in (*TEXT_FILES, TEXT_WEIGHTS):
            (folder / file).unlink()
        _write_words(model, folder, vocabulary, say)


def _write_words(model: NetworkSegmenter, folder: Path, vocabulary: Vocabulary, say: Callable[[str], object]) -> None:
    """Write the embeddings of a fixed vocabulary, and of the words that compete unasked."""
    say("encoding the words")
    words = fixed_words(vocabulary.words, model.traits.decision)
    np.savez(folder / "words.npz", embeddings=to_numpy(model.encode_words(words)))


def _write_weights(
    model: NetworkSegmenter, network: SegmentationNetwork, folder: Path, dtype: ExportDtype, *, free: bool
) -> list[Path]:
    """Write the weights, or copy the shipped file: the same weights, in fewer bits; `free`: words aren't fixed."""
    preset = str(model.origin.get("preset"))
    if dtype == "float32" and free and preset in PRESETS and has_shipped_weights(preset, network):
        return [Path(shutil.copy(SHIPPED / file, folder)) for file in PRESETS[preset].shipped]
    state = {name: value.contiguous() for name, value in network.state_dict().items()}
    if not free:
        state = {name: value for name, value in state.items() if not name.startswith("text_encoder.")}
    packed = _packed(state) if dtype == "int8" else state
    (folder / WEIGHTS_FILE).write_bytes(save(packed))  # `save_file` creates a file that only its owner can read
    return [folder / WEIGHTS_FILE]


def _manifest(
    model: NetworkSegmenter, dtype: ExportDtype, vocabulary: Vocabulary | None, splits: bool
) -> ExportManifest:
    network, preset = model.network, PRESETS.get(str(model.origin.get("preset")))
    stride = cast(ImageEncoder, network.image_encoder).stride
    record = {} if preset is None or model.origin.get("training") else preset.read_record()
    return ExportManifest(
        **vars(model.traits),
        lexicon=lexicon_of(model.encode_words),
        decision_programs=decision_files(model.traits.decision),
        name=model.name,
        dtype=dtype,
        image="image.onnx",
        stride=stride,
        smallest=stride * smallest_grid(network),
        words=tuple(
            WordsProgram(pooling=pooling, program=program, apart=files_apart(program) if splits else None)
            for pooling, program in _word_programs(model).items()
        ),
        text=_text_part(model) if vocabulary is None else None,
        vocabulary=() if vocabulary is None else vocabulary.words,
        embeddings=None if vocabulary is None else "words.npz",
        protocols=model.protocols,
        origin={**model.origin, **({"record": record} if record else {})},
        files={},
        known_words=model.known_words,
        known_background=model.known_background,
    )


def files_apart(words: str) -> tuple[str, str]:
    """Names of the two halves of a program for words, by the name of the whole."""
    stem, ending = os.path.splitext(words)
    return f"{stem}_shared{ending}", f"{stem}_each{ending}"


def _text_part(model: NetworkSegmenter) -> TextPart:
    encoder = cast(ClipTextEncoder | MiniLM, model.network.text_encoder)
    return TextPart(
        program=TEXT_FILES[0],
        tokenizer=TEXT_FILES[1],
        max_tokens=encoder.config.max_tokens if isinstance(encoder, MiniLM) else encoder.config.context_length,
        padding=0,
        unknown_by=encoder.unknown_by,
        templates=tuple(model.templates),
        average=model.network.average_prompts,
        unit_length=encoder.unit_length,
        whole=not (isinstance(encoder, MiniLM) or encoder.config.causal),
    )


def _packed(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Quantize weights to int8 by row, except for a few sensitive ones, which stay in float16.

    These are small kernels (depthwise convolutions and the first layer), whose scales would take as much space as their
    rows, and position embeddings, which are added to all pixels or words.
    """
    sensitive = [
        name
        for name, weight in state.items()
        if re.search(r"pos(ition(al)?)?_embed", name) or (weight.ndim > 1 and weight[0].numel() < 64)
    ]
    return pack_int8_rows(state, keep_fp16=sensitive)


def _in_dtype(network: SegmentationNetwork, dtype: ExportDtype) -> SegmentationNetwork:
    if dtype == "float32":
        return network
    network = copy.deepcopy(network)
    if dtype == "float16":
        reduce_precision(network, torch.float16)
        return network
    network.load_state_dict(unpack_int8_rows(_packed(network.state_dict())))
    return network
