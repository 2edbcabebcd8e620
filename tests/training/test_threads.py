"""A training step has the same numbers with any number of threads, in chunks or not, stored or computed twice."""

import pytest
import torch
from torch import Tensor

from segvoc.data.training.training_set import ShardedSampler
from tests.networks.contract import torch_threads
from tests.training.small_runs import RUNS

TOLERANCE = 2e-6
"""Of the largest number of its kind: float32 has 24 bits, and every number of threads adds in an order of its own."""
OF_CAPTIONS = 1e-4
"""Their losses divide differences of cosines by a temperature, and so multiply what rounding makes of them."""


def numbers_of_a_step(kind: str, threads: int, folder, **changes) -> dict[str, Tensor]:
    """Losses (the terms of the orthogonality loss among them), gradients and running statistics of the first step."""
    training = RUNS[kind](folder / "set", folder / f"run-{threads}", **changes)
    batch = training.recipe.optimizer.batch_size
    sampler = ShardedSampler(batch=batch, passes=1, rank=0, ranks=1, first_step=0, steps=1)
    training._training_mode()
    with torch_threads(threads):
        torch.manual_seed(0)
        (inputs,) = training._passes(iter(training.task.batches(sampler, 0, pinned=False)), [])
        losses = training.module(*inputs)
        losses["loss"].backward()
    training.folder.close()
    numbers = {f"loss {name}": value.detach() for name, value in losses.items()}
    numbers |= {f"gradient {name}": p.grad for name, p in training.network.named_parameters() if p.grad is not None}
    return numbers | {f"buffer {name}": value for name, value in training.network.named_buffers()}


@pytest.mark.parametrize("recompute", [True, pytest.param(False, marks=pytest.mark.slow)], ids=["recomputed", "stored"])
@pytest.mark.parametrize("kind", RUNS)
def test_a_step_has_the_same_numbers_with_any_number_of_threads(kind, recompute, tmp_path):
    chunks = {"activation_checkpointing": recompute, "class_chunk_size": 2}
    changes = {} if kind == "captions" else chunks
    expected = numbers_of_a_step(kind, 1, tmp_path)
    largest = max(value.abs().max().item() for name, value in expected.items() if name.startswith("gradient"))
    tolerance = OF_CAPTIONS if kind == "captions" else TOLERANCE
    for threads in (2, 4, 8):
        found = numbers_of_a_step(kind, threads, tmp_path, **changes)
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            unit = largest if name.startswith("gradient") else value.abs().max().clamp(min=1e-3).item()
            worst = (found[name].double() - value.double()).abs().max().item()
            assert worst <= tolerance * unit, f"{name}: {worst / unit:.1e} with {threads} threads"
