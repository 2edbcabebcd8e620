"""What ships with segvoc is read once in a process of the tests: hundreds of them label an image with tiny."""

import os
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest


def keep_sessions(patch: pytest.MonkeyPatch) -> None:
    """Share the sessions of ONNX Runtime among all models of a process."""
    from segvoc.exported import onnx_program
    from segvoc.exported.shipped import SHIPPED

    plain, engine = onnx_program.OnnxProgram._session, onnx_program.onnxruntime.InferenceSession
    kept: dict[tuple[object, ...], Any] = {}

    def session(program: onnx_program.OnnxProgram) -> Any:
        # a test may have put another engine in the place of ONNX Runtime's
        if program.file.parent != SHIPPED or onnx_program.onnxruntime.InferenceSession is not engine:
            return plain(program)
        key = (os.getpid(), program.file.name, program.threads or onnx_program.onnx_threads())
        if key not in kept:
            kept[key] = plain(program)
        return kept[key]

    patch.setattr(onnx_program.OnnxProgram, "_session", session)


def keep_weights(patch: pytest.MonkeyPatch) -> None:
    """Copy the weights of tiny instead of reading and unpacking them again."""
    if find_spec("torch") is None:
        return
    from segvoc.models import taught_weights

    plain, folder = taught_weights.read_weights, taught_weights.WEIGHTS
    kept: dict[str, Any] = {}

    def read(path: Path) -> Any:
        if path.parent != folder:
            return plain(path)
        if path.name not in kept:
            kept[path.name] = plain(path)
        file = kept[path.name]
        return replace(file, tensors={name: value.clone() for name, value in file.tensors.items()})

    patch.setattr(taught_weights, "read_weights", read)
