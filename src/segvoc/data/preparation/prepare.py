"""Preparing a benchmark: from the original downloads to label maps and a manifest, resumably."""

import hashlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path

from segvoc.data.benchmarks import Benchmark
from segvoc.data.preparation.conversions import Converted, ImageConversion
from segvoc.data.preparation.manifests import PREPARATION_FOLDER, PREPARED_LAYOUT, Manifest, Record
from segvoc.data.preparation.originals import check_originals, files_below, find_original, unpacked
from segvoc.data.preparation.plans import Plan, plan_preparation
from segvoc.errors import InputError, OutputError, UsageError
from segvoc.progress import Progress
from segvoc.storage.journal import Journal, read_journal


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """What a call of `prepare` found or made. already: everything was there, nothing was done."""

    manifest: Manifest
    already: bool


@dataclass(frozen=True, kw_only=True)
class _Failed:
    stem: str
    message: str


def check(benchmark: Benchmark, root: Path, *, allow_missing: bool = False) -> Manifest | None:
    """The manifest of a benchmark that needs no preparation; None where its originals are there to prepare it.

    Raises: UsageError: originals are missing; the message says which, where each belongs and where to get it.
    """
    manifest = Manifest.read(root, benchmark.name)
    if manifest is not None and not manifest.failed and not manifest.lost_files(root):
        grown = manifest.partial and dict(manifest.sources) != _sources(benchmark, root)
        if not manifest.partial or (allow_missing and not grown):
            return manifest
    check_originals(benchmark.downloads, root, benchmark.title)
    return None


def prepare(
    benchmark: Benchmark,
    root: str | os.PathLike[str],
    *,
    jobs: int = 1,
    allow_missing: bool = False,
    on_failure: Callable[[str], object] = lambda message: None,
) -> Preparation:
    """Make a benchmark's label maps out of its original downloads, and a manifest that says what was made.

    Files are written atomically, and a journal says which are done: after a kill at any moment the same call goes on
    from there and ends with the same manifest. A picture whose files are damaged is told to `on_failure`, the others
    are done; the next call tries it again. Archives are unpacked next to the other originals.

    Args:
        benchmark: which one.
        root: the folder of all data.
        jobs: how many processes convert.
        allow_missing: prepare what is there, though pictures are missing; the manifest says which.
        on_failure: told of each damaged file, in one line.

    Raises:
        UsageError: originals are missing or of another form.
        InputError: a whole archive is damaged.
        OutputError: a file can't be written.
    """
    root = Path(root)
    if (manifest := check(benchmark, root, allow_missing=allow_missing)) is not None:
        # a kill between the last two steps leaves it
        _journal_path(root, benchmark).unlink(missing_ok=True)
        return Preparation(manifest=manifest, already=True)
    damaged: dict[str, str] = {}
    places = unpacked(benchmark.downloads, root, damaged.__setitem__)
    for message in damaged.values():
        on_failure(message)
    plan = plan_preparation(benchmark, root, places)
    unpacked_badly = [stem for stem, path in plan.missing.items() if path in damaged]
    missing = {stem: path for stem, path in plan.missing.items() if path not in damaged}
    if not allow_missing:
        _check_complete(benchmark, root, plan, missing)
    if not plan.conversions:
        raise UsageError(f"no picture of {benchmark.title} has all its files below {str(root)!r}; see `--help`")
    done, failed = _converted(benchmark, root, plan.conversions, jobs, on_failure)
    manifest = Manifest(
        benchmark=benchmark.name,
        records=tuple(record for stem in sorted(done) for record in done[stem].records),
        sha256=_digest(done.values()),
        left_out={**plan.left_out, **{stem: why for item in done.values() for stem, why in item.left_out.items()}},
        missing=tuple(sorted(missing)),
        failed=tuple(sorted([*unpacked_badly, *failed])),
        partial=bool(missing) or (benchmark.pictures is not None and plan.pictures != benchmark.pictures),
        sources=_sources(benchmark, root),
        versions={"segvoc": version("segvoc"), "pillow": version("pillow"), "numpy": version("numpy")},
    )
    manifest.write(root)
    if not manifest.failed:
        _journal_path(root, benchmark).unlink(missing_ok=True)
    return Preparation(manifest=manifest, already=False)


