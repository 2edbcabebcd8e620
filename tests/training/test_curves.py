"""The metrics as a figure."""

import numpy as np
from PIL import Image

from segvoc.training.monitor import draw_curves


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
