"""`segvoc reproduce --train` and `--weights`, on replicas of benchmarks, with small networks."""

import json
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import pytest

from segvoc.reproduction import subjects
from segvoc.training.start import Start
from tests.cli.command import Command
from tests.cli.small_reproduction import CALL, TRAIN

pytestmark = pytest.mark.usefixtures("small_reproduction")


def report() -> dict[str, Any]:
    return json.loads(Path("report/report.json").read_text(encoding="utf-8"))


def scores() -> dict[int, float]:
    return {model["seed"]: model["benchmarks"][0]["miou"] for model in report()["models"]}


@pytest.mark.slow
def test_seeds_have_a_mean(segvoc_command: Command) -> None:
    done = segvoc_command("reproduce", *TRAIN, "--seeds", "3,4")
    assert done.code == 1 and Path("report/report.json").exists(), done.err
    whole = scores()
    (mean,) = report()["means"]
    (score,) = mean["benchmarks"][0]["scores"]
    assert (mean["name"], mean["seeds"], score["runs"]) == ("cat-seg-b", [3, 4], list(whole.values()))
    assert score["here"] == pytest.approx(fmean(whole.values()))
    assert score["deviation"] == pytest.approx(stdev(whole.values()))
    assert score["published"] == 94.6 and "steps=1" in mean["benchmarks"][0]["deviations"]
    assert "mean of 2 seeds" in done.out and "± " in Path("report/index.html").read_text(encoding="utf-8")
    assert Path("report/scores.csv").read_text(encoding="utf-8").count("cat-seg-b,mean,PAS-20") == 1


def test_weights_of_ones_own_are_scored_beside_the_published_score(segvoc_command: Command) -> None:
    done = segvoc_command("reproduce", *TRAIN)
    assert done.code == 1, done.err
    trained = scores()
    own = (*CALL[:-6], "--out", "own", *CALL[-4:], "--weights", "report/seed-0/run/model.safetensors")
    done = segvoc_command("reproduce", *own)
    assert done.code == 1, done.err
    (model,) = json.loads(Path("own/report.json").read_text(encoding="utf-8"))["models"]
    assert model["benchmarks"][0]["miou"] == trained[0] and len(model["weights"]["sha256"]) == 64
    assert model["benchmarks"][0]["deviations"] == ["weights of your own, model.safetensors"]
    segvoc_command("reproduce", *own[:-1], "missing.safetensors").refused("'missing.safetensors' does not exist")
    # a folder of one call isn't that of another
    other = (*CALL, "--weights", "report/seed-0/run/model.safetensors")
    segvoc_command("reproduce", *other).refused("has results of another call (", "choose another --out")
    changed = ("--set", "lr=0.5")
    segvoc_command("reproduce", *TRAIN, *changed).refused("has results of another call (training.settings: ", "lr=0.5")
    Path("report/report.json").unlink()
    segvoc_command("reproduce", *TRAIN, *changed).failed(2, "recipe.optimizer.lr", "a new --out")


def test_a_row_of_a_table_is_trained_with_its_settings() -> None:
    subject = subjects.trained_subject("PCA-Seg, Table 5a, baseline", Start(), ("fod_weight=0.1",), 7)
    assert subject.recipe is not None and subject.folder == "pca-seg-table-5a-baseline"
    assert subject.recipe.network is not None and "concatenation" in str(subject.recipe.network)
    assert (subject.benchmarks, subject.deviations) == (("a-150", "pas-20b"), ("steps=7", "fod_weight=0.1"))
    assert [score["scores"] for score in subject.published("a-150")] == [{"miou": 36.4}]
    whole = subjects.trained_subject("pca-seg-b", Start(), (), None)
    assert whole.deviations == () and whole.published("a-150")[0]["scores"] == {"miou": 38.1}
    kept = subjects.scored_subject("ERR-Seg, Table 8, P = 16", weights="file", named_benchmarks=False)
    assert kept.settings.options == {"keep_classes": 16}
