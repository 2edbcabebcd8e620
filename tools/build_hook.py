"""Hatchling's hook: a wheel or source archive that lacks a file isn't built.

What is made is listed here with the command that makes it; what git tracks below the package besides must be there too.
An editable installation is left alone: it reads the clone.
"""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PACKAGE = "src/segvoc"

MADE = {
    "make tiny-programs": (
        "weights/tiny_decide_colors.onnx",
        "weights/tiny_decide_differ.onnx",
        "weights/tiny_decide_offsets.onnx",
        "weights/tiny_decide_pixels.onnx",
        "weights/tiny_decide_words.onnx",
        "weights/tiny_image.onnx",
        "weights/tiny_segvoc.json",
        "weights/tiny_text.onnx",
        "weights/tiny_words.onnx",
        "weights/tiny_words_each.onnx",
        "weights/tiny_words_shared.onnx",
    ),
    "make tiny": (
        "weights/clip_words.txt",
        "weights/minilm_l6.safetensors",
        "weights/minilm_l6_tokenizer.json",
        "weights/tiny.json",
        "weights/tiny.safetensors",
    ),
    "make clicks": ("weights/clicks.json", "weights/clicks.onnx", "weights/clicks_image.onnx"),
    "make edges": ("weights/edge_weights.onnx", "weights/edges.json", "weights/edges.onnx"),
}
"""What is made, by the command that makes it; paths below the package."""


def problems(root: Path) -> Iterator[str]:
    """A line for each file that a wheel of a clone or source archive would lack, with the command that makes it."""
    made = {f"{PACKAGE}/{name}": command for command, names in MADE.items() for name in names}
    missing = [*(name for name in made if not (root / name).is_file()), *sorted({*deleted(root)} - made.keys())]
    for name in missing:
        yield f"{name} is missing: run '{made.get(name, f'git restore {name}')}'"


def deleted(root: Path) -> list[str]:
    """What git tracks below the package and isn't there; nothing in a source archive, which is no repository."""
    if not (root / ".git").exists() or shutil.which("git") is None:
        return []
    command = ["git", "-C", str(root), "ls-files", "-z", "--deleted", "--", PACKAGE]
    listed = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=False)
    return [name for name in listed.stdout.split("\0") if name]


class CompletePackage(BuildHookInterface[Any]):
    """Ends the build where a file is missing, with one line for the first one."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Look before anything is built."""
        if self.target_name == "wheel" and version == "editable":
            return
        if found := list(problems(Path(self.root))):
            more = f" ({len(found) - 1} more are missing)" if found[1:] else ""
            self.app.abort(f"error: the {self.target_name} would lack a file: {found[0]}{more}")
