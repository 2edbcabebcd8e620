"""Files of weights: what we write and read again, and what is refused in one line."""

import struct
import warnings
from collections.abc import Mapping
from pathlib import Path

import pytest
import safetensors.torch
import torch

from segvoc.checkpoints.files import FORMAT, read_header, read_weights, write_weights
from segvoc.checkpoints.strict import check_values
from segvoc.errors import CheckpointError
from tests.images import one_line_error

TENSORS = {"a.weight": torch.arange(12.0).view(3, 4), "a.bias": torch.tensor([1.5, -2.5])}


def _refused(path: Path, *said: str) -> str:
    """The error's message, which is one line, names the file once and says how to fix it."""
    with warnings.catch_warnings(action="error"), pytest.raises(CheckpointError) as refusal:
        read_weights(path)
    message = str(refusal.value)
    assert "\n" not in message and "; " in message and message.count(repr(str(path))) == 1
    assert all(part in message for part in said), message
    return message


def assert_equal(found: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name].dtype == value.dtype and torch.equal(found[name], value), name


def test_what_is_written_is_read_also_parts_of_one_tensor(tmp_path: Path) -> None:
    path, packed = tmp_path / "new" / "weights.safetensors", torch.arange(12.0).view(6, 2)
    tensors = {**TENSORS, **dict(zip("qkv", packed.tensor_split(3), strict=True)), "again": packed, "turned": packed.T}
    tensors["learned"] = torch.nn.Parameter(packed)
    write_weights(path, tensors, "tiny", license="Apache-2.0", scores={"mIoU": 17})
    file = read_weights(path)
    assert_equal(file.tensors, tensors)
    assert (file.preset, file.path) == ("tiny", str(path))
    assert file.record == {"preset": "tiny", "license": "Apache-2.0", "scores": {"mIoU": 17}}


def test_the_header_is_read_without_the_tensors(tmp_path: Path) -> None:
    write_weights(tmp_path / "w.safetensors", TENSORS, "tiny", license="mine")
    file = read_header(tmp_path / "w.safetensors")
    assert (file.tensors, file.preset, file.record) == ({}, "tiny", {"preset": "tiny", "license": "mine"})
    safetensors.torch.save_file(TENSORS, tmp_path / "w.safetensors")
    assert read_header(tmp_path / "w.safetensors").preset is None
    content = (tmp_path / "w.safetensors").read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(content[:-1])
    torch.save(TENSORS, tmp_path / "pickle.safetensors")
    assert read_header(tmp_path / "pickle.safetensors").preset is None
    (tmp_path / "page.safetensors").write_bytes(b"<html>")
    for name, said in {"cut": "damaged", "page": "web page", "none": "not exist"}.items():
        with pytest.raises(CheckpointError, match=said):
            read_header(tmp_path / f"{name}.safetensors")


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    write_weights(tmp_path / "w.safetensors", TENSORS, "tiny", format=FORMAT)
    assert read_weights(tmp_path / "w.safetensors").preset == "tiny"
    for version in (FORMAT + 1, "1", None):
        write_weights(tmp_path / "w.safetensors", TENSORS, "tiny", format=version)
        _refused(tmp_path / "w.safetensors", "install a newer one")


@pytest.mark.parametrize("header", ["{", "[]", "{}", '{"preset": 3}', "null", '"tiny"', "[" * 100_000])
def test_malformed_header_of_ours_is_refused(tmp_path: Path, header: str) -> None:
    safetensors.torch.save_file(TENSORS, tmp_path / "w.safetensors", {"segvoc": header})
    _refused(tmp_path / "w.safetensors", "fetch it again")


def test_missing_files_and_folders_are_named(tmp_path: Path) -> None:
    for name in ("none.safetensors", "none.pth", "a\nb.pth"):
        with one_line_error(CheckpointError, match="does not exist; check the path"):
            read_weights(tmp_path / name)
    _refused(tmp_path, "is a folder; name the file")


