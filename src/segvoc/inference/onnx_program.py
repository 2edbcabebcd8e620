"""Programs run by ONNX Runtime, and programs in two halves, the second of which runs per class."""

import os
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast
from weakref import WeakSet

import numpy as np
import onnxruntime

from segvoc.errors import CheckpointError, SegvocError, one_line
from segvoc.runtime.process_settings import cores, onnx_threads
from segvoc.storage.files import SHIPPED

RunProgram = Callable[[Mapping[str, Any]], dict[str, np.ndarray]]
"""A program of an exported model: maps named arrays to named arrays."""

OF_CLASSES = "class_"
"""Name prefixes of arrays whose second axis is the classes."""

_shipped: dict[tuple[Path, int], onnxruntime.InferenceSession] = {}
"""The sessions of the shipped programs by their files and threads; they stay loaded.

Each model that uses them, such as taught words, would take 180 MB and 0.2 s of its own.
"""

_alive: WeakSet[onnxruntime.InferenceSession] = WeakSet()
"""All sessions that this process has loaded."""

_inherited: list[onnxruntime.InferenceSession] = []
"""The sessions of the parent, in a forked child: to free one would wait for threads that don't exist there."""

_opening = threading.Lock()
"""Guards all of these, so that threads load a file once."""


def _forget_the_parents() -> None:
    global _opening
    _opening = threading.Lock()  # a thread of the parent may hold it
    _inherited.extend(_alive)
    _alive.clear()
    _shipped.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_the_parents)


def _opened(file: Path, threads: int) -> onnxruntime.InferenceSession:
    """The session of an ONNX file; all programs of a shipped file share it."""
    with _opening:
        session = _shipped.get((file, threads)) or _loaded(file, threads)
        _alive.add(session)
        if file.is_relative_to(SHIPPED):
            _shipped[file, threads] = session
        return session


def _loaded(file: Path, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # spinning threads would take cores from other programs and from segvoc's computations
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3  # only errors, which are also raised
    # memory planning takes longer than the rest of loading, and saves neither memory nor time
    options.enable_mem_reuse = False
    try:
        return onnxruntime.InferenceSession(os.fspath(file), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        reason = str(error).splitlines()[0]
        raise CheckpointError(f"{str(file)!r} is damaged; export the model again ({reason})") from None


class OnnxProgram:
    """An ONNX file, loaded at its first run, and again after a fork; by default with `onnx_threads` threads."""

    def __init__(self, file: Path, threads: int = 0) -> None:
        self.file, self.threads = file, threads
        self._session: tuple[int, onnxruntime.InferenceSession] | None = None
        """The session, and the process that has loaded it."""

    def __reduce__(self) -> tuple[object, ...]:
        return OnnxProgram, (self.file, self.threads)  # copies load the file again

    def __call__(self, inputs: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Run the program; ignores other inputs. `CheckpointError`: it is damaged, fails, or has unusable outputs."""
        try:
            session = self.session()
            fed = {one.name: np.asarray(inputs[one.name]) for one in session.get_inputs()}
            found = cast(list[np.ndarray], session.run(None, fed))
        except SegvocError:
            raise
        except Exception as error:  # ONNX Runtime has many error types
            raise CheckpointError(
                f"{str(self.file)!r} doesn't run on what segvoc gives it ({one_line(error)}); give it more "
                "memory, or export the model again"
            ) from None
        outputs = dict(zip((one.name for one in session.get_outputs()), found, strict=True))
        if problem := _unfit_output(outputs):
            raise CheckpointError(f"{str(self.file)!r} gives {problem}; export the model again")
        return outputs

    def session(self) -> onnxruntime.InferenceSession:
        """The session of this process; `CheckpointError` if the file is damaged."""
        if self._session is None or self._session[0] != os.getpid():
            self._session = os.getpid(), _opened(self.file, self.threads or onnx_threads())
        return self._session[1]


def _unfit_output(outputs: Mapping[str, np.ndarray]) -> str:
    """Why outputs are unusable; empty if they are valid."""
    # logits are maps of words, or a click's single map
    for name, axes, kind in (("embeddings", (2,), "f"), ("logits", (2, 4), "f"), ("kept", (2,), "i")):
        if name in outputs and (outputs[name].ndim not in axes or outputs[name].dtype.kind != kind):
            return f"{name} of shape {outputs[name].shape} and type {outputs[name].dtype}"
    if "logits" not in outputs or "kept" not in outputs:
        return ""
    fits = outputs["kept"].shape == outputs["logits"].shape[:2]
    return "" if fits else f"logits of shape {outputs['logits'].shape} for {outputs['kept'].shape} classes"


class WordsApart:
    """Runs both halves as a single program: `shared` selects the classes, and computes what they share.

    `each` computes the logits of a class; it is called by `threads` threads (0: `onnx_threads`, or one per core), so it
    should use only one.
    """

    def __init__(self, shared: RunProgram, each: RunProgram, threads: int) -> None:
        self._shared, self._each, self._threads = shared, each, threads

    def __call__(self, inputs: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Compute "logits" (B K h w) and "kept" (B K) from the inputs of the whole program."""
        found = self._shared(inputs)
        kept = found.pop("kept")

        def logits(number: int) -> np.ndarray:
            one = slice(number, number + 1)
            parts = {name: value[:, one] for name, value in found.items() if name.startswith(OF_CLASSES)}
            return self._each(found | parts)["logits"]

        numbers, threads = range(kept.shape[1]), min(self._threads or onnx_threads() or cores(), kept.shape[1])
        # a pool per call: a persistent pool's threads would be missing after a fork
        with ThreadPoolExecutor(threads) as pool:
            return {"logits": np.concatenate(list(pool.map(logits, numbers)), axis=1), "kept": kept}
