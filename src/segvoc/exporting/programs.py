"""A network as two programs: what is computed once for each image, and what is computed for its words.

The split lets a caller ask for other words without encoding the image again. `image` maps pixels to features; `words`
maps these features and word embeddings to logits, with class selection as part of the program. The networks' own
modules are traced; nothing is written twice.
"""

import contextlib
import io
import logging
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from segvoc.encoders.base import ImageEncoder, TokenEncoder, TokenFeatures, numbered
from segvoc.exporting.traced_selection import SELECTION_INPUTS, TracedSelection
from segvoc.layers.aggregation import WindowBlock
from segvoc.layers.aggregation_context import AggregationContext
from segvoc.networks.base import SegmentationNetwork
from segvoc.networks.part_cat_seg import PartAggregation, PartNetwork
from segvoc.networks.part_words import PartWords
from segvoc.networks.syn_seg import SynSeg
from segvoc.selection_rules import PUBLISHED_VOTES, Votes
from segvoc.teaching.features import APPEARANCE, CLASS_LOGITS

EXAMPLE_CELLS = (30, 34)
"""Rows and columns of the example that a program is traced with: more than the windows of any published network."""

EXAMPLE_CLASSES = 37
"""Words of that example."""

LARGEST = 1 << 17
"""Largest size of a free axis: more than the objects and parts of any vocabulary."""


@dataclass(frozen=True, kw_only=True)
class Program:
    """A module to trace, with an example of its inputs."""

    module: nn.Module
    """Takes the inputs as a dictionary, by name, and returns a dictionary."""
    inputs: dict[str, Tensor]
    """Example inputs."""
    free: dict[str, dict[int, Any]]
    """For each input, its axes of any size, with the expressions of `Dim` for their sizes."""

    def traced(self) -> ExportedProgram:
        """Trace the module.

        Raises:
            torch.export's errors: the module decides something by the size of a free axis.
        """
        with torch.no_grad():
            return torch.export.export(
                self.module,
                (dict(sorted(self.inputs.items())),),
                dynamic_shapes={"inputs": self.free},
                strict=False,
                # sizes of padded and pooled maps are true for all sizes, which the tracer can't always prove
                prefer_deferred_runtime_asserts_over_guards=True,
            )

    def outputs(self) -> dict[str, Tensor]:
        """The outputs for the example, contiguous, as another program gets them."""
        with torch.no_grad():
            return {name: value.contiguous() for name, value in self.module(self.inputs).items()}


class ImageProgram(nn.Module):
    """From "pixels" (B 3 H W) in [0, 255] to the features that the words are compared with."""

    def __init__(self, network: SegmentationNetwork) -> None:
        super().__init__()
        self.encoder = network.image_encoder
        self.reads_tokens = isinstance(network, SynSeg)

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The features, by name."""
        if self.reads_tokens:
            return cast(TokenEncoder, self.encoder).tokens(inputs["pixels"], dense=True).named()
        return cast(ImageEncoder, self.encoder)(inputs["pixels"]).named()


class WordProgram(nn.Module):
    """From the features of images and "words" (T P C) to "logits" (B K h w) and, with class selection, "kept" (B K)."""

    def __init__(self, network: SegmentationNetwork, pooling: tuple[int, int], votes: Votes) -> None:
        super().__init__()
        self.aggregation, self.pooling = network.aggregation, pooling
        self.votes = votes if network.selects else None
        self.reads_tokens = isinstance(network, SynSeg)

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The logits of the selected words, and their indices."""
        given = {name: inputs[name] for name in SELECTION_INPUTS if self.votes is not None}
        selection = None if self.votes is None else TracedSelection(**given, votes=self.votes)
        context = AggregationContext(self.pooling, selection, None, class_logits=inputs.get(CLASS_LOGITS))
        maps = numbered("map", inputs)
        words = inputs["words"].expand(inputs["tap_0" if self.reads_tokens else "map_0"].shape[0], -1, -1, -1)
        if self.reads_tokens:
            logits, kept = self.aggregation(TokenFeatures.of_named(inputs), words, context)
        else:
            guidance = (inputs.get(APPEARANCE, maps[0]), *numbered("tap", inputs))
            logits, kept = self.aggregation(maps, words, guidance, context)
        return {"logits": logits.float()} if kept is None else {"logits": logits.float(), "kept": kept}


