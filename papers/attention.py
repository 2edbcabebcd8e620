"""Spatial attention with and without the redundant classes: ERR-Seg, Fig. 2.

The network computes attention without ever forming its weights. Here the inputs of each spatial aggregation are
recorded, and the weights softmax(q kᵀ / √d) of a few classes are formed from them.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import click
import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn

from papers.costs import WordInput, shown_words
from papers.drawing import new_figure, save_figure, show_image, show_map
from papers.view_options import ViewOptions, view_options
from segvoc.cli import run_command
from segvoc.cli.output import echo
from segvoc.errors import UsageError
from segvoc.imaging.reading import ImageSource, read_image
from segvoc.inference.label_options import LabelOptions
from segvoc.inference.protocols import Protocol
from segvoc.inference.windows import views
from segvoc.layers.class_selection import scatter_to_all
from segvoc.layers.shapes import ClassTokens
from segvoc.models.network_segmenter import NetworkSegmenter
from segvoc.networks.err_seg import ErrBlock, GuidedQueriesKeys, ReducedSpatialAggregation
from segvoc.storage.files import write_json
from segvoc.vocabulary import Vocabulary

WORDS_SHOWN = 4
"""Number of words shown by default: those in the most cells."""


@click.command()
@click.argument("image")
@view_options("window", "keep_classes")
@click.option("--show", multiple=True, metavar="WORD", help="Show this word only; repeat for more.")
def attention(image: str, show: Sequence[str], view: ViewOptions) -> None:
    """Draw ERR-Seg's spatial attention on IMAGE with the kept classes alone and with all classes (ERR-Seg, Fig. 2).

    \b
    python -m papers.attention photo.jpg --words-file ade847.txt --model err-seg-b --weights W --keep-classes 48

    Writes attention.png of the last block, and attention.json.
    """
    vocabulary = view.vocabulary([image])
    maps = attention_maps(view.load(), image, vocabulary, view.labels, show=show)
    maps.write(view.folder, view.metadata([image], vocabulary))
    echo(f"{view.folder / 'attention.png'}: {maps.kept} classes, and {maps.classes}")


Weights = Float[np.ndarray, "h w"]
"""A class's attention in a block from the chosen cell to all (reduced) cells, averaged over the heads; sums to 1."""


@dataclass(frozen=True, kw_only=True)
class WordAttention:
    """Attention of a word's cost maps, with and without the classes that selection drops."""

    word: str
    point: tuple[int, int]
    """The pixel (x, y) whose cell attends."""
    reduced: tuple[Weights, ...]
    """For each block, with the kept classes alone."""
    full: tuple[Weights, ...]
    """For each block, with all classes."""


@dataclass(frozen=True, kw_only=True)
class AttentionMaps:
    """Spatial attention of some words, with and without class selection."""

    image: UInt8[np.ndarray, "H W 3"]
    classes: int
    """All classes."""
    kept: int
    """Classes kept by selection."""
    words: tuple[WordAttention, ...]

    def write(self, folder: Path, metadata: Mapping[str, object]) -> None:
        """Write attention.png of the last block, and attention.json with the attending cells."""
        points = {found.word: list(found.point) for found in self.words}
        facts = {"classes": self.classes, "kept": self.kept, "attention": points}
        write_json(folder / "attention.json", {**metadata, **facts})
        figure = new_figure(3.3, len(self.words), 3.4, self.image)
        grid = figure.subplots(len(self.words), 3, squeeze=False)
        for line, found in zip(grid, self.words, strict=True):
            both = found.reduced[-1], found.full[-1]
            limits = (0, max(float(weights.max()) for weights in both))
            show_image(line[0], self.image, found.word)
            drawn = None
            for axes, weights, number in zip(line[1:], both, (self.kept, self.classes), strict=True):
                drawn = show_map(axes, self.image, weights, title=f"{number} classes", limits=limits)
            figure.colorbar(cast(Any, drawn), ax=list(line), shrink=0.8)
            for axes in line:
                scale = (axes.get_images()[0].get_array().shape[1]) / self.image.shape[1]
                axes.plot(*(scale * at for at in found.point), marker="*", color="white", markeredgecolor="black")
        save_figure(folder / "attention.png", figure)


def attention_maps(
    segmenter: NetworkSegmenter,
    image: ImageSource,
    words: WordInput,
    options: LabelOptions | None = None,
    *,
    show: Sequence[str] = (),
    point: tuple[int, int] | None = None,
) -> AttentionMaps:
    """Compute the spatial attention of some words, with only the kept classes and with all.

    Args:
        segmenter: an ERR-Seg.
        image: the image.
        words: all words.
        options: how the image is resized (with several views, the whole-image view is used), and the kept classes.
        show: the words to show; by default the `WORDS_SHOWN` in the most cells.
        point: the pixel (x, y) whose cell attends; by default each word's most likely pixel.
    """
    layers = spatial_aggregations(segmenter)
    vocabulary = words if isinstance(words, Vocabulary) else Vocabulary(words)
    options = options or LabelOptions()
    protocol = segmenter.protocol(options)
    array = read_image(image)
    height, width = array.shape[:2]
    pixels = torch.from_numpy(views(array, protocol)[-1:]).to(segmenter.device)
    text = cast(Tensor, segmenter.encode_words(vocabulary))
    logits, kept = _logits(segmenter, pixels, text, protocol)
    if kept is None:
        raise UsageError(f"all {len(vocabulary)} words are kept; give more words or a lower --keep-classes")
    labels = scatter_to_all(logits[None], kept[None], len(vocabulary))[0].argmax(dim=0)
    chosen, places = _shown(vocabulary.words, show, kept, labels), {at: place for place, at in enumerate(kept.tolist())}
    points = {at: point or _strongest(logits[places[at]], height, width) for at in chosen}
    queries = {at: _Query(points[at][0] / width, points[at][1] / height) for at in chosen}
    everything = segmenter.protocol(options.keeping_all())
    with _observed(layers, {places[at]: query for at, query in queries.items()}) as reduced:
        _logits(segmenter, pixels, text, protocol)
    with _observed(layers, queries) as full:
        _logits(segmenter, pixels, text, everything)
    return AttentionMaps(
        image=array,
        classes=len(vocabulary),
        kept=len(kept),
        words=tuple(
            WordAttention(word=vocabulary.words[at], point=points[at], reduced=tuple(less), full=tuple(more))
            for at, less, more in zip(chosen, reduced, full, strict=True)
        ),
    )


