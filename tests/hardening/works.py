"""The commands that are killed, on small data: how each begins, goes on, and what its result is."""

import json
import os
import shutil
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import chdir, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import requests
import torch
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from segvoc.cli import main
from segvoc.cli.options import ModelOptions
from segvoc.data.labeled_images import LabeledImages
from segvoc.inference.exported.manifest import export_in_the_making
from segvoc.inference.taught.taught_words import TaughtWords
from segvoc.labeling.batch import run
from segvoc.labeling.formats.project import is_project
from segvoc.models.presets import PRESETS
from segvoc.models.shipped import copy_tiny
from segvoc.serving.server import run as serve
from segvoc.serving.settings import ServiceSettings
from segvoc.storage.atomic_writes import write_atomically
from segvoc.training.run import train
from segvoc.training.start import Start
from segvoc_annotate.projects.folder import ProjectFolder
from tests.cli.command import draw_photos
from tests.data.original_files import pack
from tests.data.replicas import replica
from tests.evaluation.drawn_sets import arguments, draw_set
from tests.inference.numpy_engine import NumpySegmenter
from tests.inference.small_network import SMALL_PRESET, small_segmenter
from tests.labeling.batch.runs import Loop
from tests.labeling.videos.videos import write_video
from tests.training.runs import RECIPE, drawn_images, losses, open_run

VARYING = {"seconds", "latency_seconds", "peak_memory_gb", "run", "sessions", "read", "written", "generated", "date"}
"""Entries of JSON files that tell how a call went, not what it gave."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """A command on small data."""

    name: str
    set_up: Callable[[], object]
    """Creates the inputs in the working folder."""
    call: Callable[[], object]
    """Starts or resumes the work in the working folder, as documented."""
    result: Callable[[], dict[str, Any]]
    """The results by name, also of an unfinished run."""


def command(*words: str) -> None:
    """Run the command line in this process, with a small network in place of models."""
    for name in ("open", "open_network"):
        setattr(ModelOptions, name, lambda self, *_, **__: small_segmenter())
    sys.argv = ["segvoc", *words]
    main()


WORDS = ("--words", "cat, sofa, wall")


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


def _scores() -> dict[str, Any]:
    return {name: one for name, one in _files("out", "journal").items() if name.endswith("report.json")}


def _prepared() -> dict[str, Any]:
    return {name: one for name, one in _files("root").items() if not name.endswith((".journal", ".unpacking", ".zip"))}


def _drawn(count: int) -> LabeledImages:
    if not Path("drawn").exists():
        return drawn_images(Path("drawn"), count=count)
    return LabeledImages.from_folders("drawn/images", "drawn/labels", "drawn/classes.json")


def _trained() -> dict[str, Any]:
    state = torch.load("out/checkpoint.pt", weights_only=True) if Path("out/checkpoint.pt").exists() else {}
    weights = {name: value.tolist() for name, value in state.get("weights", {}).items()}
    steps = losses(Path("out")) if Path("out").exists() else []
    # a checkpoint is whole by itself, and the metrics up to its step belong to it
    return {"weights": weights, **{f"step {step}": rest for step, *rest in steps}} if state else {}


def _finetune() -> None:
    PRESETS["small"] = SMALL_PRESET
    sizes = {"steps": 6, "num_val_images": 1, "views": 2, "pyramid_channels": 8}
    often = {"save_every": 1, "eval_every": 2, "eval_first": True, "patience": 3}
    recipe = RECIPE.with_settings(method="words", trainable="none", **sizes, **often)
    train(recipe, _drawn(4), "out", start=Start(weights="random"), device="cpu", resume=True, progress=False)


def _finetuned() -> dict[str, Any]:
    steps = {f"step {step}": rest for step, *rest in losses(Path("out"))} if Path("out/checkpoint.pt").exists() else {}
    words = Path("out/tuned.words.safetensors")
    arrays = TaughtWords.load(words).arrays() if words.exists() else {}
    # files of the end are written after all steps
    return steps | {name: array.tolist() for name, array in arrays.items() if len(steps) == 6}


def _batch() -> None:
    run._ray = lambda batch: Loop()(batch)
    command("batch", "in", "--out", "out", *WORDS, "--to", "files", "--shard-images", "1", "--device", "cpu")


def _prepare_service() -> None:
    draw_photos("in/a.png", "in/b.jpg", "in/c.png")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        Path("port").write_text(str(listener.getsockname()[1]))


def _answered(port: int, path: Path) -> bytes:
    """The label map that the service answers an image with, once it takes requests."""
    form = {"files": {"image": path.read_bytes()}, "data": {"words": "cat, sofa, wall"}}
    retries = Retry(total=None, connect=2000, backoff_factor=0.02, backoff_max=0.03)
    with requests.Session() as session:
        session.mount("http://", HTTPAdapter(max_retries=retries))
        address, headers = f"http://127.0.0.1:{port}/v1/segment", {"Accept": "image/png"}
        answer = session.post(address, **form, headers=headers, timeout=120)
        answer.raise_for_status()
        return answer.content


def _serve() -> None:
    """The service, at the same address each time, and a client that keeps what it answers and then ends it."""
    port = int(Path("port").read_text())
    done: list[BaseException | None] = []

    def ask() -> None:
        try:
            for path in sorted(Path("in").iterdir()):
                answer = Path("out", f"{path.stem}.labels")
                labels = _answered(port, path)  # ask again for what is there: SIGTERM works once the service answers
                if not answer.exists():
                    write_atomically(answer, lambda file, labels=labels: file.write(labels))
            done.append(None)
        except Exception as error:
            done.append(error)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=ask, daemon=True).start()
    with suppress(SystemExit):
        serve([NumpySegmenter], ServiceSettings(), host="127.0.0.1", port=port)
    if not done:
        raise KeyboardInterrupt
    if done[0] is not None:
        raise done[0]


def _export() -> None:
    with export_in_the_making(Path("out")) as folder:
        copy_tiny(folder)


def _exported() -> dict[str, Any]:
    return {name: len(content) if isinstance(content, bytes) else content for name, content in _files("out").items()}


def _project() -> None:
    """Import, change the words, export; where a call was ended, it is made again, but for changes that are there."""
    has_changed = is_project("street") and "kitten" in _words()
    calls = [("export", "--format", "voc", "--out", "out")]
    if not has_changed:
        labeled = (*arguments(Path("set")), "--done")
        changes = ("--rename", "cat", "kitten", "--remove", "cup")
        calls = [("import", *labeled), ("words", "--add", "moon, wall"), ("words", *changes), *calls]
    for name, *options in calls:
        try:
            command("project", name, "street", *options)
        except SystemExit as end:
            if end.code:
                raise


def _words() -> list[str]:
    return [word.name for word in ProjectFolder("street").record.present]


def _of_project() -> dict[str, Any]:
    """The labels, whether images are done, and the words of the project; and what was exported."""
    if not Path("street/project.json").exists():
        return {}
    project, found = ProjectFolder("street"), _files("out", ".segvoc")
    record = project.record
    found |= {f"color {word.id}": word.color for word in record.words}
    if "kitten" in _words():
        found["words"] = [(word.id, word.name, word.removed) for word in record.words]
    states, problems = project.states()
    for state in states:
        if state.revision:
            found[f"labels of {state.image}"] = project.work(state.image)[1].labels.tobytes()
        if state.done:
            found[f"{state.image} is done"] = True
    return found | {problem: "damaged" for problem in problems}


def import_all() -> None:
    """Import what the works need, so that their children needn't."""
    for name in (
        *(f"segvoc.cli.{command}" for command in ("batch", "segment", "evaluate", "prepare")),
        *("segvoc.data.preparation.prepare", "segvoc.evaluation.report", "segvoc.evaluation.runner"),
        *("segvoc.imaging.overlay", "segvoc.labeling.run", "segvoc_annotate.cli.project"),
        *(f"segvoc_annotate.projects.{part}" for part in ("importing", "exporting", "project")),
    ):
        import_module(name)


