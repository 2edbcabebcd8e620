"""Costs of a block and of a network: PCA-Seg, Table 4; ERR-Seg, Tables 4 and 11; CAT-Seg, Fig. 5b and Table 11.

Weights and inputs are random, since costs don't depend on them. Encoding the words is not included.

The numbers of PCA-Seg's Table 4 come from the counter `thop`, which sees layers but not the matrix products between
them: linear layers and convolutions count 1 per weight and cell, batch and layer norm 4 per value, softmax
3 n - 1 per row of n, average pooling 1 per output, and attention's products nothing. Counted this way
(`published_block`), with 171 classes, 24 x 24 cells and 2 x 2 pooling, all digits of the table are reproduced. The
released graph repeats some work per class that ours does once per image, and pads the classes to 256.
"""

import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import click
import numpy as np
import torch
from torch import nn

from benchmarks.official.multiply_adds import err_block, err_seg_kept, multiply_adds_of, published_err_seg
from papers.costs import require_single_level
from papers.drawing import markdown_table, save_table
from papers.view_options import out_option
from segvoc.cli import run_command
from segvoc.cli.output import echo
from segvoc.encoders.base import ImageEncoder
from segvoc.errors import UsageError
from segvoc.inference.protocols import Window
from segvoc.inference.windows import views
from segvoc.layers.aggregation import ClassAggregation, SpatialAggregation, WindowBlock
from segvoc.layers.aggregation_context import AggregationContext
from segvoc.layers.selection import ClassSelection
from segvoc.models.loading import find_device
from segvoc.models.network_segmenter import classes_at_a_time
from segvoc.models.presets import find_preset
from segvoc.models.resolving import resolve
from segvoc.models.weightless import weightless
from segvoc.models.weights import architecture
from segvoc.networks.base import CostAggregation, NetworkConfig
from segvoc.networks.cat_seg import LastStream, SerialBlock
from segvoc.networks.choices import ConcatenatedStreams, PaperExpertFusion, SoftmaxClassAggregation
from segvoc.networks.err_seg import ErrAggregation
from segvoc.networks.pca_seg import CoefficientMapper, ExpertFusion, ExpertHalf, ExpertParser, ParallelBlock
from segvoc.runtime.version import __version__
from segvoc.storage.records import differences, parse_settings

POOLING = (2, 2)
"""Cells that class aggregation pools in each direction, as in the tables."""

COARSE_TAP = 16
"""Stride of the cells in ERR-Seg's blocks; other networks use the image encoder's stride."""

IMAGE_SIDE = 640
"""Side of the image that is cut into views [px]; CAT-Seg's windows are on such a canvas."""

MOST_CLASSES = 100_000
"""Max words of a measurement."""

NORM = 4
"""Operations that `thop` charges for each input value of a norm with weights."""


@click.command()
@click.argument("models", nargs=-1, required=True, metavar="MODEL...")
@click.option(
    "--set", "options", multiple=True, metavar="NAME=VALUE", help="Change an option of the presets, e.g. ssr=1."
)
@click.option(
    "--classes",
    default="171",
    show_default=True,
    metavar="N,N",
    help="Numbers of words; of several also the mean time.",
)
@click.option(
    "--window",
    type=click.Choice(("single", "official")),
    default="single",
    help="Views of the image.",
    show_default=True,
)
@click.option("--repeat", type=click.IntRange(1), default=3, metavar="N", help="Time the fastest of N runs.")
@click.option("--device", default="auto", metavar="DEVICE", help="auto, cpu, cuda, cuda:1, ...")
@out_option
def blocks(
    models: Sequence[str], options: Sequence[str], classes: str, window: Window, repeat: int, device: str, out: str
) -> None:
    """Measure parameters, multiply-adds, memory and time of a block and of the network (PCA-Seg, Table 4).

    \b
    python -m papers.blocks cat-seg-eva-b pca-seg-b --classes 171
    python -m papers.blocks cat-seg-b cat-seg-l --classes 847,459,150,59,20 --window official

    MODEL is a preset or a .safetensors file of segvoc. Weights are random, since they don't affect the costs. Writes
    blocks.md and blocks.json.
    """
    numbers = [int(part) if part.strip().isdecimal() else 0 for part in classes.split(",")]
    if not all(1 <= number <= MOST_CLASSES for number in numbers):
        raise UsageError(f"--classes {classes!r} must be numbers from 1 to {MOST_CLASSES}, such as 847,150")
    where, chosen, rows = find_device(device), parse_settings(options), list[CostRow]()
    for model in models:
        spec = resolve(model, options=chosen)
        name, (_, configuration) = spec.preset, architecture(spec)
        for number in numbers:
            rows += measure_costs(name, configuration, classes=number, window=window, device=where, repeat=repeat)
    write_costs(Path(out), rows, {"segvoc": __version__, "device": str(where), "repeat": repeat})
    echo(costs_table(rows), nl=False)


