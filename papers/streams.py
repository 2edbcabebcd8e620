"""Similarity of the spatial and the class stream over a training run: PCA-Seg, Fig. 6.

The similarity is a mean over classes and cells: of the squared cosine (Eqs. 7 and 8), which the paper's orthogonality
loss reduces, and of the signed cosine, which the released code returns beside the loss. The paper doesn't say which
its figure shows. `segvoc train` records both for every block at every step, as fod_1, fod_2, ... and cosine_1,
cosine_2, ..., if the recipe has that loss (fod_weight) or only logs it (log_stream_similarity).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
from jaxtyping import Float

from papers.drawing import new_figure, save_figure
from papers.view_options import out_option
from segvoc.cli import run_command
from segvoc.cli.output import echo
from segvoc.errors import InputError, one_line
from segvoc.storage.files import write_json
from segvoc.training.run_folder import RunFolder

CURVE_POINTS = 1000
"""Max points of a curve; longer runs average neighboring steps."""


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN...")
@out_option
def streams(runs: Sequence[str], out: str) -> None:
    """Draw the similarity of the spatial and the class stream over training RUNs (PCA-Seg, Fig. 6).

    \b
    segvoc train pca-seg-b --set log_stream_similarity=true ... --out parallel
    segvoc train cat-seg-eva-b --set log_stream_similarity=true ... --out serial
    python -m papers.streams parallel serial --out figures

    Writes streams.png and streams.json.
    """
    write_curves(Path(out), [StreamCurves.of_run(Path(folder)) for folder in runs])
    echo(f"{out}/streams.png")


@dataclass(frozen=True, kw_only=True)
class StreamCurves:
    """The similarity of the two streams over one training run."""

    name: str
    recipe: dict[str, Any]
    """The run's recipe."""
    steps: np.ndarray
    squared: Float[np.ndarray, "steps blocks"]
    """Squared cosine of the streams in each block, in [0, 1]; NaN for a step that was not finite."""
    cosine: Float[np.ndarray, "steps blocks"]
    """Their signed cosine, in [-1, 1]."""

    @classmethod
    def of_run(cls, folder: Path) -> "StreamCurves":
        """Read the records of a run."""
        try:
            lines = RunFolder(folder).read_lines("metrics.jsonl")
            config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(f"{str(folder)!r} is not a run of segvoc train ({one_line(error)})") from None
        names = sorted({name for line in lines for name in line if name.startswith("fod_")}, key=lambda n: int(n[4:]))
        if not names:
            raise InputError(
                f"{str(folder)!r} has no records of its streams; train a network with aggregation blocks and "
                "--set log_stream_similarity=true"
            )
        return cls(
            name=folder.resolve().name,
            recipe=config.get("recipe", {}),
            steps=np.array([line["step"] for line in lines]),
            squared=_column(lines, names),
            cosine=_column(lines, [name.replace("fod_", "cosine_") for name in names]),
        )

    def facts(self) -> dict[str, object]:
        """Plain values: minimum and mean of the first and the last tenth of the run, and each block's last tenth.

        Values of the signed cosine are in "cosine"; all others are of the squared cosine.
        """
        kept = ("model", "network", "optimizer", "objective")
        return {
            "name": self.name,
            "recipe": {name: self.recipe[name] for name in kept if name in self.recipe},
            "steps": len(self.steps),
            **_facts(self.squared),
            "cosine": _facts(self.cosine),
        }


def write_curves(folder: Path, runs: Sequence[StreamCurves]) -> None:
    """Write streams.png, with a panel per cosine, and streams.json.

    Each run has a thick line, and thin ones for its blocks.
    """
    write_json(folder / "streams.json", {"runs": [curves.facts() for curves in runs]})
    figure = new_figure(4.4, 1.5)
    for axes, kind, least in zip(figure.subplots(1, 2), ("squared cosine", "cosine"), (0, None), strict=True):
        for number, curves in enumerate(runs):
            steps, values = (
                _thinned(curves.steps),
                _thinned(curves.squared if kind == "squared cosine" else curves.cosine),
            )
            for block in values.T:
                axes.plot(steps, 100 * block, color=f"C{number}", linewidth=0.6, alpha=0.45)
            axes.plot(steps, 100 * _mean(values, axis=1), color=f"C{number}", linewidth=1.8, label=curves.name)
        axes.set(xlabel="step", ylabel=f"{kind} of the streams [%]", ylim=(least, None))
        axes.set_title("thick: mean over the blocks; thin: each block", fontsize=8)
        axes.legend()
        axes.grid(alpha=0.3)
    save_figure(folder / "streams.png", figure)


def _column(lines: Sequence[Mapping[str, Any]], names: Sequence[str]) -> Float[np.ndarray, "steps blocks"]:
    """Some entries of every line; NaN if missing."""
    return np.array([[np.nan if line.get(name) is None else line[name] for name in names] for line in lines], float)


def _facts(values: Float[np.ndarray, "steps blocks"]) -> dict[str, object]:
    tenth = max(1, len(values) // 10)
    mean = _mean(values, axis=1)
    return {
        "first_tenth": _plain(_mean(mean[:tenth])),
        "last_tenth": _plain(_mean(mean[-tenth:])),
        "least": _plain(np.nanmin(mean)) if np.isfinite(mean).any() else None,
        "blocks_last_tenth": [_plain(_mean(block[-tenth:])) for block in values.T],
    }


def _thinned(values: np.ndarray) -> np.ndarray:
    """Means of neighboring rows, at most `CURVE_POINTS` of them."""
    size = -(-len(values) // CURVE_POINTS)
    groups = np.array_split(values, -(-len(values) // size))
    return np.stack([_mean(group, axis=0) for group in groups])


def _mean(values: np.ndarray, axis: int | None = None) -> Any:
    """The mean of the finite values; NaN if there are none."""
    finite = np.isfinite(values)
    count = finite.sum(axis=axis)
    return np.where(finite, values, 0).sum(axis=axis) / np.where(count, count, np.nan)


def _plain(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


if __name__ == "__main__":
    run_command(streams, "python -m papers.streams")
