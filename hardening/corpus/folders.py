"""Folders that segvoc or other programs wrote, of which one file is damaged: datasets, exported models, runs."""

import dataclasses
import hashlib
import json
import os
import random
import re
import tempfile
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from hardening.cases import Build, Case, files, mutated, spread
from hardening.corpus.texts import ODD, changed_json, json_values
from segvoc.exported.shipped import copy_tiny
from segvoc.formats.dataset import DatasetWriter
from segvoc.formats.names import FORMAT_NAMES
from tests.data.datasets.published_layouts import LAYOUTS
from tests.formats.drawn_results import drawn_result, hard_labels
from tests.training.runs import drawn_images, open_run

_TEXTS = (".json", ".jsonl", ".xml", ".yaml", ".txt", ".csv")

_OTHER_SETS = re.compile(r"(^|[/_])(train|test)(ing|2017)?(annot|_labels)?[/.]")
"""Paths of sets that published datasets are left without, so that they have one only."""

_FORMATS = {name: name for name in FORMAT_NAMES} | {name: layout.format for name, layout in LAYOUTS.items()}
"""The format of each dataset that is damaged."""


def contents_of(folder: Path) -> dict[str, bytes]:
    """All files of a folder by their paths."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


@cache
def dataset(name: str) -> Mapping[str, bytes]:
    """A small dataset in a format, or laid out as a published one."""
    with tempfile.TemporaryDirectory() as folder:
        if name in LAYOUTS:
            LAYOUTS[name].write(Path(folder))
            contents = contents_of(Path(folder))
            rest = {path: content for path, content in contents.items() if not _OTHER_SETS.search(path)}
            return rest if LAYOUTS[name].split is not None else contents
        with DatasetWriter(folder, name) as writer:
            for seed, stem in enumerate(("photo", "sub/ü")):
                writer.add(drawn_result(hard_labels(seed, 24, 32), seed=seed), stem)
        return contents_of(Path(folder))


def _changes(
    content: bytes, path: str, others: list[bytes], rng: random.Random, count: int
) -> Iterator[tuple[str, bytes | None]]:
    """A file left out, empty, cut, swapped, changed by bytes and, where it is JSON, by its values."""
    yield "left out", None
    yield "empty", b""
    yield "swapped", rng.choice(others)
    for _ in range(count):
        at = rng.randrange(len(content) + 1)
        yield f"cut at {at}", content[:at]
    for number in range(count * 3 if path.endswith(_TEXTS) else count):
        yield f"bytes {number}", mutated(content or b"x", rng, last=None if number % 2 else 300)
    if path.endswith((".json", ".jsonl")):
        text = content.decode().splitlines()[0] + "\n" if path.endswith(".jsonl") else content.decode()
        made = [*changed_json(text, rng, count * 10), *rng.sample(list(json_values(rng)), min(120, count * 5))]
        yield from ((what, changed.encode("utf-8", "surrogatepass")) for what, changed in made)
    elif path.endswith(_TEXTS):
        text = content.decode()
        for number in range(count * 8):
            words = [
                word
                for word in text.replace('"', " ").replace(">", " ").replace("<", " ").replace(",", " ").split()
                if word
            ]
            if words:
                odd = rng.choice(
                    (
                        *ODD,
                        "-1",
                        "1e400",
                        "nan",
                        "99999999999999999999",
                        "0",
                        "0x10",
                        "٣",
                        "1_0",
                        "&bomb;",
                        "&#0;",
                        "]]>",
                    )
                )
                yield f"word {number}", text.replace(rng.choice(words), odd, 1).encode("utf-8", "surrogatepass")


def _with(contents: Mapping[str, bytes], path: str, changed: bytes | None) -> dict[str, bytes]:
    rest = {name: content for name, content in contents.items() if name != path}
    return rest if changed is None else {**rest, path: changed}


XML_BOMBS = (
    b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "x"><!ENTITY c "&b;&b;">]><annotations><meta>&c;</meta></annotations>',
    b'<?xml version="1.0"?><!DOCTYPE a ['
    + b"".join(b'<!ENTITY e%d "%s">' % (i, b"&e%d;" % (i - 1) * 10 if i else b"lol" * 10) for i in range(12))
    + b"]><annotations>&e11;</annotations>",
    b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><annotations>&x;</annotations>',
    b'<?xml version="1.0" encoding="utf-16"?><annotations/>', b"<a>" * 100_000, b"<annotations>" + b"<image>" * 50_000,
    b'<?xml version="1.0" encoding="x-unknown"?><annotations/>', b"<annotations " + b'a="1" ' * 3 + b"/>",
)  # fmt: skip


def dataset_cases(rng: random.Random, scale: float) -> Iterator[Case]:
    """Datasets of other programs."""
    for name, format_name in _FORMATS.items():
        contents, made = dataset(name), []
        family = f"datasets: {name}"
        for path, content in contents.items():
            count = 3 if path.endswith((".png", ".jpg")) else 12
            for what, changed in _changes(content, path, list(contents.values()), rng, count):
                reader = f"dataset {format_name}" if rng.random() < 0.8 else "dataset"
                build = files(_with(contents, path, changed))
                made.append(Case(family=family, what=f"{path} {what}", reader=reader, build=build))
            if path.endswith(".xml"):
                for number, bomb in enumerate(XML_BOMBS):
                    build = files(_with(contents, path, bomb))
                    made.append(Case(family=family, what=f"XML {number}", reader=f"dataset {format_name}", build=build))
        for number in range(12):
            other = dataset(rng.choice([one for one in _FORMATS if one != name]))
            mixed = {**contents, **{path: other[path] for path in rng.sample(sorted(other), min(3, len(other)))}}
            made.append(
                Case(family=family, what=f"mixed {number}", reader=f"dataset {format_name}", build=files(mixed))
            )
        least = 4 if name in FORMAT_NAMES else 1
        yield from spread(iter(made), max(least, round(180 * scale)), rng)


# ---- exported models


@cache
def _tiny() -> Path:
    """`tiny` as an exported folder; it stays until the process ends, since cases link its large files."""
    folder = Path(tempfile.mkdtemp(prefix="segvoc-tiny-"))
    copy_tiny(folder)
    return folder


def _exported(changes: Mapping[str, bytes | None], *, honest: bool = False) -> Build:
    """A copy of `tiny` in which files are replaced or left out.

    Args:
        changes: contents by name; None leaves a file out.
        honest: let the manifest have the digests of the changed files, as who tampers with a folder would.
    """

    def build(folder: Path) -> None:
        source = _tiny()
        about = json.loads((source / "segvoc.json").read_text(encoding="utf-8"))
        for path in source.iterdir():
            if path.name not in changes:
                os.link(path, folder / path.name) if _one_disk(path, folder) else (folder / path.name).symlink_to(path)
        for name, content in changes.items():
            if content is not None:
                (folder / name).write_bytes(content)
                if honest:
                    about["files"][name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        if honest:
            (folder / "segvoc.json").unlink()
            (folder / "segvoc.json").write_text(json.dumps(about), encoding="utf-8")

    return build


def _one_disk(path: Path, folder: Path) -> bool:
    return path.stat().st_dev == folder.stat().st_dev


def export_cases(rng: random.Random, scale: float) -> Iterator[Case]:
    """Exported folders: the manifest's values, programs and tokenizer damaged, with or without matching digests."""
    tiny = _tiny()
    manifest = (tiny / "segvoc.json").read_text(encoding="utf-8")
    made: list[tuple[str, str, Build]] = []
    for what, text in [*changed_json(manifest, rng, 300), *rng.sample(list(json_values(rng)), 60)]:
        build = _exported({"segvoc.json": text.encode("utf-8", "surrogatepass")})
        made.append(("exported: manifest", what, build))
    for at in range(0, len(manifest), 400):
        made.append(("exported: manifest", f"cut at {at}", _exported({"segvoc.json": manifest.encode()[:at]})))
    for path in sorted(tiny.iterdir()):
        if path.name == "segvoc.json":
            continue
        content = path.read_bytes()
        made.append(("exported: files", f"{path.name} left out", _exported({path.name: None})))
        many = 3 if path.stat().st_size > 1_000_000 else 12
        for number in range(many * 4):
            honest = number % 4 > 0
            changed = (
                mutated(content, rng, last=None if number % 3 else 3000)
                if number % 5
                else content[: rng.randrange(len(content))]
            )
            made.append(("exported: files", f"{path.name} {number}", _exported({path.name: changed}, honest=honest)))
    tokenizer = (tiny / "tokenizer.json").read_text(encoding="utf-8")
    for what, text in changed_json(tokenizer, rng, 60):
        build = _exported({"tokenizer.json": text.encode("utf-8", "surrogatepass")}, honest=True)
        made.append(("exported: files", f"tokenizer {what}", build))
    for family in ("exported: manifest", "exported: files"):
        cases = (
            Case(family=one, what=what, reader="exported", build=build) for one, what, build in made if one == family
        )
        yield from spread(cases, max(4, round(70 * scale)), rng)


