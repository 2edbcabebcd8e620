"""`torch.export` archives as programs that PyTorch runs, without the code of the network."""

import logging
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from segvoc.errors import CheckpointError, one_line
from segvoc.process_settings import check_fork

COMPILED = ".compiled.pt2"
"""Ending of the package of machine code beside an archive, in place of ".pt2"."""

_loading = threading.Lock()
"""One program is loaded at a time, so that threads that run it first share it."""


class TorchProgram:
    """An archive, or the machine code beside it if this is such a machine; loaded when it first runs.

    Args:
        file: the archive.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self._run: Callable[[dict[str, Tensor]], dict[str, Tensor]] | None = None

    def __reduce__(self) -> tuple[object, ...]:
        """Copies load the file again."""
        return TorchProgram, (self.file,)

    def __call__(self, inputs: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Run the program, with exactly the inputs that it has.

        Raises:
            CheckpointError: this PyTorch can't open the file.
            UsageError: see `check_fork`.
        """
        check_fork()
        with _loading:
            if self._run is None:
                self._run = self._loaded()
        # programs are traced with their inputs sorted by name
        tensors = {name: torch.from_numpy(np.require(inputs[name], requirements="W")) for name in sorted(inputs)}
        with torch.no_grad():
            return {name: value.numpy() for name, value in self._run(tensors).items()}

    def _loaded(self) -> Callable[[dict[str, Tensor]], dict[str, Tensor]]:
        compiled = _compiled_here(self.file.with_suffix(COMPILED))
        if compiled is not None:
            return compiled
        try:
            return torch.export.load(self.file).module()
        except Exception as error:
            raise CheckpointError(
                f"PyTorch {torch.__version__} can't open {str(self.file)!r}; export the model again ({one_line(error)})"
            ) from None


def _compiled_here(package: Path) -> Callable[[dict[str, Tensor]], dict[str, Tensor]] | None:
    """The machine code of a package, if there is one for this kind of processor and this PyTorch."""
    if not package.is_file():
        return None
    log = logging.getLogger("torch.export.pt2_archive")
    level = log.level
    log.setLevel(logging.ERROR)  # it warns of other processors, whose code isn't used here
    try:
        from torch._inductor import aoti_load_package  # here, since this takes seconds to import
        from torch._inductor.codecache import get_device_information

        compiled = aoti_load_package(package)
        made_for = compiled.get_metadata()
        fits = all(made_for.get(key) == value for key, value in get_device_information("cpu").items())
    except Exception:  # of another PyTorch, for example
        return None
    finally:
        log.setLevel(level)
    return compiled if fits else None