def spatial_aggregations(segmenter: NetworkSegmenter) -> list[ReducedSpatialAggregation]:
    """The spatial aggregation of each block."""
    blocks = [block for block in getattr(segmenter.network.aggregation, "blocks", ()) if isinstance(block, ErrBlock)]
    found = [block.spatial for block in blocks if block.spatial is not None]
    if not found:
        raise UsageError(
            f"{segmenter.name} has no spatial attention over the whole image; use ERR-Seg: --model err-seg-b"
        )
    return found


def _shown(
    words: tuple[str, ...], show: Sequence[str], kept: Int64[Tensor, " K"], labels: Int64[Tensor, "h w"]
) -> list[int]:
    """Indices of the words to show."""
    chosen, there = shown_words(show, words), kept.tolist()
    if dropped := [index for index in chosen if index not in there]:
        names = ", ".join(words[index] for index in there)
        raise UsageError(f"{words[dropped[0]]!r} isn't kept and has no attention; show some of: {names}")
    if chosen:
        return chosen
    found, cells = labels.unique(return_counts=True)
    order = cells.argsort(descending=True, stable=True)[:WORDS_SHOWN]
    return found[order].tolist()


def _strongest(logits: Float[Tensor, "h w"], height: int, width: int) -> tuple[int, int]:
    """The pixel (x, y) in the middle of the cell with the highest logit."""
    row, column = divmod(int(logits.argmax()), logits.shape[1])
    return int((column + 0.5) * width / logits.shape[1]), int((row + 0.5) * height / logits.shape[0])


@dataclass(frozen=True)
class _Query:
    """Query cell of a class."""

    x: float
    """Position of the chosen cell, as a share of the image's width."""
    y: float
    """The same of its height."""

    def look(self, weights: Float[Tensor, "L S"], grid: tuple[int, int]) -> Weights:
        """Attention from the chosen cell.

        Args:
            weights: attention from each of the L cells of the grid to S reduced cells.
            grid: rows and columns of the L cells.
        """
        rows, columns = grid
        # kernels of r x r cells without padding: partial kernels have no reduced cell
        factor = round((rows * columns / weights.shape[1]) ** 0.5)
        cell = int(self.y * rows) * columns + int(self.x * columns)
        return weights[cell].cpu().view(rows // factor, columns // factor).numpy()


def _logits(
    segmenter: NetworkSegmenter, pixels: Float[Tensor, "1 3 H W"], text: Float[Tensor, "T P C"], protocol: Protocol
) -> tuple[Float[Tensor, "K h w"], Int64[Tensor, " K"] | None]:
    """Logits of the selected classes, and their indices; None if all are."""
    with torch.inference_mode():
        logits, kept = segmenter.network.selected_logits(
            pixels, text, pooling=protocol.pooling, selection=protocol.selection, chunk=segmenter.class_chunk
        )
    return logits[0].float(), None if kept is None else kept[0]


@contextmanager
def _observed(
    layers: Sequence[ReducedSpatialAggregation], queries: Mapping[int, "_Query"]
) -> Iterator[list[list[Weights]]]:
    """Hook the inputs of the blocks' layers, which come in chunks of classes, within the context.

    Args:
        layers: one per block.
        queries: query cells by the index of the selected class.

    Yields:
        For each query the attention of every block, after the forward pass.
    """
    found: list[list[Weights]] = [[] for _ in queries]

    def observe(layer: ReducedSpatialAggregation) -> Callable[[nn.Module, Any], None]:
        before = 0

        def look(module: nn.Module, inputs: tuple[Any, ...]) -> None:
            nonlocal before
            x, guided = cast(ClassTokens, inputs[0]), cast(GuidedQueriesKeys, inputs[-1])
            for (place, query), blocks in zip(queries.items(), found, strict=True):
                if before <= place < before + x.shape[1]:
                    own = x[:, place - before : place - before + 1]
                    blocks.append(query.look(_mean_weights(layer, own, guided), (x.shape[2], x.shape[3])))
            before += x.shape[1]

        return look

    with ExitStack() as hooks:
        for layer in layers:
            hooks.callback(layer.register_forward_pre_hook(cast(Any, observe(layer))).remove)
        yield found


def _mean_weights(layer: ReducedSpatialAggregation, x: ClassTokens, guided: GuidedQueriesKeys) -> Float[Tensor, "L S"]:
    """softmax(q kᵀ / √d) of one class, averaged over the heads."""
    q, k, _ = layer.queries_keys_values(layer.norm1(x), guided)
    return (q.float() @ k.float().mT / q.shape[-1] ** 0.5).softmax(dim=-1)[0].mean(dim=0)


if __name__ == "__main__":
    run_command(attention, "python -m papers.attention")
