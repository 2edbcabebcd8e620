"""What a block of aggregation and the network take: PCA-Seg, Table 4; ERR-Seg, Tables 4 and 11; CAT-Seg, Table 11.

Values are random, since costs don't depend on them; the words' embeddings are there already.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from segvoc.analysis.charts import save_figures
from segvoc.analysis.measuring import measured
from segvoc.analysis.multiply_adds import counted, err_block, published_err_seg
from segvoc.analysis.published_blocks import published_block
from segvoc.analysis.single_view import refuse_two_levels
from segvoc.encoders.base import ImageEncoder
from segvoc.errors import UsageError
from segvoc.layers.aggregation_context import AggregationContext
from segvoc.layers.class_selection import Voted
from segvoc.models.presets import find_preset
from segvoc.networks.err_seg import PUBLISHED_KEPT, ErrAggregation, own_kept
from segvoc.networks.options import Options
from segvoc.networks.pca_seg import CostAggregation, SegmentationNetwork
from segvoc.storage.atomic_writes import write_atomically

POOLING = (2, 2)
"""Cells that class aggregation pools, as in the tables."""

COARSE_TAP = 16
"""The stride of the cells that ERR-Seg's blocks see; a tower of ViT has its own."""


@dataclass(frozen=True, kw_only=True)
class Costs:
    """A row: one block, or the network.

    parameters: of these `trainable` by the published recipe (a block: all). published: multiply-adds as the papers
    count them, None where nothing is published. counted: those of our graph, attention's products included. memory
    [GB]: the most beyond what was there before; None where the system doesn't tell. seconds: of the quickest run.
    """

    model: str
    part: str
    classes: int
    parameters: int
    trainable: int
    published: int | None
    counted: int
    memory: float | None
    seconds: float


def costs_of(
    model: str,
    options: Options,
    *,
    classes: int = 171,
    device: torch.device | None = None,
    repeat: int = 3,
    chunk: int | None = None,
) -> list[Costs]:
    """A row for a block of a preset, if it has blocks, and one for the network, for one square picture.

    chunk: classes worked on at a time; by default as `segvoc.load` does it. ERR-Seg goes on with as many classes as its
    authors do on a benchmark of so many words, else by the rule for free words.

    Raises: UsageError: no such preset or option.
    """
    device = device or torch.device("cpu")
    preset = find_preset(model)
    with torch.device("meta"):
        shape = preset.build(options).eval()
    refuse_two_levels(shape)
    network = preset.build(options).eval().requires_grad_(False).to(device)
    side = preset.protocols_with(options)["single"].size
    name = " ".join([model, *(f"{key}={value}" for key, value in options.chosen().items())])
    reduced = isinstance(network.aggregation, ErrAggregation)
    kept = min(classes, PUBLISHED_KEPT.get(classes, own_kept(classes))) if reduced else classes
    chunk = chunk or (8 if device.type == "cpu" else 128)
    rows = []
    if len(getattr(network.aggregation, "blocks", ())):
        rows.append(_block_row(name, network, shape, side, kept, chunk, device, repeat))
    return [*rows, _network_row(name, network, shape, side, classes, kept, chunk, device, repeat)]


def _block_row(
    name: str,
    network: SegmentationNetwork,
    shape: SegmentationNetwork,
    side: int,
    classes: int,
    chunk: int,
    device: torch.device,
    repeat: int,
) -> Costs:
    block = cast(nn.ModuleList, network.aggregation.blocks)[0]
    err = isinstance(network.aggregation, ErrAggregation)
    cells = side // (COARSE_TAP if err else cast(ImageEncoder, network.image_encoder).stride)
    inputs = _block_inputs(network.aggregation, cells, classes, device)
    context = AggregationContext(POOLING, None, chunk)
    counter = FlopCounterMode(display=False)
    with torch.device("meta"), counter:
        meta = _block_inputs(shape.aggregation, cells, classes, torch.device("meta"))
        cast(nn.ModuleList, shape.aggregation.blocks)[0](*meta, context)
    with torch.inference_mode():
        took = measured(lambda: block(*inputs, context), device, repeat)
    return Costs(
        model=name,
        part="block",
        classes=classes,
        parameters=_size(block),
        trainable=_size(block),
        published=_published_block(network.aggregation, block, cells, classes),
        counted=counter.get_total_flops() // 2,
        memory=took.memory,
        seconds=took.seconds,
    )


def _network_row(
    name: str,
    network: SegmentationNetwork,
    shape: SegmentationNetwork,
    side: int,
    classes: int,
    kept: int,
    chunk: int,
    device: torch.device,
    repeat: int,
) -> Costs:
    err = isinstance(network.aggregation, ErrAggregation)
    picture = torch.rand(1, 3, side, side, device=device) * 255
    text = torch.randn(classes, 1, cast(ImageEncoder, network.image_encoder).channels, device=device)
    selection = Voted(kept) if err else None
    parameters = dict(network.named_parameters())
    with torch.inference_mode():
        took = measured(
            lambda: network.selected_logits(picture, text, selection=selection, chunk=chunk), device, repeat
        )
    return Costs(
        model=name,
        part="network",
        classes=classes,
        parameters=_size(network),
        trainable=sum(parameters[key].numel() for key in network.trainable_parameters()),
        published=published_err_seg(shape, side, classes, kept) if err else None,
        counted=counted(shape, side, classes, kept if err else None),
        memory=took.memory,
        seconds=took.seconds,
    )


def _block_inputs(
    aggregation: nn.Module, cells: int, classes: int, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Features of every class and cell, the picture's guidance and the words'."""
    if isinstance(aggregation, ErrAggregation):
        dim, guidance = aggregation.merge_costs.out_channels, aggregation.merge_guidance.out_channels
    elif isinstance(aggregation, CostAggregation):
        dim, guidance = aggregation.embed_cost.out_channels, aggregation.guidance.out_channels
    else:
        raise UsageError("this aggregation has no blocks; leave out aggregation=none or features")
    grid = (1, cells, cells)
    return (
        torch.randn(1, classes, cells, cells, dim, device=device),
        torch.randn(*grid, guidance, device=device),
        torch.randn(1, classes, guidance, device=device),
    )


def _published_block(aggregation: nn.Module, block: Any, cells: int, classes: int) -> int | None:
    """As the papers count; None where nothing is published of such a block."""
    if isinstance(aggregation, ErrAggregation):
        return err_block(aggregation, cells**2, classes)
    try:
        return published_block(block, classes, cells, POOLING[0])
    except UsageError:
        return None


def _size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def costs_table(rows: Sequence[Costs]) -> str:
    """The rows as Markdown."""
    head = (
        "| model | part | words | parameters [M] | multiply-adds as published [G] | ours [G] | memory [GB] | time [s] |"
    )
    lines = [head, "|---|---|---|---|---|---|---|---|"]
    for row in rows:
        published = "" if row.published is None else f"{row.published / 1e9:.2f}"
        memory = "" if row.memory is None else f"{row.memory:.2f}"
        cells = [row.model, row.part, str(row.classes), f"{row.parameters / 1e6:.2f}", published]
        cells += [f"{row.counted / 1e9:.2f}", memory, f"{row.seconds:.3f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def write_costs(folder: Path, rows: Sequence[Costs], told: dict[str, object]) -> None:
    """Write blocks.md and blocks.json, with what else is `told`.

    Raises: OutputError: the system refused.
    """
    save_figures(folder / "blocks.json", {**told, "rows": [asdict(row) for row in rows]})
    table = costs_table(rows)
    write_atomically(folder / "blocks.md", lambda file: file.write(table.encode()))