def test_damaged_and_truncated_safetensors_are_refused(tmp_path: Path) -> None:
    """Also with a false length, one too long, no JSON, no text, and no tensors."""
    write_weights(path := tmp_path / "w.safetensors", TENSORS, "tiny")
    whole = path.read_bytes()
    for kept in (1, 7, 8, 40, -1):
        path.write_bytes(whole[:kept])
        _refused(path, "damaged", "fetch it again")
    for length, header in ((2**62, b"{}"), (100, b"{}"), (2, b"{]"), (4, b"\xff\xfe\0\0"), (2, b"{}")):
        path.write_bytes(struct.pack("<Q", length) + header)
        _refused(path)


@pytest.mark.parametrize("suffix", [".safetensors", ""])
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"<!DOCTYPE html>\n<html><head><title>Not Found</title>", "is a web page; fetch the file itself"),
        (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code>', "is a web page; fetch the file itself"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 7729592\n", "is a git-lfs pointer"),
        (b'{"error": "not found"}', "neither safetensors nor a PyTorch"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 100, "neither safetensors nor a PyTorch"),
        (b"PK\x03\x04" + b"\0" * 600, "damaged"),
        (b"\x80\x02", "damaged"),
    ],
    ids=["page", "refusal", "LFS pointer", "JSON", "image", "zip", "pickle"],
)
def test_what_the_file_is_is_told(tmp_path: Path, suffix: str, content: bytes, said: str) -> None:
    (tmp_path / f"w{suffix}").write_bytes(content)
    _refused(tmp_path / f"w{suffix}", said)


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors", "w"])
@pytest.mark.parametrize("written", ["safetensors", "torch", "old torch"])
def test_the_content_tells_how_to_read(tmp_path: Path, name: str, written: str) -> None:
    if written == "safetensors":
        safetensors.torch.save_file(TENSORS, tmp_path / name)
    else:
        torch.save(TENSORS, tmp_path / name, _use_new_zipfile_serialization=written == "torch")
    assert_equal(read_weights(tmp_path / name).tensors, TENSORS)


@pytest.mark.parametrize("wrapper", [None, "model", "module", "state_dict"])
def test_state_dicts_are_found(tmp_path: Path, wrapper: str | None) -> None:
    content = {f"module.{key}": value for key, value in TENSORS.items()}
    saved = content if wrapper is None else {wrapper: content, "iteration": 80_000, "scheduler": {"a": [1, 2]}}
    torch.save(saved, tmp_path / "w.pth")
    file = read_weights(tmp_path / "w.pth")
    assert_equal(file.tensors, TENSORS)
    assert file.preset is None


@pytest.mark.parametrize("content", [[1, 2], "weights", torch.zeros(3), {"a": 1}, {}, {"model": {"a": [1]}}])
def test_pickle_without_named_tensors_is_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "w.pth")
    assert "damaged" not in _refused(tmp_path / "w.pth", "no tensors", "use another")


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")
@pytest.mark.parametrize("kind", ["sparse", "quantized", "shape alone"])
def test_tensors_that_are_no_plain_numbers_are_listed(tmp_path: Path, kind: str) -> None:
    unsuitable = torch.zeros(4, 4, device="meta" if kind == "shape alone" else "cpu")
    unsuitable = unsuitable.to_sparse() if kind == "sparse" else unsuitable
    if kind == "quantized":
        unsuitable = torch.quantize_per_tensor(unsuitable, 0.1, 0, torch.qint8)
    torch.save({**TENSORS, "unsuitable": unsuitable}, tmp_path / "w.pth")
    _refused(tmp_path / "w.pth", "has no weights under 'unsuitable'; save only the tensors")


def test_finite_values_can_be_weights() -> None:
    """Also those whose sum overflows, in fp16 too, and none."""
    for value in (torch.full((2, 3), 3e38), torch.full((2, 3), 6e4, dtype=torch.float16), torch.zeros(0, 3)):
        check_values({"weight": value}, {"weight": torch.zeros(2, 3)})


@pytest.mark.parametrize("values", [[torch.nan], [torch.inf], [-torch.inf], [torch.inf, -torch.inf], [1e39], [1]])
def test_values_that_are_not_finite_in_float32_or_integers_are_refused(values: list[float]) -> None:
    value = torch.tensor([*values, *[1] * 4], dtype=torch.int64 if values == [1] else torch.float64)
    with pytest.raises(CheckpointError, match=f"weight has values that can't be weights .*{value.dtype}"):
        check_values({"weight": value}, {"weight": torch.zeros(1)})
