"""The protocol of an evaluation: published for a benchmark, `auto` on your own images, overridden by options."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from segvoc.data.benchmarks import SEMANTIC
from segvoc.encoders.prompts import CLIP_TEMPLATE, IMAGENET_TEMPLATES
from segvoc.errors import UsageError
from segvoc.evaluation.task import PART_BACKGROUND, EvaluationSettings, EvaluationTask
from segvoc.inference.label_options import LabelOptions
from segvoc.inference.protocols import Protocol
from segvoc.inference.segmenter import Segmenter
from segvoc.layers.selection import ClassSelection
from segvoc.models.headers import CONFIGURATION
from segvoc.models.preset import Family
from segvoc.models.presets import PRESETS
from segvoc.networks.syn_seg import SYN_TEMPLATE
from segvoc.storage.records import differences, from_json, to_json


@dataclass(frozen=True, kw_only=True)
class PublishedProtocol:
    """How a paper labels the images of a benchmark."""

    source: str = ""
    """Where the protocol is published; empty if no paper scores the network on the benchmark."""
    options: LabelOptions = field(default_factory=lambda: LabelOptions(window="official"))
    """The window, which names the network's `Protocol` (resize, views, class pooling, cap on the classes); the classes
    kept per image; and the background threshold."""
    templates: tuple[str, ...] = ()
    """Prompt templates; empty: the network's own."""
    substring_guide: bool = False
    """For Oracle-Obj; see `EvaluationSettings`."""
    chosen: str = ""
    """What the paper leaves open, and our choice."""


NO_PAPER = PublishedProtocol()
"""The protocol where no paper reports a score: the network's `official` window."""

_SLIDING = PublishedProtocol(
    source="CAT-Seg, appendix A.3, and eval.sh of the released code", templates=(CLIP_TEMPLATE,)
)
_SLIDING_PCA = PublishedProtocol(source="PCA-Seg, eval.sh of the released code", templates=(CLIP_TEMPLATE,))

ERR_SEG_KEPT: Mapping[str, int] = {"a-847": 48, "pc-459": 48, "a-150": 32, "pc-59": 24, "pas-20": 16}
"""P, the number of classes that ERR-Seg keeps per image, by benchmark (ERR-Seg, Table 8)."""

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


def published_protocol(preset: str, benchmark: str) -> PublishedProtocol:
    """The protocol by which a paper scores a network on a benchmark; `NO_PAPER` if none does."""
    family = PRESETS[preset].family if preset in PRESETS else None
    return NO_PAPER if family is None else PUBLISHED_PROTOCOLS[family].get(benchmark, NO_PAPER)


@dataclass(frozen=True, kw_only=True)
class EvaluationProtocol:
    """How an evaluation labels images; built by `evaluation_protocol`."""

    options: LabelOptions
    steps: Protocol
    """The resolved window and class selection: resize, views, class pooling and selection."""
    classes: int
    """Number of classes in the forward pass, without the background but with up to all of its stand-ins."""
    templates: tuple[str, ...]
    substring_guide: bool
    published: PublishedProtocol
    """The published protocol of the benchmark (`NO_PAPER` if there is none); without a source for your own images."""
    deviations: tuple[str, ...] = ()
    """What differs from `published`, each in a few words."""

    @property
    def selection(self) -> ClassSelection | None:
        """How classes are selected; None if none of them can be dropped."""
        selection = self.steps.selection
        return selection if selection is not None and selection.may_drop(self.classes) else None

    @property
    def kept_classes(self) -> int | None:
        """Number of classes kept per image; None: all, or a number that depends on the image."""
        return None if self.selection is None or self.selection.share else self.selection.number(self.classes)

    def facts(self) -> dict[str, object]:
        """Everything that may change a score, as plain values by readable names."""
        return {
            **{name: value for name, value in self.options.record().items() if name != "keep_classes"},
            "kept_classes": self.kept_classes,
            **to_json(self.steps),
            "selection": None if self.selection is None else to_json(self.selection),
            "templates": list(self.templates),
            "substring_guide": self.substring_guide,
        }

    def origin(self) -> dict[str, object]:
        """The paper of the protocol, what it leaves open, and the deviations from it."""
        return {"source": self.published.source, "chosen": self.published.chosen, "deviations": list(self.deviations)}


