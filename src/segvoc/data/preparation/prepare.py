"""Prepares a benchmark: converts its original downloads to label maps, resumably."""

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from importlib.metadata import version
from pathlib import Path

from segvoc.data.benchmarks import PREPARATION_FOLDER, PREPARED_LAYOUT, Benchmark, Manifest
from segvoc.data.preparation.conversions import ConversionResult, LabelConversion, Original, Plan, plan_preparation
from segvoc.data.preparation.originals import check_originals, files_below, find_original, unpack_downloads
from segvoc.errors import InputError, OutputError, UsageError, counted, listed
from segvoc.runtime.process_settings import map_in_processes
from segvoc.runtime.progress import Progress
from segvoc.storage.records import check_amounts, from_json, to_json
from segvoc.storage.resume import ResumableWork, stamp_of


def check_preparation(benchmark: Benchmark, root: Path, *, allow_missing: bool = False) -> Manifest | None:
    """The manifest of a prepared benchmark, or None if only its originals exist; `UsageError` if they don't.

    With `allow_missing`, a benchmark prepared with missing images counts as prepared.
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
) -> Manifest:
    """Convert the original downloads of a benchmark to label maps, and write a manifest of them.

    Files are written atomically, and a journal records the finished images: after a kill, the same call resumes and
    writes the same manifest. Images with damaged files are reported to `on_failure` and retried by the next call.
    Archives are unpacked into the data folder. With `allow_missing`, missing images are skipped and listed in the
    manifest.

    `UsageError` if originals are missing or have another format, `InputError` if a whole archive is damaged.
    """
    root = Path(root)
    if (manifest := check_preparation(benchmark, root, allow_missing=allow_missing)) is not None:
        # left by a process killed just after writing the manifest
        _journal_path(root, benchmark).unlink(missing_ok=True)
        return manifest
    damaged: dict[str, str] = {}
    originals = unpack_downloads(benchmark.downloads, root, damaged.__setitem__)
    for message in damaged.values():
        on_failure(message)
    plan = plan_preparation(benchmark, root, originals)
    unpacked_badly = [stem for stem, path in plan.missing.items() if path in damaged]
    missing = {stem: path for stem, path in plan.missing.items() if path not in damaged}
    if not allow_missing:
        _check_complete(benchmark, root, plan, missing)
    if not plan.originals:
        raise UsageError(
            f"no image of {benchmark.title} has all its files in {str(root)!r}; "
            f"download the rest from {benchmark.pages[0]}"
        )
    done, failed = _converted(benchmark, root, plan, jobs, on_failure)
    manifest = Manifest(
        benchmark=benchmark.name,
        records=tuple(record for stem in sorted(done) for record in done[stem].records),
        sha256=_digest(done.values()),
        left_out={**plan.left_out, **{stem: why for item in done.values() for stem, why in item.left_out.items()}},
        missing=tuple(sorted(missing)),
        failed=tuple(sorted([*unpacked_badly, *failed])),
        partial=bool(missing) or (benchmark.image_count is not None and plan.image_count != benchmark.image_count),
        sources=_sources(benchmark, root),
        versions={"segvoc": version("segvoc"), "pillow": version("pillow"), "numpy": version("numpy")},
    )
    manifest.write(root)
    if not manifest.failed:
        _journal_path(root, benchmark).unlink(missing_ok=True)
    return manifest


def _check_complete(benchmark: Benchmark, root: Path, plan: Plan, missing: Mapping[str, str]) -> None:
    remedy = f"unpack or download it again from {benchmark.pages[0]}, or prepare the available images with --partial"
    if missing:
        paths = listed([repr(str(root / path)) for path in missing.values()], 3)
        raise UsageError(f"{benchmark.title} lacks files of {counted(len(missing), 'image')}: {paths}; {remedy}")
    if benchmark.image_count is not None and plan.image_count != benchmark.image_count:
        raise UsageError(
            f"{benchmark.title} has {counted(plan.image_count, 'image')} in {str(root)!r} and should have "
            f"{benchmark.image_count}; {remedy}"
        )


def _sources(benchmark: Benchmark, root: Path) -> dict[str, int]:
    counts: dict[str, int] = {}
    for download in benchmark.downloads:
        if (location := find_original(download, root)) is not None:
            name = location if download.is_file else f"{location}/*{download.suffix}"
            counts[name] = 1 if download.is_file else len(files_below(root / location, download.suffix))
    return counts


def _digest(done: Iterable[ConversionResult]) -> str:
    digests = sorted((path, sha256) for item in done for path, sha256 in item.sha256.items())
    return hashlib.sha256("".join(f"{path}\0{sha256}\n" for path, sha256 in digests).encode()).hexdigest()


def _converted(
    benchmark: Benchmark, root: Path, plan: Plan, jobs: int, on_failure: Callable[[str], object]
) -> tuple[dict[str, ConversionResult], list[str]]:
    """The results by stem, and the failed stems; resumes an earlier call."""
    failed, key = list[str](), {"layout": PREPARED_LAYOUT}
    killed = OutputError(
        "a conversion worker was killed, perhaps because memory ran out; run the same command again with fewer --jobs"
    )
    decode = partial(from_json, ConversionResult)
    with ResumableWork(_journal_path(root, benchmark), key, decode=lambda item: check_amounts(decode(item))) as work:
        recorded = {item.stem: item for _, stamp, item in work.done if stamp == _stamp(root, item)}
        done = {stem: recorded[stem] for stem in plan.originals if stem in recorded}
        rest = {stem: original for stem, original in plan.originals.items() if stem not in done}
        with Progress(f"preparing {benchmark.title}", total=len(plan.originals), done=len(done)) as progress:
            results = map_in_processes(partial(_run, root, plan.convert), list(rest.values()), jobs, killed)
            for stem, result in zip(rest, results, strict=True):
                progress.update()
                if isinstance(result, str):
                    failed.append(stem)
                    on_failure(result)
                    continue
                done[stem] = result
                work.finish(stem, _stamp(root, result), to_json(result))
    return done, failed


def _journal_path(root: Path, benchmark: Benchmark) -> Path:
    return root / PREPARATION_FOLDER / f"{benchmark.name}.journal"


def _stamp(root: Path, item: ConversionResult) -> list[object]:
    return [list(stamp_of(root / name) or ()) for name in item.sha256]


def _run(root: Path, convert: LabelConversion, original: Original) -> ConversionResult | str:
    try:
        return convert(root, original)
    except InputError as error:
        return str(error)