@dataclass(frozen=True, kw_only=True)
class CostRow:
    """A row of the table: a block or a network."""

    model: str
    """Name of the preset, with the options that differ from it."""
    module: str
    classes: int
    parameters: int
    trainable: int
    """Parameters that the published recipe trains; for a block, all."""
    published: int | None
    """Multiply-adds as the papers count them; None where nothing is published."""
    counted: int
    """Multiply-adds of our graph, including attention's products."""
    memory: float | None
    """Peak GPU memory above the usage before the forward pass [GB]; None on a CPU."""
    seconds: float
    """Time of the fastest forward pass [s]."""


def measure_costs(
    model: str,
    configuration: NetworkConfig | None = None,
    *,
    classes: int = 171,
    window: Window = "single",
    device: torch.device | None = None,
    repeat: int = 3,
) -> list[CostRow]:
    """Measure a preset on a square image: a row for its first block, if any, and a row for the network.

    ERR-Seg keeps as many classes as its paper does for a benchmark of this size, else as many as for free words; other
    networks keep those of the window.

    Args:
        model: name of the preset.
        configuration: network configuration; None: the preset's.
        classes: number of words.
        window: the views of the image.
        device: the CPU by default.
        repeat: number of timed runs; the fastest counts.
    """
    device = device or torch.device("cpu")
    preset = find_preset(model)
    configuration = configuration or preset.configuration
    changes = differences(configuration, preset.configuration)
    with weightless():
        shape = preset.build(configuration).eval()
    require_single_level(shape)
    network = preset.build(configuration).eval().requires_grad_(False).to(device)
    side = preset.protocols_of(configuration)["single"].size
    name = " ".join([model, *(f"{key}={value}" for key, value in changes.items())])
    reduced = isinstance(network.aggregation, ErrAggregation)
    kept = err_seg_kept(classes) if reduced else classes
    chunk = classes_at_a_time(device)

    def row(module: str, work: Callable[[], object], words: int, **figures: Any) -> CostRow:
        with torch.inference_mode():
            memory, seconds = measure(work, device, repeat)
        return CostRow(model=name, module=module, classes=words, memory=memory, seconds=seconds, **figures)

    rows = []
    if len(getattr(network.aggregation, "blocks", ())):
        block, plain = (cast(nn.ModuleList, one.aggregation.blocks)[0] for one in (network, shape))
        cells = side // (COARSE_TAP if reduced else cast(ImageEncoder, network.image_encoder).stride)
        inputs, context = (
            _block_inputs(network.aggregation, cells, kept, device),
            AggregationContext(POOLING, None, chunk),
        )
        with torch.device("meta"):
            meta = _block_inputs(shape.aggregation, cells, kept, torch.device("meta"))
            counted = multiply_adds_of(lambda: plain(*meta, context))
        figures = {"parameters": _size(block), "trainable": _size(block), "counted": counted}
        published = _published_block(network.aggregation, block, cells, kept)
        rows.append(row("block", lambda: block(*inputs, context), kept, published=published, **figures))
    protocol = preset.protocols_of(configuration)[window]
    image = np.random.default_rng(0).integers(0, 256, (IMAGE_SIDE, IMAGE_SIDE, 3), dtype=np.uint8)
    pixels = torch.from_numpy(views(image, protocol)).to(device)
    text = torch.randn(classes, 1, cast(ImageEncoder, network.image_encoder).channels, device=device)
    selection = ClassSelection(keep=kept) if reduced else protocol.selection
    if selection is not None and selection.share is not None:
        selection = None  # how many classes a share keeps depends on the image
    options: Any = {
        "selection": selection,
        "pooling": protocol.pooling,
    }
    parameters = dict(network.named_parameters())
    whole = row(
        "network" if window == "single" else f"network, {len(pixels)} views",
        lambda: network.selected_logits(pixels, text, chunk=chunk, **options),
        classes,
        parameters=_size(network),
        trainable=sum(parameters[key].numel() for key in network.trainable_parameters()),
        published=published_err_seg(shape, side, classes, kept) if reduced and window == "single" else None,
        counted=multiply_adds_of(lambda: shape.selected_logits(pixels.to("meta"), text.to("meta"), **options)),
    )
    return [*rows, whole]


