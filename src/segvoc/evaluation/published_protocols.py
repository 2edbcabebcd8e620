"""The table of published protocols: how the papers score their networks on the benchmarks of their tables.

`segvoc evaluate` and `segvoc reproduce` follow it on benchmarks, unless an option says
otherwise.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from segvoc.data.benchmarks import SEMANTIC, find_benchmark
from segvoc.encoders.imagenet_templates import IMAGENET_TEMPLATES
from segvoc.inference.label_options import LabelOptions
from segvoc.models.presets import CLIP_TEMPLATE, PRESETS, SYN_TEMPLATE, Family
from segvoc.networks.err_seg import OWN_SELECTION


@dataclass(frozen=True, kw_only=True)
class PublishedProtocol:
    """How images of a benchmark become label maps in a paper's table."""

    source: str = ""
    """Where the protocol is published; empty if no paper scores the network on the benchmark."""
    options: LabelOptions = field(default_factory=lambda: LabelOptions(window="official"))
    """The window, which names the network's `Protocol` with the resize, the views, class pooling and the cap on the
    classes; the classes that the votes keep of each image; and the threshold of the background."""
    templates: tuple[str, ...] = ()
    """Prompt templates; empty: the network's own."""
    substring_guide: bool = False
    """For parts with the object given: see `EvaluationSettings`."""
    chosen: str = ""
    """What the paper leaves open, and what we chose."""


NO_PAPER = PublishedProtocol()
"""The protocol on benchmarks where no paper scores a network: its own `official` window."""

_SLIDING = PublishedProtocol(
    source="CAT-Seg, appendix A.3, and eval.sh of the released code", templates=(CLIP_TEMPLATE,)
)
_SLIDING_V1 = PublishedProtocol(source="CAT-Seg (arXiv v1), appendices A.2 and A.3", templates=IMAGENET_TEMPLATES)
_SLIDING_PCA = PublishedProtocol(source="PCA-Seg, eval.sh of the released code", templates=(CLIP_TEMPLATE,))

ERR_SEG_KEPT: Mapping[str, int] = {"a-847": 48, "pc-459": 48, "a-150": 32, "pc-59": 24, "pas-20": 16}
"""P, the number of classes that ERR-Seg keeps of each image, by benchmark (ERR-Seg, Table 8)."""

_VIEWS = PublishedProtocol(
    source="SynSeg, appendix B",
    templates=(SYN_TEMPLATE,),
    chosen="the paper doesn't state its prompt or how it merges its five views",
)
_VIEWS_WITH_BACKGROUND = PublishedProtocol(
    source="SynSeg, section IV-A and appendix B",
    templates=(SYN_TEMPLATE,),
    options=LabelOptions(window="official", threshold=0.5),
    chosen=f"{_VIEWS.chosen}, nor its threshold for the background",
)
_SYN_SEG = {
    **dict.fromkeys(("voc-21", "coco-object"), _VIEWS_WITH_BACKGROUND),
    **dict.fromkeys(("pc-59", "coco-stuff", "cityscapes", "a-150"), _VIEWS),
}

_PARTS = PublishedProtocol(
    source="PartCATSeg, evaluation of the released code",
    templates=IMAGENET_TEMPLATES,
    substring_guide=True,
    chosen=(
        "records without a part are left out, since which ones replace them depends on the number of GPUs; images are "
        "not padded, which shifts labels in the released code (`official-single`)"
    ),
)
_PART_BENCHMARKS = ("pascal-part-116", "ade20k-part-234")

PUBLISHED_PROTOCOLS: Mapping[Family, Mapping[str, PublishedProtocol]] = {
    "CAT-Seg": dict.fromkeys(SEMANTIC, _SLIDING),
    "CAT-Seg v1": dict.fromkeys(SEMANTIC, _SLIDING_V1),
    "PCA-Seg": dict.fromkeys(SEMANTIC, _SLIDING_PCA),
    "ERR-Seg": {
        name: PublishedProtocol(
            source="ERR-Seg, Tables 8 and 14, and the released code",
            options=LabelOptions(window="official", keep_classes=kept),
            templates=(CLIP_TEMPLATE,),
        )
        for name, kept in ERR_SEG_KEPT.items()
    },
    "SynSeg": _SYN_SEG,
    "PartCATSeg": dict.fromkeys(_PART_BENCHMARKS, _PARTS),
    "PCA-Seg for parts": dict.fromkeys(_PART_BENCHMARKS, _PARTS),
}
"""The protocol of each network on each benchmark of its paper."""


def published_protocol(preset: str, benchmark: str) -> PublishedProtocol:
    """The protocol by which a paper scores a network on a benchmark.

    Returns:
        The protocol; `NO_PAPER` if no paper scores this network there.
    """
    family = PRESETS[preset].family if preset in PRESETS else None
    return NO_PAPER if family is None else PUBLISHED_PROTOCOLS[family].get(benchmark, NO_PAPER)


def err_seg_kept(classes: int) -> int:
    """Number of classes that ERR-Seg keeps of so many: P of the benchmark with as many classes, else by our own rule.

    For counting costs, which know a number of classes and no benchmark.
    """
    by_size = {len(find_benchmark(name).classes): kept for name, kept in ERR_SEG_KEPT.items()}
    return by_size.get(classes, OWN_SELECTION.keep(classes))
