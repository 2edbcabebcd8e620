"""Published weights on the benchmarks of their papers, from the data folder to the report."""

import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from segvoc.checkpoints.fetching import cached, fetch
from segvoc.checkpoints.published import PublishedFile
from segvoc.data.benchmarks import find_benchmark
from segvoc.data.published_scores import scored_benchmarks
from segvoc.distributed import Processes
from segvoc.errors import UsageError
from segvoc.evaluation.origin import origin_of
from segvoc.evaluation.reproduction.availability import Availability, availability, prepare_downloaded
from segvoc.evaluation.reproduction.report import write_reproduction
from segvoc.evaluation.reproduction.verdicts import AGREEMENT, Row, empty_row, evaluated_row, failures, headline
from segvoc.evaluation.runner import finished_report
from segvoc.evaluation.shown import evaluate_shown
from segvoc.evaluation.task import EvaluationSettings, EvaluationTask
from segvoc.models.loading import load_network
from segvoc.models.network_segmenter import NetworkSegmenter
from segvoc.models.presets import PRESETS, find_preset

PROTOCOL = EvaluationSettings(window="official")
"""How papers evaluate: by the network's own test protocol, prompts and class selection, on all images."""

Say = Callable[[str], object]
"""Called with each line for people."""


@dataclass(frozen=True, kw_only=True)
class ReproductionCall:
    """What to reproduce, and where."""

    names: tuple[str, ...]
    """Presets with published weights."""
    benchmarks: tuple[str, ...] = ()
    """Names of the benchmarks; empty: those with published scores of each preset."""
    data: Path
    """The data folder, with downloads or prepared benchmarks."""
    out: Path
    """Folder of the report; that of an interrupted call is continued."""
    device: str = "auto"
    """See `segvoc.load`."""
    jobs: int = 1
    """Processes that prepare downloads."""
    command: str = ""
    """The command line, for the report."""

    def wanted(self) -> dict[str, tuple[str, ...]]:
        """The benchmarks of each preset.

        Raises:
            UsageError: a name is unknown, a preset has no published weights, or no published score to compare with
                and no benchmark is named.
        """
        for benchmark in self.benchmarks:
            find_benchmark(benchmark)
        for name in self.names:
            if find_preset(name).published is None:
                raise UsageError(
                    f"{name} has no published weights that segvoc can fetch and check; those of "
                    f"{', '.join(reproducible())} can be reproduced"
                )
            if not self.benchmarks and not scored_benchmarks(name):
                raise UsageError(
                    f"no paper that segvoc knows reports scores of {name} on its benchmarks; "
                    "name those to score it on with --benchmark"
                )
        return {name: self.benchmarks or scored_benchmarks(name) for name in self.names}

    def folder(self, name: str, benchmark: str) -> str:
        """Folder of a benchmark's report, relative to `out`."""
        return benchmark if len(self.names) == 1 else f"{name}/{benchmark}"


def reproducible() -> tuple[str, ...]:
    """The presets with published weights."""
    return tuple(name for name, preset in PRESETS.items() if preset.published is not None)


def with_scores() -> tuple[str, ...]:
    """The presets with published weights and published scores."""
    return tuple(name for name in reproducible() if scored_benchmarks(name))


