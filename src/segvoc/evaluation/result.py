"""The result of an evaluation, before it becomes a report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from segvoc.evaluation.metrics.image_score import ImageScore
from segvoc.evaluation.task import EvaluationImage


@dataclass(frozen=True, kw_only=True)
class ModelOrigin:
    """Where a network comes from, which a segmenter does not know."""

    preset: str
    """The name under which papers' scores are looked up."""
    weights: str = ""
    """The weights, in words or as a path."""
    published: bool = False
    """Whether the weights are those of the paper."""
    options: Mapping[str, object] = field(default_factory=dict)
    """Options that differ from the preset."""


@dataclass(frozen=True, kw_only=True)
class FailedImage:
    """An image that could not be evaluated."""

    stem: str
    """Names the image in its set."""
    error: str
    """What is wrong, in one line."""


@dataclass(frozen=True, kw_only=True)
class EvaluationResult:
    """The scores of all images, and how they came about."""

    images: Sequence[EvaluationImage]
    """All images of the evaluation."""
    scores: Sequence[ImageScore]
    """Of the images that could be read, in their order."""
    failures: Sequence[FailedImage]
    """The other images."""
    peak_memory: float
    """Of the process that used most [GB]."""
    processes: int
    """How many processes took part."""
    resumed: int
    """Images that an earlier run had scored."""
    seconds: float
    """Duration of this run [s]."""
