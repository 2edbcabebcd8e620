"""Chunks that several threads compute now and again in the backward pass."""

import threading
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn

from segvoc.layers.aggregation_context import AggregationContext
from segvoc.layers.recomputed_chunks import each_recomputed

X = torch.randn(5, 3, generator=torch.Generator().manual_seed(0)).double()


class Given(NamedTuple):
    scale: Tensor
    order: Tensor
    nothing: None = None


class Scaled(nn.Module):
    """A linear map that counts the threads that it runs on."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.linear, self.unused = nn.Linear(3, 3).double(), nn.Linear(2, 2).double()
        self.threads, self.casts = set(), []

    def forward(self, x, given, power):
        self.threads.add(threading.current_thread())
        self.casts.append(torch.is_autocast_enabled("cpu"))
        scaled = (self.linear(x).tanh() * given.scale)[:, given.order] ** power
        return [scaled, (x, scaled.sum(0))]


def gradients(call, *, use=lambda found: sum(one[0].square().sum() + one[1][1].sum() for one in found)):
    """Results, and gradients of what the chunks have, what they share, and the parameters."""
    module, x, scale = Scaled(), X.clone().requires_grad_(), torch.full((3,), 1.5).double().requires_grad_()
    given = Given(2 * scale, torch.tensor([2, 0, 1]))
    found = call(module, [(part,) for part in x.split(2)], (given, 3))
    use(found).backward()
    assert module.unused.weight.grad is None
    return module, [x.grad, scale.grad, module.linear.weight.grad, module.linear.bias.grad], found


def serially(module, chunks, shared):
    return [module(*chunk, *shared) for chunk in chunks]


def by_two(module, chunks, shared):
    return each_recomputed(module, chunks, shared, 2)


@pytest.mark.parametrize(
    "use",
    [
        lambda found: sum(one[0].square().sum() + one[1][1].sum() for one in found),
        lambda found: found[1][1][1].sum(),  # some chunks have no gradient
        lambda found: found[0][1][0].square().sum() + found[2][0].sum(),  # an input that is given back
    ],
)
def test_results_and_gradients_are_those_of_one_call_after_the_other(use):
    _, expected, results = gradients(serially, use=use)
    module, found, ours = gradients(by_two, use=use)
    for mine, theirs in zip(
        (*found, *(one[0] for one in ours)), (*expected, *(one[0] for one in results)), strict=True
    ):
        assert (mine is None) == (theirs is None)
        if mine is not None:
            torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-14)
    assert threading.current_thread() not in module.threads


def test_chunks_run_side_by_side_in_both_passes():
    together = threading.Barrier(2, timeout=60)  # fails if one chunk waits for another

    def tripled(x, weight):
        together.wait()
        return 3 * x * weight

    weight = torch.ones(3).double().requires_grad_()
    sum(each_recomputed(tripled, [(part,) for part in X[:4].split(1)], (weight,), 2)).sum().backward()
    torch.testing.assert_close(weight.grad, 3 * X[:4].sum(0))


def test_methods_of_modules_that_are_shared_learn_too():
    module = Scaled()

    def mapped(x, function):
        return function(x)

    found = each_recomputed(mapped, [(part,) for part in X.split(2)], (module.linear.forward,), 2)
    torch.cat(found).sum().backward()
    torch.testing.assert_close(module.linear.bias.grad, torch.full((3,), 5.0).double())


def test_workers_compute_in_the_precision_of_the_caller():
    with torch.autocast("cpu", torch.bfloat16):
        module, found, ours = gradients(by_two)
    assert module.casts and all(module.casts)
    assert ours[0][0].dtype == torch.float64  # what autocast leaves alone
    assert all(gradient is not None for gradient in found)


def test_an_error_in_the_second_pass_is_raised():
    calls = []

    def once(x, weight):
        calls.append(x)
        if len(calls) > 3:
            raise ValueError("not again")
        return x * weight

    weight = torch.ones(3).double().requires_grad_()
    found = each_recomputed(once, [(part,) for part in X.split(2)], (weight,), 2)
    with pytest.raises(ValueError, match="not again"):
        torch.cat(found).sum().backward()


@pytest.mark.parametrize(
    ("options", "shared", "expected"),
    [
        ({"workers": 2, "recompute": True}, True, True),
        ({"workers": 1, "recompute": True}, True, False),
        ({"workers": 2, "recompute": False}, True, False),
        ({"workers": 2, "recompute": True}, False, False),
    ],
)
def test_a_context_takes_workers_where_all_that_is_learned_is_known(options, shared, expected):
    context, weight, here = AggregationContext(chunk=2, **options), torch.ones(3).double().requires_grad_(), []

    def scaled(x, factor=weight):
        here.append(threading.current_thread() is threading.main_thread())
        return x * factor

    context.map(scaled, X, shared=(weight,) if shared else None, dim=0).sum().backward()
    torch.testing.assert_close(weight.grad, X.sum(0))
    assert any(here) is not expected
