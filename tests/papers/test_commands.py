"""docs/papers/tables.md: every command of every row runs, on the papers' networks and data in small."""

import json
import shlex
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from papers.reproduce import trained_subject
from papers.tables import PAGE, PAPERS, PaperRows, Row, find_rows, page
from segvoc.data.benchmarks import BENCHMARKS, PUBLISHED_ROWS, PublishedRow
from segvoc.models.presets import PRESETS
from tests.cli.command import Command
from tests.papers.small_networks import name_of, smaller

COMMANDS = tuple(dict.fromkeys(command for paper in PAPERS for row in paper.rows for command in row.commands))
REPRODUCTIONS = [command for command in COMMANDS if command.startswith("python -m papers.reproduce ")]

LEAVES = {
    "ablation": {"ablation.json": ("recipe", "grids"), "ablation.md": (), "ablation.png": ()},
    "attention": {"attention.json": ("attention", "kept", "classes"), "attention.png": ()},
    "blocks": {"blocks.json": ("rows", "means"), "blocks.md": ()},
    "cat_seg_v1": {"run/model.safetensors": (), "pas-20/report.json": ("miou",)},
    "compare": {"compare.json": ("models", "differing"), "compare.png": ()},
    "costs": {"costs.json": ("words",), "costs.png": ()},
    "evaluate": {"report.json": ("model",)},
    "info": {},
    "radar": {"radar.json": ("axes", "lines"), "radar.png": ()},
    "experts": {"redundancy.json": ("rows", "variance"), "redundancy.png": ()},
    "reproduce": {"report.json": ("models", "means", "command"), "index.html": (), "scores.csv": ()},
    "seen": {"seen.json": ("rows", "above"), "seen.md": ()},
    "segment": {"photo.json": (), "photo.overlay.png": (), "photo.png": ()},
    "streams": {"streams.json": ("runs",), "streams.png": ()},
    "steps": {"steps.json": ("rows",), "steps.md": ()},
    "demo": {"photo.png": (), "photo.json": ()},
    "sweep": {"sweep.json": ("rows",), "sweep.md": (), "sweep.png": ()},
    "train": {"metrics.jsonl": ("seconds",), "model.safetensors": ()},
    "vocabulary": {"vocabulary.md": ()},
    "vocabulary --data": {"vocabulary.json": ("images",)},
    "vocabulary --model": {"vocabulary.json": ("similarity",)},
}
"""The files that each command writes into --out, with the keys that those in JSON must have."""


def cases() -> Iterator[Any]:
    """Rows with different commands; slow are all but the first with a script, and all but one grid."""
    rows: dict[tuple[str, ...], tuple[PaperRows, Row]] = {}
    for paper in PAPERS:
        for row in paper.rows:
            rows.setdefault(row.commands, (paper, row))
    del rows[()]
    # of `researcher.md`, whose commands `test_other_pages.py` runs
    seen = {"radar", "compare"}
    for paper, row in rows.values():
        scripts = {name_of(command.split()) for command in row.commands if command.startswith("python -m papers.")}
        slow = scripts <= seen or ("--grid" in row.commands[0] and "--grid 5e" not in row.commands[0])
        seen |= set() if slow else scripts
        named = f"{paper.title.split(' ')[0]}, {row.where}, {row.what}"
        yield pytest.param(row, id=named, marks=pytest.mark.slow if slow else ())


def rows_of(words: list[str]) -> list[PublishedRow]:
    name = words[3]
    if "," in name:
        return list(find_rows(name))
    return [row for row in PUBLISHED_ROWS if row.main and name in (row.preset, row.recipe)]


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == "\n".join(page()) + "\n", "run `python -m papers.tables`"


@pytest.mark.parametrize("command", [command for command in REPRODUCTIONS if " --train " in command])
def test_the_network_of_a_row_is_built(command: str, small: None) -> None:
    words = shlex.split(command)
    settings = [value for option, value in pairwise(words) if option == "--set"]
    subject = trained_subject(words[3], settings)
    assert subject.rows and subject.recipe is not None
    PRESETS[subject.preset].build(subject.recipe.network_config())


def leaves(words: list[str]) -> dict[Path, tuple[str, ...]]:
    name = name_of(words)
    named = [f"{name} {word}" for word in words if f"{name} {word}" in LEAVES]
    files = dict(LEAVES[name])
    for more in named:
        files |= LEAVES[more]
    return {Path(words[words.index("--out") + 1], file): keys for file, keys in files.items()}


@pytest.mark.parametrize("row", cases())
def test_the_commands_of_a_row_run(program: Command, row: Row) -> None:
    for command in row.commands:
        words = smaller(shlex.split(command))
        name = name_of(words)
        if name == "reproduce":
            benchmarks = {one for published in rows_of(words) for one in published.scores}
            words += ["--benchmark", min(benchmarks, key=lambda one: len(BENCHMARKS[one].classes))]
        done = program(*words)
        # our scores aren't those of the papers, which is what a reproduction's exit code says
        assert done.code == (1 if name == "reproduce" else 0), done.err
        assert "segvoc: error: " not in done.err
        if name == "reproduce":
            models = json.loads(Path(words[words.index("--out") + 1], "report.json").read_text(encoding="utf-8"))[
                "models"
            ]
            assert all(one["images"] and one["scores"] for model in models for one in model["benchmarks"])
        for path, keys in leaves(words).items():
            assert path.is_file(), path
            if path.suffix in (".json", ".jsonl"):
                text = path.read_text(encoding="utf-8")
                found = json.loads(text.splitlines()[0] if path.suffix == ".jsonl" else text)
                assert set(keys) <= set(found), (path, list(found))
