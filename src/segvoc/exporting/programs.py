"""A network as two programs: one runs once per image, the other per vocabulary.

The split lets a caller change the words without encoding the image again. `image` maps pixels to features; `words`
maps these features and word embeddings to logits, including class selection. Both trace the network's modules, without
a second implementation.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from einops import rearrange
from jaxtyping import Bool
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from segvoc.encoders.base import ClassifiedFeatures, ImageEncoder, numbered
from segvoc.encoders.prompts import PartWords
from segvoc.inference.onnx_program import OF_CLASSES
from segvoc.layers.aggregation import StageGuidance, UpsamplingDecoder, UpsamplingStage, WindowBlock, WindowGuidance
from segvoc.layers.aggregation_context import AggregationContext
from segvoc.layers.class_selection import Kept, count_votes
from segvoc.layers.maps import Windows
from segvoc.layers.selection import PUBLISHED_VOTES, Votes
from segvoc.layers.shapes import CostVolume
from segvoc.networks.base import SegmentationNetwork
from segvoc.networks.part_cat_seg import PartNetwork
from segvoc.networks.pca_seg import ParallelBlock
from segvoc.networks.tiny import TinyAggregation, with_sum


@dataclass(frozen=True)
class TracedContext(AggregationContext):
    """The context of a program with class selection, whose settings are tensors; `kept_classes` is the same in Python.

    They are "least", the minimum number of objects to keep; "share" of the votes that the kept objects hold, in [0, 1];
    "by_similarity": score by the maximum similarity at any cell instead of by votes; "objects": number of objects,
    which are the first classes. The others are parts, which are kept with their objects: "part" (M) are classes that
    are parts (one that is an object has no effect), "owner" (M) for each an object that it is kept with, in all images
    if any image keeps the object.
    """

    settings: Mapping[str, Tensor] = field(default_factory=dict)
    votes: Votes = PUBLISHED_VOTES
    """How cells vote; constant in the program."""

    def select(self, cost: CostVolume) -> Kept:
        """Select the classes of each image, in ascending order."""
        is_object = torch.arange(cost.shape[2], device=cost.device) < self.settings["objects"]
        cost = cost.masked_fill(~is_object[:, None, None], -torch.inf)
        kept = self._kept_objects(cost, is_object)
        owner_kept = kept.any(dim=0)[self.settings["owner"]].float()
        with_owner = owner_kept.new_zeros(cost.shape[2]).scatter_add(0, self.settings["part"], owner_kept)
        kept = kept | ((with_owner > 0) & ~is_object)
        count = cast(int, kept[0].sum().item())
        torch._check(count >= 1)
        torch._check(count <= kept.shape[1])
        return kept.int().argsort(dim=1, descending=True, stable=True)[:, :count]

    def _kept_objects(self, cost: CostVolume, is_object: Bool[Tensor, " T"]) -> Bool[Tensor, "B T"]:
        counted = count_votes(cost, self.votes).double() * is_object
        held = counted.sort(dim=1, descending=True).values.cumsum(dim=1)
        needed = 1 + (held < self.settings["share"] * held[:, -1:]).sum(dim=1).amax(dim=0)
        score = torch.where(self.settings["by_similarity"], cost.amax(dim=(1, 3, 4)).double(), counted)
        score = score.masked_fill(~is_object, -torch.inf)
        rank = score.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
        return (rank < torch.maximum(self.settings["least"], needed)) & is_object


def _example_of_selection() -> tuple[dict[str, Tensor], dict[str, dict[int, Any]]]:
    """Inputs for tracing (all classes are objects, one is listed as its own part), and their dynamic axes."""
    inputs = {
        "least": torch.tensor(5),
        "share": torch.tensor(0.9, dtype=torch.float64),
        "by_similarity": torch.tensor(False),
        "objects": torch.tensor(1 << 30),
        "part": torch.zeros(2, dtype=torch.int64),
        "owner": torch.zeros(2, dtype=torch.int64),
    }
    pairs = {0: Dim("parts", min=1, max=1 << 20)}
    return inputs, {name: pairs if name in ("part", "owner") else {} for name in inputs}


EXAMPLE_CELLS = (30, 34)
"""Rows and columns of the tracing example: more than the windows of any published network."""

EXAMPLE_CLASSES = 37
"""Number of words in the tracing example."""

LARGEST = 1 << 17
"""Maximum size of a dynamic axis: more than the objects and parts of any vocabulary."""


class _EinsumAsProducts(TorchFunctionMode):
    """Traces einsum as matrix products, which ONNX Runtime computes several times faster."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        if func is torch.einsum:
            return torch.ops.aten.einsum.default.decompose(args[0], args[1:])
        return func(*args, **(kwargs or {}))


