"""Programs as `torch.export` archives, and as machine code."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch._inductor import codecache
from torch.export import Dim

import segvoc
from segvoc.errors import CheckpointError, NotCompiledWarning, UsageError
from segvoc.exported.torch_program import COMPILED, TorchProgram
from segvoc.exporting import export as exporting
from segvoc.exporting.comparison import Comparison
from segvoc.exporting.export import export
from segvoc.exporting.programs import Program
from segvoc.exporting.torch_files import finds_compiler, write_torch
from segvoc.models.network_segmenter import NetworkSegmenter
from tests.exporting.small_export import WORDS, assert_alike


@pytest.fixture(scope="module")
def folder(model: NetworkSegmenter, tmp_path_factory: pytest.TempPathFactory, untyped: None) -> Path:
    """The exported network, in float32."""
    out = tmp_path_factory.mktemp("exports") / "small"
    found = export(model, out, format="torch")
    assert found.difference < 1e-4
    return out


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 40])
def test_labels_are_the_networks(model: NetworkSegmenter, folder: Path, count: int) -> None:
    assert_alike(model, segvoc.load(folder, trust_code=True), WORDS[:count])


@pytest.mark.slow
@pytest.mark.parametrize("keep", [7, "auto"])
def test_class_selection_is_part_of_the_programs(model: NetworkSegmenter, folder: Path, keep: int | str) -> None:
    assert_alike(model, segvoc.load(folder, trust_code=True), WORDS, keep_classes=keep)


@pytest.mark.slow
def test_the_folder_has_archives_that_stand_alone(folder: Path) -> None:
    about = json.loads((folder / "segvoc.json").read_text())
    assert about["programs"] == "torch"
    names = {"image.pt2", "words.pt2", "text.pt2", "tokenizer.json"}
    assert set(about["files"]) == names == {path.name for path in folder.iterdir()} - {"segvoc.json"}
    assert not any(b"site-packages" in path.read_bytes() for path in folder.glob("*.pt2"))
    found = torch.export.load(folder / "text.pt2").module()({"tokens": torch.ones(3, 8, dtype=torch.int64)})
    assert found["embeddings"].shape == (3, 64)


@pytest.mark.slow
def test_without_pytorch_one_line_says_what_to_install(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "segvoc.exported.torch_program")
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(UsageError, match=r'needs PyTorch, .* pip install "segvoc\[torch\]"'):
        segvoc.load(folder, trust_code=True)


class Scaled(nn.Module):
    """A program to compile in no time."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([2.0, 3.0]))

    def forward(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"scaled": inputs["x"] * self.weight + inputs["a"]}


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory, untyped: None) -> Path:
    """An archive with machine code beside it."""
    if not finds_compiler():
        pytest.skip("there is no C++ compiler here")
    path = tmp_path_factory.mktemp("compiled") / "scaled.pt2"
    inputs = {"x": torch.ones(4, 2), "a": torch.tensor(0.0)}
    rows = Dim("rows", min=1, max=100)
    write_torch(Program(module=Scaled(), inputs=inputs, free={"x": {0: rows}, "a": {}}), path, compiled=True)
    return path


def _scaled(path: Path) -> list[list[float]]:
    return TorchProgram(path)({"x": np.ones((3, 2), np.float32), "a": np.float32(1)})["scaled"].tolist()


@pytest.mark.slow
def test_machine_code_runs_in_place_of_the_archive(compiled: Path, tmp_path: Path) -> None:
    (tmp_path / f"scaled{COMPILED}").write_bytes(compiled.with_suffix(COMPILED).read_bytes())
    (tmp_path / "scaled.pt2").write_bytes(b"unused")
    assert _scaled(tmp_path / "scaled.pt2") == [[3.0, 4.0]] * 3


@pytest.mark.slow
@pytest.mark.parametrize("other", [True, False])
def test_machine_code_for_another_processor_is_left_alone(compiled, tmp_path, other, monkeypatch):
    (tmp_path / "scaled.pt2").write_bytes(compiled.read_bytes())
    code = compiled.with_suffix(COMPILED).read_bytes()
    (tmp_path / f"scaled{COMPILED}").write_bytes(code if other else code[:1000])
    if other:
        monkeypatch.setattr(codecache, "get_device_information", lambda kind: {"AOTI_CPU_ISA": "ANOTHER"})
    assert _scaled(tmp_path / "scaled.pt2") == [[3.0, 4.0]] * 3


def test_where_the_compiler_fails_the_archive_is_written(tmp_path, untyped, monkeypatch):
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("no header\nand more")

    monkeypatch.setattr("torch._inductor.aoti_compile_and_package", fail)
    program = Program(module=Scaled(), inputs={"x": torch.ones(3, 2), "a": torch.tensor(0.0)}, free={"x": {}, "a": {}})
    with pytest.warns(NotCompiledWarning, match=r"scaled\.pt2 can't be compiled here .*\(no header\)"):
        write_torch(program, tmp_path / "scaled.pt2", compiled=True)
    assert _scaled(tmp_path / "scaled.pt2") == [[3.0, 4.0]] * 3


def test_an_archive_that_pytorch_cant_open_is_named(tmp_path: Path) -> None:
    (tmp_path / "image.pt2").write_bytes(b"no archive")
    with pytest.raises(CheckpointError, match=r"PyTorch .* can't open '.*image\.pt2'; export the model again"):
        TorchProgram(tmp_path / "image.pt2")({})


class TestSettings:
    """What is asked for together with the format, without tracing."""

    def test_without_a_compiler_archives_are_written(self, model, tmp_path, monkeypatch):
        asked = []

        def write(program: object, path: Path, *, compiled: bool) -> None:
            asked.append(compiled)
            path.write_bytes(b"program")

        monkeypatch.setattr(exporting, "write_torch", write)
        for name in ("image_program", "word_program", "text_program"):
            monkeypatch.setattr(exporting, name, lambda *_: None)
        same = Comparison(difference=0.0, tolerance=1.0, equal_labels=1.0)
        monkeypatch.setattr(exporting, "compare_with_export", lambda *_: same)
        monkeypatch.setattr(exporting, "finds_compiler", lambda: False)
        with pytest.warns(NotCompiledWarning, match=r"no C\+\+ compiler is found here"):
            export(model, tmp_path / "out", format="torch", compiled=True)
        assert asked == [False] * 3
