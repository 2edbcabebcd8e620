"""`segvoc analyze vocabulary`, `seen` and `attention` as people call them."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segvoc.analysis import requirements
from segvoc.cli.options import ModelOptions
from segvoc.imaging.reading import read_image
from tests.analysis.small_views import make_image
from tests.cli.command import Command
from tests.data.replicas import replica
from tests.evaluation.drawn_sets import arguments, draw_set
from tests.inference.small_network import small_segmenter


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network that is quick to make, whatever is asked for."""
    monkeypatch.setattr(ModelOptions, "load", lambda *_: small_segmenter())


def read(path: str) -> dict:
    return json.loads(Path(path).read_text(encoding="utf-8"))


def test_classes_in_the_images_of_a_benchmark(segvoc_command: Command, tmp_path: Path) -> None:
    drawn = replica("pas-20", tmp_path / "data")
    assert segvoc_command("prepare", "pas-20", "--data", "data", "--jobs", "1", "--partial").code == 0
    done = segvoc_command("analyze", "vocabulary", "--benchmark", "pas-20", "--data", "data", "--out", "tables")
    assert done.code == 0, done.err
    counts = [len(np.setdiff1d(np.unique(drawn.labels[stem]), [65535])) for stem in drawn.labels]
    found = read("tables/vocabulary.json")["images"]["PAS-20"]
    assert (found["images"], found["classes"]) == (len(counts), 20)
    assert found["mean"] == pytest.approx(np.mean(counts))
    assert found["redundancy"] == pytest.approx(1 - np.mean(counts) / 20)
    assert done.out == Path("tables/vocabulary.md").read_text()
    assert f"| PAS-20 | {len(counts)} | 20 | {np.mean(counts):.1f} |" in done.out


@pytest.mark.usefixtures("small")
def test_labels_of_benchmarks_and_ones_own_are_compared_without_data(segvoc_command: Command) -> None:
    call = ("analyze", "vocabulary", "--benchmark", "pas-20", "pc-59", "--model", "err-seg-b", "--out", "tables")
    done = segvoc_command(*call)
    assert done.code == 0, done.err
    facts = read("tables/vocabulary.json")
    assert (facts["training"], list(facts["similarity"])) == ("coco-stuff", ["PAS-20", "PC-59"])
    # 14 of the 20 names are COCO-Stuff's to the letter
    assert facts["similarity"]["PAS-20"]["shares"]["1.00"] == pytest.approx(14 / 20)
    assert "images" not in facts
    Path("own.json").write_text('["cat", "sofa"]')
    Path("learned.json").write_text('["sofa"]')
    done = segvoc_command(
        "analyze", "vocabulary", "--classes", "own.json", "--model", "x", "--training", "learned.json"
    )
    assert done.code == 0, done.err
    assert read("out/vocabulary.json")["similarity"]["own"]["labels"][1]["nearest"] == "sofa"


def test_images_that_can_not_be_read_are_told_and_the_others_counted(segvoc_command: Command, tmp_path: Path) -> None:
    folder = draw_set(tmp_path / "set", 2)
    (folder / "labels/1.png").write_bytes(b"")
    done = segvoc_command("analyze", "vocabulary", *arguments(folder))
    done.failed(1, "1.png")
    assert read("out/vocabulary.json")["images"]["set"]["images"] == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "give --benchmark NAME"),
        (("--benchmark", "a-150"), "give --data ROOT"),
        (("--benchmark", "a-150", "a-150", "--data", "d"), "'a-150' is given twice"),
        (("--benchmark", "a-150", "--classes", "c.json", "--data", "d"), "give --benchmark NAME"),
        (("--benchmark", "a-15", "--data", "d"), "'a-15' is unknown"),
        (("--benchmark", "a-150", "--data", "d"), "segvoc prepare a-150 --data d"),
        (("--images", "i", "--labels", "l"), "without --classes"),
        (("--images", "i", "--classes", "c"), "--images and --labels belong together"),
        (("--classes", "c", "--data", "d"), "--data is for benchmarks"),
        (("--benchmark", "a-150", "--model", "tiny", "--training", "coco"), "'coco' is unknown"),
    ],
)
def test_wrong_calls_are_refused(segvoc_command: Command, options: tuple[str, ...], said: str) -> None:
    segvoc_command("analyze", "vocabulary", *options).refused(said)


@pytest.mark.usefixtures("small")
def test_seen_classes_of_reports_are_scored_apart(segvoc_command: Command) -> None:
    segvoc_command("analyze", "seen", "nowhere", "--model", "tiny").refused("'nowhere' holds no report", "--out")
    Path("report").mkdir()
    classes = [{"name": name, "iou": iou, "accuracy": iou} for name, iou in (("cat", 80.0), ("rocket", 20.0))]
    means = dict.fromkeys(("miou", "fwiou", "pixel_accuracy", "mean_accuracy"), 50.0)
    facts = {"model": {"name": "own"}, "data": {"title": "drawn"}, "classes": classes, "parts": None}
    facts |= {**means, "protocol": {"background": None, "collapse_from": None}}
    Path("report/report.json").write_text(json.dumps(facts))
    Path("learned.json").write_text('["cat"]')
    call = ("analyze", "seen", "report", "--model", "err-seg-b", "--training", "learned.json", "--above", 0.999)
    done = segvoc_command(*call)
    assert done.code == 0, done.err
    assert (
        done.out.splitlines()[-1]
        == "| own | drawn | 80.00 | 1 | 20.00 | 1 |"
        == (Path("out/seen.md").read_text().splitlines()[-1])
    )
    written = read("out/seen.json")
    assert written["above"] == 0.999
    assert written["rows"][0] == {
        **{"model": "own", "data": "drawn", "miou": 50.0, "seen": 80.0, "unseen": 20.0},
        **{"seen_count": 1, "unseen_count": 1, "seen_names": ["cat"]},
    }


def test_attention_of_other_networks_and_wrong_points_are_refused(segvoc_command, small, monkeypatch):
    Image.fromarray(make_image()).save("photo.png")
    call = ("analyze", "attention", "photo.png", "--words", "cat, sofa", "--out", "drawn")
    segvoc_command(*call).refused("no spatial attention over the whole image", "--model err-seg-b")
    segvoc_command(*call, "--at", "12").refused("--at '12' is not a pixel", "120,80")
    monkeypatch.setattr(requirements, "find_spec", lambda name: None)
    segvoc_command(*call).refused("matplotlib", 'pip install "segvoc[analysis]"')
    assert not Path("drawn").exists()


@pytest.mark.slow
def test_attention_is_drawn(segvoc_command: Command) -> None:
    Image.fromarray(make_image()).save("photo.png")
    words = ", ".join(f"word {number}" for number in range(20))
    options = ("--model", "err-seg-b", "--weights", "random", "--set", "side=64", "--keep-classes", 3)
    done = segvoc_command("analyze", "attention", "photo.png", "--words", words, *options, "--at", "50,30")
    assert done.code == 0, done.err
    assert "with 3 classes" in done.out and done.out.endswith("out/attention.png\n")
    facts = read("out/attention.json")
    assert (facts["kept"], facts["classes"], len(facts["attention"][0]["full"])) == (3, 20, 4)
    assert facts["attention"][0]["point"] == [50, 30]
    assert min(read_image("out/attention.png").shape[:2]) > 200
    segvoc_command("analyze", "attention", "photo.png", "--words", words, *options, "--block", 9).refused(
        "has 4 blocks"
    )
