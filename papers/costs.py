"""One forward pass over an image with the maps between encoders and logits; costs before and after aggregation.

CAT-Seg, Fig. 3. `papers.experts` uses `SingleView` too.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import click
import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from papers.drawing import new_figure, save_figure, show_image, show_map
from papers.view_options import ViewOptions, view_options
from segvoc.cli import run_command
from segvoc.cli.output import echo
from segvoc.encoders.base import ClassifiedFeatures, ImageFeatures
from segvoc.errors import UsageError
from segvoc.imaging.reading import ImageSource, read_image
from segvoc.inference.label_options import LabelOptions
from segvoc.inference.protocols import Window
from segvoc.inference.windows import views
from segvoc.layers.aggregation import cost_volume
from segvoc.layers.shapes import ClassTokens
from segvoc.models.network_segmenter import NetworkSegmenter
from segvoc.networks.part_cat_seg import PartNetwork
from segvoc.networks.tiny import TinyCosts
from segvoc.storage.files import write_json
from segvoc.vocabulary import Vocabulary

WordInput = Iterable[str] | Vocabulary
"""Words as given by the caller."""

MAX_WORDS = 12
"""Max words in a figure, a row each."""


@click.command()
@click.argument("image")
@view_options("window")
@click.option("--show", multiple=True, metavar="WORD", help="Show this word only; repeat for more.")
def costs(image: str, show: Sequence[str], view: ViewOptions) -> None:
    """Draw the cost volume of IMAGE before and after aggregation (CAT-Seg, Fig. 3).

    Writes costs.png and costs.json.
    """
    vocabulary = view.vocabulary([image])
    views = cost_views(view.load(), image, vocabulary, show, view.labels.window)
    views.write(view.folder, view.metadata([image], vocabulary))
    echo(view.folder / "costs.png")


@dataclass(frozen=True, kw_only=True)
class SingleView:
    """Intermediate maps and logits of one view of an image, for T words."""

    image: UInt8[np.ndarray, "rows columns 3"]
    """The whole image at its original size."""
    words: tuple[str, ...]
    costs: tuple[Float[Tensor, "T _ _"], ...]
    """Cost of each word, averaged over its prompts, in [-1, 1]: for each map of the image encoder the cosine
    similarity, then the cost of the synthesized classifiers, if any."""
    streams: tuple[tuple[ClassTokens, ClassTokens], ...]
    """Spatial and class stream of every block that has both."""
    logits: Float[Tensor, "T y x"]
    """Logits before the sigmoid."""


def forward_single_view(
    segmenter: NetworkSegmenter, image: ImageSource, words: WordInput, window: Window = "auto"
) -> SingleView:
    """Run a network once over an image, without class selection.

    If the window has several views, the whole-image view is used. Part networks are refused.
    """
    require_single_level(segmenter.network)
    vocabulary = words if isinstance(words, Vocabulary) else Vocabulary(words)
    protocol = segmenter.protocol(LabelOptions(window=window).keeping_all())
    array = read_image(image)
    pixels = torch.from_numpy(views(array, protocol)[-1:]).to(segmenter.device)
    text = cast(Tensor, segmenter.encode_words(vocabulary))
    streams: list[tuple[ClassTokens, ClassTokens]] = []
    network = segmenter.network
    with torch.inference_mode():
        features: ImageFeatures = cast(nn.Module, network.image_encoder)(pixels)
        embeddings = text[None].float()
        costs = [cost_volume(dense.float(), embeddings)[0].mean(dim=0) for dense in features.maps]
        if isinstance(features, ClassifiedFeatures) and isinstance(network.aggregation, TinyCosts):
            costs.append(network.aggregation.synthesized(features.class_logits.float(), embeddings)[0].mean(dim=0))
        # all classes in one chunk, so that each block calls back once
        logits, _ = network.selected_logits(
            pixels, text, pooling=protocol.pooling, observe=lambda _, *both: streams.append(both)
        )
    return SingleView(
        image=array, words=vocabulary.words, costs=tuple(costs), streams=tuple(streams), logits=logits[0].float()
    )


@dataclass(frozen=True, kw_only=True)
class CostViews:
    """The costs of T words before aggregation, and their probabilities after it."""

    image: UInt8[np.ndarray, "H W 3"]
    words: tuple[str, ...]
    before: tuple[Float[np.ndarray, "T _ _"], ...]
    """Cosine similarity of each cell with each word, in [-1, 1]; one entry for each of the image encoder's maps."""
    after: Float[np.ndarray, "T h w"]
    """Probability of each word, in [0, 1]."""

    def write(self, folder: Path, metadata: dict[str, object]) -> None:
        """Write costs.png, each map on its own color scale, and costs.json with the range of every map."""
        columns = 2 + len(self.before)
        figure = new_figure(columns, len(self.words), 2.8, self.image)
        grid = figure.subplots(len(self.words), columns, squeeze=False)
        facts = []
        for index, (word, line) in enumerate(zip(self.words, grid, strict=True)):
            show_image(line[0], self.image, word)
            for number, cost in enumerate(self.before):
                name = "cost" if len(self.before) == 1 else f"cost {number + 1}"
                show_map(line[1 + number], self.image, cost[index], title=f"{name}: {_range(cost[index])}")
            show_map(line[-1], self.image, self.after[index], title=f"aggregated: {_range(self.after[index])}")
            before = [_statistics(cost[index]) for cost in self.before]
            facts.append({"word": word, "before": before, "after": _statistics(self.after[index])})
        save_figure(folder / "costs.png", figure)
        write_json(folder / "costs.json", {**metadata, "words": facts})


def cost_views(
    segmenter: NetworkSegmenter, image: ImageSource, words: WordInput, show: Sequence[str] = (), window: Window = "auto"
) -> CostViews:
    """Compute the costs of some words before aggregation, and their probabilities after it.

    Args:
        segmenter: the network.
        image: the image.
        words: all words; they are aggregated together.
        show: the words to draw; by default the first `MAX_WORDS`.
        window: how the image is resized, see `Segmenter.segment`.
    """
    view = forward_single_view(segmenter, image, words, window)
    chosen = shown_words(show, view.words) or list(range(len(view.words)))[:MAX_WORDS]
    return CostViews(
        image=view.image,
        words=tuple(view.words[index] for index in chosen),
        before=tuple(cost[chosen].cpu().numpy() for cost in view.costs),
        after=view.logits[chosen].sigmoid().cpu().numpy(),
    )


def shown_words(show: Sequence[str], words: Sequence[str]) -> list[int]:
    """The indices of the words to show; refuses unknown or too many words."""
    if len(show) > MAX_WORDS:
        raise UsageError(f"{len(show)} words don't fit into one figure; show at most {MAX_WORDS}")
    if unknown := [word for word in show if word not in words]:
        raise UsageError(f"{unknown[0]!r} can't be shown, it isn't one of the words: {', '.join(words)}")
    return [words.index(word) for word in show]


def _range(values: Float[np.ndarray, "h w"]) -> str:
    return f"{values.min():.3f} to {values.max():.3f}"


def _statistics(values: Float[np.ndarray, "h w"]) -> dict[str, float]:
    return {name: float(getattr(values, name)()) for name in ("min", "mean", "max", "std")}


def require_single_level(network: nn.Module) -> None:
    """Refuse part networks, which have two cost volumes and sequences of blocks: for objects and for parts."""
    if isinstance(network, PartNetwork):
        raise UsageError(
            "this analysis reads one level and part networks have two; use another model, such as pca-seg-b or tiny"
        )


if __name__ == "__main__":
    run_command(costs, "python -m papers.costs")
