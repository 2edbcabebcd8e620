"""Which benchmarks are in a data folder: prepared, downloaded, or missing; and preparing the downloaded ones."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from segvoc.data.benchmarks import Benchmark, find_benchmark
from segvoc.data.preparation.prepare import check_preparation, prepare
from segvoc.errors import InputError, UsageError

Status = Literal["prepared", "downloaded", "missing", "failed"]
"""Of a benchmark in the data folder; "failed": it was downloaded and can't be prepared."""


@dataclass(frozen=True, kw_only=True)
class Availability:
    """A benchmark in the data folder."""

    name: str
    """Name of the benchmark."""
    status: Status
    """Whether it is there."""
    images: int = 0
    """Number of prepared images; of a part benchmark, of their objects."""
    partial: bool = False
    """Whether images are missing, so that its scores can't be compared with published ones."""
    obstacle: str = ""
    """If it can't be evaluated: what is missing or wrong, where to get it and where to put it."""

    @property
    def benchmark(self) -> Benchmark:
        """The benchmark."""
        return find_benchmark(self.name)

    @property
    def usable(self) -> bool:
        """Whether it is prepared or can perhaps be."""
        return self.status in ("prepared", "downloaded")

    def line(self) -> str:
        """For people, before anything is done."""
        if self.status == "prepared":
            images = "1 image" if self.images == 1 else f"{self.images:,} images"
            return f"prepared, {images}{self._lacking()}"
        if self.status == "downloaded":
            return "downloaded, will be prepared first"
        return f"{self.status}: {self.obstacle}"

    def _lacking(self) -> str:
        if not self.partial:
            return ""
        of = self.benchmark.image_count
        return " (incomplete)" if of is None else f" of {of:,} (incomplete)"


def availability(name: str, root: Path) -> Availability:
    """Look for a benchmark in the data folder; nothing is written.

    Raises:
        UsageError: the name is unknown.
    """
    benchmark = find_benchmark(name)
    try:
        manifest = check_preparation(benchmark, root, allow_missing=True)
    except UsageError as error:
        return Availability(name=name, status="missing", obstacle=str(error))
    if manifest is None:
        return Availability(name=name, status="downloaded")
    return Availability(name=name, status="prepared", images=len(manifest.records), partial=manifest.partial)


def prepare_downloaded(
    found: Sequence[Availability], root: Path, jobs: int, on_failure: Callable[[str], object]
) -> list[Availability]:
    """Prepare the benchmarks that are downloaded but not prepared, as `segvoc prepare` does without --partial.

    `on_failure` is called for each damaged file, with an error of one line.

    Returns:
        The same benchmarks, none of which is only downloaded: they are prepared, or failed with an obstacle.

    Raises:
        OutputError: a file can't be written.
    """
    return [_prepared(entry, root, jobs, on_failure) if entry.status == "downloaded" else entry for entry in found]


def _prepared(entry: Availability, root: Path, jobs: int, on_failure: Callable[[str], object]) -> Availability:
    try:
        manifest = prepare(entry.benchmark, root, jobs=jobs, on_failure=on_failure).manifest
    except (UsageError, InputError) as error:
        return replace(entry, status="failed", obstacle=str(error))
    if manifest.failed:
        images = "1 image is" if len(manifest.failed) == 1 else f"{len(manifest.failed)} images are"
        obstacle = (
            f"{images} damaged, for example {manifest.failed[0]!r}; replace the files, or run "
            f"`segvoc prepare {entry.name} --data {root} --partial` for a score that can't be compared"
        )
        return replace(entry, status="failed", obstacle=obstacle)
    return replace(entry, status="prepared", images=len(manifest.records), partial=manifest.partial)