def evaluation_protocol(
    segmenter: Segmenter, task: EvaluationTask, settings: EvaluationSettings, preset: str | None = None
) -> EvaluationProtocol:
    """Resolve the protocol by which a network is evaluated.

    Settings left open follow the published protocol on a benchmark (that of `preset`, by default the network's), or the
    network's `official` window where no paper reports a score. On other images they follow `Segmenter.segment`.
    """
    preset = preset or str(segmenter.origin.get("preset", segmenter.name))
    published = PublishedProtocol(options=LabelOptions())
    if task.benchmark is not None:
        published = published_protocol(preset, task.benchmark.name)
    words, background = task.images.vocabulary.words, task.images.background
    if task.parts is not None and segmenter.traits.has_background:
        background = PART_BACKGROUND
    asked = len(words)
    if background is not None and not segmenter.learned_background(segmenter.taught_among(words)):
        stand_ins = segmenter.traits.decision.stand_ins
        asked += (0 if stand_ins is None else len(stand_ins.words)) - (background in words)
    options = LabelOptions.of(published.options, settings.options)
    if options.background not in (None, task.images.background):
        raise UsageError(
            f"background={options.background!r} isn't that of the labeled images; name it where they are read"
        )
    options = replace(options, background=background)
    protocol = EvaluationProtocol(
        options=options,
        steps=segmenter.protocol(options),
        classes=asked,
        templates=tuple(segmenter.templates),
        substring_guide=published.substring_guide if settings.substring_guide is None else settings.substring_guide,
        published=published,
    )
    if task.benchmark is None:
        return protocol
    usual = replace(published.options, background=background)
    same_window = replace(options, keep_classes=usual.keep_classes)
    as_published = replace(protocol, options=usual, steps=segmenter.protocol(same_window))
    deviations = (*_deviations(protocol, as_published, settings, segmenter), *_of_network(segmenter))
    return replace(protocol, deviations=deviations)


def _deviations(
    protocol: EvaluationProtocol, as_published: EvaluationProtocol, settings: EvaluationSettings, segmenter: Segmenter
) -> Iterator[str]:
    """What differs from the published protocol; class selection is compared within the same window."""
    own, published = "the network's own", protocol.published
    unset = {"keep_classes": f"{own} rule", "threshold": own if protocol.options.background else "none"}
    usual = as_published.options.record()
    for name, value in protocol.options.record().items():
        same = protocol.selection == as_published.selection if name == "keep_classes" else value == usual[name]
        if not same:
            yield f"{name} {value} instead of {unset.get(name, 'none') if usual[name] is None else usual[name]}"
    if published.templates and protocol.templates != published.templates:
        yield f"prompts {_listed(protocol.templates)} instead of {_listed(published.templates)}"
    if protocol.substring_guide != published.substring_guide:
        yield f"substring_guide {protocol.substring_guide} instead of {published.substring_guide}"
    if settings.limit is not None:
        yield f"only the first {settings.limit} images"
    if segmenter.dtype != "float32":
        yield f"computed in {segmenter.dtype}"


def _of_network(segmenter: Segmenter) -> Iterator[str]:
    """The network settings, apart from prompts, that differ from the preset's."""
    record, preset = segmenter.origin.get(CONFIGURATION), PRESETS.get(str(segmenter.origin.get("preset")))
    if record is None or preset is None:
        return
    changes = differences(from_json(type(preset.configuration), record), preset.configuration)
    changes.pop("prompts", None)
    if changes:
        listed = ", ".join(f"{name}={value}" for name, value in changes.items())
        yield f"the network differs from the preset: {listed}"


def _listed(templates: tuple[str, ...]) -> str:
    return repr(templates[0]) if len(templates) == 1 else f"of {len(templates)} templates"
