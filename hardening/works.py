"""The commands that are killed, on small data: how each begins, goes on, and what its result is."""

import json
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from segvoc.checkpoints.files import write_weights
from segvoc.cli import main
from segvoc.cli.model_options import ModelOptions
from segvoc.export.folders import folder_in_the_making
from segvoc.exported.shipped import copy_tiny
from tests.cli.command import draw_photos
from tests.data.replicas import pack, replica
from tests.evaluation.drawn_sets import arguments, draw_set
from tests.inference.small_network import small_segmenter
from tests.training.runs import drawn_images, losses, open_run

VARYING = {"seconds", "latency_seconds", "peak_memory_gb", "run", "sessions", "read", "written", "generated", "date"}
"""Entries of JSON files that tell how a call went, not what it gave."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """A command on small data."""

    name: str
    set_up: Callable[[], object]
    """Makes the inputs in the working folder."""
    call: Callable[[], object]
    """Begins the work or goes on with it, in the working folder, as the documentation says."""
    result: Callable[[], dict[str, Any]]
    """What it gave, by names; also of a part of it."""


def command(*words: str) -> None:
    """Run the command line in this process, with a small network in place of models."""
    ModelOptions.load = ModelOptions.open = lambda self, *_, **__: small_segmenter()  # type: ignore[method-assign]
    sys.argv = ["segvoc", *words]
    main()


def _files(folder: str, *hidden: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for path in sorted(Path(folder).rglob("*")):
        name = path.as_posix()
        if not path.is_file() or path.name.startswith(".segvoc-") or any(piece in hidden for piece in path.parts):
            continue
        content = path.read_bytes()
        found[name] = _without_varying(json.loads(content)) if path.suffix == ".json" else content
    return found


def _without_varying(content: object) -> object:
    if isinstance(content, dict):
        return {name: _without_varying(value) for name, value in content.items() if name not in VARYING}
    return [_without_varying(value) for value in content] if isinstance(content, list) else content


def _segment() -> None:
    command("segment", "in", "--words", "cat, sofa, wall", "--out", "out", "--resume", "--device", "cpu")


def _evaluate() -> None:
    command("evaluate", "tiny", *arguments(Path("set")), "--out", "out", "--device", "cpu")


def _scores() -> dict[str, Any]:
    return {name: one for name, one in _files("out", "journal").items() if name.endswith("report.json")}


def _draw_benchmark() -> None:
    replica("coco-stuff", Path("root"))
    pack("coco-stuff", Path("root"))


def _prepare() -> None:
    command("prepare", "coco-stuff", "--data", "root", "--partial", "--jobs", "1")


def _prepared() -> dict[str, Any]:
    return {name: one for name, one in _files("root").items() if not name.endswith((".journal", ".unpacking", ".zip"))}


def _train() -> None:
    images = drawn_images(Path("drawn"), count=2) if not Path("drawn").exists() else _drawn()
    open_run(images, Path("out"), resume=True, steps=4, save_every=1, batch=2, recompute=False, chunk=0).run()


def _drawn() -> Any:
    from segvoc.data.labelled_images import LabelledImages

    return LabelledImages.from_folders("drawn/images", "drawn/labels", "drawn/classes.json")


def _trained() -> dict[str, Any]:
    state = torch.load("out/checkpoint.pt", weights_only=True) if Path("out/checkpoint.pt").exists() else {}
    weights = {name: value.tolist() for name, value in state.get("weights", {}).items()}
    steps = losses(Path("out")) if Path("out").exists() else []
    # a checkpoint is whole by itself, and the metrics up to its step belong to it
    return {"weights": weights, **{f"step {step}": rest for step, *rest in steps}} if state else {}


def _convert() -> None:
    # what `segvoc convert` writes; reading real checkpoints takes gigabytes
    tensors = {f"t{number}": torch.full((64, 64), float(number)) for number in range(40)}
    write_weights("out/model.safetensors", tensors, "tiny", origin="a test")


def _export() -> None:
    with folder_in_the_making(Path("out"), page=False, runtime=None) as folder:
        copy_tiny(folder)


def _exported() -> dict[str, Any]:
    return {name: len(content) if isinstance(content, bytes) else content for name, content in _files("out").items()}


def import_all() -> None:
    """Import what the works need, so that their children needn't."""
    for name in ("cli.segment", "cli.evaluate", "cli.prepare", "evaluation.runner", "labelling.labelling"):
        import_module(f"segvoc.{name}")
    for name in ("data.preparation.prepare", "evaluation.report.report", "imaging.overlay", "evaluation.report.page"):
        import_module(f"segvoc.{name}")


WORKS = (
    Work(
        name="segment",
        set_up=lambda: draw_photos("in/a.png", "in/b.jpg", "in/sub/c.png"),
        call=_segment,
        result=lambda: _files("out", ".segvoc"),
    ),
    Work(name="evaluate", set_up=lambda: draw_set(Path("set"), 3), call=_evaluate, result=_scores),
    Work(name="prepare", set_up=_draw_benchmark, call=_prepare, result=_prepared),
    Work(name="train", set_up=lambda: drawn_images(Path("drawn"), count=2), call=_train, result=_trained),
    Work(name="convert", set_up=lambda: Path("in").mkdir(), call=_convert, result=lambda: _files("out")),
    Work(name="export", set_up=lambda: Path("in").mkdir(), call=_export, result=_exported),
)
"""All works. `convert` and `export` are their last steps, where they write."""


@contextmanager
def inside(folder: Path) -> Iterator[None]:
    """Work in a new folder, which goes in the end."""
    import os

    before = os.getcwd()
    folder.mkdir()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
        shutil.rmtree(folder)
