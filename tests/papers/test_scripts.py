"""`python -m papers.NAME` as people call it, with networks that are quick to make; classes in
images and reports, and what blocks of PCA-Seg's Table 4 cost."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from papers.blocks import published_block
from papers.seen import scores_of_report
from papers.vocabulary import NearestLabels, count_classes, nearest_labels
from segvoc.cli.options import ModelOptions
from segvoc.data.benchmarks import find_benchmark
from segvoc.data.preparation.prepare import prepare
from segvoc.errors import UsageError
from segvoc.networks.choices import block_of
from segvoc.vocabulary import Vocabulary
from tests.built import configured
from tests.cli.command import Outcome, make_script
from tests.data.replicas import replica
from tests.evaluation.drawn_sets import draw_set, task_of
from tests.images import squares
from tests.inference.small_network import small_segmenter
from tests.training.runs import drawn_images

WORDS = ("--words", "cat, sofa, wall")
Script = Callable[..., Outcome]


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Script:
    monkeypatch.chdir(tmp_path)
    return lambda name, *arguments: make_script(name, monkeypatch, capfd)(*arguments)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ModelOptions, "open_network", lambda *_: small_segmenter())


def read(path: str) -> dict:
    return json.loads(Path(path).read_text(encoding="utf-8"))


# a process of its own that imports PyTorch
@pytest.mark.slow
def test_a_script_is_run_from_a_clone() -> None:
    call = [sys.executable, "-m", "papers.radar", "--line", "ours"]
    done = subprocess.run(call, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("segvoc: error: --line 'ours' has no line name") and done.stderr.count("\n") == 1


def test_classes_in_the_images_of_a_benchmark(script: Script, tmp_path: Path) -> None:
    drawn = replica("pas-20", tmp_path / "data")
    prepare(find_benchmark("pas-20"), tmp_path / "data", allow_missing=True)
    done = script("vocabulary", "--benchmark", "pas-20", "--data", "data", "--out", "tables").ok()
    counts = [len(np.setdiff1d(np.unique(drawn.labels[stem]), [65535])) for stem in drawn.labels]
    found = read("tables/vocabulary.json")["images"]["PAS-20"]
    assert (found["images"], found["classes"]) == (len(counts), 20)
    assert (found["mean"], found["redundancy"]) == pytest.approx((np.mean(counts), 1 - np.mean(counts) / 20))
    assert done.out == Path("tables/vocabulary.md").read_text()
    assert f"| PAS-20 | {len(counts)} | 20 | {np.mean(counts):.1f} |" in done.out


@pytest.mark.usefixtures("quick")
def test_labels_of_benchmarks_are_compared_without_data(script: Script) -> None:
    script("vocabulary", "--benchmark", "pas-20", "pc-59", "--model", "err-seg-b", "--out", "tables").ok()
    facts = read("tables/vocabulary.json")
    assert (facts["training"], list(facts["similarity"])) == ("coco-stuff", ["PAS-20", "PC-59"])
    # 14 of the 20 names are COCO-Stuff's to the letter
    assert facts["similarity"]["PAS-20"]["shares"]["1.00"] == pytest.approx(14 / 20)
    assert "images" not in facts


@pytest.mark.usefixtures("quick")
def test_seen_classes_of_reports_are_scored_apart(script: Script) -> None:
    Path("report/a").mkdir(parents=True)
    Path("report/a/report.json").write_text(json.dumps(report({"cat": 80.0, "rocket": 20.0}, background=None)))
    Path("report/report.json").write_text(json.dumps({"benchmarks": [{"report": "a/report.json"}]}))
    Path("learned.json").write_text('["cat"]')
    done = script("seen", "report", "--model", "err-seg-b", "--training", "learned.json", "--above", 0.999).ok()
    last = Path("out/seen.md").read_text().splitlines()[-1]
    assert done.out.splitlines()[-1] == "| own | drawn | 80.00 | 1 | 20.00 | 1 |" == last
    written = read("out/seen.json")
    scores = {"model": "own", "data": "drawn", "miou": 50.0, "seen": 80.0, "unseen": 20.0}
    assert written["above"] == 0.999
    assert written["rows"][0] == scores | {"seen_count": 1, "unseen_count": 1, "seen_names": ["cat"]}


SET = ("ablation", "--out=out", "--images=set/images", "--labels=set/labels", "--classes=set/classes.json")


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (("radar", "--line=ours=pca-part-x"), "did you mean pca-part-b"),
        (("costs", "costs.png", *WORDS, "--out=."), "choose another --out"),
        (("seen", "nowhere", "--model=tiny"), "'nowhere' holds no report"),
        (("vocabulary", "--benchmark=a-150"), "give --data ROOT"),
        (("vocabulary", "--benchmark=a-150", "--data=d"), "segvoc prepare a-150 --data d"),
        (("vocabulary", "--benchmark=a-150", "--model=tiny", "--training=coco"), "'coco' is unknown"),
        ((*SET, "--recipe=tinny"), "recipe 'tinny' is unknown; it is one of cat-seg-b,"),
        ((*SET, "--grid=9"), "grid '9' is unknown; it is one of aggregation, 5a"),
        ((*SET, "--folds=5"), "folds=5 don't work for 4 images"),
        ((*SET, "--set=speed=1"), "no setting 'speed'"),
        ((*SET, "--grid=5a", "--recipe=err-seg-b", "--weights=random"), "a recipe for err-seg-b has no setting"),
    ],
)
def test_wrong_calls_are_refused_in_one_line(script: Script, call: tuple[str, ...], said: str) -> None:
    drawn_images(Path("set"), 4)
    Image.fromarray(squares(64, 96)).save("costs.png")
    content = Path("costs.png").read_bytes()
    script(*call).refused(said)
    assert Path("costs.png").read_bytes() == content


def test_a_radar_needs_reports(script: Script) -> None:
    Path("nowhere").mkdir()
    script("radar", "--line", "ours=nowhere").failed(1, "is not a report of segvoc evaluate")


def test_images_that_can_not_be_read_are_told(tmp_path):
    folder, problems = draw_set(tmp_path / "set", 2), []
    (folder / "labels/0.png").write_bytes(b"")
    assert len(count_classes(task_of(folder), on_problem=problems.append).counts) == 1
    assert len(problems) == 1 and "0.png" in problems[0]
    (folder / "labels/1.png").write_bytes(b"")
    with pytest.raises(UsageError, match="no image of set can be read"):
        count_classes(task_of(folder))


IOUS = {"cat": 80.0, "sofa": 20.0, "wall": None, "rocket": 40.0, "floor": 1.0}


def report(iou=IOUS, background="floor", collapse_from=None, parts=None):
    return {
        **dict.fromkeys(("miou", "fwiou", "pixel_accuracy", "mean_accuracy"), 50.0),
        "classes": [{"name": name, "iou": value, "accuracy": value} for name, value in iou.items()],
        "model": {"name": "own"},
        "data": {"title": "drawn"},
        "protocol": {"background": background, "collapse_from": collapse_from},
        "parts": parts,
    }


def test_a_reports_seen_classes_are_scored_apart_and_its_background_is_neither():
    scores = scores_of_report(report(), frozenset(("cat", "wall")))
    assert (scores.seen, scores.unseen, scores.seen_count, scores.unseen_count) == (80, 30, 1, 2)
    nothing = scores_of_report(report(), frozenset())
    assert np.isnan(nothing.seen) and (nothing.unseen, nothing.seen_count) == (pytest.approx(140 / 3), 0)
    collapsed = report(background=None, collapse_from=3)
    assert scores_of_report(collapsed, frozenset(("cat", "wall"))).unseen == 20


def test_the_most_similar_training_label_is_found_by_the_cosine_and_of_synonyms_the_first_counts():
    network, labels, training = small_segmenter(), ("cat", "sofa", "wall"), ("cap", "cat", "walls")
    found = nearest_labels(network, labels, training)
    first, second = (network.encode_words(Vocabulary(words))[:, 0] for words in (labels, training))
    cosines = torch.cosine_similarity(first[:, None], second[None], dim=-1)
    np.testing.assert_allclose(found.similarity, cosines.amax(dim=1), atol=1e-5)
    assert found.nearest == tuple(training[at] for at in cosines.argmax(dim=1).tolist())
    assert (found.nearest[0], found.similarity[0]) == ("cat", pytest.approx(1, abs=1e-6))
    synonyms = nearest_labels(network, ["door, double door", "sofa"], ["door", "wall, couch"])
    assert (synonyms.nearest[0], synonyms.share(1.0)) == ("door", 0.5)


def test_shares_include_the_threshold_and_seen_labels_are_above_it():
    found = NearestLabels(
        names=("a", "b", "c", "d"), nearest=("x",) * 4, similarity=np.array([1 - 1e-6, 0.96, 0.95, 0.5], np.float32)
    )
    assert [found.share(value) for value in (1.0, 0.95, 0.5)] == [0.25, pytest.approx(0.75), 1]
    assert found.seen(float(np.float32(0.95))) == {"a", "b"} and found.seen(0.4) == {"a", "b", "c", "d"}


def block(preset: str, **options):
    with torch.device("meta"):
        return block_of(configured(preset, **options).aggregation)


@pytest.mark.parametrize(
    ("preset", "parameters", "multiply_adds"), [("cat-seg-eva-b", 0.68, 53.67), ("pca-seg-b", 1.03, 88.07)]
)
def test_blocks_of_table_4(preset, parameters, multiply_adds):
    one = block(preset)
    assert sum(parameter.numel() for parameter in one.parameters()) / 1e6 == pytest.approx(parameters, abs=0.005)
    assert published_block(one, 171, 24) / 1e9 == pytest.approx(multiply_adds, abs=0.01)


def test_what_is_not_published_is_refused():
    for options in ({"class_attention": "softmax"}, {"fusion": "nonsense"}):
        with pytest.raises(UsageError):
            published_block(block("pca-seg-b", **options), 171, 24)


def test_costs_of_blocks_and_networks_with_a_mean_time_of_several_numbers_of_words(script, small_preset):
    call = ("blocks", "small", "--set", "fusion=addition", "--repeat", "1", "--device", "cpu", "--out", ".")
    done = script(*call, "--classes", "2,1").ok()
    content = read("blocks.json")
    block, network = content["rows"][:2]
    assert [(row["model"], row["module"]) for row in (block, network)] == [
        ("small fusion=addition", part) for part in ("block", "network")
    ]
    assert 0 < block["counted"] < network["counted"] and min(block["seconds"], network["seconds"]) > 0
    assert block["parameters"] == block["trainable"] < network["trainable"] < network["parameters"]
    assert block["published"] is not None and network["published"] is None
    networks = [row for row in content["rows"] if row["module"] == "network"]
    assert [row["classes"] for row in networks] == [2, 1]
    (mean,) = content["means"]
    assert mean["seconds"] == pytest.approx(sum(row["seconds"] for row in networks) / 2)
    last = f"| small fusion=addition | mean of 2 |  |  |  |  |  | {mean['seconds']:.3f} |"
    assert done.out.splitlines()[-1] == Path("blocks.md").read_text().splitlines()[-1] == last
    for wrong in ("3,x", "0", "", "100001"):
        script("blocks", "small", "--classes", wrong).refused("must be numbers from 1 to 100000")
