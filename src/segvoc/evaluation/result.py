"""The result of an evaluation, before it becomes a report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from segvoc.checkpoints.files import read_header
from segvoc.evaluation.task import EvaluationImage, ImageScore
from segvoc.models.finding import find_model
from segvoc.models.loading import is_own_path, named_preset
from segvoc.models.presets import find_preset


@dataclass(frozen=True, kw_only=True)
class ModelOrigin:
    """Where a network's weights come from; a segmenter doesn't record it."""

    preset: str
    """The name under which papers' scores are looked up."""
    weights: str = ""
    """Description or path of the weights."""
    published: bool = False
    options: Mapping[str, object] = field(default_factory=dict)
    """Options that differ from the preset."""


PUBLISHED_WEIGHTS = "published by the authors"


def origin_of(model: str, weights: str | None = None, options: Mapping[str, object] | None = None) -> ModelOrigin:
    """The origin of a model that `segvoc.load` loads with the same arguments."""
    options = options or {}
    if (found := find_model(model)) is not None:
        preset = named_preset(read_header(found.model)) if is_own_path(found.model) else found.model
        return ModelOrigin(preset=preset, weights=model, options=options)
    if is_own_path(model):
        return ModelOrigin(preset=named_preset(read_header(model)), weights=model, options=options)
    published = weights is None and find_preset(model).published is not None
    own = PUBLISHED_WEIGHTS if published else "shipped with segvoc"
    return ModelOrigin(preset=model, weights=weights or own, published=published, options=options)


@dataclass(frozen=True, kw_only=True)
class FailedImage:
    """An image that could not be evaluated."""

    stem: str
    error: str


@dataclass(frozen=True, kw_only=True)
class EvaluationResult:
    """The scores of all images, and facts about the run."""

    images: Sequence[EvaluationImage]
    scores: Sequence[ImageScore]
    """Scores of the images that could be read, in order."""
    failures: Sequence[FailedImage]
    peak_memory: float
    """Peak memory of the largest process [GB]."""
    processes: int
    resumed: int
    seconds: float
    """Duration of this run [s]."""