WORKS = (
    Work(
        name="segment",
        set_up=lambda: draw_photos("in/a.png", "in/b.jpg", "in/sub/c.png"),
        call=partial(command, "segment", "in", *WORDS, "--out", "out", "--resume", "--device", "cpu"),
        result=lambda: _files("out", ".segvoc"),
    ),
    Work(
        name="video",
        set_up=lambda: (Path("in").mkdir(), write_video(Path("in/video.mkv"), 130, codec="ffv1")),
        call=partial(command, "segment", "in/video.mkv", *WORDS, "--every", "20", "--smooth", "0.5", "--resume"),
        result=lambda: _files("out", ".segvoc"),
    ),
    Work(
        name="evaluate",
        set_up=lambda: draw_set(Path("set"), 3),
        call=lambda: command("evaluate", "tiny", *arguments(Path("set")), "--out", "out", "--device", "cpu"),
        result=_scores,
    ),
    Work(
        name="prepare",
        set_up=lambda: (replica("coco-stuff", Path("root")), pack("coco-stuff", Path("root"))),
        call=partial(command, "prepare", "coco-stuff", "--data", "root", "--partial", "--jobs", "1"),
        result=_prepared,
    ),
    Work(
        name="train",
        set_up=lambda: _drawn(2),
        call=lambda: open_run(_drawn(2), Path("out"), resume=True, steps=4, save_every=1, batch_size=2).run(),
        result=_trained,
    ),
    Work(name="finetune", set_up=lambda: _drawn(4), call=_finetune, result=_finetuned),
    Work(
        name="batch",
        set_up=lambda: draw_photos("in/a.png", "in/b.jpg", "in/sub/c.png"),
        call=_batch,
        result=lambda: _files("out", ".segvoc"),
    ),
    Work(name="serve", set_up=_prepare_service, call=_serve, result=lambda: _files("out")),
    Work(name="project", set_up=lambda: draw_set(Path("set"), 3), call=_project, result=_of_project),
    Work(name="export", set_up=lambda: Path("in").mkdir(), call=_export, result=_exported),
)
"""All works. `export` is its last step, where it writes."""


@contextmanager
def inside(folder: Path) -> Iterator[None]:
    """Work in a new folder, which goes in the end."""
    folder.mkdir()
    try:
        with chdir(folder):
            yield
    finally:
        shutil.rmtree(folder)
