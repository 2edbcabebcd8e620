"""Costs of an aggregation block and of a network: PCA-Seg, Table 4; ERR-Seg, Tables 4 and 11; CAT-Seg, Table 11.

Weights and inputs are random, since costs don't depend on them. Encoding the words is not included.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from segvoc.analysis.measuring import measure
from segvoc.analysis.multiply_adds import count_multiply_adds, err_block, multiply_adds_of, published_err_seg
from segvoc.analysis.published_blocks import published_block
from segvoc.analysis.single_view import require_single_level
from segvoc.analysis.tables import markdown_table, save_table
from segvoc.configuration import differences
from segvoc.encoders.base import ImageEncoder
from segvoc.errors import UsageError
from segvoc.evaluation.published_protocols import err_seg_kept
from segvoc.layers.aggregation_context import AggregationContext
from segvoc.models.builders import NetworkConfig
from segvoc.models.network_segmenter import classes_at_a_time
from segvoc.models.presets import find_preset
from segvoc.models.weightless import weightless
from segvoc.networks.base import CostAggregation
from segvoc.networks.err_seg import ErrAggregation
from segvoc.selection_rules import Voted

POOLING = (2, 2)
"""Cells that class aggregation pools in each direction, as in the tables."""

COARSE_TAP = 16
"""Stride of the cells in ERR-Seg's blocks; those of the other networks have the image encoder's stride."""


@dataclass(frozen=True, kw_only=True)
class CostRow:
    """A row of the table: a block or a network."""

    model: str
    """Name of the preset, with the options that differ from it."""
    module: str
    classes: int
    parameters: int
    trainable: int
    """Parameters that the published recipe trains; of a block all."""
    published: int | None
    """Multiply-adds as the papers count them; None where nothing is published."""
    counted: int
    """Multiply-adds of our graph, including attention's products."""
    memory: float | None
    """Peak memory above that in use before the forward pass [GB]; None where the system doesn't report it."""
    seconds: float
    """Time of the fastest forward pass [s]."""


def measure_costs(
    model: str,
    configuration: NetworkConfig | None = None,
    *,
    classes: int = 171,
    device: torch.device | None = None,
    repeat: int = 3,
    chunk: int | None = None,
) -> list[CostRow]:
    """Measure a preset on one square image: a row for its first block, if it has blocks, and one for the network.

    ERR-Seg keeps as many classes as its authors do for a benchmark of this size, else as many as for free words.

    Args:
        model: name of the preset.
        configuration: of the network; None: the preset's.
        classes: number of words.
        device: the CPU by default.
        repeat: number of timed runs, of which the fastest counts.
        chunk: classes that are processed at a time; by default as in `segvoc.load`.

    Raises:
        UsageError: the preset is unknown, or it is a part network.
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
    chunk = chunk or classes_at_a_time(device)

    def row(module: str, work: Callable[[], object], words: int, **figures: Any) -> CostRow:
        with torch.inference_mode():
            took = measure(work, device, repeat)
        return CostRow(model=name, module=module, classes=words, memory=took.memory, seconds=took.seconds, **figures)

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
    image = torch.rand(1, 3, side, side, device=device) * 255
    text = torch.randn(classes, 1, cast(ImageEncoder, network.image_encoder).channels, device=device)
    selection, parameters = Voted(kept) if reduced else None, dict(network.named_parameters())
    whole = row(
        "network",
        lambda: network.selected_logits(image, text, selection=selection, chunk=chunk),
        classes,
        parameters=_size(network),
        trainable=sum(parameters[key].numel() for key in network.trainable_parameters()),
        published=published_err_seg(shape, side, classes, kept) if reduced else None,
        counted=count_multiply_adds(shape, side, classes, kept if reduced else None),
    )
    return [*rows, whole]


def _block_inputs(
    aggregation: nn.Module, cells: int, classes: int, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Random features of every class and cell, image guidance and text guidance."""
    if isinstance(aggregation, ErrAggregation):
        dim, guidance = aggregation.merge_costs.out_channels, aggregation.merge_guidance.out_channels
    elif isinstance(aggregation, CostAggregation):
        dim, guidance = aggregation.embed_cost.out_channels, aggregation.guidance.out_channels
    else:
        raise UsageError("this aggregation has no blocks; leave out aggregation=none or aggregation=features")
    grid = (1, cells, cells)
    return (
        torch.randn(1, classes, cells, cells, dim, device=device),
        torch.randn(*grid, guidance, device=device),
        torch.randn(1, classes, guidance, device=device),
    )


def _published_block(aggregation: nn.Module, block: Any, cells: int, classes: int) -> int | None:
    """Multiply-adds as the papers count them; None if no paper has such a block."""
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
    return markdown_table((*head, "time [s]"), cells)


def write_costs(folder: Path, rows: Sequence[CostRow], metadata: dict[str, object]) -> None:
    """Write blocks.md, and blocks.json, which starts with `metadata`.

    Raises:
        OutputError: a file can't be written.
    """
    save_table(folder, "blocks", costs_table(rows), {**metadata, "rows": [asdict(row) for row in rows]})
