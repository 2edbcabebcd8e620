"""The package as a whole: what importing it costs, which names and shapes it has, and that it needs nothing that
Windows lacks (taken away here; its own calls run in its own jobs)."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import jaxtyping
import pytest
import torch

import segvoc
from segvoc.layers.maps import resized
from tests.processes import printed

SAMPLES = Path(__file__).parents[1] / "samples"


def test_importing_is_cheap() -> None:
    code = "import sys, segvoc; print(*sorted({m.partition('.')[0] for m in sys.modules} - {'segvoc'}))"
    loaded = printed("-c", code).split()
    assert not {"torch", "numpy", "PIL", "timm", "open_clip", "tokenizers", "safetensors", "click"} & set(loaded)


def test_onnx_runtime_sends_no_telemetry(tmp_path):
    # It stays silent by itself where CI is set. Elsewhere it begins with an identifier in the user's home.
    unset = ("CI", "ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME")
    environment = {name: value for name, value in os.environ.items() if name not in unset}
    code = "import segvoc, onnxruntime"
    subprocess.run([sys.executable, "-c", code], env={**environment, "HOME": str(tmp_path)}, check=True)
    assert list(tmp_path.rglob("*")) == []


UNNEEDED = "IPython huggingface_hub matplotlib open_clip scipy sympy timm torch._dynamo torch._inductor torchvision"
"""What labeling with `tiny` does without; most of these take longer to import than it takes to label an image."""


@pytest.mark.skipif(torch.__version__ < "2.10", reason="older PyTorch versions import their compiler and sympy")
def test_labeling_with_tiny_loads_no_library_that_it_does_without(tmp_path: Path) -> None:
    code = """
import sys
from segvoc.cli import main
try: main()
finally: print("loaded:", *sys.modules)
"""
    # in float32, it would run without PyTorch
    call = ["segment", SAMPLES / "rocket.jpg", "--words", "sky, rocket", "--out", tmp_path, "--dtype", "bfloat16"]
    loaded = set(printed("-c", code, *call).partition("loaded: ")[2].split())
    assert (tmp_path / "rocket.png").is_file() and "segvoc.encoders.efficientnet" in loaded
    assert not loaded.intersection(UNNEEDED.split())


def test_every_public_name_is_there_documented_and_hidden_by_no_folder() -> None:
    assert set(segvoc.__all__) <= set(dir(segvoc))
    for name in segvoc.__all__:
        assert getattr(segvoc, name).__doc__, name
        assert find_spec(f"segvoc.{name}") is None  # else importing a module of it would replace the function


def test_a_wrong_shape_is_refused() -> None:
    assert resized(torch.zeros(2, 3, 4, 5), (8, 10)).shape == (2, 3, 8, 10)
    with pytest.raises(jaxtyping.TypeCheckError):
        resized(torch.zeros(2, 4, 5), (8, 10))


WITHOUT = """
import os, signal, sys
for name in ("fcntl", "resource", "pwd", "grp"):
    sys.modules[name] = None
for module, names in ((signal, ("SIGKILL", "SIGHUP")), (os, ("getloadavg", "nice", "setpgid", "sched_getaffinity"))):
    for name in names:
        if hasattr(module, name):
            delattr(module, name)
import multiprocessing
multiprocessing.get_all_start_methods = lambda: ["spawn"]
"""


def test_labeling_and_a_journal_need_nothing_of_it(tmp_path: Path) -> None:
    code = f"""{WITHOUT}
import importlib
for name in ("labeling.run", "storage.journal", "cli.doctor"):
    importlib.import_module(f"segvoc.{{name}}")
from segvoc.runtime.process_settings import WORKER_START, exit_reason
assert WORKER_START == "spawn" and "killed" in exit_reason(-9)
from segvoc.cli import main
main()
"""
    printed("-c", code, "segment", SAMPLES / "rocket.jpg", "--words", "sky, rocket", "--out", tmp_path)
    assert (tmp_path / "rocket.png").is_file()


@pytest.mark.slow
def test_every_module_imports_without_it() -> None:
    code = f"""{WITHOUT}
import importlib, pkgutil, segvoc
for module in pkgutil.walk_packages(segvoc.__path__, "segvoc."):
    if module.name not in ("segvoc.labeling.batch.engine", "segvoc.serving.ray_app"):  # on Linux, Ray needs some of it
        importlib.import_module(module.name)
"""
    printed("-c", code)
