"""A short cut of `make rehearsal`: one recipe, two benchmarks, one kill; and what its scenes and files are made of."""

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from rehearsal.children import Child
from rehearsal.originals import WRITERS, stems_of, write_originals
from rehearsal.page import Verdicts
from rehearsal.scenes import CONCEPTS, draw_scene, labels_of, part_labels_of
from rehearsal.trials import ROWS, Trial, benchmarks_of, rehearsed_recipes
from segvoc.data.benchmarks import BENCHMARKS
from segvoc.training.recipes import RECIPES
from tests.processes import printed

ROOT = Path(__file__).parents[2]


# a process that imports PyTorch, trains a small network twice and kills it once: from archives to the page
@pytest.mark.slow
def test_one_recipe_learns_and_survives_a_kill(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'src'}", "OMP_NUM_THREADS": "1"}
    call = ("--recipes", "cat-seg-b", "--benchmarks", "pas-20,a-150", "--kills", "1", "--steps", "30", "--jobs", "1")
    shown = printed("-m", "rehearsal", *call, "--out", tmp_path / "out", env=environment)
    assert "learned" in shown and "1 kills" in shown
    page = (tmp_path / "out/index.html").read_text(encoding="utf-8")
    assert "all expectations are met" in page and 'href="cat-seg-b/report/index.html"' in page
    report = json.loads((tmp_path / "out/cat-seg-b-killed/report/report.json").read_text(encoding="utf-8"))
    assert [row["name"] for row in report["models"][0]["benchmarks"]] == ["pas-20", "a-150"]
    log = (tmp_path / "out/cat-seg-b-killed/log").read_text(encoding="utf-8")
    assert log.count("segvoc: benchmarks in 'data':") == 2


def test_every_recipe_of_a_paper_and_every_benchmark_is_rehearsed() -> None:
    papers = {name for name, recipe in RECIPES.items() if "Row: none" not in (recipe.__doc__ or "")}
    assert set(rehearsed_recipes()) == papers
    trials = [Trial(name=name, folder=Path(), start=Path(), benchmarks=()) for name in (*rehearsed_recipes(), *ROWS)]
    scored = {benchmark for trial in trials for benchmark in benchmarks_of(trial.name)}
    learned = {trial.recipe.data.dataset for trial in trials} - {""}
    assert scored | learned | {"coco-stuff"} >= set(BENCHMARKS) == set(WRITERS)


def test_scenes_show_their_concepts_by_color() -> None:
    """The mean color of what is drawn is near to that of its concept; shades of parts change the light."""
    colors = np.array([concept.color for concept in CONCEPTS])
    for number in range(8):
        scene = draw_scene((1, number))
        for place in np.unique(scene.concepts):
            mean = scene.image[scene.concepts == place].mean(axis=0)
            cosines = colors @ mean / np.linalg.norm(colors, axis=1) / np.linalg.norm(mean)
            assert place in np.argsort(-cosines)[:3]
        things = [place for place, concept in enumerate(CONCEPTS) if concept.parts]
        assert ((scene.parts >= 0) == np.isin(scene.concepts, things)).all()
    assert (draw_scene((1, 2)).image == draw_scene((1, 2)).image).all()
    assert (draw_scene((1, 2)).image != draw_scene((1, 3)).image).any()


def test_labels_are_places_in_lists_of_classes() -> None:
    scene = draw_scene((1, 0))
    labels = labels_of(scene, ("tree", "grass, lawn", "sky-other"), none=255)
    assert set(np.unique(labels)) <= {0, 1, 2, 255}
    assert (labels == 2).sum() == (scene.concepts == 0).sum() > 0
    parts = part_labels_of(scene, ("car's wheel", "cat's head", "bus's door", "dog's leg"), none=9)
    assert ((parts == 0) == ((scene.concepts == 6) & (scene.parts == 2))).all()


def test_originals_are_archives_alone(tmp_path: Path) -> None:
    write_originals(["coco-stuff", "coco-stuff-train", "pc-59", "cityscapes"], tmp_path)
    found = sorted(path.name for path in tmp_path.iterdir())
    assert found == [
        "VOCtrainval_03-May-2010.tar",
        "gtFine_trainvaltest.zip",
        "leftImg8bit_trainvaltest.zip",
        "stuffthingmaps_trainval2017.zip",
        "train2017.zip",
        "trainval_merged.json",
        "val2017.zip",
    ]
    assert len(stems_of("coco-stuff-train")) > len(stems_of("coco-stuff")) > 1


@pytest.mark.parametrize(("other", "said"), [({}, []), ({"losses": [2.0]}, ["a: other losses after 1 kills"])])
def test_other_numbers_after_a_kill_are_told(tmp_path, monkeypatch, other, said):
    whole, killed = (
        Trial(name="a", folder=tmp_path / name, start=tmp_path, benchmarks=(), code=1) for name in ("whole", "killed")
    )
    killed.kills.append(3.0)
    numbers = {"losses": [1.0], "weights": "0"}
    monkeypatch.setattr(Trial, "numbers", lambda self: numbers | (other if self is killed else {}))
    assert Verdicts(trials=[whole], killed=[killed], minutes=1).different() == said


def test_a_child_ends_with_its_code_or_is_killed(tmp_path: Path) -> None:
    def leave() -> None:
        sys.stdout.write("said\n")
        raise SystemExit(3)

    ended = Child(function=leave, log=tmp_path / "log")
    killed = Child(function=lambda: os.read(os.pipe()[0], 1), log=tmp_path / "log", kill_after=0.0)
    for child in (ended, killed):
        child.start()
        while not child.poll():
            pass
    assert (ended.code, ended.was_killed, (tmp_path / "log").read_text()) == (3, False, "said\n")
    assert killed.was_killed and killed.code == -9
