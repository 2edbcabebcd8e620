"""Several processes: which GPU each uses, and how they wait for one another."""

import pytest
import torch

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