@dataclass(frozen=True, kw_only=True)
class Program:
    """A module to trace, with example inputs."""

    module: nn.Module
    """Takes the inputs as a dictionary, by name, and returns a dictionary."""
    inputs: dict[str, Tensor]
    free: dict[str, dict[int, Any]]
    """For each input, its dynamic axes, with `Dim` expressions for their sizes."""

    def traced(self) -> ExportedProgram:
        """Trace the module; torch.export raises an error if it branches on the size of a dynamic axis."""
        with torch.no_grad(), _EinsumAsProducts():
            return torch.export.export(
                self.module,
                (dict(sorted(self.inputs.items())),),
                dynamic_shapes={"inputs": self.free},
                strict=False,
                # the sizes of padded and pooled maps hold generally, but the tracer can't always prove it
                prefer_deferred_runtime_asserts_over_guards=True,
            )

    def outputs(self) -> dict[str, Tensor]:
        """The outputs for the example, contiguous, as inputs of another program."""
        with torch.no_grad():
            return {name: value.contiguous() for name, value in self.module(self.inputs).items()}


class ImageProgram(nn.Module):
    """From "pixels" (B 3 H W) in [0, 255] to the features that the words are compared with."""

    def __init__(self, network: SegmentationNetwork) -> None:
        super().__init__()
        self.encoder, self.encoded = network.image_encoder, network.encoded  # the program has no other weights

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The features, by name."""
        return self.encoded(inputs["pixels"]).named()


class WordProgram(nn.Module):
    """From the features of images and "words" (T P C) to "logits" (B K h w) and, with class selection, "kept" (B K)."""

    def __init__(self, network: SegmentationNetwork, pooling: tuple[int, int], votes: Votes) -> None:
        super().__init__()
        self.aggregation, self.pooling = network.aggregation, pooling  # the program has no other weights
        self.aggregated, self.features_type = network.aggregated, network.features_type
        self.votes = votes if network.selects else None

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The logits of the selected words, and their indices."""
        context = AggregationContext(self.pooling)
        if self.votes is not None:
            context = TracedContext(self.pooling, settings=inputs, votes=self.votes)
        features = self.features_type.of_named(inputs)
        logits, kept = self.aggregated(features, inputs["words"], context)
        return {"logits": logits.float()} if kept is None else {"logits": logits.float(), "kept": kept}


class PartProgram(nn.Module):
    """From the features of images and the words of both levels (see `PartWords`) to "logits" (B T h w) of all words.

    Inputs: "general" (G P C), "specific" (S P C) with S >= 1, "part_of" (S) and "object_of" (S); and "places" (T), each
    the index of a word's logits among the G general ones, "no object", the S specific ones, and "no part".
    """

    def __init__(self, network: PartNetwork, pooling: tuple[int, int]) -> None:
        super().__init__()
        self.aggregation, self.pooling, self.features_type = network.aggregation, pooling, network.features_type

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The logits of all words."""
        features = self.features_type.of_named(inputs)
        of_words = {name: inputs[name] for name in ("general", "specific", "part_of", "object_of", "places")}
        words = PartWords(**of_words, parts=0, names_objects=True)
        context = AggregationContext(self.pooling)
        first, second = self.aggregation.levels(features.cost_maps, words, features.guidance, context)
        assert second is not None  # there is at least one specific part
        return {"logits": torch.cat((first.logits, second.logits), dim=1)[:, inputs["places"]].float()}


class TextProgram(nn.Module):
    """From "tokens" (N L) of prompts to "embeddings" (N C)."""

    def __init__(self, network: SegmentationNetwork) -> None:
        super().__init__()
        self.encoder = network.text_encoder

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The embeddings, in float32."""
        return {"embeddings": self.encoder(inputs["tokens"]).float()}


def smallest_grid(network: SegmentationNetwork) -> int:
    """Minimum number of cells along a side of the exported programs, whose windows are always shifted."""
    windows = [module.window for module in network.modules() if isinstance(module, WindowBlock)]
    return max(windows, default=1) + 1


