"""A program for words in two, so that its second half can be run for some classes at a time.

Most of the work of an aggregation with a single parallel block is the same for each class and needs no other class:
what classes have to know of one another are the selection and two sums. ONNX Runtime runs many of the operators on one
thread. Classes that are computed side by side, each on one thread, keep all threads busy, and the maps of a single
class stay in a core's cache.
"""

from collections.abc import Mapping
from typing import cast

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.export import Dim
from torch.nn import functional as F

from segvoc.encoders.base import numbered
from segvoc.exported.onnx_program import OF_CLASSES
from segvoc.exporting.programs import LARGEST, SELECTION_INPUTS, Program, TracedSelection, smallest_grid
from segvoc.layers.aggregation import UpsamplingDecoder, UpsamplingStage, WindowGuidance
from segvoc.layers.aggregation_context import AggregationContext
from segvoc.layers.attention_windows import Windows
from segvoc.layers.class_selection import select_classes
from segvoc.layers.maps import resized
from segvoc.layers.synthesized_classifiers import all_costs
from segvoc.networks.base import CostAggregation, SegmentationNetwork
from segvoc.networks.pca_seg import ParallelBlock
from segvoc.selection_rules import Votes
from segvoc.teaching.features import APPEARANCE, CLASS_LOGITS

BLOCKS = 2
"""Window blocks of a spatial aggregation."""


def comes_apart(network: SegmentationNetwork) -> bool:
    """Whether a network's program for words can be cut in two: its classes meet in a single place."""
    aggregation = network.aggregation
    if not network.selects or type(aggregation) is not CostAggregation or len(aggregation.blocks) != 1:
        return False
    return type(aggregation.blocks[0]) is ParallelBlock and type(aggregation.decoder) is UpsamplingDecoder


def programs_apart(
    words: Program, network: SegmentationNetwork, pooling: tuple[int, int], votes: Votes
) -> list[Program]:
    """The two halves of a program for words: up to the sums over all classes, and from there on.

    Args:
        words: the whole program.
        network: its network, of which `comes_apart` is true.
        pooling: cells over which class aggregation pools.
        votes: how the cells of an image vote for classes.
    """
    aggregation = cast(CostAggregation, network.aggregation)
    shared = Program(module=SharedByClasses(aggregation, pooling, votes).eval(), inputs=words.inputs, free=words.free)
    given = shared.outputs()
    del given["kept"]
    free = _free_axes(given, smallest_grid(network))
    return [shared, Program(module=OfEachClass(aggregation, pooling).eval(), inputs=given, free=free)]


class SharedByClasses(nn.Module):
    """From the inputs of `WordProgram` to the selected classes ("kept"), what is known of each, and what all share."""

    def __init__(self, aggregation: CostAggregation, pooling: tuple[int, int], votes: Votes) -> None:
        super().__init__()
        self.aggregation, self.pooling, self.votes = aggregation, pooling, votes

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """All that `OfEachClass` reads, by name, and the selected classes; see `CostAggregation.forward`."""
        whole = self.aggregation
        block, decoder = cast(ParallelBlock, whole.blocks[0]), cast(UpsamplingDecoder, whole.decoder)
        selection = TracedSelection(**{name: inputs[name] for name in SELECTION_INPUTS}, votes=self.votes)
        maps = numbered("map", inputs)
        text = inputs["words"].expand(maps[0].shape[0], -1, -1, -1)
        cost, by = all_costs(maps, text, whole.synthesized, inputs.get(CLASS_LOGITS)), None
        if whole.skip is not None:
            by = whole.skip(cost, text)[:, None]
            cost = torch.cat((cost, by), dim=1)
        cost, text, kept = select_classes(cost, text, selection, by)
        assert kept is not None
        x = whole.embed_cost(rearrange(cost, "b p t h w -> (b t) p h w"))
        x = rearrange(x, "(b t) c h w -> b t h w c", b=cost.shape[0])
        appearance = rearrange(F.relu(whole.guidance(inputs.get(APPEARANCE, maps[0]))), "b c h w -> b h w c")
        words = F.relu(whole.text_guidance(F.normalize(text.mean(dim=2), dim=-1)))
        guides = [guided[-1] for guided in decoder.precompute_guidance(numbered("tap", inputs))]
        found = {"kept": kept, "class_features": x, "class_words": words}
        if whole.skip is not None:
            found["class_costs"] = cost[:, -1]
        found |= _named("summary", block.semantic.summarize(x, words, AggregationContext(self.pooling)))
        for number, guided in enumerate(block.spatial.precompute_guidance(appearance)):
            found |= {f"{name}_{number}": value for name, value in _shared(guided).items()}
        return found | _named("guide", guides)


