"""What all pictures of the analysis share: panels without axes, maps over a photograph, files."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from segvoc.storage.atomic_writes import write_atomically
from segvoc.storage.json_files import write_json

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SHOWN_SIDE = 720
"""The longer side of a photograph in a panel is at most so long [px]."""


TITLE = 0.3
"""Room for a panel's title [inches]."""


def new_figure(
    columns: float | int, rows: float | int, panel: float | int = 3.2, image: UInt8[np.ndarray, "H W 3"] | None = None
) -> "Figure":
    """A figure for so many panels, each `panel` inches wide and high, or as high as a picture of that width."""
    from matplotlib.figure import Figure  # here, since it takes a second to import

    high = panel if image is None else panel * image.shape[0] / image.shape[1] + TITLE
    return Figure(figsize=(panel * columns, high * rows), layout="constrained", dpi=110)


def save_figure(path: Path, figure: "Figure") -> None:
    """Write a PNG.

    Raises: OutputError: the system refused.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    write_atomically(path, lambda file: FigureCanvasAgg(figure).print_png(file))


def save_figures(path: Path, content: Mapping[str, Any]) -> None:
    """Write the figures behind a picture as JSON.

    Raises: OutputError: the system refused.
    """
    write_json(path, content)


def show_picture(axes: "Axes", image: UInt8[np.ndarray, "H W 3"], title: str = "") -> None:
    """A picture without axes, its title above."""
    axes.imshow(shrunk(image))
    axes.set_title(title, fontsize=9)
    axes.set_axis_off()


def show_map(
    axes: "Axes",
    image: UInt8[np.ndarray, "H W 3"],
    values: Float[np.ndarray, "h w"] | Tensor,
    *,
    title: str = "",
    limits: tuple[float | int, float | int] | None = None,
    opacity: float = 0.65,
) -> Any:
    """A map of any grid over a grey picture; returns matplotlib's image, for a colour bar.

    limits: what is drawn darkest and brightest; None: the least and the largest value.
    """
    small = shrunk(image)
    grey = np.asarray(Image.fromarray(small).convert("L"))
    axes.imshow(grey, cmap="gray", vmin=0, vmax=255)
    least, most = limits or (float(values.min()), float(values.max()))
    drawn = axes.imshow(enlarged(values, small.shape[:2]), cmap="turbo", alpha=opacity, vmin=least, vmax=most)
    axes.set_title(title, fontsize=9)
    axes.set_axis_off()
    return drawn


def shrunk(image: UInt8[np.ndarray, "H W 3"]) -> UInt8[np.ndarray, "h w 3"]:
    """A picture no longer than `SHOWN_SIDE`."""
    picture = Image.fromarray(image)
    picture.thumbnail((SHOWN_SIDE, SHOWN_SIDE))
    return np.asarray(picture)


def enlarged(values: Float[np.ndarray, "h w"] | Tensor, size: tuple[int, int]) -> Float[np.ndarray, "H W"]:
    """A map, bilinearly interpolated to a size."""
    grid = torch.as_tensor(values, dtype=torch.float32).cpu()
    return F.interpolate(grid[None, None], size=size, mode="bilinear")[0, 0].numpy()
