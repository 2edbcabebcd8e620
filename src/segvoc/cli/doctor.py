"""`segvoc doctor`: versions, engines, devices and folders, and a check that the shipped model labels an image."""

import json
import os
import platform
import re
import shutil
import sys
import tempfile
from importlib import metadata
from pathlib import Path

import click

from segvoc.cli.output import echo, example
from segvoc.errors import install_line
from segvoc.runtime.version import __version__

VARIABLES = ("CUDA_VISIBLE_DEVICES", "HF_HOME", "HF_HUB_OFFLINE", "OMP_NUM_THREADS", "SEGVOC_CACHE")
"""Environment variables that change how segvoc runs; none is secret."""


@click.command("doctor", epilog=example("segvoc doctor"))
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON.")
@click.pass_context
def doctor_command(context: click.Context, as_json: bool) -> None:
    """Print what a bug report needs: versions, engines, devices and folders.

    Also labels a small image with the shipped model. The exit code is 1 if that fails.
    """
    from segvoc.runtime.hardware import cpu_name, installed_memory
    from segvoc.runtime.process_settings import cores
    from segvoc.storage.files import cache_folder

    failure, cache = _failure_of_tiny(), cache_folder()
    asked = [line for segvoc in metadata.distributions(name="segvoc") for line in segvoc.requires or []]
    names = [re.split(r"[^\w.-]", line)[0] for line in asked if not re.search("extra == .(dev|docs).", line)]
    facts = {
        "segvoc": {"version": __version__, "tiny": failure or "self-test passed"},
        "machine": {
            "system": platform.platform(),
            "Python": f"{platform.python_version()} ({sys.executable})",
            "processor": f"{cpu_name()}, {cores()} cores",
            "memory": f"{memory / 1e9:.1f} GB" if (memory := installed_memory()) else "unknown",
        },
        "engines": _engines(),
        "packages": {name: metadata.version(name) for name in names if any(metadata.distributions(name=name))},
        "folders": {
            "working directory": _described(Path.cwd()),
            "temporary files": _described(Path(tempfile.gettempdir())),
            "encoded words (SEGVOC_CACHE)": "off" if cache is None else _described(cache),
            "fetched weights (HF_HOME)": _described(Path(os.environ.get("HF_HOME") or "~/.cache/huggingface")),
        },
        "variables": {name: os.environ[name] for name in VARIABLES if name in os.environ},
    }
    if as_json:
        echo(json.dumps(facts))
    else:
        for section, rows in facts.items():
            width = max(map(len, rows), default=0)
            echo("\n".join([section, *(f"  {name:{width}}  {value}" for name, value in rows.items()), ""]))
    context.exit(1 if failure else 0)


def _failure_of_tiny() -> str | None:
    import numpy as np

    from segvoc.models.shipped import open_tiny

    try:
        open_tiny().segment(np.full((64, 64, 3), 127, np.uint8), ["cat", "wall"])
    except Exception as error:  # whatever a broken installation raises
        return f"can't label an image ({type(error).__name__}: {error})"
    return None


def _engines() -> dict[str, str]:
    """ONNX Runtime and PyTorch with their devices."""
    engines = {}
    try:
        import onnxruntime

        engines["ONNX Runtime"] = f"{onnxruntime.__version__} ({', '.join(onnxruntime.get_available_providers())})"
    except Exception as error:  # whatever a broken installation raises
        engines["ONNX Runtime"] = f"can't be imported ({type(error).__name__}: {error})"
    try:
        import torch

        devices = [torch.cuda.get_device_properties(number) for number in range(torch.cuda.device_count())]
        gpus = [f"{device.name}, {device.total_memory / 1e9:.0f} GB" for device in devices]
        gpus += ["Apple's, through MPS"] if torch.backends.mps.is_available() else []
        built = f"CUDA {torch.version.cuda}" if torch.version.cuda else "CPUs"
        engines |= {"PyTorch": f"{torch.__version__} (built for {built})", "GPUs": "; ".join(gpus) or "none"}
    except Exception as error:
        engines["PyTorch"] = f"can't be imported ({type(error).__name__}: {error})"
        if isinstance(error, ModuleNotFoundError) and error.name == "torch":
            rest = f"tiny and exported models run by ONNX Runtime; {install_line('torch')} brings the other networks"
            engines["PyTorch"] = f"isn't installed: {rest}"
    return engines


def _described(folder: Path) -> str:
    folder = folder.expanduser().absolute()
    existing = next(parent for parent in (folder, *folder.parents) if parent.is_dir())
    room = "" if os.access(existing, os.W_OK | os.X_OK) else ", can't be written"
    return f"{folder} ({shutil.disk_usage(existing).free / 1e9:.1f} GB free{room})"
