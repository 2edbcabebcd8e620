"""How tiny is trained: the upper stages of its image tower, and the scores that choose."""

import pytest
import torch

from segvoc.encoders.efficientnet import EfficientNetLite
from tools.tiny.scoring import counts, scores
from tools.tiny.trunk import UpperTrunk


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
