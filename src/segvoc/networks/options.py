"""Where papers, released code and baselines differ: named choices that turn one network into another.

PCA-Seg's and CAT-Seg's presets are two rows of one table. An option departs from a preset, for example
`Options(order="serial", fusion="experts")`, the fourth row of PCA-Seg's Table 5b
(docs/papers/baselines.md).
"""

import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Literal, cast

from torch import nn

from segvoc.encoders.base import ImageEncoder, TokenEncoder
from segvoc.encoders.vit import DenseMode
from segvoc.errors import UsageError
from segvoc.layers.aggregation import ClassAggregation, UpsamplingDecoder
from segvoc.layers.class_selection import Votes
from segvoc.layers.cost_sum import CostSum, NoAggregation
from segvoc.layers.decoders import BilinearDecoder, NoUpsampling, begin_at_nothing
from segvoc.layers.query_class_attention import QueryClassAggregation
from segvoc.layers.softmax_class_attention import SoftmaxClassAggregation
from segvoc.networks.cat_seg import LastStream, SerialBlock
from segvoc.networks.feature_aggregation import FeatureAggregation
from segvoc.networks.pca_seg import CostAggregation, CostAggregationConfig, ExpertFusion, ParallelBlock
from segvoc.networks.stream_fusions import (
    AddedExperts,
    AveragedExperts,
    ConcatenatedStreams,
    ConvolvedExperts,
    PaperExpertFusion,
)
from segvoc.networks.syn_seg import ConditionedDecoder, Head, Pooled, SynSegConfig

Order = Literal["parallel", "serial"]
Fusion = Literal["experts", "experts-paper", "single", "convolution", "average", "addition", "concatenation", "last"]
ClassAttention = Literal["linear", "softmax", "query"]
Decoder = Literal["transposed", "bilinear", "none"]
Aggregation = Literal["cost", "features", "none", "parts", "synergy"]
Maps = Literal["hierarchical", "single"]
Streams = Literal["both", "spatial", "class", "none"]
StarOrVanilla = Literal["star", "vanilla"]
StageFourGradient = Literal["both", "stride_16", "stride_32"]
Skip = Literal["sum", "none"]
Film = Literal["linear", "mlp"]
Prompts = Literal["one", "tcl"]

RANGES = {"ssr": (1, 8), "csr": (1, 8), "top": (1, 1000), "side": (64, 4096)}
"""The least and the largest value of a count; without a limit the header of a file could ask for any size."""

DEFAULT_RANGE = (0, 1000)
SIDE_STEP = 32

ORDERS = {"parallel": ParallelBlock, "serial": SerialBlock}
FUSIONS: dict[Fusion, Callable[[int], nn.Module]] = {
    "experts": ExpertFusion,
    "experts-paper": PaperExpertFusion,
    "single": partial(ExpertFusion, experts=1, integrate=AveragedExperts),
    "convolution": partial(ExpertFusion, integrate=ConvolvedExperts),
    "average": partial(ExpertFusion, integrate=AveragedExperts),
    "addition": partial(ExpertFusion, integrate=AddedExperts),
    "concatenation": ConcatenatedStreams,
    "last": LastStream,
}
CLASS_AGGREGATIONS: dict[ClassAttention, type[ClassAggregation]] = {
    "linear": ClassAggregation,
    "softmax": SoftmaxClassAggregation,
    "query": QueryClassAggregation,
}
DECODERS: dict[Decoder, type[UpsamplingDecoder]] = {
    "transposed": UpsamplingDecoder,
    "bilinear": BilinearDecoder,
    "none": NoUpsampling,
}


