"""How alike the spatial and the class stream are, over a training run and on a picture: PCA-Seg, Fig. 6.

Alike is the mean squared cosine over classes and cells (Eqs. 7 and 8), which the paper's loss makes small. `segvoc
train` notes it for every block at every step, as fod_1, fod_2, ..., where the recipe has that loss (fod) or only
watches (watch_streams).
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch.nn import functional as F

from segvoc.analysis.charts import new_figure, save_figure, save_figures
from segvoc.analysis.single_view import Words, blocks_of, look
from segvoc.errors import InputError, one_line
from segvoc.imaging.reading import ImageSource
from segvoc.inference.segmenter import Segmenter
from segvoc.inference.window_names import Window
from segvoc.shapes import ClassTokens
from segvoc.training.objectives.losses import squared_cosine
from segvoc.training.run_folder import RunFolder

POINTS = 1000
"""Points of a curve; of more steps, neighbours are averaged."""


@dataclass(frozen=True, kw_only=True)
class StreamCurves:
    """The similarity of the two streams over one run, in [0, 1].

    name: the folder's. recipe: what the run was started with. values: NaN where a step was not finite.
    """

    name: str
    recipe: dict[str, Any]
    steps: np.ndarray
    values: Float[np.ndarray, "steps blocks"]

    @classmethod
    def of_run(cls, folder: Path) -> "StreamCurves":
        """Read what a run has noted.

        Raises:
            InputError: the folder holds no run that noted its streams.
        """
        try:
            lines = RunFolder(folder).read_lines("metrics.jsonl")
            config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(f"{str(folder)!r} is no run of segvoc train ({one_line(error)})") from None
        names = sorted({name for line in lines for name in line if name.startswith("fod_")}, key=lambda n: int(n[4:]))
        if not names:
            raise InputError(
                f"{str(folder)!r} didn't note how alike its streams are; train it with a network that has blocks and "
                "--set watch_streams=true"
            )
        values = [[np.nan if line.get(name) is None else line[name] for name in names] for line in lines]
        return cls(
            name=folder.resolve().name,
            recipe=config.get("recipe", {}),
            steps=np.array([line["step"] for line in lines]),
            values=np.array(values, dtype=float),
        )

    def facts(self) -> dict[str, object]:
        """Plain values: the least, the first and the last tenth's mean over the blocks, and each block's last tenth."""
        tenth = max(1, len(self.steps) // 10)
        mean = _mean(self.values, axis=1)
        kept = ("model", "options", "fod", "watch_streams", "steps")
        return {
            "name": self.name,
            "recipe": {name: self.recipe[name] for name in kept if name in self.recipe},
            "steps": len(self.steps),
            "first_tenth": _plain(_mean(mean[:tenth])),
            "last_tenth": _plain(_mean(mean[-tenth:])),
            "least": _plain(np.nanmin(mean)) if np.isfinite(mean).any() else None,
            "blocks_last_tenth": [_plain(_mean(block[-tenth:])) for block in self.values.T],
        }


def write_curves(folder: Path, runs: Sequence[StreamCurves]) -> None:
    """Write streams.png, a line for each run (thin ones for its blocks), and streams.json.

    Raises: OutputError: the system refused.
    """
    save_figures(folder / "streams.json", {"runs": [run.facts() for run in runs]})
    figure = new_figure(2.4, 1.5)
    axes = figure.subplots()
    for number, run in enumerate(runs):
        steps, values = _thinned(run.steps), _thinned(run.values)
        for block in values.T:
            axes.plot(steps, 100 * block, color=f"C{number}", linewidth=0.6, alpha=0.45)
        axes.plot(steps, 100 * _mean(values, axis=1), color=f"C{number}", linewidth=1.8, label=run.name)
    axes.set(xlabel="step", ylabel="squared cosine of the streams [%]", ylim=(0, None))
    axes.set_title("thick: mean over the blocks; thin: each block", fontsize=8)
    axes.legend()
    axes.grid(alpha=0.3)
    save_figure(folder / "streams.png", figure)


def similarity(spatial: ClassTokens, semantic: ClassTokens) -> dict[str, float]:
    """How alike two streams are over all classes and cells: "squared_cosine" (Eq. 8), "cosine", "absolute_cosine"."""
    cosine = F.cosine_similarity(spatial.float(), semantic.float(), dim=-1)
    return {
        "squared_cosine": squared_cosine(spatial, semantic).mean().item(),
        "cosine": cosine.mean().item(),
        "absolute_cosine": cosine.abs().mean().item(),
    }


def picture_similarity(
    segmenter: Segmenter, picture: ImageSource, words: Words, window: Window = "auto"
) -> list[dict[str, float]]:
    """The similarity of the streams of every block on a picture.

    Raises:
        InputError: the picture can't be read.
        UsageError: the network has no blocks.
    """
    blocks_of(segmenter)
    with torch.inference_mode():
        return [similarity(*streams) for streams in look(segmenter, picture, words, window).streams]


def write_picture_similarity(folder: Path, blocks: Sequence[dict[str, float]], told: dict[str, object]) -> None:
    """Write streams_picture.json, with what else is `told`, and streams_picture.png, a bar for each block.

    Raises: OutputError: the system refused.
    """
    save_figures(folder / "streams_picture.json", {**told, "blocks": list(blocks)})
    figure = new_figure(1.4, 1)
    axes = figure.subplots()
    names = [str(number) for number in range(1, len(blocks) + 1)]
    axes.bar(names, [100 * block["squared_cosine"] for block in blocks])
    axes.set(xlabel="block", ylabel="squared cosine of the streams [%]")
    save_figure(folder / "streams_picture.png", figure)


def _thinned(values: np.ndarray) -> np.ndarray:
    """Means of neighbouring rows, `POINTS` of them at most."""
    group = -(-len(values) // POINTS)
    parts = np.array_split(values, -(-len(values) // group))
    return np.stack([_mean(part, axis=0) for part in parts])


def _mean(values: np.ndarray, axis: int | None = None) -> Any:
    """The mean of what is finite; NaN where nothing is."""
    finite = np.isfinite(values)
    count = finite.sum(axis=axis)
    return np.where(finite, values, 0).sum(axis=axis) / np.where(count, count, np.nan)


def _plain(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
