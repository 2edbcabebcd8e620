"""Hatchling's hook: a wheel or source archive of segvoc-annotate that lacks a file of the page isn't built."""

import gzip
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PAGE = "src/segvoc_annotate/web"

RUNTIME = "runtime.json"
"""Names the page's WebAssembly file, and its digest."""

WASM = "ort-wasm-simd-threaded.wasm.gz"

FILES = (
    *("app.js", "backends.json", "clicks.js", "example.jpg", "icon.svg", "index.html", "licenses.txt"),
    *("ort-wasm-simd-threaded.mjs", WASM, RUNTIME, "style.css", "work.js", "worker.js"),
)
"""The built page, which `make web` writes."""


def problems(root: Path) -> Iterator[str]:
    """A line for each file of the page that a wheel would lack.

    Args:
        root: the folder of pyproject.toml: `annotate` in a clone, or an unpacked source archive.
    """
    page = root / PAGE
    for name in FILES:
        if not (page / name).is_file():
            yield f"{PAGE}/{name} is missing: run 'make web' (it needs npm)"
    if not (page / RUNTIME).is_file() or not (page / WASM).is_file():
        return
    described = json.loads((page / RUNTIME).read_text(encoding="utf-8"))
    try:
        content = gzip.decompress((page / WASM).read_bytes())
    except (OSError, EOFError) as error:
        yield f"{PAGE}/{WASM} can't be read ({error}): run 'make web'"
        return
    if hashlib.sha256(content).hexdigest() != described["sha256"]:
        yield f"{PAGE}/{WASM} is not the file of {described['package']}: run 'make web'"


class CompletePage(BuildHookInterface[Any]):
    """Ends the build where a file is missing, with one line for the first one."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Look before anything is built."""
        if found := list(problems(Path(self.root))):
            more = f" ({len(found) - 1} more are missing)" if found[1:] else ""
            self.app.abort(f"error: the {self.target_name} would lack a file: {found[0]}{more}")
