"""Two networks side by side on an image: PCA-Seg, Figs. 1a and 4; CAT-Seg, Figs. 16 and 17; ERR-Seg, Fig. 5."""

from dataclasses import dataclass, replace
from pathlib import Path

import click
import numpy as np
from jaxtyping import Bool

from papers.drawing import new_figure, save_figure, show_image, show_map
from papers.view_options import ViewOptions, view_options
from segvoc.cli import run_command
from segvoc.cli.output import echo
from segvoc.errors import UsageError
from segvoc.inference.label_options import IMAGE_OPTIONS
from segvoc.inference.segmentation import Segmentation
from segvoc.storage.files import write_json


@click.command()
@click.argument("image")
@view_options(*IMAGE_OPTIONS)
@click.option("--other", required=True, metavar="NAME", help="The second model.")
@click.option("--other-weights", metavar="FILE", help="Its weights.")
def compare(image: str, other: str, other_weights: str | None, view: ViewOptions) -> None:
    """Segment IMAGE with two networks and draw the results side by side (PCA-Seg, Figs. 1a and 4).

    \b
    python -m papers.compare photo.jpg --words "truck, runway" --model parallel.safetensors --other serial.safetensors

    Writes compare.png (the image, both label maps, where they differ, both confidences) and compare.json.
    """
    vocabulary = view.vocabulary([image])
    second = replace(view, model=other, chosen=replace(view.chosen, weights=other_weights, options=()))
    if second == view:
        raise UsageError("both networks are the same; choose another with --other or --other-weights")
    results = [one.load().segment(image, vocabulary, options=one.labels) for one in (view, second)]
    names = tuple(" ".join(filter(None, (one.model, one.chosen.weights))) for one in (view, second))
    found = Disagreement(first=results[0], second=results[1], names=(names[0], names[1]))
    other_metadata = second.metadata([image], vocabulary)
    others = {key: other_metadata[key] for key in ("model", "weights", "options")}
    found.write(view.folder, view.metadata([image], vocabulary) | {"other": others})
    echo(f"{view.folder / 'compare.png'}: {found.differing.mean():.1%} of the pixels differ")


@dataclass(frozen=True, kw_only=True)
class Disagreement:
    """Two segmentations of one image with the same words.

    Raises:
        UsageError: the words or the sizes differ.
    """

    first: Segmentation
    second: Segmentation
    names: tuple[str, str]
    """Names of the two networks in the figure."""

    def __post_init__(self) -> None:
        """Check that the results are comparable."""
        if self.first.words != self.second.words or self.first.labels.shape != self.second.labels.shape:
            raise UsageError("the two results differ in their words or image; segment one image with the same words")

    @property
    def differing(self) -> Bool[np.ndarray, "H W"]:
        """Pixels where the labels differ."""
        return self.first.labels != self.second.labels

    def facts(self) -> dict[str, object]:
        """Plain values: the fraction of pixels that differ, and the words and confidence of each network."""
        results = zip(self.names, (self.first, self.second), strict=True)
        return {
            "differing": float(self.differing.mean()),
            "models": [
                {
                    "name": name,
                    "model": result.model,
                    "confidence": float(result.confidence.mean()),
                    "fractions": {
                        word: float((result.labels == index).mean()) for index, word in enumerate(result.words)
                    },
                }
                for name, result in results
            ],
        }

    def write(self, folder: Path, metadata: dict[str, object]) -> None:
        """Write compare.png, and compare.json, which starts with `metadata`."""
        write_json(folder / "compare.json", {**metadata, **self.facts()})
        image, where = self.first.image, self.differing
        figure = new_figure(3.2, 2, 4.2, image)
        grid = figure.subplots(2, 3)
        show_image(grid[0, 0], image, "image")
        dimmed = np.where(where[..., None], [230, 60, 60], image // 3 + 120).astype(np.uint8)
        show_image(grid[1, 0], dimmed, f"where they differ: {where.mean():.1%}")
        for column, (name, result) in enumerate(zip(self.names, (self.first, self.second), strict=True), 1):
            show_image(grid[0, column], np.asarray(result.overlay(alpha=0.6)), name)
            mean = float(result.confidence.mean())
            drawn = show_map(
                grid[1, column], image, result.confidence, title=f"confidence, mean {mean:.2f}", limits=(0, 1)
            )
            if column == 2:
                figure.colorbar(drawn, ax=list(grid[1]), shrink=0.8)
        save_figure(folder / "compare.png", figure)


if __name__ == "__main__":
    run_command(compare, "python -m papers.compare")
