"""No input runs code; tools/check_source.py finds calls that could."""

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import segvoc
from segvoc.errors import SegvocError, UsageError
from segvoc.inference.exported.manifest import MANIFEST
from segvoc.models.shipped import copy_tiny


class _Bomb:
    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (Path.touch, (self.trace,))  # type: ignore[return-value]


def _as_array(path: Path, bomb: _Bomb) -> None:
    with path.open("wb") as file:
        np.save(file, np.array([bomb], dtype=object))


WRITERS: dict[str, Callable[[Path, _Bomb], object]] = {
    "archive": lambda path, bomb: torch.save({"state_dict": {"weight": torch.zeros(1)}, "extra": bomb}, path),
    "old file": lambda path, bomb: torch.save({"extra": bomb}, path, _use_new_zipfile_serialization=False),
    "pickle": lambda path, bomb: path.write_bytes(pickle.dumps(bomb)),
    "array": _as_array,
}


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("ending", [".pth", ".safetensors", ".pt", ".pt2"])
def test_weights_that_hold_code_are_refused_and_dont_run(tmp_path: Path, kind: str, ending: str) -> None:
    trace, path = tmp_path / "ran", tmp_path / f"weights{ending}"
    WRITERS[kind](path, _Bomb(trace))
    with pytest.raises(SegvocError):
        segvoc.load("tiny", weights=path)
    assert not trace.exists()


def test_an_exported_folder_has_no_links_out_of_itself(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    copy_tiny(tmp_path / "model")
    (tmp_path / "model/image.onnx").rename(tmp_path / "elsewhere.onnx")
    (tmp_path / "model/image.onnx").symlink_to("../elsewhere.onnx")
    with pytest.raises(UsageError, match=r"image\.onnx' is a link to outside the folder; put the file itself there"):
        segvoc.load(tmp_path / "model")


@pytest.mark.parametrize("name", ["../image.onnx", "/etc/hostname", "a/../../b", "C:image.onnx", "..\\image.onnx", ""])
def test_an_exported_folder_stays_in_itself(tmp_path: Path, name: str) -> None:
    copy_tiny(tmp_path)
    about = (tmp_path / MANIFEST).read_text()
    escaped = name.replace("\\", "\\\\")
    (tmp_path / MANIFEST).write_text(about.replace('"image": "image.onnx"', f'"image": "{escaped}"'))
    with pytest.raises(UsageError, match="a file outside of it"):
        segvoc.load(tmp_path)
