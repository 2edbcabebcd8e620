"""What an evaluation gave, before it is a report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from segvoc.evaluation.metrics.image_score import ImageScore
from segvoc.evaluation.task import Picture


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where a network comes from, which a segmenter doesn't tell.

    preset: under which name papers' scores are looked up. weights: in words or as a path. published: whether they are
    those of the paper. options: departures from the preset.
    """

    preset: str
    weights: str = ""
    published: bool = False
    options: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A picture that couldn't be evaluated, and why."""

    stem: str
    error: str


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The counts of all pictures, in their order, and how they came about.

    pictures: all that were asked for. scores: of those that could be read. failures: the others. peak_memory: of the
    process that took most [GB]. processes: how many. resumed: pictures that an earlier run had done. seconds: of this
    run [s].
    """

    pictures: Sequence[Picture]
    scores: Sequence[ImageScore]
    failures: Sequence[Failure]
    peak_memory: float
    processes: int
    resumed: int
    seconds: float
