"""Programs refer to weights in .safetensors files, select with tensors as settings what
the rules do, and take words of parts as inputs."""

from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
import torch
from safetensors.torch import save_file

from segvoc.checkpoints.files import pack_int8_rows, unpack_int8_rows
from segvoc.encoders.prompts import PartWordEncoder
from segvoc.encoders.vocabulary_encoder import VocabularyEncoder
from segvoc.exporting.onnx_files import refer_to
from segvoc.exporting.programs import PartProgram, TracedContext
from segvoc.inference.exported.segmenter import part_inputs, selection_inputs
from segvoc.layers.class_selection import kept_classes
from segvoc.layers.selection import AUTO_SELECTION, ClassSelection
from segvoc.networks.part_cat_seg import PART_CAT_SEG
from segvoc.vocabulary import Vocabulary
from tests.networks.contract import make_image
from tests.networks.test_part_cat_seg import small

TABLE = torch.randn(40, 16, generator=torch.Generator().manual_seed(0))
NUMBERS = np.array([[3, 39, 0], [7, 7, 1]])


def _program(weight: np.ndarray) -> ir.Model:
    """The rows of a weight at "numbers"."""
    value = ir.Value(
        name="weight",
        shape=ir.Shape(weight.shape),
        type=ir.TensorType(ir.DataType.FLOAT),
        const_value=ir.tensor(weight, name="weight"),
    )
    numbers = ir.Value(name="numbers", shape=ir.Shape(["N", "L"]), type=ir.TensorType(ir.DataType.INT64))
    node = ir.node("Gather", [value, numbers])
    node.outputs[0].name, node.outputs[0].type = "found", ir.TensorType(ir.DataType.FLOAT)
    graph = ir.Graph(
        [numbers], node.outputs, nodes=[node], initializers=[value], opset_imports={"": 20}, name="program"
    )
    return ir.Model(graph, ir_version=10)


def _run(model: ir.Model, folder: Path, numbers: np.ndarray) -> np.ndarray:
    ir.save(model, folder / "program.onnx")
    session = onnxruntime.InferenceSession(folder / "program.onnx", providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"numbers": numbers})[0])


@pytest.mark.parametrize("dtype", ["int8", "float16"])
def test_of_a_table_only_the_rows_that_are_looked_up_are_computed(dtype: str, tmp_path: Path) -> None:
    """Also if it is looked up more than once."""
    stored = pack_int8_rows({"table": TABLE}, smallest=1) if dtype == "int8" else {"table": TABLE.half()}
    save_file(stored, tmp_path / "weights.safetensors")
    table = unpack_int8_rows(stored)["table"].float().numpy()
    model = _program(table)
    (first,) = model.graph
    between = ir.node("Neg", [first.outputs[0]])
    second = ir.node("Gather", list(first.inputs))
    total = ir.node("Sub", [second.outputs[0], between.outputs[0]])
    model.graph.extend([between, second, total])
    total.outputs[0].name, total.outputs[0].type = "sum", ir.TensorType(ir.DataType.FLOAT)
    model.graph.outputs[0] = total.outputs[0]
    refer_to(model, [tmp_path / "weights.safetensors"])
    assert np.array_equal(_run(model, tmp_path, NUMBERS), 2 * table[NUMBERS])
    inputs = [value for node in model.graph if node.op_type != "Gather" for value in node.inputs]
    assert not any(value.name == "stored.table" for value in inputs if value is not None)
    assert "weight" not in model.graph.initializers
    computed: set[ir.Value | None] = {*model.graph.inputs, *model.graph.initializers.values()}
    for node in model.graph:  # in the order that ONNX asks for
        assert computed.issuperset(node.inputs)
        computed.update(node.outputs)


CLASSES = 30

RULES: list[ClassSelection | None] = [
    None,
    ClassSelection(keep=7),
    ClassSelection(keep=1000),
    ClassSelection(fraction=0.25, least=3, keep=12),
    ClassSelection(share=0.5, least=3, by="similarity"),
    AUTO_SELECTION,
    ClassSelection(share=0.5, least=3),
    ClassSelection(share=1.0, least=1),
    ClassSelection(keep=5, by="similarity"),
    ClassSelection(keep=4, owners=tuple((number % 20,) for number in range(10))),
    ClassSelection(share=0.6, least=2, owners=((0, 3), (3,), (24,), (7, 8), (9,))),
    ClassSelection(keep=3, by="similarity", owners=((1,), (27,))),
]


def _traced(rule: ClassSelection | None) -> Callable[[torch.Tensor], torch.Tensor]:
    inputs = selection_inputs(rule, CLASSES).items()
    return TracedContext(settings={name: torch.as_tensor(value) for name, value in inputs}).select


@pytest.mark.parametrize(("images", "prompts"), [(1, 1), (3, 2)])
@pytest.mark.parametrize("rule", RULES)
def test_the_same_classes_are_kept(rule: ClassSelection | None, prompts: int, images: int) -> None:
    for seed in range(2):
        generator = torch.Generator().manual_seed(seed)
        cost = torch.rand(images, prompts, CLASSES, 6, 7, generator=generator)
        if rule is not None and rule.couples_views and images > 1:
            cost = cost[:1].expand(images, -1, -1, -1, -1)
        expected = kept_classes(rule, cost)
        everything = torch.arange(CLASSES).expand(images, -1)
        assert torch.equal(_traced(rule)(cost), everything if expected is None else expected)


def test_ties_go_to_lower_classes() -> None:
    cost = torch.zeros(1, 1, CLASSES, 2, 2)
    cost[:, :, 9:12] = 1 - torch.arange(3)[:, None, None] / 10  # all votes go to these
    assert _traced(ClassSelection(keep=6))(cost).tolist() == [[0, 1, 2, 9, 10, 11]]


@pytest.mark.parametrize(
    "words",
    [
        ["dog's head", "dog's leg", "cat", "cat's head", "sofa"],
        ["none", "dog's head", "dog's leg"],
        ["none", "dog's head", "dog"],
        ["none", "dog", "cat"],
        ["dog", "cat"],
    ],
)
def test_the_program_answers_as_the_network(words: list[str]) -> None:
    torch.manual_seed(0)
    network, image = small(PART_CAT_SEG).eval(), make_image(1, 64, 96)
    encode = PartWordEncoder(VocabularyEncoder(network.text_encoder, ("a {}", "the {}")))
    text = encode(Vocabulary(words), none="none" if "none" in words else None)
    arrays = {field.name: getattr(text, field.name) for field in fields(text)}
    arrays = {name: value.numpy() for name, value in arrays.items() if isinstance(value, torch.Tensor)}
    inputs = {name: torch.from_numpy(np.asarray(value)) for name, value in part_inputs(replace(text, **arrays)).items()}
    with torch.no_grad():
        features = network.encoded(image).named()
        logits = PartProgram(network, (2, 2))(features | inputs)["logits"]
        torch.testing.assert_close(logits, network(image, text, pooling=(2, 2)), rtol=0, atol=1e-5)