@dataclass(frozen=True, kw_only=True)
class Options:
    """Departures from a preset; None leaves what the preset has.

    aggregation: of costs, of features (CAT-Seg, Table 7), or none: the cosine itself, scaled and shifted, is the logit
    (PCA-Seg, Table 3); parts, synergy: PartCATSeg's two levels, or SynSeg's decoder, on the towers of tiny. order: of
    spatial and class aggregation. blocks: how many (CAT-Seg, Table 8); of parts, on each level. experts: of each fusion
    by experts (PCA-Seg, Table 5c). fusion: of the two streams: EPL as released (experts) or as in the paper; one
    expert, or four integrated by convolution, average or addition (Table 5e); concatenation and one convolution (Table
    5a); or the class stream alone (last).
    class_attention, pad_classes: softmax is the released code's option `full`, query what PartCATSeg's code does, which
    has no pads; 0 pads nothing. decoder: of the release, of CAT-Seg's arXiv v1, or only the head (Table 10). skip: the
    aggregation adds to a weighted sum of the costs, as in tiny, and starts at nothing, or gives all of the logits.
    dense: how the last block of an EVA tower attends; weights distilled in another mode than csa need theirs. maps,
    ssr, csr: of ERR-Seg: cost maps of two strides or of the last alone (Table 6), and the factors by which the spatial
    and the class sequence are shortened, 1 where not (Table 11). stage_4_gradient: which map teaches the tower's last
    stage (Table 6). streams: the aggregations of a block (Table 10). mlp: Table 12. side: of the square that the tower
    sees, in pixels (Table 14). top, decay: k and lambda of the votes for classes (Table 7, Fig. 6). film, head: of
    SynSeg: two linear maps or an MLP condition the picture; the plain or the refined head of CLIPSeg. pooled: the
    features of the synergy vectors, behind FiLM or before it. prompts: one template, or TCL's nine.
    """

    aggregation: Aggregation | None = None
    order: Order | None = None
    blocks: int | None = None
    experts: int | None = None
    fusion: Fusion | None = None
    class_attention: ClassAttention | None = None
    pad_classes: int | None = None
    decoder: Decoder | None = None
    skip: Skip | None = None
    dense: DenseMode | None = None
    maps: Maps | None = None
    ssr: int | None = None
    csr: int | None = None
    stage_4_gradient: StageFourGradient | None = None
    streams: Streams | None = None
    mlp: StarOrVanilla | None = None
    side: int | None = None
    top: int | None = None
    decay: float | None = None
    film: Film | None = None
    head: Head | None = None
    pooled: Pooled | None = None
    prompts: Prompts | None = None

    @classmethod
    def of(cls, chosen: Mapping[str, object]) -> "Options":
        """Check names, types and values of what a user or a file has chosen; numbers may be given as text.

        Raises:
            UsageError: an unknown option or value; those that there are are listed.
        """
        known = typing.get_type_hints(cls)
        values: dict[str, object] = {}
        for name, value in chosen.items():
            if name not in known:
                raise UsageError(f"option {name!r} is unknown; it is one of {', '.join(known)}")
            kind = typing.get_args(known[name])[0]
            if kind is int:
                values[name] = _count(name, value)
            else:
                values[name] = _share(name, value) if kind is float else _choice(name, value, typing.get_args(kind))
        return cls(**cast(dict[str, typing.Any], values))

    @classmethod
    def parse(cls, assignments: Iterable[str]) -> "Options":
        """Options from texts as "blocks=2".

        Raises:
            UsageError: a text without "=", one option twice, or what `of` refuses.
        """
        chosen: dict[str, str] = {}
        for text in assignments:
            name, equals, value = text.partition("=")
            if not equals:
                raise UsageError(f"{text!r} sets nothing; write it as NAME=VALUE, for example blocks=2")
            if name.strip() in chosen:
                raise UsageError(f"option {name.strip()!r} is set twice; set it once")
            chosen[name.strip()] = value.strip()
        return cls.of(chosen)

    def chosen(self) -> dict[str, str | int | float]:
        """What departs from the preset, as plain values."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    def refuse_all_but(self, names: Sequence[str], network: str) -> None:
        """Raises `UsageError` where one is chosen that is none of those that the network has."""
        strange = [name for name in self.chosen() if name not in names]
        if strange:
            has = f"has the options {', '.join(names)}" if names else "has no options"
            raise UsageError(f"{network} {has}, and {', '.join(strange)} is given; leave it out")

    def votes(self) -> Votes:
        """How classes are voted for."""
        return Votes(**{name: value for name in ("top", "decay") if (value := getattr(self, name)) is not None})

    def over(self, other: "Options") -> "Options":
        """These options, and those of `other` where these leave the preset's."""
        return replace(other, **self.chosen())

    def changed(self, config: CostAggregationConfig) -> CostAggregationConfig:
        """The configuration with what these options say of it."""
        found = {
            "block": None if self.order is None else ORDERS[self.order],
            "fuse": self._fuse(),
            "class_aggregation": None if self.class_attention is None else CLASS_AGGREGATIONS[self.class_attention],
            "decoder": None if self.decoder is None else DECODERS[self.decoder],
            "blocks": self.blocks,
            "pad_classes": self.pad_classes,
        }
        skip = {None: config.skip, "sum": config.skip or CostSum, "none": None}[self.skip]
        return replace(config, skip=skip, **{name: value for name, value in found.items() if value is not None})

    def build_decoder(self, config: SynSegConfig, image_encoder: nn.Module) -> ConditionedDecoder:
        """SynSeg's decoder for a tower."""
        tower = cast(TokenEncoder, image_encoder)
        head = self.head or config.head
        if head == "refined" and config.finer != REFINED:
            raise UsageError(f"the refined head makes {REFINED} logits of a cell; this network has {config.finer}")
        film_hidden = config.dim * FILM_WIDTH if self.film == "mlp" else 0
        config = replace(config, head=head, film_hidden=film_hidden, pooled=self.pooled or config.pooled)
        return ConditionedDecoder(config, tower.channels, tower.token_channels)

    def _fuse(self) -> Callable[[int], nn.Module] | None:
        if self.experts is None:
            return None if self.fusion is None else FUSIONS[self.fusion]
        fusion = self.fusion or "experts"
        if fusion in ("single", "concatenation", "last") or not self.experts:
            raise UsageError(f"experts={self.experts} doesn't go with fusion={fusion}; give 1 or more, fusion=experts")
        return partial(cast(Callable[..., nn.Module], FUSIONS[fusion]), experts=self.experts)

    def build_aggregation(self, config: CostAggregationConfig, image_encoder: nn.Module) -> nn.Module:
        """What stands between the towers' features and the logits."""
        if self.aggregation == "parts":
            raise UsageError("aggregation=parts is for tiny; part-cat-seg-b and pca-part-b have such an aggregation")
        config, tower = self.changed(config), cast(ImageEncoder, image_encoder)
        if self.aggregation == "none":
            return NoAggregation((config.skip or CostSum)(config.costs))
        if self.aggregation == "features":
            return FeatureAggregation(config, tower.channels, tower.tap_channels)
        aggregation = CostAggregation(config, tower.channels, tower.tap_channels)
        if config.skip is not None:
            begin_at_nothing(aggregation.decoder)
        return aggregation


