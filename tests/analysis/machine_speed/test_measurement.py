"""Which rows are measured within a budget, by processes that only look like some, on a clock that they turn."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from segvoc.analysis.machine_speed import measurement
from segvoc.analysis.machine_speed.machine import Machine
from segvoc.analysis.machine_speed.measurement import Bench
from segvoc.analysis.machine_speed.rows import BenchSettings, Case, Sample, SpeedRow
from segvoc.analysis.machine_speed.worker import Load, Loaded, Measure, Worker, WorkerFailed, WorkerLate, WorkerRefused
from tests.analysis.machine_speed.made_up import GPU, MACHINE

START = 5.0
"""Time to start a process and load a model [s]."""

Speed = Callable[[Case], float]
"""Seconds for an image; it may raise a `WorkerFailed`."""


class Clock:
    """A clock that stands still until it is turned."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.workers: list[Imitation] = []
        self.speed: Speed = lambda case: 0.01


class Imitation(Worker):
    """Answers as a process would, and turns the clock by the time that it would take."""

    clock: Clock

    def __init__(self) -> None:
        self.asked: list[Load | Measure] = []
        self.open = True
        self.clock.workers.append(self)

    def send(self, request: Load | Measure) -> None:
        assert self.open
        self.asked.append(request)

    def receive(self, deadline: float) -> Any:
        request, clock = self.asked[-1], self.clock
        if isinstance(request, Load):
            clock.now += START
            return Loaded(random=request.settings.models[request.case.model], load_seconds=1.0, word_seconds=0.01)
        seconds = clock.speed(request.case)
        repeats = max(1, min(request.repeats, int(request.seconds / seconds) - 1))
        needed = seconds * request.case.batch * (1 + repeats)
        if clock.now + needed > deadline:
            clock.now = deadline
            raise WorkerLate("")
        clock.now += needed
        return Sample(seconds=(seconds,) * repeats, memory=1.0)

    def close(self) -> None:
        self.open = False


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    clock = Clock()
    monkeypatch.setattr(Imitation, "clock", clock, raising=False)
    monkeypatch.setattr(measurement, "Worker", Imitation)
    monkeypatch.setattr(measurement, "time", SimpleNamespace(monotonic=lambda: clock.now))
    yield clock
    assert not any(worker.open for worker in clock.workers)


def bench(clock: Clock, seconds: float = 1000.0, machine: Machine = MACHINE, **given: Any) -> list[SpeedRow]:
    settings = {"models": {"tiny": False}, "words": (20, 171, 1000), "size": (64, 48), "window": "auto", "options": {}}
    counted: list[SpeedRow] = []
    with Bench(
        BenchSettings(**{**settings, **given}, seconds=seconds), machine, started=clock.now, on_row=counted.append
    ) as one:
        one.measure()
        assert len(counted) == len(one.rows) <= len(one.settings.models) * one.rows_of_a_model
        return one.rows


def names(rows: list[SpeedRow], status: str = "measured") -> list[str]:
    return [f"{row.case} x{row.case.threads}" for row in rows if row.status == status]


def test_all_rows_of_a_fast_machine(clock: Clock) -> None:
    clock.speed = lambda case: (0.01 if case.dtype == "float32" else 0.005) * case.words**0.5 / case.threads**0.5
    rows = bench(clock)
    assert names(rows) == [
        *(f"tiny, float32, {words} words x4" for words in ("20", "171", "1,000")),
        *(f"tiny, bfloat16, {words} words x4" for words in ("20", "171", "1,000")),
        "tiny, bfloat16, 1,000 words, keep 32 x4",
        "tiny, bfloat16, 171 words x2",
        "tiny, bfloat16, 171 words x1",
        "tiny, bfloat16, 171 words, 4 processes x1",
    ]
    assert len(names(rows)) == len(rows)
    # one process for each dtype, the second of which stays for the other rows, then four at once
    assert len(clock.workers) == 6
    assert {row.repeats for row in rows[:-1]} == {measurement.REPEATS}


def test_other_settings_are_measured_in_the_faster_dtype(clock: Clock) -> None:
    clock.speed = lambda case: 0.01 if case.dtype == "float32" else 0.05
    rows = bench(clock)
    assert names(rows)[6:] == [
        "tiny, float32, 1,000 words, keep 32 x4",
        "tiny, float32, 171 words x2",
        "tiny, float32, 171 words x1",
        "tiny, float32, 171 words, 4 processes x1",
    ]
    assert len(clock.workers) == 3 + 4


def test_batches_on_a_gpu_and_neither_threads_nor_processes(clock: Clock) -> None:
    assert names(bench(clock, machine=GPU))[6:] == [
        "tiny, float32, 1,000 words, keep 32 x4",
        "tiny, float32, 171 words, batch 8 x4",
        "tiny, float32, 171 words, batch 32 x4",
    ]


def test_a_single_thread_and_few_words_need_no_other_rows(clock: Clock) -> None:
    rows = bench(clock, machine=replace(MACHINE, threads=1), words=(3,))
    assert names(rows) == ["tiny, float32, 3 words x1", "tiny, bfloat16, 3 words x1"]


