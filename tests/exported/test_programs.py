"""Programs of exported models: loaded once by however many threads call first, pickled, and copied."""

import contextlib
import copy
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier, BrokenBarrierError
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pytest

from segvoc.exported.shipped import open_tiny
from segvoc.inference import onnx_program
from segvoc.inference.onnx_program import OnnxProgram
from tests.images import squares

THREADS = 4


def test_threads_that_come_first_load_one_session(monkeypatch: pytest.MonkeyPatch) -> None:
    calls, two = [], Barrier(2)

    def loading(*_: object, **__: object) -> object:
        calls.append(None)
        with contextlib.suppress(BrokenBarrierError):
            two.wait(0.3)  # for another thread to come
        return SimpleNamespace(get_inputs=list, get_outputs=list, run=lambda *_: [])

    monkeypatch.setattr(onnx_program.onnxruntime, "InferenceSession", loading)
    program, start = OnnxProgram(Path("program.onnx")), Barrier(THREADS)
    with ThreadPoolExecutor(THREADS) as threads:
        list(threads.map(lambda _: (start.wait() and None) or program({}), range(THREADS)))
    assert len(calls) == 1


def test_waiting_threads_leave_the_cores_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[onnxruntime.SessionOptions] = []
    plain = onnxruntime.InferenceSession

    def noted(file: str, options: onnxruntime.SessionOptions, **more: Any) -> onnxruntime.InferenceSession:
        made.append(options)
        return plain(file, options, **more)

    monkeypatch.setattr(onnx_program.onnxruntime, "InferenceSession", noted)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    open_tiny().encode(["cat"])
    assert made[0].get_session_config_entry("session.intra_op.allow_spinning") == "0"
    assert made[0].intra_op_num_threads == 3


def test_an_exported_model_is_pickled_and_copied() -> None:
    model, image = open_tiny(), squares(60, 90, 0)
    expected = model.segment(image, ["cat", "wall"])
    for other in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        found = other.segment(image, ["cat", "wall"])
        np.testing.assert_array_equal(found.labels, expected.labels)
        np.testing.assert_array_equal(found.confidence, expected.confidence)