def _check_complete(benchmark: Benchmark, root: Path, plan: Plan, missing: Mapping[str, str]) -> None:
    mend = f"unpack or download again from {benchmark.pages[0]}, or give --partial to prepare what is there"
    if missing:
        paths = ", ".join(repr(str(root / path)) for path in list(missing.values())[:3])
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise UsageError(f"{benchmark.title} lacks files of {len(missing)} pictures: {paths}{more}; {mend}")
    if benchmark.pictures is not None and plan.pictures != benchmark.pictures:
        raise UsageError(
            f"{benchmark.title} has {plan.pictures} pictures below {str(root)!r} and should have "
            f"{benchmark.pictures}; {mend}"
        )


def _sources(benchmark: Benchmark, root: Path) -> dict[str, int]:
    """Where the originals lie, and how many files each folder holds."""
    counts: dict[str, int] = {}
    for download in benchmark.downloads:
        if (place := find_original(download, root)) is not None:
            name = place if download.is_file else f"{place}/*{download.suffix}"
            counts[name] = 1 if download.is_file else len(files_below(root / place, download.suffix))
    return counts


def _digest(done: Iterable[Converted]) -> str:
    digests = sorted((path, sha256) for item in done for path, sha256 in item.sha256.items())
    return hashlib.sha256("".join(f"{path}\0{sha256}\n" for path, sha256 in digests).encode()).hexdigest()


def _converted(
    benchmark: Benchmark,
    root: Path,
    conversions: Sequence[ImageConversion],
    jobs: int,
    on_failure: Callable[[str], object],
) -> tuple[dict[str, Converted], list[str]]:
    """What is converted, by stem, and the stems that failed; what the journal tells of is not done again."""
    path = _journal_path(root, benchmark)
    wanted = {conversion.stem for conversion in conversions}
    done = {stem: item for stem, item in _read_journal(path, root).items() if stem in wanted}
    failed: list[str] = []
    rest = [conversion for conversion in conversions if conversion.stem not in done]
    with (
        Journal(path, exclusive=True) as journal,
        Progress(f"preparing {benchmark.title}", total=len(conversions), done=len(done)) as progress,
    ):
        journal.append({"layout": PREPARED_LAYOUT})
        for result in _results(rest, root, jobs):
            progress.update()
            if isinstance(result, _Failed):
                failed.append(result.stem)
                on_failure(result.message)
                continue
            done[result.stem] = result
            journal.append(asdict(result))
    return done, failed


def _journal_path(root: Path, benchmark: Benchmark) -> Path:
    return root / PREPARATION_FOLDER / f"{benchmark.name}.journal"


def _read_journal(path: Path, root: Path) -> dict[str, Converted]:
    """What an earlier call has done, by stem, as far as its files are still there."""
    done: dict[str, Converted] = {}
    layout = 0
    for entry in read_journal(path):
        layout = entry.get("layout", layout)
        if layout != PREPARED_LAYOUT or "stem" not in entry:
            continue
        records = tuple(Record(**record) for record in entry.pop("records"))
        item = Converted(**entry, records=records)
        if all((root / name).is_file() for name in item.sha256):
            done[item.stem] = item
    return done


def _results(conversions: Sequence[ImageConversion], root: Path, jobs: int) -> Iterator[Converted | _Failed]:
    work = partial(_run, root)
    if jobs == 1 or len(conversions) < 2:
        yield from map(work, conversions)
        return
    # spawned: a fork would copy locks that a thread of the parent holds
    context = multiprocessing.get_context("spawn")
    executor = ProcessPoolExecutor(min(jobs, len(conversions)), mp_context=context, initializer=_end_with_parent)
    try:
        yield from executor.map(work, conversions, chunksize=max(1, min(16, len(conversions) // (4 * jobs))))
    except BrokenProcessPool:
        raise OutputError(
            "a process that converts images was killed, perhaps for lack of memory; run the same command again, "
            "with fewer --jobs"
        ) from None
    finally:
        executor.shutdown(cancel_futures=True)


def _run(root: Path, conversion: ImageConversion) -> Converted | _Failed:
    try:
        return conversion.run(root)
    except InputError as error:
        return _Failed(stem=conversion.stem, message=str(error))


def _end_with_parent() -> None:
    """Leave Ctrl-C to the parent, and end when it is killed: a worker would wait for its next picture for ever."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
