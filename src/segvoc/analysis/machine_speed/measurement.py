"""Measuring models within a time budget: which rows, in which order, and which don't fit."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from types import TracebackType

import numpy as np

from segvoc.analysis.machine_speed.advice import fastest_dtype
from segvoc.analysis.machine_speed.machine import Machine
from segvoc.analysis.machine_speed.rows import DTYPES, BenchSettings, Case, Dtype, Sample, SpeedRow, measured_rows
from segvoc.analysis.machine_speed.worker import Load, Loaded, Measure, Worker, WorkerFailed, WorkerLate, WorkerRefused

KEPT = 32
"""Classes to keep in the row that shows what this is worth."""

GPU_BATCHES = (8, 32)
"""Images in a call, in the rows that show what batches are worth on a GPU."""

REPEATS = 30
"""Most calls that are timed for a row."""

ENOUGH = 8.0
"""Time after which a row begins no other call, even if there is more [s]."""

WORTH_TRYING = 1.1
"""Several processes are measured if they promise this many times the images per second of one."""

MEMORY_SHARE = 0.5
"""Share of the main memory that several processes may take."""

PATIENCE = 0.25
"""Share of the time left that a row may take while others wait."""


class Bench:
    """Measures models; use it in a `with` block, which ends its processes.

    Args:
        settings: what to measure.
        machine: the machine.
        started: when the time began to run, on `time.monotonic` [s].
        on_case: called before each row, with what is measured.
        on_row: called after each row.
    """

    def __init__(
        self,
        settings: BenchSettings,
        machine: Machine,
        *,
        started: float,
        on_case: Callable[[Case], object] = lambda case: None,
        on_row: Callable[[SpeedRow], object] = lambda row: None,
    ) -> None:
        self.settings, self.machine, self.on_case, self.on_row = settings, machine, on_case, on_row
        self.rows: list[SpeedRow] = []
        self.loaded: dict[tuple[str, Dtype], Loaded] = {}
        self._end = self._deadline = started + settings.seconds
        self._to_do = 0
        self._worker: Worker | None = None
        self._holds: tuple[str, Dtype] | None = None
        self._start_seconds = 0.0

    def __enter__(self) -> "Bench":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    @property
    def rows_of_a_model(self) -> int:
        """How many rows a model gets at most."""
        return len(self._plain_cases("")) + len(self._other_cases("", "float32", 1)) + self._may_share

    @property
    def _may_share(self) -> bool:
        """Whether the threads may be shared between several processes."""
        return self.machine.gpu is None and self.machine.threads > 1

    def measure(self) -> None:
        """Measure all models; each may use its share of the time left. `rows` is whole at any moment."""
        for place, model in enumerate(self.settings.models):
            now = time.monotonic()
            self._deadline = now + (self._end - now) / (len(self.settings.models) - place)
            self._to_do = self.rows_of_a_model
            self._measure_model(model)
            self._close()

    def _measure_model(self, model: str) -> None:
        """Measure the rows of a model, the long ones last."""
        waiting = self._run(self._plain_cases(model), PATIENCE)
        dtype = fastest_dtype(self.rows, model)
        if dtype is not None:
            usual = self.settings.words[len(self.settings.words) // 2]
            reached = [row.case.words for row in measured_rows(self.rows, model, dtype=dtype)]
            words = max([number for number in reached if number <= usual], default=min(reached))
            waiting += self._run(self._other_cases(model, dtype, words), PATIENCE)
            waiting += self._run(self._shared_cases(model, dtype, words), PATIENCE)
        for case in self._run(waiting, 1.0):
            needed = self._needed(case)
            note = f"would take about {needed:.0f} s" if needed else "there was no time left"
            self._add(SpeedRow(case=case, status="skipped", note=note))

    def _plain_cases(self, model: str) -> list[Case]:
        threads = self.machine.threads
        return [
            Case(model=model, dtype=d, words=words, threads=threads) for d in DTYPES for words in self.settings.words
        ]

    def _other_cases(self, model: str, dtype: Dtype, words: int) -> list[Case]:
        """Few classes kept of many; then fewer threads, or batches on a GPU."""
        plain = Case(model=model, dtype=dtype, words=words, threads=self.machine.threads)
        cases = []
        if self.settings.words[-1] >= 2 * KEPT:
            cases.append(replace(plain, words=self.settings.words[-1], keep_classes=KEPT))
        if self.machine.gpu is not None:
            return cases + [replace(plain, batch=batch) for batch in GPU_BATCHES]
        threads = plain.threads
        while threads > 1:
            threads //= 2
            cases.append(replace(plain, threads=threads))
        return cases

    def _shared_cases(self, model: str, dtype: Dtype, words: int) -> list[Case]:
        """Several processes that share the threads, in the way that promises most."""
        rows = measured_rows(self.rows, model, dtype=dtype, words=words, is_plain=True)
        if not self._may_share or not rows:
            return []
        promises = {}
        for row in rows:
            fit = int(MEMORY_SHARE * self.machine.memory_gb / (row.memory_gb or 1.0))
            processes = min(self.machine.threads // row.case.threads, fit)
            promises[replace(row.case, processes=processes)] = processes * row.rate
        best = max(promises, key=lambda case: promises[case])
        worth_it = promises[best] > WORTH_TRYING * max(row.rate for row in rows)
        return [best] if best.processes > 1 and worth_it else []

    def _run(self, cases: Sequence[Case], share: float) -> list[Case]:
        """Measure the cases that take at most a share of the time left; returns the others."""
        waiting = []
        for case in cases:
            left = self._deadline - time.monotonic()
            failed = self._failed_before(case)
            if failed is not None:
                self._add(SpeedRow(case=case, status="skipped", note=f"{failed} failed"))
            elif left <= 0 or self._needed(case) > share * left:
                waiting.append(case)
            else:
                self.on_case(case)
                self._add(self._measured(case, min(ENOUGH, left / self._to_do)))
        return waiting

    def _failed_before(self, case: Case) -> Case | None:
        """A case that failed, although it refines no more words than this one."""
        for row in self.rows:
            alike = (row.case.model, row.case.dtype) == (case.model, case.dtype) and row.case.is_plain
            if row.status == "failed" and alike and row.case.words <= case.refined:
                return row.case
        return None

    def _needed(self, case: Case) -> float:
        """Time that a case takes at least [s]; 0 if nothing is known."""
        rates: Mapping[Dtype, float] = {dtype: self.machine.rate(dtype) for dtype in DTYPES}
        seconds = predicted_seconds(case, self.rows, rates)
        if seconds is None:
            return 0.0
        start = 0.0 if self._holds == (case.model, case.dtype) and case.processes == 1 else self._start_seconds
        return start + seconds * (2 if case.processes == 1 else 4)  # a call to warm up, and one to measure

    def _add(self, row: SpeedRow) -> None:
        self.rows.append(row)
        self._to_do = max(1, self._to_do - 1)
        self.on_row(row)

    def _measured(self, case: Case, seconds: float) -> SpeedRow:
        """Measure a case, without another call after this time; whatever goes wrong is a row too."""
        started = time.monotonic()
        try:
            if case.processes > 1:
                samples = self._together(case, seconds)
            else:
                worker = self._loaded_worker(case)
                worker.send(Measure(case=case, seconds=seconds, repeats=REPEATS))
                samples = [worker.receive(self._deadline)]
        except WorkerRefused as error:
            return SpeedRow(case=case, status="skipped", note=str(error))
        except WorkerLate:
            self._close()
            return SpeedRow(case=case, status="skipped", note=f"took more than {time.monotonic() - started:.0f} s")
        except WorkerFailed as error:
            self._close()
            return SpeedRow(case=case, status="failed", note=str(error))
        return SpeedRow.measured(case, samples)

    def _loaded_worker(self, case: Case) -> Worker:
        """The process that holds a case's model."""
        if self._worker is None or self._holds != (case.model, case.dtype):
            self._close()
            started = time.monotonic()
            self._worker = Worker()
            self._worker.send(Load(case=case, settings=self.settings, device=self.machine.device))
            self.loaded[case.model, case.dtype] = self._worker.receive(self._deadline)
            self._holds = case.model, case.dtype
            self._start_seconds = time.monotonic() - started
        return self._worker

    def _together(self, case: Case, seconds: float) -> list[Sample]:
        """Measure a case in several processes at once."""
        self._close()
        requests = (
            Load(case=case, settings=self.settings, device=self.machine.device),
            Measure(case=case, seconds=0.0, repeats=1),  # only to begin together
            Measure(case=case, seconds=seconds, repeats=10_000),
        )
        answers: list[Sample] = []
        with ExitStack() as stack:
            workers = []
            for _ in range(case.processes):
                workers.append(Worker())
                stack.callback(workers[-1].close)
            for request in requests:
                for worker in workers:
                    worker.send(request)
                answers = [worker.receive(self._deadline) for worker in workers]
        return answers

    def _close(self) -> None:
        if self._worker is not None:
            self._worker.close()
        self._worker = self._holds = None


