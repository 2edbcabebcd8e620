"""The rows of the table: what is measured, and what came of it."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any, Literal

from segvoc.inference.label_options import LabelOptions
from segvoc.inference.protocols import Window

Dtype = Literal["float32", "bfloat16"]

DTYPES: tuple[Dtype, ...] = ("float32", "bfloat16")


@dataclass(frozen=True, kw_only=True)
class BenchSettings:
    """What to measure."""

    models: Mapping[str, bool]
    """Presets or files of segvoc, and whether their weights are random."""
    words: tuple[int, ...]
    """Numbers of words, in ascending order."""
    size: tuple[int, int]
    """Width and height of the images [px]."""
    window: Window
    options: Mapping[str, object]
    """Settings of the models that differ from their own."""
    seconds: float
    """Time for all of it [s]."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """A model with the settings of a row."""

    model: str
    """A preset or a file of segvoc."""
    dtype: Dtype
    """Dtype of the weights and of most computations."""
    words: int
    threads: int
    """CPU threads of each process."""
    keep_classes: int | None = None
    """Classes that are refined; None: the network's own rule."""
    batch: int = 1
    """Images in a call."""
    processes: int = 1
    """Processes that work at the same time, each on images of its own."""

    @property
    def keeps_few(self) -> bool:
        """Whether only some of the words are refined."""
        return self.keep_classes is not None

    @property
    def refined(self) -> int:
        """Number of words that are refined."""
        return self.keep_classes or self.words

    def options(self, window: Window) -> LabelOptions:
        """How images are labeled."""
        return LabelOptions(window=window, keep_classes=self.keep_classes)

    @property
    def is_plain(self) -> bool:
        """Whether it differs from others only in model, dtype, words and threads."""
        return not self.keeps_few and self.batch == 1 and self.processes == 1

    def __str__(self) -> str:
        """Its name in messages."""
        return ", ".join(filter(None, [self.model, self.dtype, count_text(self.words, "word"), self.settings]))

    @property
    def settings(self) -> str:
        """The settings beyond model, dtype, words and threads, for people; "" if there are none."""
        given = [
            f"keep {self.refined}" if self.keeps_few else "",
            "" if self.batch == 1 else f"batch {self.batch}",
            "" if self.processes == 1 else count_text(self.processes, "process"),
        ]
        return ", ".join(filter(None, given))


@dataclass(frozen=True, kw_only=True)
class Sample:
    """What a process measured of a case."""

    seconds: tuple[float, ...]
    """Time of each call after the first, divided by its images [s]."""
    memory: float
    """Peak of the process [GB], or on a GPU of its tensors there."""

    def __post_init__(self) -> None:
        if not self.seconds:
            raise ValueError("a sample needs at least one call")


@dataclass(frozen=True, kw_only=True)
class SpeedRow:
    """A row of the table."""

    case: Case
    status: Literal["measured", "skipped", "failed"]
    """Whether it was measured; skipped, since there was no time or it isn't possible; or failed."""
    note: str = ""
    seconds: float | None = None
    """Median time for an image, from the image in memory to its label map [s]."""
    fastest: float | None = None
    """Shortest time [s]."""
    slowest: float | None = None
    """Longest time [s]."""
    repeats: int = 0
    """Number of calls that were timed."""
    images_per_second: float | None = None
    """Images per second of all processes together."""
    memory_gb: float | None = None
    """Peak memory of all processes together [GB]; on a GPU that of the tensors there."""

    @classmethod
    def measured(cls, case: Case, samples: Iterable[Sample]) -> "SpeedRow":
        """The row of a case that each of its processes has measured."""
        samples = list(samples)
        every = [seconds for sample in samples for seconds in sample.seconds]
        return cls(
            case=case,
            status="measured",
            seconds=median(every),
            fastest=min(every),
            slowest=max(every),
            repeats=len(every),
            images_per_second=sum(1 / median(sample.seconds) for sample in samples),
            memory_gb=sum(sample.memory for sample in samples),
        )

    @property
    def rate(self) -> float:
        """Images per second; 0 if it wasn't measured."""
        return self.images_per_second or 0.0

    def record(self) -> Mapping[str, Any]:
        """The row as plain values."""
        values = asdict(self)
        return {**values.pop("case"), **values}


def measured_rows(rows: Iterable[SpeedRow], model: str, **settings: object) -> list[SpeedRow]:
    """The rows of a model that were measured, with some settings of their cases: `words=20`, `is_plain=True`."""
    return [
        row
        for row in rows
        if row.status == "measured"
        and row.case.model == model
        and all(getattr(row.case, name) == value for name, value in settings.items())
    ]


def in_order(rows: Iterable[SpeedRow]) -> list[SpeedRow]:
    """The rows in an order to read: by model, first those without further settings by dtype and words."""
    rows = list(rows)
    models = list(dict.fromkeys(row.case.model for row in rows))
    most = max((row.case.threads for row in rows), default=0)

    def place(row: SpeedRow) -> tuple[int, ...]:
        case = row.case
        usual = case.is_plain and case.threads == most
        order = (0, DTYPES.index(case.dtype), case.words) if usual else (1,)  # the others stay in theirs
        return models.index(case.model), *order

    return sorted(rows, key=place)


def count_text(number: int, what: str) -> str:
    """A number of things, for people: "1 word", "1,000 words", "2 processes"."""
    if number == 1:
        return f"1 {what}"
    return f"{number:,} {what}{'es' if what.endswith('s') else 's'}"


def rounded(value: float | None, digits: int = 2) -> str:
    """A positive number for people: with so many digits, and never with an exponent; "" for None."""
    if value is None:
        return ""
    text = f"{value:#.{digits}g}"
    return f"{float(text):,.0f}" if "e+" in text else text.removesuffix(".")