def _block_inputs(
    aggregation: nn.Module, cells: int, classes: int, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Random features of every class and cell, image guidance and text guidance."""
    if isinstance(aggregation, ErrAggregation):
        dim, guidance = aggregation.merge_costs.out_channels, aggregation.merge_guidance.out_channels
    elif isinstance(aggregation, CostAggregation):
        dim, guidance = aggregation.embed_cost.out_channels, cast(nn.Conv2d, aggregation.guidance).out_channels
    else:
        raise UsageError("this aggregation has no blocks; leave out aggregation=none or aggregation=features")
    grid = (1, cells, cells)
    return (
        torch.randn(1, classes, cells, cells, dim, device=device),
        torch.randn(*grid, guidance, device=device),
        torch.randn(1, classes, guidance, device=device),
    )


def _published_block(aggregation: nn.Module, block: Any, cells: int, classes: int) -> int | None:
    """Multiply-adds as the papers count them; None if no paper has this block."""
    if isinstance(aggregation, ErrAggregation):
        return err_block(aggregation, cells**2, classes)
    try:
        return published_block(block, classes, cells, POOLING[0])
    except UsageError:
        return None


def _size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def costs_table(rows: Sequence[CostRow]) -> str:
    """The rows as a Markdown table."""
    head = ("model", "module", "words", "parameters [M]", "multiply-adds, published [G]", "ours [G]", "memory [GB]")
    cells = (
        (
            *(row.model, row.module, str(row.classes), f"{row.parameters / 1e6:.2f}"),
            *("" if row.published is None else f"{row.published / 1e9:.2f}", f"{row.counted / 1e9:.2f}"),
            *("" if row.memory is None else f"{row.memory:.2f}", f"{row.seconds:.3f}"),
        )
        for row in rows
    )
    means = ((model, f"mean of {count}", *[""] * 5, f"{seconds:.3f}") for model, count, seconds in mean_times(rows))
    return markdown_table((*head, "time [s]"), [*cells, *means])


def mean_times(rows: Sequence[CostRow]) -> list[tuple[str, int, float]]:
    """Model, number of measurements and mean time [s] of each network measured with several numbers of words."""
    times: dict[str, list[float]] = {}
    for row in rows:
        if row.module.startswith("network"):
            times.setdefault(row.model, []).append(row.seconds)
    return [(model, len(several), statistics.fmean(several)) for model, several in times.items() if len(several) > 1]


def write_costs(folder: Path, rows: Sequence[CostRow], metadata: dict[str, object]) -> None:
    """Write blocks.md, and blocks.json, which starts with `metadata`."""
    means = [{"model": model, "classes": count, "seconds": seconds} for model, count, seconds in mean_times(rows)]
    save_table(folder, "blocks", costs_table(rows), {**metadata, "rows": [asdict(row) for row in rows], "means": means})


def measure(work: Callable[[], object], device: torch.device, repeat: int = 3) -> tuple[float | None, float]:
    """Measure memory and time of a call.

    Returns:
        Peak GPU memory of the first call above the usage before it [GB] (None on a CPU), and the time of the
        fastest of `repeat` further calls [s].
    """
    gpu, memory, seconds = device.type == "cuda", None, []
    if gpu:
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        work()
        memory = (torch.cuda.max_memory_allocated(device) - before) / 1e9
        torch.cuda.synchronize(device)
    else:
        work()
    for _ in range(repeat):
        start = time.perf_counter()
        work()
        if gpu:
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - start)
    return memory, min(seconds)


def published_block(block: ParallelBlock | SerialBlock, classes: int, side: int, pooling: int = 2) -> int:
    """Count a block's multiply-adds like the papers.

    Args:
        block: the block.
        classes: number of classes.
        side: number of rows and of columns of cells.
        pooling: cells that class aggregation pools, in each direction.

    Raises:
        UsageError: the released code lacks the fusion or class attention.
    """
    cells = classes * side * side
    return (
        _spatial(block.spatial, classes, side)
        + _semantic(block.semantic, classes, (side // pooling) ** 2, pooling)
        + _fusion(block.fuse, cells)
    )


def _spatial(spatial: SpatialAggregation, classes: int, side: int) -> int:
    cells, total = classes * side * side, 0
    for block in cast(Iterable[WindowBlock], spatial.blocks):
        padded = -(-side // block.window) * block.window
        row = block.window**2
        softmax = classes * block.heads * padded**2 * (3 * row - 1)
        total += cells * (_weights(block.project) + _weights(block.out) + _weights(block.mlp)) + softmax
        total += cells * NORM * 2 * block.out.out_features
    guidance = next(iter(spatial.guidance_norm.parameters()), None)
    return total + (0 if guidance is None else cells * NORM * guidance.numel())


def _semantic(semantic: ClassAggregation, classes: int, cells: int, pooling: int) -> int:
    if isinstance(semantic, SoftmaxClassAggregation):
        raise UsageError("the published numbers are for linear class attention; leave out class_attention=softmax")
    tokens, dim = max(classes, semantic.pad_classes) * cells, semantic.project.v.out_features
    pooled = classes * cells * dim if pooling > 1 else 0
    return tokens * (_weights(semantic.project) + _weights(semantic.mlp) + NORM * 2 * dim) + pooled


def _fusion(fusion: nn.Module, cells: int) -> int:
    if isinstance(fusion, LastStream):
        return 0
    if isinstance(fusion, ConcatenatedStreams):
        return cells * _weights(fusion)
    if not isinstance(fusion, ExpertFusion | PaperExpertFusion):
        raise UsageError(f"there are no published numbers for {type(fusion).__name__}; use a fusion of the papers")
    parse = cast(ExpertParser, fusion.parse)
    each = _weights(fusion) + NORM * sum(cast(ExpertHalf, half).norm.num_features for half in parse.halves)
    if isinstance(fusion.integrate, CoefficientMapper):
        each += 3 * parse.experts - 1
    return cells * each


def _weights(module: nn.Module) -> int:
    """Weights of all linear layers and convolutions, which are the multiply-adds for one cell."""
    layers = [layer for layer in module.modules() if isinstance(layer, nn.Linear | nn.Conv2d)]
    return sum(layer.weight.numel() for layer in layers)


if __name__ == "__main__":
    run_command(blocks, "python -m papers.blocks")
