"""`Batch`: what is labeled, how, and where the results go; and the workers that do it."""

from collections.abc import Callable
from dataclasses import dataclass, field

from segvoc.batch.places import place_of
from segvoc.batch.results import ResultForm, Sink
from segvoc.batch.shards import ShardLimits, SourceKind
from segvoc.batch.sources import BatchSource
from segvoc.batch.work import ModelFacts
from segvoc.errors import UsageError
from segvoc.imaging.overlay import SAVED_OVERLAY, OverlayStyle
from segvoc.inference.label_options import LabelOptions
from segvoc.inference.segmenter import Segmenter
from segvoc.labeling.labeling import Labeling
from segvoc.models.opening import load
from segvoc.vocabulary import PartVocabulary, Vocabulary


@dataclass(frozen=True, kw_only=True)
class Workers:
    """The workers of a run, and where they are.

    Raises:
        UsageError: a number isn't positive.
    """

    address: str | None = None
    """Of Ray's cluster ("auto", "HOST:6379", "ray://HOST:10001"); None: this machine alone."""
    number: int | None = None
    """Models that label side by side (default: as many as the cluster has room for at the start)."""
    cpus: float | None = None
    """Cores of each, which are also its threads (default: 2, or as many as the largest node has)."""
    gpus: float = 0.0
    """GPUs per replica; 0.5: two share one."""

    def __post_init__(self) -> None:
        wrong = {
            "workers": self.number is not None and self.number < 1,
            "cpus": self.cpus is not None and self.cpus <= 0,
            "gpus": self.gpus < 0,
        }
        if name := next((name for name, is_wrong in wrong.items() if is_wrong), None):
            raise UsageError(f"{name} is not positive; give a number above 0")


@dataclass(frozen=True, kw_only=True)
class Batch:
    """What is labeled, how, and where the results go.

    Raises:
        UsageError: the options don't fit together.
    """

    source: str
    """A folder or a file: a path, or an address such as s3://bucket/folder."""
    out: str
    """The folder of the results, likewise."""
    words: Vocabulary | None
    """The words; None for those of the parts."""
    load: Callable[[], Segmenter] = load
    """Loads the model, in each worker; picklable."""
    parts: PartVocabulary | None = None
    """As for `Segmenter.segment`."""
    options: LabelOptions = field(default_factory=LabelOptions)
    kind: SourceKind | None = None
    """What the source is made of (default: found by its files' suffixes)."""
    image_column: str | None = None
    """Of Parquet: the column with the images; of tars: the suffix of the images."""
    key_column: str | None = None
    """Of Parquet: the column that names the images."""
    sink: Sink = "parquet"
    overlay: OverlayStyle | None = SAVED_OVERLAY
    """What overlays show, for results in files; None: none are drawn."""
    compact: bool = False
    """Whether reports list only words that were found."""
    limits: ShardLimits = field(default_factory=ShardLimits)
    """Where shards end: a shard is what a killed run may have to do again."""
    retry_failed: bool = False
    """Whether to do shards again in which images failed."""
    workers: Workers = field(default_factory=Workers)

    def __post_init__(self) -> None:
        if self.limits.images < 1 or self.limits.bytes < 1:
            raise UsageError("a shard has room for no image; give 1 or more images, and bytes")

    @property
    def form(self) -> ResultForm:
        """What results are made into."""
        return ResultForm(
            sink=self.sink,
            overlay=self.overlay if self.sink == "files" else None,
            compact=self.compact,
            parts=self.parts is not None,
        )

    @property
    def labeling(self) -> Labeling:
        """How images are labeled."""
        return Labeling(
            load=self.load,
            words=self.words,
            parts=self.parts,
            options=self.options,
            out=self.out,
            overlay=self.form.overlay,
            compact=self.compact,
            describe=_described,
        )

    def settings(self, facts: ModelFacts, source: BatchSource) -> dict[str, object]:
        """All that the results depend on."""
        where = {
            "source": self.source if "://" in self.source else place_of(self.source).path,
            "source kind": source.kind,
            "image column": source.column,
            "key column": source.key_column,
            "results": self.sink,
            "shards": f"{self.limits.images} images, {self.limits.bytes} bytes",
        }
        return {**where, **facts.settings}


def _described(result: object, files: object) -> str:
    return ""
