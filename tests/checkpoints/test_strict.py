"""Weights fit a network exactly, or are refused with what differs."""

from collections.abc import Iterable

import pytest
import torch

from segvoc.checkpoints.strict import fit_exactly
from segvoc.errors import CheckpointError

EXPECTED = {"weight": torch.Size([2, 3]), "bias": torch.Size([2])}


def renamed(**shapes: tuple[int, ...]) -> Iterable[tuple[str, str, torch.Tensor]]:
    return [(f"their.{name}", name, torch.ones(shape)) for name, shape in shapes.items()]


def test_a_state_that_fits_exactly_gets_our_names() -> None:
    state = fit_exactly(renamed(bias=(2,), weight=(2, 3)), EXPECTED, "official")
    assert {name: value.shape for name, value in state.items()} == EXPECTED


@pytest.mark.parametrize(
    ("shapes", "said"),
    [
        ({"weight": (2, 3)}, "missing.*bias"),
        ({"weight": (2, 3), "bias": (2,), "scale": (1,)}, "unexpected.*their.scale"),
        ({"weight": (3, 2), "bias": (2,)}, r"unexpected.*their.weight \[3, 2\] instead of \[2, 3\]"),
    ],
)
def test_what_lacks_or_adds_something_is_refused(shapes: dict[str, tuple[int, ...]], said: str) -> None:
    with pytest.raises(CheckpointError, match=said):
        fit_exactly(renamed(**shapes), EXPECTED, "official")
