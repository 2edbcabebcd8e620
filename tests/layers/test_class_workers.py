"""Chunks of classes that are computed side by side."""

import os
import sys
import threading

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from segvoc.layers import class_workers
from segvoc.layers.aggregation_context import AggregationContext
from segvoc.layers.class_workers import map_in_workers, may_use_workers

CPU = torch.device("cpu")


@pytest.mark.parametrize(("threads", "workers"), [(1, 1), (2, 2), (8, 8), (10, 5), (12, 6), (13, 6), (16, 8), (64, 8)])
def test_workers_leave_few_threads_idle(monkeypatch, threads, workers):
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    assert class_workers.class_workers(CPU) == workers
    assert class_workers.class_workers(torch.device("cuda")) == 1


@pytest.mark.parametrize("inference", [True, False])
def test_results_come_in_order_from_several_threads_without_gradients(inference):
    together = threading.Barrier(2, timeout=60)  # fails if one call waits for another

    def double(number: int, x: torch.Tensor) -> tuple[int, torch.Tensor, int]:
        together.wait()
        return number, 2 * x, torch.get_num_threads()

    x, before = torch.ones(1, requires_grad=True), torch.get_num_threads()
    with torch.inference_mode(inference), torch.no_grad():
        results = map_in_workers(double, [(number, x) for number in range(6)], 2)
    assert [number for number, *_ in results] == list(range(6))
    assert {threads for *_, threads in results} == {max(1, before // 2)}
    assert torch.get_num_threads() == before
    assert all(y.item() == 2 and not y.requires_grad and y.is_inference() is inference for _, y, _ in results)


def test_an_error_in_a_worker_is_the_callers():
    def fail(number: int) -> int:
        raise ValueError(f"chunk {number}")

    with torch.no_grad(), pytest.raises(ValueError, match="chunk 0"):
        map_in_workers(fail, [(number,) for number in range(3)], 2)


@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # that a process with threads is forked
def test_a_fork_has_workers_of_its_own():
    work = [(number,) for number in range(4)]
    assert map_in_workers(abs, work, 2) == [0, 1, 2, 3]
    if (child := os.fork()) == 0:
        os._exit(0 if map_in_workers(abs, work, 2) == [0, 1, 2, 3] else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_work_stays_in_the_thread_whose_state_counts():
    x = torch.ones(1)
    with torch.no_grad():
        assert may_use_workers()
        with FlopCounterMode(display=False) as counter:
            places = AggregationContext(chunk=1, workers=2).each(lambda part: part @ part, torch.ones(3, 2, 2), dim=0)
        assert counter.get_total_flops() == 3 * 16
        assert len(places) == 3
    observing = AggregationContext(chunk=1, workers=2, observe=lambda spatial, semantic: None)
    with torch.no_grad():
        assert (
            observing.each(lambda part: threading.current_thread(), torch.ones(2, 1), dim=0)
            == [threading.current_thread()] * 2
        )
        assert threading.current_thread() not in AggregationContext(chunk=1, workers=2).each(
            lambda part: threading.current_thread(), x.expand(2, 1), dim=0
        )


def test_workers_do_not_wait_for_workers():
    context, x = AggregationContext(chunk=1, workers=2), torch.arange(6.0).view(2, 3)

    def inner(row: torch.Tensor) -> torch.Tensor:
        return context.map(lambda part: 2 * part, row)

    with torch.no_grad():
        assert torch.equal(context.map(inner, x, dim=0), 2 * x)


@pytest.mark.parametrize(
    ("classes", "chunk", "workers", "sizes"),
    [
        (7, None, 2, [7]),
        (7, 3, 1, [3, 2, 2]),
        (7, 3, 2, [2, 2, 2, 1]),
        (171, 12, 2, [11] * 11 + [10] * 5),
        (24, 12, 2, [12, 12]),
        (1, 12, 8, [1]),
        (3, 12, 8, [1, 1, 1]),
    ],
)
def test_chunks_are_equal_and_as_many_for_each_worker(classes, chunk, workers, sizes):
    parts = AggregationContext(chunk=chunk, workers=workers).split(torch.arange(classes), dim=0)
    assert [len(part) for part in parts] == sizes
    assert torch.cat(list(parts)).tolist() == list(range(classes))
