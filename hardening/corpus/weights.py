"""Weights and other binary files: headers that lie, tensors that overlap, code, cut and changed."""

import io
import json
import pickle
import random
import struct
import warnings
import zipfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import safetensors.torch
import scipy.io
import torch

import segvoc
from hardening.cases import Case, cuts, file, mutated, spread

TINY = Path(segvoc.__file__).parent / "weights" / "tiny.safetensors"


class Runs:
    """Pickled, it asks the reader to run a function."""

    def __init__(self, function: object, *arguments: object) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple:
        return self.call


def _tensors() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        "a.weight": torch.randn(3, 4, generator=generator),
        "a.bias": torch.zeros(3, dtype=torch.float16),
        "steps": torch.arange(5),
    }


def safetensors_of(header: object, data: bytes = b"", length: int | None = None) -> bytes:
    """A safetensors file of any header, also one that lies."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode("utf-8", "surrogatepass")
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def lying_headers(rng: random.Random) -> Iterator[tuple[str, bytes]]:
    """Safetensors whose headers don't fit their data or aren't headers."""
    one: dict[str, object] = {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}
    data = bytes(range(64))
    dtypes: tuple[object, ...] = (
        "F64",
        "F16",
        "BF16",
        "I64",
        "U8",
        "BOOL",
        "F8_E4M3",
        "F4",
        "C64",
        "X",
        "",
        None,
        3,
        [],
        {},
    )
    for dtype in dtypes:
        yield f"dtype {dtype!r}", safetensors_of({"x": one | {"dtype": dtype}}, data[:16])
    shapes: tuple[object, ...] = (
        [], [4], [0], [0, 5], [-2, -2], [2, 2, 1], [1 << 62], [1 << 32, 1 << 32], [1 << 63, 2], [2.0, 2], ["2", 2], None,
        "22", {}, [[2, 2]], [10**30], [1] * 100, [1] * 10_000, [True, 4], [1 << 40, 0],
    )  # fmt: skip
    for shape in shapes:
        yield f"shape {str(shape)[:40]}", safetensors_of({"x": one | {"shape": shape}}, data[:16])
    offsets: tuple[object, ...] = (
        [0, 0], [0, 15], [0, 17], [1, 17], [16, 0], [-16, 0], [0, 1 << 62], [1 << 63, (1 << 63) + 16], [0], [], None, "x",
        [0, 16, 32], [0.0, 16.0], [[0], [16]], [4, 4],
    )  # fmt: skip
    for offset in offsets:
        yield f"offsets {offset}", safetensors_of({"x": one | {"data_offsets": offset}}, data[:16])
    for second in ([0, 16], [8, 24], [16, 32], [17, 33], [20, 36], [4, 12]):
        both = {"x": one, "y": one | {"data_offsets": second}}
        yield f"two tensors at {second}", safetensors_of(both, data[:32])
    headers: tuple[object, ...] = (
        {}, [], None, "x", 1, {"x": None}, {"x": []}, {"x": {}}, {"": one}, {"x\0": one}, {"\ud800": one}, {"x" * 9999: one},
        {"__metadata__": None, "x": one}, {"__metadata__": [], "x": one}, {"__metadata__": {"a": 1}, "x": one},
        {"__metadata__": {"segvoc": 1}, "x": one}, {"x": one | {"more": 1}}, {"x": one, "__metadata__": {"format": "pt"}},
    )  # fmt: skip
    for header in headers:
        yield f"header {str(ascii(header))[:60]}", safetensors_of(header, data[:16])
    records: tuple[str, ...] = (
        "", "x", "1", "null", "[]", "{}", '{"preset": 1}', '{"preset": null}', '{"preset": ""}', '{"preset": "tiny"}',
        '{"preset": "tiny", "format": 2}', '{"preset": "tiny", "format": "1"}', '{"preset": "\\ud800"}', "[" * 100_000,
        '{"preset": "tiny", "custom": true}', '{"preset": "tiny", "parts": 1}', '{"preset": "tiny", "parts": ["image"]}',
        '{"preset": "tiny", "network": 1}', '{"preset": "tiny", "network": {"x": 1}}', '{"preset": "../x"}', "NaN",
        '{"preset": "tiny", "training": 3}', '{"preset": "cat-seg-b"}', '{"preset": "\\u0000"}', '{"preset": "tiny", "int8": 1}',
    )  # fmt: skip
    for record in records:
        yield f"record {record[:50]}", safetensors_of({"__metadata__": {"segvoc": record}, "x": one}, data[:16])
    for length in (0, 1, 7, 8, 9, 1000, 100_000_001, 1 << 40, 1 << 63, (1 << 64) - 1):
        yield f"header of {length}", safetensors_of({"x": one}, data[:16], length)
    for raw in (
        b"[" * 5000,
        b'{"a":' * 5000,
        b"\xff" * 64,
        b"{" + b" " * 100,
        b'{"x":1}{"y":2}',
        b"{\0}",
        b"\xef\xbb\xbf{}",
    ):
        yield f"header {raw[:10]!r}", safetensors_of(raw, data[:16])
    yield (
        "a million names",
        safetensors_of({f"t{i}": one | {"shape": [0], "data_offsets": [0, 0]} for i in range(50_000)}),
    )


def _pickled(content: object, protocol: int = 2) -> bytes:
    stream = io.BytesIO()
    with warnings.catch_warnings(action="ignore"):
        torch.save(content, stream, pickle_protocol=protocol)
    return stream.getvalue()


def hostile_checkpoints(rng: random.Random) -> Iterator[tuple[str, bytes]]:
    """Checkpoints of PyTorch with code, other types, other tensors, and pickles that aren't checkpoints."""
    tensors = _tensors()
    codes = (
        Runs(print, "ran"), Runs(eval, "open('evil', 'w')"), Runs(getattr, "x", "upper"), Runs(open, "evil", "w"),
        Runs(__import__("os").system, "touch evil"), Runs(exec, "1"), Runs(bytes, 1 << 40), Runs(bytearray, 1 << 40),
    )  # fmt: skip
    for number, code in enumerate(codes):
        for protocol in (2, 4):
            yield f"code {number}, protocol {protocol}", _pickled({"state_dict": tensors, "x": code}, protocol)
            yield f"code {number} as a tensor, protocol {protocol}", _pickled({"a": code}, protocol)
            yield f"code {number} alone, protocol {protocol}", pickle.dumps(code, protocol)
    odd: tuple[object, ...] = (
        None, 1, "x", [], {}, [tensors], tuple(tensors.values()), {1: tensors["steps"]}, {"a": 1}, {"a": [tensors["steps"]]},
        {"model": None}, {"model": {}}, {"model": tensors, "x": 1}, {"state_dict": [1]}, {"module": {"module.a": tensors["a.bias"]}},
        {"": tensors["steps"]}, {"a": torch.zeros(2, 2).to_sparse()}, {"a": torch.zeros(3, device="meta")}, {b"a": tensors["steps"]},
        {"a": torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8)}, {"a": torch.zeros(0)}, {"a": torch.tensor(float("nan"))},
        {"a": torch.zeros(3).expand(1 << 20, 3)}, {"a": torch.zeros(2, dtype=torch.complex64)}, {"a": torch.nn.Parameter(torch.ones(2))},
        {"epoch": 1, "optimizer": {}}, {f"t{i}": tensors["steps"] for i in range(3000)}, {"a": torch.zeros(2).as_subclass(torch.Tensor)},
        {"a": np.zeros(3)}, {"a": {"b": {"c": tensors["steps"]}}}, {"a\ud800": tensors["steps"]}, {"x" * 5000: 1, "a": tensors["steps"]},
    )  # fmt: skip
    for number, content in enumerate(odd):
        for protocol in (2, 4):
            yield f"odd {number}, protocol {protocol}", _pickled(content, protocol)
            with_legacy = io.BytesIO()
            try:
                torch.save(content, with_legacy, _use_new_zipfile_serialization=False, pickle_protocol=protocol)
            except Exception:
                continue
            yield f"odd {number}, old, protocol {protocol}", with_legacy.getvalue()
    nest: list = []
    for _ in range(150):
        nest = [nest]
    yield "nested", _pickled({"a": nest})
    for raw in (
        b"\x80\x02.",
        b"\x80\x04N.",
        b"\x80\x02" + b"(" * 10_000,
        b"\x80\x02" + b"]" * 100_000 + b".",
        b"\x80\xff",
        b"\x80",
    ):
        yield f"pickle {raw[:6]!r}", raw
    for text in (
        b"",
        b"<html>",
        b"version https://git-lfs.github.com/spec/v1\n",
        b"PK",
        b"PK\3\4",
        b"PK\5\6" + bytes(18),
        bytes(1000),
    ):
        yield f"content {text[:12]!r}", text


