"""The precision of an evaluation: stated, the same whatever the process has set, and left as it was."""

import json

import torch

from segvoc.evaluation.runner import evaluate
from segvoc.evaluation.task import EvaluationTask
from segvoc.models.presets import PRESETS
from segvoc.process_settings import float32_products
from segvoc.training.run import train
from segvoc.training.start import Start
from tests.inference.small_network import small_segmenter
from tests.small_preset import SMALL as SMALL_PRESET
from tests.training.runs import RECIPE, drawn_images


def in_force() -> tuple[object, ...]:
    cudnn = torch.backends.cudnn
    return torch.get_float32_matmul_precision(), cudnn.allow_tf32, cudnn.benchmark


def test_an_evaluation_is_in_float32_and_says_so(tmp_path):
    model, seen = small_segmenter(), []
    model.network.image_encoder.register_forward_pre_hook(lambda *_: seen.append(in_force()))
    task = EvaluationTask.of_images(drawn_images(tmp_path / "set", 2))
    with float32_products(tf32=True, benchmark=True):
        before = in_force()
        report = evaluate(model, task, tmp_path / "report")
        assert in_force() == before == ("high", True, True)
    assert set(seen) == {("highest", False, False)}
    assert report["protocol"]["tf32"] is False
    key = json.loads((tmp_path / "report/journal/rank-0.jsonl").read_text().splitlines()[0])
    assert '"tf32": false' in json.dumps(key)


def test_training_leaves_the_precision_as_it_was(tmp_path, monkeypatch):
    """On a GPU it may train in TF32, and what is evaluated afterwards must not be."""
    monkeypatch.setitem(PRESETS, "small", SMALL_PRESET)
    asked = []

    def noted(**settings):
        asked.append(settings)
        return float32_products(tf32=True, benchmark=True)  # as on a GPU

    monkeypatch.setattr("segvoc.training.run.float32_products", noted)
    before = in_force()
    images = drawn_images(tmp_path / "set", 2)
    train(RECIPE.with_settings(steps=1), images, tmp_path / "run", start=Start(weights="random"), device="cpu")
    assert asked == [{"tf32": False, "benchmark": False}]
    assert in_force() == before