def _count(name: str, value: object) -> int:
    least, most = RANGES.get(name, DEFAULT_RANGE)
    try:
        number = int(str(value))
    except ValueError:
        number = -1
    if not least <= number <= most or isinstance(value, bool):
        raise UsageError(f"{name}={str(value)[:100]} is no count; give a whole number from {least} to {most}")
    if name == "side" and number % SIDE_STEP:
        near = number + -number % SIDE_STEP
        raise UsageError(f"side={number} is no multiple of {SIDE_STEP}, the coarsest stride; give {near}")
    return number


def _share(name: str, value: object) -> float:
    try:
        number = float(str(value))
    except ValueError:
        number = -1.0
    if not 0 <= number <= 1:
        raise UsageError(f"{name}={str(value)[:100]} is no share; give a number from 0 to 1")
    return number


def _choice(name: str, value: object, choices: tuple[str, ...]) -> str:
    if value not in choices:
        raise UsageError(f"{name}={value} is unknown; it is one of {', '.join(choices)}")
    return cast(str, value)


ERR_OPTIONS = "aggregation maps stage_4_gradient ssr csr blocks streams mlp side top decay".split()
"""What ERR-Seg has."""

PART_OPTIONS = "aggregation order blocks experts fusion class_attention decoder".split()
"""What PartCATSeg and PCA-Seg's part mode have."""

SYN_OPTIONS = ["film", "head", "pooled", "prompts"]
"""What SynSeg has; on tiny's towers film and pooled alone."""

REFINED = 16
"""Logits of a cell along one side that the refined head makes."""

FILM_WIDTH = 2
"""The hidden layer of FiLM's MLP has so many times the decoder's channels; the paper says "small"."""

AGGREGATION_OPTIONS = "aggregation order blocks experts fusion class_attention pad_classes decoder skip".split()
"""What CAT-Seg and PCA-Seg have; on EVA towers "dense" too."""