def predicted_seconds(case: Case, rows: Sequence[SpeedRow], rates: Mapping[Dtype, float]) -> float | None:
    """Time of one call [s]; None if nothing of the model has been measured yet.

    Time is linear between numbers of words and beyond them; with a single row it grows with their square root, since
    much of the work doesn't depend on them. Fewer threads are taken to be as slow as they can be, batches to save
    nothing.

    Args:
        case: the case.
        rows: the rows so far.
        rates: rate of a matrix product in each dtype, by which the first row of a dtype is predicted.
    """
    plain = measured_rows(rows, case.model, is_plain=True)
    if not plain:
        return None
    threads = max(row.case.threads for row in plain)
    own, other = {}, {}
    for row in plain:
        if row.case.threads == threads:
            (own if row.case.dtype == case.dtype else other)[row.case.words] = row.seconds or 0.0
    common = own.keys() & other.keys()
    if common:
        slower = own[max(common)] / other[max(common)]
    else:
        (other_dtype,) = rates.keys() - {case.dtype}
        slower = rates[other_dtype] / rates[case.dtype]
    known = {words: slower * seconds for words, seconds in other.items()} | own
    # dropped words are only compared with the image
    words = min(case.words, case.refined + case.words // 10)
    return _at(words, known) * case.batch * threads / case.threads


def _at(words: int, known: Mapping[int, float]) -> float:
    """Time for a number of words [s], between the numbers that are known, or beyond them."""
    numbers = sorted(known)
    largest = numbers[-1]
    if words <= largest:
        return float(np.interp(words, numbers, [known[number] for number in numbers]))
    if len(numbers) == 1:
        return known[largest] * (words / largest) ** 0.5
    before = numbers[-2]
    slope = (known[largest] - known[before]) / (largest - before)
    return known[largest] + max(0.0, slope) * (words - largest)