def _zips(content: bytes, rng: random.Random) -> Iterator[tuple[str, bytes]]:
    """A checkpoint's archive with members left out, doubled, renamed, grown, or pointing elsewhere."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    for name in members:
        rest = {other: data for other, data in members.items() if other != name}
        changes: dict[str, dict[str, bytes]] = {
            "left out": rest,
            "empty": {**rest, name: b""},
            "cut": {**rest, name: members[name][: len(members[name]) // 2]},
            "grown": {**rest, name: members[name] + bytes(1 << 16)},
            "outside": {**rest, f"../{name}": members[name]},
            "absolute": {**rest, f"/tmp/{name}": members[name]},
        }
        changes |= {f"changed {i}": {**rest, name: mutated(members[name], rng)} for i in range(12) if members[name]}
        for what, changed in changes.items():
            for kind in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                stream = io.BytesIO()
                with zipfile.ZipFile(stream, "w", kind) as archive:
                    for other, data in changed.items():
                        archive.writestr(other, data)
                yield f"{name} {what} {kind}", stream.getvalue()


@cache
def _torchscript() -> bytes:
    stream = io.BytesIO()
    with warnings.catch_warnings(action="ignore"):
        torch.jit.save(torch.jit.script(torch.nn.Linear(3, 2)), stream)
    return stream.getvalue()


def _networks(rng: random.Random, count: int) -> Iterator[tuple[str, bytes]]:
    """The shipped weights of `tiny` with a changed header, names, shapes or values."""
    content = TINY.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header, data = json.loads(content[8 : 8 + length]), content[8 + length :]
    names = [name for name in header if name != "__metadata__"]
    for number in range(count):
        changed = json.loads(json.dumps(header))
        name, kind = rng.choice(names), number % 8
        if kind == 0:
            changed[name]["shape"] = changed[name]["shape"][::-1]
        elif kind == 1:
            changed[name]["shape"] = [1, *changed[name]["shape"]]
        elif kind == 2:
            changed[f"{name}x"] = changed.pop(name)
        elif kind == 3:
            other = rng.choice(names)
            changed[name], changed[other] = changed[other], changed[name]
        elif kind == 4:
            changed[name]["dtype"] = rng.choice(("F32", "I32", "U32", "F16", "I8"))
        elif kind == 5:
            record = json.loads(changed["__metadata__"]["segvoc"])
            record[rng.choice([*record, "network", "parts", "custom"])] = rng.choice((None, 1, "x", [], {}, {"x": 1}))
            changed["__metadata__"]["segvoc"] = json.dumps(record)
        elif kind == 6:
            first, last = changed[name]["data_offsets"]
            nans = data[:first] + b"\xff" * (last - first) + data[last:]
            yield f"NaN in {name}", safetensors_of(changed, nans)
            continue
        else:
            at = rng.choice((rng.randrange(length), rng.randrange(len(content))))
            yield f"cut at {at}", content[:at]
            continue
        yield f"change {kind} of {name}", safetensors_of(changed, data)


def weight_cases(rng: random.Random, scale: float) -> Iterator[Case]:
    """Safetensors, checkpoints, TorchScript, pickled indices, MATLAB files."""

    def some(family: str, name: str, made: Iterator[tuple[str, bytes]], most: int, *readers: str) -> list[Case]:
        cases = (
            Case(family=family, what=what, reader=readers[number % len(readers)], build=file(name, content))
            for number, (what, content) in enumerate(made)
        )
        return spread(cases, max(4, round(most * scale)), rng)

    def damaged(content: bytes, most: int) -> Iterator[tuple[str, bytes]]:
        for length in cuts(len(content), most, rng):
            yield f"cut at {length}", content[:length]
        for number in range(most):
            yield f"bytes {number}", mutated(content, rng, last=400 if number % 2 else None)

    good = safetensors.torch.save(_tensors(), {"segvoc": '{"preset": "tiny"}'})
    yield from some("weights: safetensors", "w.safetensors", lying_headers(rng), 300, "weights", "header", "network")
    yield from some(
        "weights: safetensors cut or changed", "w.safetensors", damaged(good, 150), 300, "weights", "header"
    )
    yield from some("weights: networks", "w.safetensors", _networks(rng, round(80 * scale) + 8), 90, "network")
    yield from some("weights: pickles", "w.pt", hostile_checkpoints(rng), 300, "weights")
    checkpoint = _pickled(_tensors())
    old = io.BytesIO()
    torch.save(_tensors(), old, _use_new_zipfile_serialization=False)
    for name, content in (("zip", checkpoint), ("old", old.getvalue()), ("script", _torchscript())):
        yield from some(f"weights: {name} cut or changed", "w.pt", damaged(content, 90), 180, "weights")
    yield from some("weights: archives", "w.pt", _zips(checkpoint, rng), 120, "weights")
    yield from some("weights: TorchScript archives", "w.pt", _zips(_torchscript(), rng), 160, "weights")
    index = pickle.dumps({"filename": ["a"], "folder": ["b"], "objectIsPart": np.zeros((2, 2)), "x": b"1"}, 2)
    made = ((f"{what}", content) for what, content in hostile_checkpoints(rng))
    yield from some("originals: pickled index", "index.pkl", made, 60, "pickled index")
    yield from some("originals: pickled index", "index.pkl", damaged(index, 90), 150, "pickled index")
    matrix = io.BytesIO()
    scipy.io.savemat(matrix, {"LabelMap": np.arange(12).reshape(3, 4), "other": "x"})
    yield from some("originals: MATLAB", "a.mat", damaged(matrix.getvalue(), 80), 150, "matlab")
    yield from some("originals: MATLAB", "a.mat", damaged(_hdf5(), 60), 100, "matlab")


def _hdf5() -> bytes:
    import h5py

    stream = io.BytesIO()
    with h5py.File(stream, "w") as content:
        content["LabelMap"] = np.arange(12).reshape(3, 4)
    return stream.getvalue()
