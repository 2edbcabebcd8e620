"""An exported folder of ONNX programs as a model repository of NVIDIA's Triton Inference Server.

Each program becomes a model for the ONNX Runtime backend, and an ensemble joins images and words, so that image
features don't leave the server. Triton ignores files beside the models' folders; with them, the repository remains an
exported folder for `segvoc.load`.

Source: Triton's model_config.proto, and its documentation of repositories, of ensembles and of the backend.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import onnx_ir as ir

from segvoc.inference.exported.manifest import MANIFEST, ExportManifest

VERSION = "1"
"""Folder of the only version of each model."""

BATCHED_IMAGES, BATCHED_PROMPTS = 8, 256
"""Maximum batch size of Triton's dynamic batching, in images or prompts."""

_TYPES = {
    ir.DataType.FLOAT: "TYPE_FP32",
    ir.DataType.FLOAT16: "TYPE_FP16",
    ir.DataType.DOUBLE: "TYPE_FP64",
    ir.DataType.INT32: "TYPE_INT32",
    ir.DataType.INT64: "TYPE_INT64",
    ir.DataType.BOOL: "TYPE_BOOL",
}


@dataclass(frozen=True)
class _Model:
    """A model of the repository, in the folder of its name."""

    name: str
    inputs: Sequence[ir.Value]
    outputs: Sequence[ir.Value]

    def write(self, repository: Path, batch: int, rest: Iterable[str]) -> None:
        """Write its configuration; `batch` is the maximum number of images or prompts, 0: not batched."""
        entries = [
            f'name: "{self.name}"',
            f"max_batch_size: {batch}",
            *_listed("input", [_tensor(value, batched=batch > 0) for value in self.inputs]),
            *_listed("output", [_tensor(value, batched=batch > 0) for value in self.outputs]),
            *rest,
        ]
        (repository / self.name / VERSION).mkdir(parents=True, exist_ok=True)
        (repository / self.name / "config.pbtxt").write_text("\n".join(entries) + "\n", encoding="utf-8")


def _tensor(value: ir.Value, *, batched: bool) -> str:
    """An input or output in a configuration; shapes of batched models exclude the batch."""
    assert value.shape is not None and value.dtype is not None
    # Triton has no scalars: its backend passes a single value as a scalar if the program expects it
    sizes = [size if isinstance(size, int) else -1 for size in value.shape] or [1]
    dims = ", ".join(map(str, sizes[1:] if batched else sizes))
    return f'{{ name: "{value.name}" data_type: {_TYPES[value.dtype]} dims: [ {dims} ] }}'


def make_repository(folder: Path) -> None:
    """Turn a folder of ONNX programs, as `segvoc export` writes it, into a model repository, in place."""
    about = ExportManifest.read(folder / MANIFEST)
    prefix = re.sub(r"[^A-Za-z0-9_.-]", "_", Path(about.name).name.removesuffix(".safetensors"))
    models = {program: f"{prefix}_{Path(program).stem}" for program in about.program_files}
    moved = {program: f"{name}/{VERSION}/model.onnx" for program, name in models.items()}
    written = {program: _move(folder, program, models[program], moved[program]) for program in models}
    for file in (*folder.glob("*.safetensors"), *(folder / name for name in about.files_apart)):
        file.unlink()
    image = written[about.image]
    _write_backed(image, folder, BATCHED_IMAGES)
    if about.text is not None:
        _write_backed(written[about.text.program], folder, BATCHED_PROMPTS)
    for program in about.decision_programs.values():
        _write_backed(written[program], folder, 0)
    for program in (words.program for words in about.words):
        words = written[program]
        _write_backed(words, folder, 0)  # embeddings of words have no batch
        ending = Path(program).stem.removeprefix("words")
        _write_ensemble(f"{prefix}{ending}", image, words, folder)
    whole = tuple(replace(words, apart=None) for words in about.words)
    replace(about, words=whole).renamed(moved).write(folder)


def _move(folder: Path, program: str, name: str, place: str) -> _Model:
    """Write a program with its weights as a model of the repository."""
    model = ir.load(folder / program)
    path = folder / place
    path.parent.mkdir(parents=True)
    ir.save(model, path, external_data="model.weights")
    (folder / program).unlink()
    return _Model(name, model.graph.inputs, model.graph.outputs)


def _write_backed(model: _Model, folder: Path, batch: int) -> None:
    """Write the configuration of a model that ONNX Runtime runs."""
    rest = ['backend: "onnxruntime"', "instance_group [ { count: 1 kind: KIND_AUTO } ]"]
    model.write(folder, batch, rest + (["dynamic_batching { }"] if batch else []))


def _write_ensemble(name: str, image: _Model, words: _Model, folder: Path) -> None:
    """Write the configuration of images and words together: from pixels and embeddings to logits."""
    features = {tensor.name for tensor in image.outputs}
    of_words = [tensor for tensor in words.inputs if tensor.name not in features]
    steps = _listed("step", [_step(model) for model in (image, words)])
    rest = ['platform: "ensemble"', "ensemble_scheduling {", *(f"  {line}" for line in steps), "}"]
    _Model(name, [*image.inputs, *of_words], words.outputs).write(folder, 0, rest)
    # an ensemble has no files, and not every storage keeps empty folders
    (folder / name / VERSION / ".keep").touch()


def _step(model: _Model) -> str:
    """A step of an ensemble, whose tensors have the names that they have in the models."""
    maps = [
        f'{kind} {{ key: "{tensor.name}" value: "{tensor.name}" }}'
        for kind, tensors in (("input_map", model.inputs), ("output_map", model.outputs))
        for tensor in tensors
    ]
    return f'{{ model_name: "{model.name}" model_version: -1 {" ".join(maps)} }}'


def _listed(name: str, entries: Sequence[str]) -> list[str]:
    return [f"{name} [", *(f"  {entry}," for entry in entries[:-1]), f"  {entries[-1]}", "]"]
