"""A short cut of `make rehearsal`: one recipe, two benchmarks; and what its scenes and files are made of."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from papers.rehearsal.trials import REHEARSED, Trial
from segvoc.data.benchmarks import BENCHMARKS
from segvoc.training.recipes import RECIPES
from tests.data.scene_originals import WRITERS, stems_of, write_originals
from tests.data.scenes import CONCEPTS, draw_scene, labels_of, part_labels_of
from tests.processes import printed

ROOT = Path(__file__).parents[2]


# a process that imports PyTorch and trains a small network: from archives to the verdict
@pytest.mark.slow
def test_one_recipe_learns(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'src'}", "OMP_NUM_THREADS": "1"}
    call = ("--recipes", "cat-seg-b", "--benchmarks", "pas-20,a-150", "--steps", "30", "--jobs", "1")
    shown = printed("-m", "papers.rehearsal", *call, "--out", tmp_path / "out", env=environment)
    assert "learned" in shown and "1 recipes" in shown
    report = json.loads((tmp_path / "out/cat-seg-b/report/report.json").read_text(encoding="utf-8"))
    assert [row["name"] for row in report["models"][0]["benchmarks"]] == ["pas-20", "a-150"]


def test_every_recipe_of_a_paper_and_every_benchmark_is_rehearsed() -> None:
    papers = {name for name, recipe in RECIPES.items() if "Row: none" not in (recipe.__doc__ or "")}
    assert papers <= set(REHEARSED)
    trials = [Trial.of(name, Path(), Path()) for name in REHEARSED]
    scored = {benchmark for trial in trials for benchmark in trial.benchmarks}
    learned = {trial.recipe.data.dataset for trial in trials} - {""}
    assert scored | learned | {"coco-stuff"} >= set(BENCHMARKS) == set(WRITERS)


@pytest.mark.parametrize(
    ("losses", "scores", "said"),
    [
        ([2.0] * 10 + [1.0] * 10, {"pas-20": 60.0}, []),
        ([2.0] * 20, {"pas-20": 60.0}, ["the loss went from 2.000 to 2.000, not below 0.95 times that"]),
        ([2.0] * 10 + [1.0] * 10, {"pas-20": 20.0}, ["mean score 20.0 is below 3 x chance, 10.0"]),
        ([2.0], {"pas-20": None}, ["a benchmark has no score"]),
    ],
)
def test_what_is_not_as_expected_is_told(tmp_path, monkeypatch, losses, scores, said):
    trial = Trial(name="a", folder=tmp_path, start=tmp_path, benchmarks=("pas-20",))
    assert trial.shortfalls() == [f"ended with exit code None; see {tmp_path / 'log'}"]
    for name, value in (("finished", True), ("losses", losses), ("scores", scores), ("chance", 10.0)):
        monkeypatch.setattr(Trial, name, lambda self, value=value: value)
    assert trial.shortfalls() == said


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
