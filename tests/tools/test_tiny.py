"""How tiny is trained: the upper stages of its image tower, and the scores that choose."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import segvoc
from segvoc.encoders.efficientnet import EfficientNetLite
from segvoc.models.decisions import TINY_CONFIDENCE
from tools.tiny.confidence import ABSENT_WEIGHT, Labeled, confidence, fitted, labeled
from tools.tiny.confidence import scores as scores_of_confidence
from tools.tiny.held_out import HeldOut
from tools.tiny.natural_words import ADDED, TABLE, Question, mistakes, question, summary
from tools.tiny.photos import Photo
from tools.tiny.scoring import counts, scores
from tools.tiny.trunk import UpperTrunk

SAMPLES = Path(__file__).parents[2] / "samples"


def _tower() -> EfficientNetLite:
    """A tower whose batch norms aren't trivial."""
    torch.manual_seed(0)
    tower = EfficientNetLite().eval()
    for name, value in tower.trunk.state_dict().items():
        if name.endswith("running_var"):
            value.uniform_(0.5, 2.0)
        elif name.endswith(("running_mean", "bias")):
            value.normal_(std=0.1)
    return tower


def test_the_upper_trunk_is_the_towers_before_and_after_training():
    tower, middle = _tower(), torch.randn(2, 120, 5, 6)
    upper = UpperTrunk(tower)
    last, head = upper(middle)
    torch.testing.assert_close(last, tower.last_stage(middle), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(head, tower.trunk.head(tower.last_stage(middle)), rtol=1e-4, atol=1e-4)
    with torch.no_grad():
        for parameter in upper.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))
    changed, _ = upper(middle)
    assert not torch.allclose(changed, last, atol=1e-3)
    upper.write_back()
    torch.testing.assert_close(tower.last_stage(middle), changed, rtol=1e-4, atol=1e-4)


def test_scores_are_of_words_in_the_truth():
    logits, truth = torch.zeros(3, 2, 2), torch.tensor([[0, 0], [1, -1]])
    logits[0, 0], logits[2, 1] = 1.0, 1.0
    assert counts(logits, truth).tolist() == [[2, 0, 0], [2, 1, 0], [2, 0, 1]]
    pixels = torch.stack([counts(logits, truth)] * 20)
    found = scores(pixels)
    assert (found.miou, found.pixel_accuracy) == pytest.approx((50.0, 100 * 2 / 3))
    assert found.miou_error == pytest.approx(0.0, abs=1e-9)


def held_out(labels: np.ndarray, *words: str | None) -> HeldOut:
    photo = Photo("drawn", Path("drawn.jpg"), Path("drawn.png"), words)
    return HeldOut(photo, np.zeros((*labels.shape, 3), np.uint8), labels)


def test_people_ask_by_other_names_and_mistakes_are_counted_by_kind():
    asked = question(held_out(np.repeat([[0, 1, 2, 255]], 10, axis=0), "dog", "person", None))
    there = {"dog", "person", *TABLE["names"]["dog"], *TABLE["names"]["person"]}
    assert asked is not None and asked.labels == [0, 1] and len(asked.words) == 2 + 2 * ADDED
    assert set(asked.words[:2]) <= there and not there & set(asked.words[2:])
    assert question(held_out(np.full((2, 2), 255), "dog")) is None
    one = held_out(np.array([[0, 0, 0, 0, 1, 1, 2, 2]]), "dog", "cat", None)
    asked = Question([0, 1], ["puppy", "kitten", "grass", "zebra"], 1)
    found = mistakes(one, asked, np.array([[0, 1, 2, 3, 1, 1, 0, 2]], np.uint16))
    assert (found["accuracy"], found["takes surroundings"], found["absent"]) == (50.0, 50.0, 12.5)
    assert found["neighbors"] == found["taken by surroundings"] == pytest.approx(100 / 6)
    assert summary([("drawn", found), ("other", {"accuracy": 100.0})])[-1]["accuracy"] == 75.0


def test_the_confidence_that_is_fitted_is_the_one_that_calls_have():
    model, words = segvoc.load_network("tiny", device="cpu", dtype="float32"), ["cup", "table", "spoon"]
    pixels = np.asarray(Image.open(SAMPLES / "coffee.jpg").resize((60, 40)))
    photo = Photo("drawn", Path("drawn.jpg"), Path("drawn.png"), (*words,))
    row = labeled(model, HeldOut(photo, pixels, np.zeros(pixels.shape[:2], int)), words, [0])
    weights = (TINY_CONFIDENCE.bias, TINY_CONFIDENCE.slope, *TINY_CONFIDENCE.word, *TINY_CONFIDENCE.image)
    result = model.segment(pixels, words)
    expected = result.confidence[result.labels < len(words)]
    np.testing.assert_allclose(confidence(np.array(weights), row.everywhere), expected, atol=1e-5)


def test_the_confidence_is_fitted_to_what_is_right():
    random = np.random.default_rng(0)
    rows = []
    for number in range(60):
        x = random.normal(size=(200, 4))
        x[:, 2], x[:, 3] = random.normal(), 0  # of the image; and "absent"
        right = random.random(200) < 1 / (1 + np.exp(-(2 * x[:, 0] + x[:, 2] + 0.5)))
        rows.append(Labeled(str(number), x, right, x, float(right.mean())))
    weights = fitted(rows)
    # shrunk by the penalty
    assert weights[:4] == pytest.approx([0.4, 1.4, 0, 0.7], abs=0.2) and weights[-1] == ABSENT_WEIGHT
    assert confidence(weights, np.zeros((1, 4)))[0] == pytest.approx(0.62, abs=0.05)
    found = scores_of_confidence(rows)
    assert found["rank correlation"] > 0.9 and found["calibration error"] < 0.1 and found["photographs"] == 60
