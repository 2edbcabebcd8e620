"""What only newer versions of PyTorch can do, for tests that also run with the oldest one."""

from importlib.util import find_spec

import pytest
import torch
from packaging.version import Version

needs_export = pytest.mark.skipif(find_spec("onnx_ir") is None, reason="the extra export isn't installed")

needs_light_imports = pytest.mark.skipif(
    Version(torch.__version__) < Version("2.10"), reason="older PyTorch versions import their compiler and sympy"
)