def reproduce(
    call: ReproductionCall, processes: Processes | None = None, say: Say = lambda line: None
) -> dict[str, Any]:
    """Evaluate published weights by their papers' protocol, and compare the scores with the published ones.

    Before any transfer it says which benchmarks are prepared, downloaded or missing. Then it fetches the weights,
    verifies their SHA-256, prepares what is only downloaded, and evaluates benchmark after benchmark with
    `segvoc.evaluate`. After each one the whole report is written. If the process is killed, the same call goes on with
    the next image; benchmarks whose reports are finished aren't repeated.

    Args:
        call: what to reproduce, and where.
        processes: this process among several that share the evaluation.
        say: for people; only called in the first process.

    Returns:
        The content of the report, in all processes.

    Raises:
        UsageError: a name is wrong, no benchmark is in the data folder, or the folder holds another evaluation.
        CheckpointError: the weights can't be fetched.
        OutputError: a file can't be written.
    """
    processes = processes or Processes()
    say = say if processes.first else lambda line: None
    wanted = call.wanted()
    names = tuple(dict.fromkeys(benchmark for several in wanted.values() for benchmark in several))
    found = [availability(name, call.data) for name in names]
    _say_plan(call, found, wanted, say)
    if not any(entry.usable for entry in found):
        raise _nothing_there(call, found)
    weights = {name: (file := _published(name), fetch(file)) for name in wanted}
    if processes.first:
        found = prepare_downloaded(found, call.data, call.jobs, lambda error: say(f"segvoc: error: {error}"))
    states = {entry.name: entry for entry in processes.gather(found)[0]}
    if not any(entry.usable for entry in states.values()):
        raise _nothing_there(call, list(states.values()))
    models = [
        _model_entry(name, *weights[name], [empty_row(states[benchmark], name) for benchmark in benchmarks])
        for name, benchmarks in wanted.items()
    ]
    content: dict[str, Any] = {
        "command": call.command,
        "data": str(call.data),
        "tolerance": AGREEMENT,
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "models": models,
    }
    for model in models:
        device, weights = processes.own_device(call.device), model["weights"]["path"]
        segmenter = load_network(model["name"], weights=weights, device=device, dtype="float32")
        model["machine"] = machine(segmenter)
        for index, row in enumerate(model["benchmarks"]):
            if states[row["name"]].usable:
                model["benchmarks"][index] = _evaluated(call, segmenter, states[row["name"]], processes)
                model["result"] = headline(model["benchmarks"])
                model["failures"] = failures(model["benchmarks"], named=bool(call.benchmarks))
                if processes.first:
                    write_reproduction(call.out, content)
    return content


def _evaluated(call: ReproductionCall, segmenter: NetworkSegmenter, found: Availability, processes: Processes) -> Row:
    """The row of a benchmark, whose report is taken as it is if it is finished."""
    task, origin = EvaluationTask.of_benchmark(found.name, call.data), origin_of(segmenter.name)
    folder = call.folder(segmenter.name, found.name)
    # only the first process looks: another one could find it changing already
    standing = finished_report(segmenter, task, call.out / folder, PROTOCOL, origin) if processes.first else None
    report = processes.gather(standing)[0]
    if report is None:
        report = evaluate_shown(segmenter, task, call.out / folder, PROTOCOL, origin, processes)
    return evaluated_row(found, report, folder)


def machine(segmenter: NetworkSegmenter) -> dict[str, str]:
    """Where a network runs, as names and values."""
    device = segmenter.device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    return {
        "device": f"{device.type} ({name})",
        "precision": segmenter.dtype,
        "system": platform.platform(),
        "python": platform.python_version(),
    }


def _model_entry(name: str, file: PublishedFile, path: Path, rows: list[Row]) -> dict[str, Any]:
    return {
        "name": name,
        "summary": find_preset(name).summary,
        "result": headline(rows),
        "failures": [],
        "weights": {
            **file.record(),
            "page": file.place.page,
            "licence_note": file.licence_note,
            "bytes": path.stat().st_size,
            "path": str(path),
        },
        "machine": {},
        "benchmarks": rows,
    }


def _published(name: str) -> PublishedFile:
    file = find_preset(name).published
    assert file is not None, "the call is checked"
    return file


def _say_plan(
    call: ReproductionCall, found: Sequence[Availability], wanted: Mapping[str, Sequence[str]], say: Say
) -> None:
    """Say what is there and what isn't, and what will be transferred."""
    width = max(len(entry.name) for entry in found)
    say(f"segvoc: benchmarks in {str(call.data)!r}:")
    for entry in found:
        say(f"segvoc:   {entry.name.ljust(width)}  {entry.line()}")
    for name in wanted:
        file = _published(name)
        state = "to be fetched" if cached(file) is None else "here already"
        told = (f"{file.filename} of {file.place.origin}", file.size_text, f"licence {file.licence}", state)
        say(f"segvoc: weights of {name}: {', '.join(told)}")


def _nothing_there(call: ReproductionCall, found: Sequence[Availability]) -> UsageError:
    if not call.data.is_dir():
        return UsageError(
            f"the data folder {str(call.data)!r} does not exist; create it and download benchmarks into it"
        )
    names = ", ".join(entry.name for entry in found)
    return UsageError(f"none of {names} can be evaluated from {str(call.data)!r}; for example, {found[0].obstacle}")