# ---- runs of training


@cache
def _run(seed: int) -> Mapping[str, bytes]:
    with tempfile.TemporaryDirectory() as folder:
        images = drawn_images(Path(folder) / "drawn", count=3)
        training = open_run(images, Path(folder) / "run", steps=3, save_every=1, lr=0.01 * (1 + seed))

        def stop(metrics: dict[str, Any]) -> None:
            if metrics["step"] == 3:
                raise KeyboardInterrupt

        training.listeners = dataclasses.replace(training.listeners, step=stop)
        try:
            training.run()
        except KeyboardInterrupt:
            pass
        return contents_of(Path(folder) / "run")


def run_cases(rng: random.Random, scale: float) -> Iterator[Case]:
    """Folders of a run: each file cut, changed, swapped, left out, or taken from another run."""
    contents, other, made = _run(0), _run(1), []
    for path, content in contents.items():
        count = 60 if path.endswith(".pt") else 14
        for what, changed in _changes(content, path, list(contents.values()), rng, count):
            made.append(
                Case(family="runs", what=f"{path} {what}", reader="run", build=files(_with(contents, path, changed)))
            )
        if path in other:
            build = files({**contents, path: other[path]})
            made.append(Case(family="runs", what=f"{path} of another run", reader="run", build=build))
    yield from spread(iter(made), max(4, round(120 * scale)), rng)
