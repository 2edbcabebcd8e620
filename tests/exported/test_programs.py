"""Programs of exported models: loaded once by however many threads call first, pickled, and copied."""

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

from segvoc.exported import onnx_program
from segvoc.exported.onnx_program import OnnxProgram
from segvoc.exported.shipped import open_tiny
from tests.images import squares

THREADS = 4


def _call_at_once(program: OnnxProgram) -> None:
    start = Barrier(THREADS)

    def call(_: int) -> None:
        start.wait()
        program({})

    with ThreadPoolExecutor(THREADS) as threads:
        list(threads.map(call, range(THREADS)))


class _Loading:
    """Counts calls; each waits a moment for another one to come."""

    def __init__(self) -> None:
        self.calls, self._two = 0, Barrier(2)

    def __call__(self, *_: object, **__: object) -> object:
        self.calls += 1
        try:
            self._two.wait(0.3)
        except BrokenBarrierError:
            pass
        return self.loaded

    def loaded(self, inputs: object) -> dict[str, object]:
        return {}


def test_threads_that_come_first_load_one_session(monkeypatch: pytest.MonkeyPatch) -> None:
    loading = _Loading()
    session = SimpleNamespace(get_inputs=list, get_outputs=list, run=lambda *_: [])
    monkeypatch.setattr(onnx_program.onnxruntime, "InferenceSession", lambda *_, **__: loading() and session)
    _call_at_once(OnnxProgram(Path("program.onnx")))
    assert loading.calls == 1


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


@pytest.mark.parametrize("is_used", [False, True])
def test_an_exported_model_is_pickled_and_copied(is_used: bool) -> None:
    model, image = open_tiny(), squares(60, 90, 0)
    if is_used:
        model.encode(["cat"])
    expected = model.segment(image, ["cat", "wall"])
    for other in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        found = other.segment(image, ["cat", "wall"])
        np.testing.assert_array_equal(found.labels, expected.labels)
        np.testing.assert_array_equal(found.confidence, expected.confidence)
