"""The metrics of a run as a figure."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from segvoc.storage.atomic_writes import write_atomically
from segvoc.training.objectives.synergy_losses import TERMS

POINTS = 2000
"""Largest number of steps that are drawn; longer runs are thinned out evenly."""

FEW = 20
"""With fewer points than this, each gets a marker: a single point makes no line."""


def draw_curves(path: Path, metrics: Sequence[dict[str, Any]], watched: Sequence[dict[str, Any]]) -> None:
    """Plot losses and their terms, learning rate, gradient norm and scores of the watched images over the steps.

    Raises: OutputError: the file can't be written.
    """
    if not metrics:
        return
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # here, since it takes a second to import
    from matplotlib.figure import Figure

    shown = metrics[:: max(1, len(metrics) // POINTS)]
    terms = [name for name in metrics[-1] if name in ("loss", "segmentation", "fod", *TERMS)]
    panels = [
        ("loss", terms, shown, "log"),
        ("learning rate, gradient norm", ["learning_rate", "gradient_norm"], shown, "log"),
    ]
    for title, prefix in (("squared cosine of the two streams", "fod_"), ("cosine of the two streams", "cosine_")):
        if blocks := [name for name in metrics[-1] if name.startswith(prefix)]:
            panels.append((title, blocks, shown, "linear"))
    if watched:
        panels.append(("watched images", ["pixel_accuracy", "mean_iou"], watched, "linear"))
    figure = Figure(figsize=(5 * len(panels), 4), layout="constrained")
    for axes, (title, names, lines, scale) in zip(np.ravel(figure.subplots(1, len(panels))), panels, strict=True):
        steps, marker = [line["step"] for line in lines], "o" if len(lines) < FEW else None
        values = {name: [np.nan if line.get(name) is None else line[name] for line in lines] for name in names}
        if not any(value > 0 for row in values.values() for value in row):
            scale = "linear"
        for name, row in values.items():
            axes.plot(steps, row, label=name.replace("_", " "), linewidth=1, marker=marker, markersize=3)
        axes.set(title=title, xlabel="step", xlim=(0, 1.03 * metrics[-1]["step"]), yscale=scale)
        axes.locator_params("x", integer=True)
        axes.legend()
    write_atomically(path, lambda file: FigureCanvasAgg(figure).print_png(file))
