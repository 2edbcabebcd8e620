"""`segvoc analyze` as people call it: figures of a network, an image, runs and labeled images."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from segvoc.analysis import requirements
from segvoc.checkpoints.files import write_weights
from segvoc.cli.options import ModelOptions
from segvoc.imaging.reading import read_image
from tests.analysis.small_views import segmenter
from tests.cli.command import Command
from tests.evaluation.drawn_sets import arguments, draw_set

CAT = Path(__file__).resolve().parents[2] / "samples/chelsea.jpg"
WORDS = ("--words", "cat, sofa, wall")
DATA = ("--images", "images", "--labels", "labels", "--classes", "classes.json")


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A photograph of a hundred pixels."""
    path = tmp_path / "small.jpg"
    with Image.open(CAT) as image:
        image.resize((100, 80)).save(path)
    return path


@pytest.mark.slow
def test_two_ways_of_one_network_are_compared(segvoc_command: Command, small: Path) -> None:
    outcome = segvoc_command("analyze", "compare", small, *WORDS, "--other-keep-classes", 1, "--out", "both")
    assert outcome.code == 0, outcome.err
    assert "of the pixels differ" in outcome.out
    metadata = json.loads(Path("both/compare.json").read_text())
    assert [model["name"] for model in metadata["models"]] == ["tiny keep-classes=own", "tiny keep-classes=1"]
    assert sum(share > 0 for share in metadata["models"][1]["fractions"].values()) == 1
    assert metadata["differing"] == pytest.approx(sum(pair["pixels"] for pair in metadata["pairs"]) / 8000)
    assert min(read_image("both/compare.png").shape[:2]) > 300
    segvoc_command("analyze", "compare", small, *WORDS).refused("both networks are the same", "--other")


@pytest.mark.slow
def test_costs_gates_redundancy_and_streams_of_a_network_with_blocks(segvoc_command, small, monkeypatch):
    segvoc_command("analyze", "gates", small, *WORDS).refused("no coefficient mapper", "--set fusion=experts")
    segvoc_command("analyze", "gates", small, *WORDS, "--set", "aggregation=none").refused("has no blocks", "PCA-Seg")
    monkeypatch.setattr(ModelOptions, "load", lambda *_: segmenter())  # a network that is quick to make
    for name, written, said in (
        ("costs", ("costs.png", "costs.json"), "out/costs.png"),
        ("gates", ("gates_1.png", "gates_2.png", "gates.json"), "entropy"),
        ("redundancy", ("redundancy.png", "redundancy.json"), "by chance"),
    ):
        outcome = segvoc_command("analyze", name, small, *WORDS, "--set", "blocks=2", "--window", "single")
        assert outcome.code == 0, outcome.err
        assert said in outcome.out
        assert all(Path("out", file).exists() for file in written)
        metadata = json.loads(Path("out", written[-1]).read_text())
        assert (metadata["options"], metadata["window"], metadata["images"]) == ({"blocks": 2}, "single", [str(small)])
    outcome = segvoc_command("analyze", "streams", "--image", small, *WORDS)
    assert "block 2: squared cosine" in outcome.out


def test_streams_of_runs(segvoc_command: Command) -> None:
    segvoc_command("analyze", "streams").refused("nothing to draw")
    Path("run").mkdir()
    Path("run/config.json").write_text('{"recipe": {"model": "small", "fod": 0.01}}')
    Path("run/metrics.jsonl").write_text('{"step": 1, "fod_1": 0.5}\n{"step": 2, "fod_1": 0.25}\n')
    assert segvoc_command("analyze", "streams", "run").out == "out/streams.png\n"
    assert json.loads(Path("out/streams.json").read_text())["runs"][0]["first_tenth"] == 0.5
    segvoc_command("analyze", "streams", "nowhere").failed(1, "not a run of segvoc train")


