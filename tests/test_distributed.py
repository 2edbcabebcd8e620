"""Several processes: which GPU each uses, and how they wait for one another."""

import threading

import pytest
import torch
from torch.distributed import HashStore

from segvoc.distributed import Processes


@pytest.mark.parametrize(
    ("asked", "count", "expected"),
    [
        ("auto", 4, "cuda:1"),  # the third rank, the second on its machine
        ("cuda", 4, "cuda:1"),
        ("cuda:0", 4, "cuda:0"),
        ("cpu", 4, "cpu"),
        ("auto", 1, "auto"),
    ],
)
def test_each_rank_of_a_machine_has_a_gpu_of_its_own(monkeypatch, asked, count, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert Processes(rank=min(2, count - 1), count=count).own_device(asked) == expected


def test_ranks_wait_for_the_last_one_each_time() -> None:
    store, order = HashStore(), list[tuple[int, int]]()

    def work(rank: int) -> None:
        for time in range(3):
            if rank == 2:
                late.wait(0.05)
            order.append((time, rank))
            Processes(rank=rank, count=3, store=store).wait_for_all()

    late = threading.Event()
    threads = [threading.Thread(target=work, args=[rank]) for rank in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [time for time, _ in order] == [0, 0, 0, 1, 1, 1, 2, 2, 2]
