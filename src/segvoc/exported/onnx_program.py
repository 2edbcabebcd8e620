"""ONNX files as programs that ONNX Runtime runs."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnxruntime

from segvoc.errors import CheckpointError
from segvoc.process_settings import onnx_spins, onnx_threads


class OnnxProgram:
    """An ONNX file, loaded when it first runs, and again in a process that was forked: threads aren't.

    Args:
        file: the file.
        threads: threads that it computes with; 0: see `segvoc.threads`.
    """

    def __init__(self, file: Path, threads: int = 0) -> None:
        self.file, self.threads = file, threads
        self._session: onnxruntime.InferenceSession | None = None
        self._of_parents: list[onnxruntime.InferenceSession | None] = []
        self._process = 0

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
        if self._session is None or self._process != os.getpid():
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = self.threads or onnx_threads()
            if not onnx_spins():
                options.add_session_config_entry("session.intra_op.allow_spinning", "0")
            # threads that still spin after a run take a core from whatever comes next
            options.add_session_config_entry("session.force_spinning_stop", "1")
            options.log_severity_level = 3  # errors only: they are raised as well
            # planning which values share memory takes longer than loading all else; memory and speed are the same
            options.enable_mem_reuse = False
            # freeing a parent's session waits for its threads, which this process doesn't have
            self._of_parents.append(self._session)
            try:
                self._session = onnxruntime.InferenceSession(
                    os.fspath(self.file), options, providers=["CPUExecutionProvider"]
                )
            except Exception as error:
                reason = str(error).splitlines()[0]
                raise CheckpointError(f"{str(self.file)!r} is damaged; export the model again ({reason})") from None
            self._process = os.getpid()
        return self._session
