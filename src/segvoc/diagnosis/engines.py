"""The libraries that run networks: whether they can be imported, and which devices they find."""

import warnings
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from segvoc.errors import one_line

NVIDIA_DRIVER = Path("/proc/driver/nvidia/version")
"""What says that a driver for NVIDIA's GPUs is loaded."""


@dataclass(frozen=True, kw_only=True)
class Engines:
    """What was found."""

    facts: dict[str, str] = field(default_factory=dict)
    """By name."""
    problems: list[str] = field(default_factory=list)
    """One line each."""


def find_engines() -> Engines:
    """Import PyTorch and ONNX Runtime, and ask them for their devices."""
    found = Engines()
    _onnx_runtime(found)
    if find_spec("torch") is None:
        found.facts["PyTorch"] = 'not installed; networks other than tiny need it: pip install "segvoc[torch]"'
    elif _imports("torch", "PyTorch", found):
        _torch(found)
        if find_spec("torchvision") is not None:
            _imports("torchvision", "torchvision", found)
    return found


def _imports(module: str, name: str, found: Engines) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import_module(module)
    except Exception as error:  # whatever a broken installation raises
        found.facts[name] = "can't be imported"
        fix = "install versions that belong together: pip install --upgrade --force-reinstall torch torchvision"
        if module == "onnxruntime":
            fix = "install it again: pip install --force-reinstall onnxruntime"
        found.problems.append(f"{name} can't be imported ({one_line(error)}); {fix}")
        return False
    return True


def _onnx_runtime(found: Engines) -> None:
    if find_spec("onnxruntime") is None or not _imports("onnxruntime", "ONNX Runtime", found):
        return
    import onnxruntime

    providers = ", ".join(name.removesuffix("ExecutionProvider") for name in onnxruntime.get_available_providers())
    found.facts["ONNX Runtime"] = f"{onnxruntime.__version__} ({providers})"


def _torch(found: Engines) -> None:
    import torch

    from segvoc.hardware import bfloat16_instructions

    built = torch.version.cuda
    found.facts["PyTorch"] = f"{torch.__version__} (built for {f'CUDA {built}' if built else 'CPUs'})"
    found.facts["bfloat16 on the CPU"] = bfloat16_instructions() or "converted to float32, which is slow"
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        usable = torch.cuda.is_available()
    if usable:
        for number in range(torch.cuda.device_count()):
            about = torch.cuda.get_device_properties(number)
            found.facts[f"GPU {number}"] = f"{about.name}, {about.total_memory / 1e9:.0f} GB"
        return
    if torch.backends.mps.is_available():
        found.facts["GPU"] = "Apple's, through MPS"
        return
    found.facts["GPU"] = "none that PyTorch can use"
    if NVIDIA_DRIVER.exists():
        why = one_line(said[0].message) if said and isinstance(said[0].message, Warning) else "it finds no device"
        if built is None:
            why = "it is built for CPUs alone"
        found.problems.append(
            f"a driver for NVIDIA's GPUs is loaded, but PyTorch can't use it ({why}); look at CUDA_VISIBLE_DEVICES and "
            "nvidia-smi, and install the PyTorch that fits the driver"
        )