class PartProgram(nn.Module):
    """From the features of images and the words of both levels (see `PartWords`) to "logits" (B T h w) of all words.

    Inputs: "general" (G P C), "specific" (S P C) with S >= 1, "part_of" (S) and "object_of" (S); and "places" (T), each
    the index of a word's logits among the G general ones, "no object", the S specific ones, and "no part".
    """

    def __init__(self, network: PartNetwork, pooling: tuple[int, int]) -> None:
        super().__init__()
        self.aggregation, self.pooling = network.aggregation, pooling

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The logits of all words."""
        maps = numbered("map", inputs)
        context = AggregationContext(self.pooling, None, None, class_logits=inputs.get(CLASS_LOGITS))
        words = PartWords(
            **{name: inputs[name] for name in ("general", "specific", "part_of", "object_of", "places")},
            parts=0,
            names_objects=True,
        )
        guidance = (inputs.get(APPEARANCE, maps[0]), *numbered("tap", inputs))
        first, second = cast(PartAggregation, self.aggregation).levels(maps, words, guidance, context)
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
    """Smallest number of cells along a side for which the exported programs hold: windows are always shifted."""
    windows = [module.window for module in network.modules() if isinstance(module, WindowBlock)]
    return max(windows, default=1) + 1


def image_program(network: SegmentationNetwork) -> Program:
    """The program from pixels to features, for images of any size that is a multiple of the encoder's stride."""
    least, stride = smallest_grid(network), cast(ImageEncoder, network.image_encoder).stride
    sides = [stride * Dim(name, min=least, max=LARGEST // stride) for name in ("rows", "columns")]
    pixels = 255 * torch.rand(2, 3, *(stride * cells for cells in EXAMPLE_CELLS))
    free = {"pixels": {0: _images(), 2: sides[0], 3: sides[1]}}
    return Program(module=ImageProgram(network).eval(), inputs={"pixels": pixels}, free=free)


def word_program(
    network: SegmentationNetwork, pooling: tuple[int, int], prompts: int, votes: Votes = PUBLISHED_VOTES
) -> Program:
    """The program from features and words to logits.

    Args:
        network: the network.
        pooling: cells over which class aggregation pools; a program has a single one.
        prompts: embeddings of each word.
        votes: how the cells of an image vote for classes.
    """
    image = image_program(network)
    features = image.outputs()
    free = _free_axes(features, _features_of_larger(image), smallest_grid(network))
    if isinstance(network, PartNetwork):
        words, of_words = _example_of_parts(network, prompts)
        module = PartProgram(network, pooling).eval()
        return Program(module=module, inputs=features | words, free=free | of_words)
    words = {"words": torch.randn(EXAMPLE_CLASSES, prompts, _channels(network))}
    free["words"] = {0: _axis("classes")}
    if network.selects:
        words |= TracedSelection.example()
        free |= TracedSelection.free_axes()
    module = WordProgram(network, pooling, votes).eval()
    return Program(module=module, inputs=features | words, free=free)


def _features_of_larger(image: Program) -> dict[str, Tensor]:
    """Features of an example twice as large."""
    pixels = image.inputs["pixels"]
    with torch.no_grad():
        return image.module({"pixels": pixels[:1].repeat(1, 1, 2, 2)})


def _free_axes(
    features: Mapping[str, Tensor], of_larger: Mapping[str, Tensor], least: int
) -> dict[str, dict[int, Any]]:
    """The free axes of features: images, and those sides of maps that follow the image's, relative to the coarsest."""
    grids = [feature.shape[2:] for feature in features.values() if feature.ndim == 4]
    coarsest = [min(sides) for sides in zip(*grids, strict=True)]
    rows, columns = _axis("rows", least), _axis("columns", least)
    free: dict[str, dict[int, Any]] = {}
    for name, feature in features.items():
        free[name] = {0: _images()}
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
    free = {"tokens": {0: Dim("prompts", min=1, max=LARGEST), 1: Dim("length", min=2, max=tokens.shape[1])}}
    return Program(module=TextProgram(network).eval(), inputs={"tokens": tokens}, free=free)


def _channels(network: SegmentationNetwork) -> int:
    return cast(ImageEncoder, network.image_encoder).channels


def _axis(name: str, least: int = 1) -> Any:
    return Dim(name, min=least, max=LARGEST)


def _images() -> Any:
    return _axis("images")


@contextlib.contextmanager
def quiet() -> Any:
    """Silence the exporter, which reports its steps on standard output and warns of its own workings."""
    level = logging.getLogger("torch.onnx").level
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.getLogger("torch.onnx").setLevel(level)