def test_wrong_radars_are_refused(segvoc_command: Command) -> None:
    segvoc_command("analyze", "radar").refused("nothing to draw", "--published NAME")
    segvoc_command("analyze", "radar", "--line", "ours").refused("names no line", "ours=report_a,report_b")
    segvoc_command("analyze", "radar", "--published", "pca-seg").refused("no published row is called 'pca-seg'")
    segvoc_command("analyze", "radar", "--line", "ours=pca-part-x").refused("no published row", "'pca-part-b'")
    segvoc_command("analyze", "radar", "nowhere").failed(1, "is not a report of segvoc evaluate")


@pytest.mark.slow
def test_a_sweep_over_images_of_ones_own(segvoc_command, tmp_path, monkeypatch):
    own = arguments(draw_set(tmp_path / "set", 1))
    call = ("analyze", "sweep", "tiny", "--vary", "top=1", *own, "--out", "x")
    segvoc_command(*call).refused("tiny has no setting 'top'; it has ")
    segvoc_command("analyze", "sweep", "tiny", "--vary", "top", *own, "--out", "x").refused("no values to vary")
    wrong = ("--vary", "window=single", "--data", "x", "--out", "x")
    segvoc_command("analyze", "sweep", "tiny", *wrong).refused("--benchmark")
    assert not Path("x").exists()
    asked = []
    monkeypatch.setattr(
        "segvoc.models.loading.load_network", lambda name, **way: asked.append((name, way)) or segmenter()
    )
    vary = ("--vary", "keep_classes=1,all", "--vary", "blocks=3", "--set", "experts=2")
    outcome = segvoc_command("analyze", "sweep", "pca-seg-b", *vary, *own, "--weights", "w", "--out", "swept")
    assert (outcome.code, outcome.out) == (0, "swept/sweep.md\n"), outcome.err
    assert outcome.err.count("mIoU") == 4
    assert [(name, way["weights"], way["options"]) for name, way in asked] == [
        *[("pca-seg-b", "w", {"experts": 2})] * 3,
        ("pca-seg-b", "w", {"experts": 2, "blocks": "3"}),
    ]
    rows = json.loads(Path("swept/sweep.json").read_text())["rows"]
    assert [row["value"] for row in rows] == ["", "1", "all", "3"]
    assert rows[2]["miou"] == rows[0]["miou"]


def test_costs_of_a_network_are_told(segvoc_command):
    # of a file, only what it says it is matters
    write_weights("own.safetensors", {"weight": torch.zeros(1)}, "tiny", options={"aggregation": "none"})
    call = ("blocks", "own.safetensors", "--classes", 2, "--repeat", 1, "--device", "cpu")
    outcome = segvoc_command("analyze", *call)
    assert outcome.out == Path("out/blocks.md").read_text()
    (row,) = json.loads(Path("out/blocks.json").read_text())["rows"]  # it has no blocks
    assert (row["model"], row["module"], row["classes"]) == ("tiny aggregation=none", "network", 2)


def test_a_image_is_not_overwritten(segvoc_command: Command, small: Path) -> None:
    with Image.open(small) as image:
        image.save("costs.png")
    content = Path("costs.png").read_bytes()
    segvoc_command("analyze", "costs", "costs.png", *WORDS, "--out", ".").refused("choose another --out")
    assert Path("costs.png").read_bytes() == content


@pytest.mark.parametrize(
    "call",
    [
        ("costs", CAT, *WORDS),
        ("compare", CAT, *WORDS, "--other", "cat-seg-b"),
        ("gates", CAT, *WORDS),
        ("redundancy", CAT, *WORDS),
        ("radar", "report"),
        ("streams", "run"),
        ("sweep", "tiny", "--vary", "window=single", *DATA),
        ("ablation", *DATA),
    ],
    ids=lambda call: call[0],
)
def test_a_missing_matplotlib_is_named_before_any_work(segvoc_command, monkeypatch, call):
    monkeypatch.setattr(requirements, "find_spec", lambda name: None)
    segvoc_command("analyze", *call, "--out", "figures").refused("matplotlib", 'pip install "segvoc[analysis]"')
    assert not Path("figures").exists()
