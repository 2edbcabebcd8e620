"""A Triton model repository, by the schema that NVIDIA's client has; the server itself isn't at hand."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

import segvoc
from segvoc.exporting.triton_repository import make_repository
from segvoc.inference.exported.manifest import DECISION_PROGRAMS
from segvoc.inference.exported.segmenter import ExportedSegmenter, selection_inputs
from segvoc.inference.label_options import LabelOptions
from segvoc.inference.onnx_program import OnnxProgram
from segvoc.inference.windows import views
from segvoc.models.shipped import copy_tiny, open_tiny
from segvoc.vocabulary import Vocabulary

SAMPLE = Path(__file__).parents[2] / "samples" / "chelsea.jpg"
WORDS = ["cat", "wall", "blanket", "sky"]
ONNX_TYPES = {
    "tensor(float)": "TYPE_FP32", "tensor(double)": "TYPE_FP64", "tensor(int32)": "TYPE_INT32",
    "tensor(int64)": "TYPE_INT64", "tensor(bool)": "TYPE_BOOL",
}  # fmt: skip


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exports")
    copy_tiny(folder)
    make_repository(folder)
    return folder


@pytest.fixture(scope="module")
def configs(repository: Path) -> dict[str, Any]:
    schema = pytest.importorskip("tritonclient.grpc.model_config_pb2", reason="tritonclient is missing")
    text_format = pytest.importorskip("google.protobuf.text_format")
    files = sorted(repository.glob("*/config.pbtxt"))
    return {file.parent.name: text_format.Parse(file.read_text(), schema.ModelConfig()) for file in files}


def test_the_layout_and_that_segvoc_takes_it(repository: Path) -> None:
    one, other = (model.segment(SAMPLE, WORDS) for model in (open_tiny(), segvoc.load(repository)))
    np.testing.assert_array_equal(one.labels, other.labels)
    names = [f"tiny_{name}" for name in ("image", "text", "words", *(f"decide_{name}" for name in DECISION_PROGRAMS))]
    expected = {f"{name}/1/model.{end}" for name in names for end in ("onnx", "weights")}
    expected |= {"tiny/1/.keep", "tokenizer.json", "edge_weights.onnx", "edges.onnx"}
    expected |= {f"{name}/config.pbtxt" for name in ("tiny", *names)}
    about = json.loads((repository / "segvoc.json").read_text())
    assert set(about["files"]) == expected
    found = {path.relative_to(repository).as_posix() for path in repository.rglob("*") if path.is_file()}
    assert found == expected | {"segvoc.json"}


def test_configurations_are_those_of_the_programs(repository: Path, configs: dict[str, Any]) -> None:
    batched = {name for name, config in configs.items() if config.max_batch_size}
    assert batched == {name for name, config in configs.items() if config.HasField("dynamic_batching")}
    assert batched == {"tiny_image", "tiny_text"}
    for name, config in configs.items():
        assert config.name == name
        if config.platform == "ensemble":
            continue
        assert config.backend == "onnxruntime"
        session = onnxruntime.InferenceSession(repository / name / "1" / "model.onnx")
        for declared, actual in ((config.input, session.get_inputs()), (config.output, session.get_outputs())):
            assert [one.name for one in declared] == [one.name for one in actual]
            for one, other in zip(declared, actual, strict=True):
                types = one.DESCRIPTOR.fields_by_name["data_type"].enum_type.values_by_number
                assert types[one.data_type].name == ONNX_TYPES[other.type]
                shape = [size if isinstance(size, int) else -1 for size in other.shape]
                assert list(one.dims) == ((shape[1:] if config.max_batch_size else shape) or [1])


def test_the_ensemble_gives_the_logits(repository: Path, configs: dict[str, Any]) -> None:
    model = ExportedSegmenter(repository)
    protocol = model.protocol(LabelOptions(window="single", keep_classes=2))
    pixels, text = views(np.zeros((90, 120, 3), np.uint8), protocol), model.encode_words(Vocabulary(WORDS))
    tensors: dict[str, Any] = {"pixels": pixels, "words": text, **selection_inputs(protocol.selection, len(WORDS))}
    assert set(tensors) == {one.name for one in configs["tiny"].input}
    for step in configs["tiny"].ensemble_scheduling.step:
        program = OnnxProgram(repository / step.model_name / "1" / "model.onnx")
        found = program({name: tensors[tensor] for name, tensor in step.input_map.items()})
        tensors |= {tensor: found[name] for name, tensor in step.output_map.items()}
    logits, kept = model.compare(model.encode_views(pixels), text, protocol)
    np.testing.assert_array_equal(tensors["logits"], logits)
    np.testing.assert_array_equal(tensors["kept"], kept)
