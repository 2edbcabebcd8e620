"""TorchScript archives: the tensors that PyTorch itself finds, and nothing of what they hold is run."""

import builtins
import io
import os
import pickle
import sys
import types
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from torch import Tensor, nn

from segvoc.checkpoints.files import read_weights
from segvoc.checkpoints.torchscript import read_torchscript
from segvoc.encoders.clip_text import ClipTextConfig, ClipTextEncoder
from segvoc.encoders.official_clip import towers_state
from segvoc.encoders.openai_clip import OpenAIClipImageEncoder
from segvoc.errors import CheckpointError
from tests.checkpoints.test_files import assert_equal
from tests.networks.golden_stages import TINY_VIT

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning", "ignore:`torch.jit:DeprecationWarning")


class _Mixed(nn.Module):
    """Whatever may stand in a module: numbered and nested parts, shared weights, views, all kinds of attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(3, 4), nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 4)))
        self.attn = nn.MultiheadAttention(4, 2)
        self.tied = self.net[0]
        self.parts = nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2).half()])
        self.register_buffer("size", torch.tensor(224))
        self.register_buffer("passing", torch.zeros(2), persistent=False)
        self.turned = nn.Parameter(torch.randn(3, 5).T)
        self.brain = nn.Parameter(torch.randn(4, dtype=torch.bfloat16))
        self.register_buffer("nothing", torch.zeros(0, 3))
        self.no_buffer, self.number, self.listed = torch.ones(2), 5, [torch.zeros(2)]
        self.named, self.ints = {"a": 1}, [1, 2]

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


def _like_openais() -> nn.Module:
    """A CLIP as OpenAI publishes it: float16, quick GELU, three sizes among its buffers."""
    vision = open_clip.CLIPVisionCfg(layers=9, width=128, head_width=64, patch_size=16, image_size=224)
    text = open_clip.CLIPTextCfg(width=64, heads=2, layers=2, vocab_size=512)
    model = open_clip.CLIP(64, vision, text, quick_gelu=True)
    open_clip.convert_weights_to_fp16(model)
    for name, size in (("input_resolution", 224), ("context_length", 77), ("vocab_size", 512)):
        vars(model).pop(name, None)
        model.register_buffer(name, torch.tensor(size))
    return model


def _refused(path: Path, *said: str) -> None:
    for read in (read_torchscript, read_weights):
        with pytest.raises(CheckpointError) as refusal:
            read(path)
        message = str(refusal.value)
        assert "\n" not in message and len(message) < 500 + len(str(path)) and "; " in message
        assert message.count(repr(str(path))) == 1
        if read is read_torchscript:
            assert all(part in message for part in said), message


@pytest.mark.parametrize("build", [_Mixed, _like_openais])
def test_names_and_values_are_those_of_pytorch_and_fill_towers(build: Callable[[], nn.Module], tmp_path: Path) -> None:
    torch.manual_seed(0)
    torch.jit.script(build()).save(path := tmp_path / "ViT-B-16.pt")
    found, expected = read_torchscript(path) or {}, torch.jit.load(path, map_location="cpu").state_dict()
    assert found.keys() - expected.keys() <= {"passing", "no_buffer", "attn_mask"}  # no weights, but tensors
    assert_equal({name: found[name] for name in expected}, expected)
    if build is _like_openais:
        sizes = {"channels": 64, "width": 64, "layers": 2, "heads": 2, "vocabulary_size": 512}
        text = ClipTextEncoder(ClipTextConfig(**sizes, quick_gelu=True, fine_tuned="qv"))
        image, _ = towers_state(read_weights(path).tensors, OpenAIClipImageEncoder(TINY_VIT), text)
        assert torch.equal(image["tower.proj"], found["visual.proj"])


def test_other_files_are_none(tmp_path: Path) -> None:
    (tmp_path / "w.pt").write_bytes(b"PK\x03\x04")
    torch.save({"a": torch.zeros(1)}, tmp_path / "state.pt")
    assert read_torchscript(tmp_path / "w.pt") is read_torchscript(tmp_path / "state.pt") is None


class _Storage:
    def __init__(self, count: Any, key: str = "0", dtype: Any = torch.FloatStorage, kind: str = "storage") -> None:
        self.pid = (kind, dtype, key, "cpu", count)


class _Pickler(pickle.Pickler):
    def persistent_id(self, obj: Any) -> Any:
        return obj.pid if isinstance(obj, _Storage) else None


class _Call:
    def __init__(self, function: object, *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


def _tensor(storage: Any, offset: Any, size: Any, stride: Any) -> _Call:
    return _Call(torch._utils._rebuild_tensor_v2, storage, offset, size, stride, False, OrderedDict())


@pytest.fixture
def module_class(monkeypatch: pytest.MonkeyPatch) -> type:
    """The class `__torch__.M`, as archives know it."""
    module = types.ModuleType("__torch__")
    module.M = type("M", (), {"__module__": "__torch__"})  # pyright: ignore
    monkeypatch.setitem(sys.modules, "__torch__", module)
    return module.M


def _program(root: object) -> bytes:
    buffer = io.BytesIO()
    _Pickler(buffer, protocol=2).dump(root)
    return buffer.getvalue()


def _archive(path: Path, program: bytes, packed: tuple[str, ...] = (), **records: bytes | str | None) -> Path:
    """Write an archive of three records and those given by name (None for none)."""
    content = {"data.pkl": program, "data/0": b"\0" * 16, "constants.pkl": b"\x80\x02).", **records}
    with zipfile.ZipFile(path, "w") as archive:
        for name, value in content.items():
            if value is not None:
                kind = zipfile.ZIP_DEFLATED if name in packed else zipfile.ZIP_STORED
                archive.writestr(f"w/{name}", value, kind)
    return path


def _module(module_class: type, **attributes: object) -> object:
    module = module_class()
    vars(module).update(attributes)
    return module


def test_an_archive_made_here_is_read(tmp_path: Path, module_class: type) -> None:
    root = _module(module_class, w=_tensor(_Storage(4), 1, (3,), (1,)), other=5)
    assert_equal(read_torchscript(_archive(tmp_path / "w.pt", _program(root))) or {}, {"w": torch.zeros(3)})


@pytest.mark.parametrize(
    ("tensor", "said"),
    [
        (_tensor(_Storage(4), 0, (5,), (1,)), "outside"),
        (_tensor(_Storage(4), 0, (1 << 40, 1 << 40), (0, 0)), "outside"),
        (_tensor(_Storage(4), 0, (0, 1 << 80), (1, 1)), "damaged"),
        (_tensor(_Storage(4), 0, (-2,), (1,)), "invalid tensor"),
        (_tensor(_Storage(4), 0, (True,), (1,)), "invalid tensor"),
        (_tensor(_Storage(4), 0, 3, 1), "damaged"),
        (_tensor(_Storage(4, dtype=OrderedDict), 0, (1,), (1,)), "invalid tensor"),
        (_tensor(_Storage(4, kind="module"), 0, (1,), (1,)), "invalid tensor"),
        (_tensor((1, 2), 0, (1,), (1,)), "damaged"),
        (_tensor(_Storage(5), 0, (5,), (1,)), "16 bytes"),
        (_tensor(_Storage(4, dtype=torch.LongStorage), 0, (4,), (1,)), "16 bytes"),
        (_tensor(_Storage(4, key="../data/0"), 0, (4,), (1,)), "lacks its record"),
    ],
)
def test_false_sizes_are_refused(tmp_path: Path, module_class: type, tensor: _Call, said: str) -> None:
    _refused(_archive(tmp_path / "w.pt", _program(_module(module_class, w=tensor))), said)


@pytest.mark.parametrize(
    ("packed", "records", "said"),
    [
        (("data/0",), {"data/0": b"\0" * (1 << 20)}, "larger than the file"),
        (("data.pkl",), {"data.pkl": b"#" * (65 << 20)}, "64 MiB"),
        ((), {"data.pkl": None}, "lacks its record 'data.pkl'"),
        ((), {"data.pkl": b""}, "damaged"),
    ],
)
def test_false_records_are_refused(tmp_path, module_class, packed, records, said):
    count = len(records.get("data/0") or b"\0" * 16) // 4
    program = _program(_module(module_class, w=_tensor(_Storage(count), 0, (count,), (1,))))
    _refused(_archive(tmp_path / "w.pt", **{"program": program, "packed": packed, **records}), said)


@pytest.mark.parametrize("protocol", [0, 2])
@pytest.mark.parametrize("function", [os.system, builtins.exec, getattr, torch._utils._rebuild_qtensor])
def test_code_in_the_pickle_is_never_run(tmp_path: Path, module_class: type, protocol: int, function: object) -> None:
    sentinel = tmp_path / "sprung"
    argument = f"touch '{sentinel}'" if function is os.system else f"open({str(sentinel)!r}, 'w').close()"
    program = pickle.dumps(_module(module_class, trap=_Call(function, argument)), protocol)
    _refused(_archive(tmp_path / "w.pt", program), "code" if protocol == 2 else "a way that PyTorch does not use")
    assert not sentinel.exists()
    if function in (os.system, builtins.exec):  # the trap works: without our care it would have sprung
        pickle.loads(program)
        assert sentinel.exists()


CHANGE = b"N}X\x01\0\0\0aK\x01s\x86b."  # BUILD with (None, {"a": 1}) sets attributes


@pytest.mark.parametrize(
    ("program", "said"),
    [
        (b"\x80\x02" + b"c__torch__\nM\n)\x81}X\x01\0\0\0a" * 20_000 + b"N" + b"sb" * 20_000 + b".", "too deeply"),
        (b"\x80\x02c__torch__\nM\n)\x81q\0}X\x01\0\0\0ah\0sb.", "too deeply"),
        (b"\x80\x02" + b"]" * 50_000 + b"a" * 49_999 + b".", "no module"),
        (b"\x80\x02c__torch__\nM\n)\x81}K\x01Nsb.", "without a name"),
        (b"\x80\x02c__torch__\nM\n)\x81]b.", "damaged"),
        (b"\x80\x02Nr\xff\xff\xff\x7f.", "invalid index"),
        (b"\x80\x02\x96" + b"\xff" * 7 + b"\x7f.", "damaged"),
        (b"\x80\x02X\xff\xff\xff\x7f.", "damaged"),
        (b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n" + CHANGE, "damaged"),
        (b"\x80\x02ctorch\nFloatStorage\n" + CHANGE, "damaged"),
    ],
    ids=["deep", "cycle", "lists", "no name", "list as state", "index", "bytes", "text", "function", "type"],
)
def test_invalid_trees_are_refused(tmp_path: Path, program: bytes, said: str) -> None:
    _refused(_archive(tmp_path / "w.pt", program), said)


def test_a_tree_that_unfolds_without_end_is_refused(tmp_path: Path, module_class: type) -> None:
    node = _module(module_class)
    for _ in range(40):
        node = _module(module_class, a=node, b=node)
    _refused(_archive(tmp_path / "w.pt", _program(node)), "too deeply")