def image_program(network: SegmentationNetwork) -> Program:
    """The program from pixels to features, for images of any size that is a multiple of the encoder's stride."""
    least, stride = smallest_grid(network), cast(ImageEncoder, network.image_encoder).stride
    sides = [stride * Dim(name, min=least, max=LARGEST // stride) for name in ("rows", "columns")]
    pixels = 255 * torch.rand(2, 3, *(stride * cells for cells in EXAMPLE_CELLS))
    free = {"pixels": {0: _axis("images"), 2: sides[0], 3: sides[1]}}
    return Program(module=ImageProgram(network).eval(), inputs={"pixels": pixels}, free=free)


def word_program(
    network: SegmentationNetwork, pooling: tuple[int, int], prompts: int, votes: Votes = PUBLISHED_VOTES
) -> Program:
    """The program from features and words, with so many prompts each, to logits; a program has a single pooling."""
    image = image_program(network)
    features = image.outputs()
    with torch.no_grad():
        of_larger = image.module({"pixels": image.inputs["pixels"][:1].repeat(1, 1, 2, 2)})
    free = _free_axes(features, of_larger, smallest_grid(network))
    if isinstance(network, PartNetwork):
        words, of_words = _example_of_parts(network, prompts)
        module = PartProgram(network, pooling).eval()
        return Program(module=module, inputs=features | words, free=free | of_words)
    words = {"words": torch.randn(EXAMPLE_CLASSES, prompts, _channels(network))}
    free["words"] = {0: _axis("classes")}
    if network.selects:
        selection, of_selection = _example_of_selection()
        words, free = words | selection, free | of_selection
    module = WordProgram(network, pooling, votes).eval()
    return Program(module=module, inputs=features | words, free=free)


def _free_axes(
    features: Mapping[str, Tensor], of_larger: Mapping[str, Tensor], least: int
) -> dict[str, dict[int, Any]]:
    """The dynamic axes of features: images, and sides of maps, which are others in an example twice as large."""
    grids = [feature.shape[2:] for feature in features.values() if feature.ndim == 4]
    coarsest = [min(sides) for sides in zip(*grids, strict=True)]
    rows, columns = _axis("rows", least), _axis("columns", least)
    free: dict[str, dict[int, Any]] = {}
    for name, feature in features.items():
        free[name] = {0: _axis("images")}
        for axis, side, cells in zip((2, 3), (rows, columns), coarsest, strict=True):
            if feature.ndim == 4 and feature.shape[axis] != of_larger[name].shape[axis]:
                free[name][axis] = side * (feature.shape[axis] // cells)
    return free


def _example_of_parts(network: PartNetwork, prompts: int) -> tuple[dict[str, Tensor], dict[str, dict[int, Any]]]:
    general, specific = EXAMPLE_CLASSES // 3, EXAMPLE_CLASSES - 4
    words = {
        "general": torch.randn(general, prompts, _channels(network)),
        "specific": torch.randn(specific, prompts, _channels(network)),
        "part_of": torch.arange(specific) % general,
        "object_of": torch.arange(specific) % (general // 2),
        "places": torch.arange(EXAMPLE_CLASSES),
    }
    of_specific = {0: _axis("specific")}
    free = {"general": {0: _axis("general")}, "places": {0: _axis("classes")}}
    return words, free | dict.fromkeys(("specific", "part_of", "object_of"), of_specific)


def text_program(network: SegmentationNetwork, tokens: Tensor) -> Program:
    """The program from token ids to embeddings; `tokens` (N L) is an example."""
    free = {"tokens": {0: _axis("prompts"), 1: Dim("length", min=2, max=tokens.shape[1])}}
    return Program(module=TextProgram(network).eval(), inputs={"tokens": tokens}, free=free)


def _channels(network: SegmentationNetwork) -> int:
    return cast(ImageEncoder, network.image_encoder).channels


def _axis(name: str, least: int = 1) -> Any:
    return Dim(name, min=least, max=LARGEST)


def comes_apart(network: SegmentationNetwork) -> bool:
    """Whether a network's word program can be split in two: its classes interact in a single place."""
    aggregation = network.aggregation
    if type(aggregation) is not TinyAggregation or aggregation.skip is None or len(aggregation.blocks) != 1:
        return False
    return type(aggregation.blocks[0]) is ParallelBlock and type(aggregation.decoder) is UpsamplingDecoder


def programs_apart(
    words: Program, network: SegmentationNetwork, pooling: tuple[int, int], votes: Votes
) -> list[Program]:
    """The two halves of a word program that `comes_apart`: up to the sums over all classes, and after them."""
    aggregation = cast(TinyAggregation, network.aggregation)
    shared = Program(module=SharedByClasses(aggregation, pooling, votes).eval(), inputs=words.inputs, free=words.free)
    inputs = shared.outputs()
    del inputs["kept"]
    free = _free_axes_apart(inputs, smallest_grid(network))
    return [shared, Program(module=OfEachClass(aggregation, pooling).eval(), inputs=inputs, free=free)]


class SharedByClasses(nn.Module):
    """From the inputs of `WordProgram` to the selected classes ("kept"), per-class tensors, and shared tensors."""

    def __init__(self, aggregation: TinyAggregation, pooling: tuple[int, int], votes: Votes) -> None:
        super().__init__()
        self.aggregation, self.pooling, self.votes = aggregation, pooling, votes

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The inputs of `OfEachClass`, by name, and the selected classes; see `TinyAggregation.forward`."""
        whole = self.aggregation
        block, decoder = cast(ParallelBlock, whole.blocks[0]), cast(UpsamplingDecoder, whole.decoder)
        context = TracedContext(self.pooling, settings=inputs, votes=self.votes)
        features = ClassifiedFeatures.of_named(inputs)
        text = inputs["words"].expand(features.maps[0].shape[0], -1, -1, -1)
        cost, text, kept = whole.selected_costs(features.cost_maps, text, context)
        assert kept is not None
        x = whole.embed_cost(rearrange(cost, "b p t h w -> (b t) p h w"))
        x = rearrange(x, "(b t) c h w -> b t h w c", b=cost.shape[0])
        appearance = rearrange(F.relu(whole.guidance(features.guidance[0])), "b c h w -> b h w c")
        words = F.relu(whole.text_guidance(F.normalize(text.mean(dim=2), dim=-1)))
        guides = [guided.shared for guided in decoder.precompute_guidance(features.taps)]
        outputs = {"kept": kept, "class_features": x, "class_words": words, "class_costs": cost[:, -1]}
        outputs |= _named("summary", block.semantic.summarize(x, words, context))
        for number, guided in enumerate(block.spatial.precompute_guidance(appearance)):
            outputs |= {f"{name}_{number}": value for name, value in _shared(guided).items()}
        return outputs | _named("guide", guides)


class OfEachClass(nn.Module):
    """From the outputs of `SharedByClasses` to "logits" (B K h w); per-class inputs may cover a subset."""

    def __init__(self, aggregation: TinyAggregation, pooling: tuple[int, int]) -> None:
        super().__init__()
        self.aggregation, self.pooling = aggregation, pooling

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The logits of the classes; see `TinyAggregation.refined`."""
        whole = self.aggregation
        block, decoder = cast(ParallelBlock, whole.blocks[0]), cast(UpsamplingDecoder, whole.decoder)
        x = inputs["class_features"]
        guided = [_guidance(inputs, number) for number in range(2)]  # the window blocks of a spatial aggregation
        semantic = block.semantic(x, inputs["class_words"], numbered("summary", inputs), self.pooling)
        x = block.fuse(block.spatial(x, guided), semantic)
        stages = [cast(UpsamplingStage, stage) for stage in decoder.stages]
        guides = zip(stages, numbered("guide", inputs), strict=True)
        logits = decoder(x, [StageGuidance(stage.merged_kernel(), guide) for stage, guide in guides])
        return {"logits": with_sum(logits, inputs["class_costs"]).float()}


def _shared(guided: WindowGuidance) -> dict[str, Tensor]:
    """The guidance of a window block by name."""
    windows, (number, cells) = guided.windows, guided.windows.order.shape
    if windows.mask is None:
        windows = windows._replace(mask=guided.q.new_zeros(number, cells, cells))
    return {"query": guided.q, "key": guided.k, **windows._asdict()}


def _guidance(inputs: Mapping[str, Tensor], block: int) -> WindowGuidance:
    """The inverse of `_shared`, from the inputs with the block's number in their names."""
    q, k, *windows = (inputs[f"{name}_{block}"] for name in ("query", "key", *Windows._fields))
    return WindowGuidance(q, k, Windows(*windows))


def _named(name: str, values: list[Tensor] | tuple[Tensor, ...]) -> dict[str, Tensor]:
    return {f"{name}_{number}": value for number, value in enumerate(values)}


def _free_axes_apart(inputs: Mapping[str, Tensor], least: int) -> dict[str, dict[int, object]]:
    sides = _axis("rows", least), _axis("columns", least)
    cells = inputs["class_features"].shape[2:4]
    free: dict[str, dict[int, object]] = {}
    for name, value in inputs.items():
        if name.startswith(Windows._fields):  # the tracer infers how many windows there are
            free[name] = {0: Dim.AUTO}
            continue
        free[name] = {0: _axis("images")}
        if name.startswith(OF_CLASSES):
            free[name][1] = _axis("classes")
        if name.startswith("summary"):  # on the pooled grid, whose size the tracer infers
            free[name] |= {1: Dim.AUTO, 2: Dim.AUTO}
        elif name.startswith(("query", "key")):
            free[name][2] = Dim.AUTO
        elif value.ndim > 3:
            first = value.ndim - 2 if name.startswith(("guide", "class_costs")) else 2
            for axis, side, size in zip((first, first + 1), sides, cells, strict=True):
                free[name][axis] = value.shape[axis] // size * side
    return free
