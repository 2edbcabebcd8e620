"""The validation of a training run is what `segvoc evaluate` gives, and the metrics as a figure."""

from copy import deepcopy

import numpy as np
import pytest
import torch
from PIL import Image

from segvoc.checkpoints.files import read_weights
from segvoc.errors import UsageError
from segvoc.evaluation.runner import evaluate
from segvoc.evaluation.task import EvaluationTask
from segvoc.models.loading import load_network
from segvoc.training.monitor import draw_curves
from segvoc.training.recipes import finetune
from segvoc.training.run import train
from segvoc.training.start import Start
from tests.inference.small_network import small_network
from tests.training.runs import RECIPE, drawn_images

pytestmark = pytest.mark.usefixtures("small_preset", "undrawn")


# a protocol and a class selection that depend on the configuration
ERR = ("side=128", "top=1", "crop_size=64", "short_sides=64,80", "num_workers=0", "steps=1", "batch_size=1")


@pytest.mark.parametrize("model", ["small", pytest.param("err-seg-b", marks=pytest.mark.slow)])
def test_the_last_validation_score_is_that_of_an_evaluation(tmp_path, model):
    images, run, start = drawn_images(tmp_path / "set", 3), tmp_path / "run", Start(weights="random")
    recipe = RECIPE.with_settings(steps=2) if model == "small" else finetune(model, model).with_settings(ERR)
    trained = train(recipe, images, run, start=start, validation=images, device="cpu", progress=False)
    assert (validation := trained.validation) is not None and validation["step"] == trained.metrics["step"]
    # copied, since weights of a file lie at other addresses in memory, where matrix products round otherwise
    model = deepcopy(load_network(trained.weights, device="cpu"))
    report = evaluate(model, EvaluationTask.of_images(images), tmp_path / "report")
    scores = report["miou"] / 100, report["pixel_accuracy"] / 100
    assert (validation["mean_iou"], validation["pixel_accuracy"]) == pytest.approx(scores, rel=1e-12)


def test_a_network_of_ones_own_is_trained_in_place_of_the_presets(tmp_path):
    images, recipe = drawn_images(tmp_path / "set", 3), RECIPE.with_settings(steps=1)
    with pytest.raises(UsageError, match="already has weights"):
        train(recipe, images, tmp_path / "no", network=small_network(), start=Start(), progress=False)
    with pytest.raises(UsageError, match="were rounded to bfloat16; train it loaded with dtype='float32'"):
        rounded = small_network().to(torch.bfloat16)
        train(recipe, images, tmp_path / "no", network=rounded, device="cpu", progress=False)
    own = small_network().requires_grad_(True)
    before = {name: value.clone() for name, value in own.state_dict().items()}
    train(recipe, images, tmp_path / "run", network=own, validation=images, device="cpu", progress=False)
    file = read_weights(tmp_path / "run/model.safetensors")
    assert file.preset == "small" and file.record["custom"] is True
    assert file.tensors.keys() == before.keys()
    assert any(not torch.equal(value, file.tensors[name]) for name, value in before.items())


def test_without_matplotlib_a_run_has_no_curves_and_says_so_once(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("segvoc.training.monitor.importlib.util.find_spec", lambda name: None)
    images, run = drawn_images(tmp_path / "set", 3), tmp_path / "run"
    train(RECIPE.with_settings(steps=2), images, run, device="cpu", start=Start(weights="random"))
    assert (run / "model.safetensors").exists() and not (run / "curves.png").exists()
    assert capsys.readouterr().err.count('matplotlib is missing; pip install "segvoc[train]"') == 1


def orange(path):
    """Pixels in the color of the second line of a panel."""
    return (np.abs(np.asarray(Image.open(path).convert("RGB")).astype(int) - (255, 127, 14)).sum(-1) < 60).sum()


def test_a_single_look_at_images_can_be_seen(tmp_path):
    metrics = [{"step": step, "loss": 1 / step, "learning_rate": 1e-3, "gradient_norm": 1.0} for step in range(1, 50)]
    counts = []
    for accuracy in (None, 0.5):
        draw_curves(tmp_path / "c.png", metrics, [{"step": 49, "pixel_accuracy": 0.9, "mean_iou": accuracy}])
        counts.append(orange(tmp_path / "c.png"))
    assert counts[1] > counts[0]


def test_losses_that_are_zero_or_not_finite_are_drawn_in_silence(tmp_path):
    metrics = [{"step": 1, "loss": 0.0, "gradient_norm": None}, {"step": 2, "loss": None, "gradient_norm": None}]
    draw_curves(tmp_path / "c.png", metrics, [])
