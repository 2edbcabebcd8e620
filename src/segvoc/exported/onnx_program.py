"""ONNX files as programs that ONNX Runtime runs."""

import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnxruntime

from segvoc.errors import CheckpointError
from segvoc.process_settings import onnx_threads

_loading = threading.Lock()
"""One program is loaded at a time, so that threads that run it first share its session."""


def _renew_lock() -> None:
    global _loading
    _loading = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)  # a thread that the child doesn't have may hold it


class OnnxProgram:
    """An ONNX file, loaded when it first runs, and again in a process that was forked: threads aren't.

    Args:
        file: the file.
        threads: threads that it computes with; 0: as many as `onnx_threads` says.
    """

    def __init__(self, file: Path, threads: int = 0) -> None:
        self.file, self.threads = file, threads
        self._sessions: dict[int, onnxruntime.InferenceSession] = {}
        """By process: freeing a parent's session would wait for its threads, which a forked process doesn't have."""

    def __reduce__(self) -> tuple[object, ...]:
        """Copies load the file again."""
        return OnnxProgram, (self.file, self.threads)

    def __call__(self, inputs: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Run the program; inputs that it doesn't have are ignored.

        Raises:
            CheckpointError: the file is damaged.
        """
        session = self._loaded()
        fed = {one.name: np.asarray(inputs[one.name]) for one in session.get_inputs()}
        outputs = cast(list[np.ndarray], session.run(None, fed))
        return dict(zip((one.name for one in session.get_outputs()), outputs, strict=True))

    def _loaded(self) -> onnxruntime.InferenceSession:
        if (loaded := self._sessions.get(os.getpid())) is not None:
            return loaded
        with _loading:
            if os.getpid() not in self._sessions:
                self._sessions[os.getpid()] = self._session()
            return self._sessions[os.getpid()]

    def _session(self) -> onnxruntime.InferenceSession:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads or onnx_threads()
        # waiting threads that spin take the cores from other programs, and from what segvoc computes itself
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3  # errors only: they are raised as well
        # planning which values share memory takes longer than loading all else; memory and speed are the same
        options.enable_mem_reuse = False
        try:
            return onnxruntime.InferenceSession(os.fspath(self.file), options, providers=["CPUExecutionProvider"])
        except Exception as error:
            reason = str(error).splitlines()[0]
            raise CheckpointError(f"{str(self.file)!r} is damaged; export the model again ({reason})") from None
