"""Helpers for figures and tables: panels without axes, heat maps over an image, PNG files, Markdown tables."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from segvoc.storage.atomic_writes import write_atomically
from segvoc.storage.files import write_json

PANEL_PIXELS = 720
"""Max longer side of an image in a panel [px]."""

TITLE_HEIGHT = 0.3
"""Height of a panel's title [inches]."""


def new_figure(
    columns: float | int, rows: float | int, panel: float | int = 3.2, image: UInt8[np.ndarray, "H W 3"] | None = None
) -> Figure:
    """Create an empty figure for a grid of panels.

    Args:
        columns: number of panels in a row; fractions leave room for a color bar.
        rows: number of rows.
        panel: width of a panel [inches].
        image: gives panels its aspect ratio, with room for a title; without it they are square.
    """
    height = panel if image is None else panel * image.shape[0] / image.shape[1] + TITLE_HEIGHT
    return Figure(figsize=(panel * columns, height * rows), layout="constrained", dpi=110)


def save_figure(path: Path, figure: Figure) -> None:
    """Write a figure as a PNG file, atomically."""
    write_atomically(path, lambda file: FigureCanvasAgg(figure).print_png(file))


def show_image(axes: Axes, image: UInt8[np.ndarray, "H W 3"], title: str = "") -> None:
    """Draw an image without axes, with a title above it."""
    axes.imshow(shrink(image))
    axes.set_title(title, fontsize=9)
    axes.set_axis_off()


def show_map(
    axes: Axes,
    image: UInt8[np.ndarray, "H W 3"],
    values: Float[np.ndarray, "h w"] | Tensor,
    *,
    title: str = "",
    limits: tuple[float | int, float | int] | None = None,
    opacity: float = 0.65,
) -> Any:
    """Draw a heat map over a gray version of an image.

    Args:
        axes: the panel.
        image: the image.
        values: the map, on any grid, stretched to the image.
        title: text above the panel.
        limits: values at the two ends of the color scale; by default the map's minimum and maximum.
        opacity: opacity of the map over the image, in [0, 1].

    Returns:
        matplotlib's image of the map, to which a color bar can be attached.
    """
    small = shrink(image)
    gray = np.asarray(Image.fromarray(small).convert("L"))
    axes.imshow(gray, cmap="gray", vmin=0, vmax=255)
    low, high = limits or (float(values.min()), float(values.max()))
    drawn = axes.imshow(enlarge(values, small.shape[:2]), cmap="turbo", alpha=opacity, vmin=low, vmax=high)
    axes.set_title(title, fontsize=9)
    axes.set_axis_off()
    return drawn


def shrink(image: UInt8[np.ndarray, "H W 3"]) -> UInt8[np.ndarray, "h w 3"]:
    """Shrink an image if its longer side exceeds `PANEL_PIXELS`."""
    thumbnail = Image.fromarray(image)
    thumbnail.thumbnail((PANEL_PIXELS, PANEL_PIXELS))
    return np.asarray(thumbnail)


def enlarge(values: Float[np.ndarray, "h w"] | Tensor, size: tuple[int, int]) -> Float[np.ndarray, "H W"]:
    """Interpolate a map bilinearly to a size (height, width)."""
    grid = torch.as_tensor(values, dtype=torch.float32).cpu()
    return F.interpolate(grid[None, None], size=size, mode="bilinear")[0, 0].numpy()


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Format a Markdown table, ending with a newline."""
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|", *(f"| {' | '.join(row)} |" for row in rows)]
    return "\n".join(lines) + "\n"


def save_table(folder: Path, name: str, markdown: str, content: Mapping[str, object]) -> None:
    """Write a table as NAME.md, for people, and NAME.json, for programs."""
    write_json(folder / f"{name}.json", content)
    write_atomically(folder / f"{name}.md", lambda file: file.write(markdown.encode()))