def test_processes_that_promise_nothing_or_do_not_fit_into_memory_are_not_tried(clock: Clock) -> None:
    clock.speed = lambda case: 0.04 / case.threads
    assert not any(row.case.processes > 1 for row in bench(clock))
    clock.speed = lambda case: 0.01
    assert not any(row.case.processes > 1 for row in bench(clock, machine=replace(MACHINE, memory_gb=3.9)))
    assert bench(clock, machine=replace(MACHINE, memory_gb=4.1))[-1].case.processes == 2


def test_what_does_not_fit_is_skipped_and_the_time_is_kept(clock: Clock) -> None:
    clock.speed = lambda case: 0.06 * case.words
    rows = bench(clock, seconds=120.0)
    assert clock.now <= 1000.0 + 120.0
    assert "tiny, float32, 20 words x4" in names(rows) and "tiny, bfloat16, 20 words x4" in names(rows)
    skipped = {str(row.case): row.note for row in rows if row.status == "skipped"}
    # two calls of 60 s each, and a process to start
    assert skipped["tiny, float32, 1,000 words"] == "would take about 125 s"


def test_a_long_row_waits_for_the_others_and_is_measured_in_the_time_left(clock: Clock) -> None:
    clock.speed = lambda case: 0.02 * case.words if case.keep_classes is None else 0.6
    rows = bench(clock, seconds=120.0, machine=replace(MACHINE, threads=1))
    order = names(rows)
    assert order.index("tiny, float32, 1,000 words, keep 32 x1") < order.index("tiny, float32, 1,000 words x1")
    assert clock.now <= 1000.0 + 120.0


def test_a_prediction_that_was_wrong_costs_the_time_left_and_no_more(clock: Clock) -> None:
    clock.speed = lambda case: 0.1 if case.words == 20 else 500.0
    rows = bench(clock, seconds=60.0)
    assert clock.now == 1000.0 + 60.0
    late = [row for row in rows if row.note.startswith("took more than ")]
    assert [str(row.case) for row in late] == ["tiny, float32, 171 words"]
    assert {row.status for row in rows[2:]} == {"skipped"}


def test_no_time_at_all(clock: Clock) -> None:
    clock.now += 2.0
    settings = {"models": {"tiny": False}, "words": (20, 171), "size": (64, 48), "window": "auto", "options": {}}
    with Bench(BenchSettings(**settings, seconds=1.0), MACHINE, started=clock.now - 2.0) as one:
        one.measure()
    assert [(row.status, row.note) for row in one.rows] == [("skipped", "there was no time left")] * 4
    assert clock.workers == []


def test_models_share_the_time_and_what_one_leaves_is_for_the_next(clock: Clock) -> None:
    clock.speed = lambda case: 0.01 if case.model == "tiny" else 2.0
    rows = bench(clock, seconds=200.0, models={"tiny": False, "large": True})
    large = [row for row in rows if row.case.model == "large" and row.status == "measured"]
    assert len(large) >= 6 and clock.now <= 1000.0 + 200.0


def test_a_row_that_runs_out_of_memory_says_so_and_larger_ones_are_not_tried(clock: Clock) -> None:
    def speed(case: Case) -> float:
        if case.dtype == "float32" and case.words >= 171 and case.keep_classes is None:
            raise WorkerFailed("memory ran out")
        return 0.01

    clock.speed = speed
    rows = bench(clock)
    by_name = {str(row.case): row for row in rows if row.case.threads == 4}
    assert (by_name["tiny, float32, 171 words"].status, by_name["tiny, float32, 171 words"].note) == (
        "failed",
        "memory ran out",
    )
    assert by_name["tiny, float32, 1,000 words"].note == "tiny, float32, 171 words failed"
    assert by_name["tiny, bfloat16, 1,000 words"].status == "measured"
    assert by_name["tiny, float32, 1,000 words, keep 32"].status == "measured"  # which is what helps


def test_a_model_that_can_not_be_loaded_fails_once_in_each_dtype(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    def receive(self: Imitation, deadline: float) -> None:
        raise WorkerFailed("the file is damaged")

    monkeypatch.setattr(Imitation, "receive", receive)
    rows = bench(clock)
    assert names(rows, "failed") == ["tiny, float32, 20 words x4", "tiny, bfloat16, 20 words x4"]
    assert len(names(rows, "skipped")) == 4 and len(clock.workers) == 2


def test_a_model_that_can_not_keep_classes(clock: Clock) -> None:
    def speed(case: Case) -> float:
        if case.keep_classes is not None:
            raise WorkerRefused("all words are kept")
        return 0.01

    clock.speed = speed
    rows = bench(clock)
    assert [(row.status, row.note) for row in rows if row.case.keep_classes] == [("skipped", "all words are kept")]
    assert names(rows, "failed") == []


def test_an_interruption_leaves_whole_rows_and_no_process(clock: Clock) -> None:
    def speed(case: Case) -> float:
        if case.dtype == "bfloat16":
            raise KeyboardInterrupt
        return 0.01

    clock.speed = speed
    settings = BenchSettings(
        models={"tiny": False}, words=(20,), size=(64, 48), window="auto", options={}, seconds=100.0
    )
    with pytest.raises(KeyboardInterrupt), Bench(settings, MACHINE, started=clock.now) as one:
        one.measure()
    assert names(one.rows) == ["tiny, float32, 20 words x4"]
