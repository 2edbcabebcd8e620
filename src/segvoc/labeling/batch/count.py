"""How much there is: a source counted in the background, and what labeling the rest of it would take."""

import random
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from segvoc.errors import SegvocError, counted, human_size
from segvoc.labeling.batch.listing import Source
from segvoc.labeling.batch.storages import Unit

SAMPLED_IMAGES = 32
"""Images that are labeled to estimate the rate."""


class SourceCount:
    """Counts the files of a source in a thread."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.files: int | None = None
        """Number of files, once they are counted."""
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._count, daemon=True)

    def start(self) -> None:
        """Begin to count."""
        self._thread.start()

    def stop(self) -> None:
        """Stop counting."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()

    def _count(self) -> None:
        files = 0
        try:
            for _ in self.source.units(lambda _: None):
                files += 1
                if self._stopped.is_set():
                    return
        except (OSError, SegvocError):  # the plan says so
            return
        self.files = files


@dataclass(frozen=True, kw_only=True)
class Rest:
    """The files that are left to label."""

    files: int
    bytes: int
    """Their size."""
    sample: tuple[Unit, ...]
    """Some of them, drawn with equal probabilities, in the order of their names."""

    @classmethod
    def of(cls, units: Iterable[Unit], most: int, counted: Callable[[], object]) -> "Rest":
        """Count files, with a call of `counted` for each, and draw at most so many of them: the same in each call."""
        draw, sample, files, size = random.Random(0), list[Unit](), 0, 0
        for unit in units:
            counted()
            files, size = files + 1, size + unit[1]
            if len(sample) < most:
                sample.append(unit)
            elif (place := draw.randrange(files)) < most:
                sample[place] = unit
        return cls(files=files, bytes=size, sample=tuple(sorted(sample)))


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What labeling the rest of a source would take."""

    rest: Rest
    images: int
    """Number of images; in tars and tables by the share of the sample, which is one of them."""
    seconds: float | None
    """Time of a worker for an image [s]; None: nothing is left."""
    workers: int
    cores: float
    """Cores of all workers."""
    machines: int
    """Number of machines that they take."""

    def lines(self, price: float | None = None) -> Iterator[str]:
        """What a person wants to know, with the price of an hour of a machine."""
        yield f"to label: {self.images:,} images in {self.rest.files:,} files, {human_size(self.rest.bytes)}"
        if self.seconds is not None:
            hours = self.seconds * self.images / 3600
            yield f"a sample on a worker of {self.cores / self.workers:g} cores: {1 / self.seconds:.3g} images/s"
            many = f"{counted(self.workers, 'worker')}, {self.cores:g} cores"
            yield f"the rest: {hours:.3g} hours of a worker, so {hours / self.workers:.3g} hours with {many}"
            if price is not None:
                total = hours / self.workers * self.machines * price
                yield f"the price: {total:,.2f}, at {price:g} for each hour of {counted(self.machines, 'machine')}"