class OfEachClass(nn.Module):
    """From what `SharedByClasses` finds to "logits" (B K h w); of its inputs, those of classes may hold only some."""

    def __init__(self, aggregation: CostAggregation, pooling: tuple[int, int]) -> None:
        super().__init__()
        self.aggregation, self.pooling = aggregation, pooling

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The logits of the classes; see `CostAggregation.refined`."""
        whole = self.aggregation
        block, decoder = cast(ParallelBlock, whole.blocks[0]), cast(UpsamplingDecoder, whole.decoder)
        x = inputs["class_features"]
        guided = [_given(inputs, number) for number in range(BLOCKS)]
        semantic = block.semantic(x, inputs["class_words"], numbered("summary", inputs), self.pooling)
        x = block.fuse(block.spatial(x, guided), semantic)
        stages = [cast(UpsamplingStage, stage) for stage in decoder.stages]
        kernels = [stage.merged_kernel() for stage in stages]
        logits = decoder(x, list(zip(kernels, numbered("guide", inputs), strict=True)))
        if "class_costs" in inputs:
            logits = logits + resized(inputs["class_costs"], (logits.shape[2], logits.shape[3]))
        return {"logits": logits.float()}


def _shared(guided: WindowGuidance) -> dict[str, Tensor]:
    """The guidance of a window block by name."""
    windows, (number, cells) = guided.windows, guided.windows.order.shape
    if windows.mask is None:
        windows = windows._replace(mask=guided.q.new_zeros(number, cells, cells))
    return {"query": guided.q, "key": guided.k, **windows._asdict()}


def _given(inputs: Mapping[str, Tensor], block: int) -> WindowGuidance:
    """The inverse of `_shared`, from the inputs that have a block's number in their names."""
    q, k, *windows = (inputs[f"{name}_{block}"] for name in ("query", "key", *Windows._fields))
    return WindowGuidance(q, k, Windows(*windows))


def _named(name: str, values: list[Tensor] | tuple[Tensor, ...]) -> dict[str, Tensor]:
    return {f"{name}_{number}": value for number, value in enumerate(values)}


def _free_axes(given: Mapping[str, Tensor], least: int) -> dict[str, dict[int, object]]:
    images, classes = (Dim(name, min=1, max=LARGEST) for name in ("images", "classes"))
    sides = tuple(Dim(name, min=least, max=LARGEST) for name in ("rows", "columns"))
    cells = given["class_features"].shape[2:4]
    free: dict[str, dict[int, object]] = {}
    for name, value in given.items():
        if name.startswith(Windows._fields):  # the tracer infers how many windows there are
            free[name] = {0: Dim.AUTO}
            continue
        free[name] = {0: images}
        if name.startswith(OF_CLASSES):
            free[name][1] = classes
        if name.startswith("summary"):  # on the pooled grid, whose size the tracer infers
            free[name] |= {1: Dim.AUTO, 2: Dim.AUTO}
        elif name.startswith(("query", "key")):
            free[name][2] = Dim.AUTO
        elif value.ndim > 3:
            first = value.ndim - 2 if name.startswith(("guide", "class_costs")) else 2
            for axis, side, size in zip((first, first + 1), sides, cells, strict=True):
                free[name][axis] = value.shape[axis] // size * side
    return free
