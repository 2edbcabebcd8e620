"""Values that can be weights, and values that can't."""

import pytest
import torch
from torch import Tensor

from segvoc.checkpoints.strict import check_values
from segvoc.errors import CheckpointError

OURS = {"weight": torch.zeros(2, 3)}


@pytest.mark.parametrize(
    "value",
    [torch.full((2, 3), 3e38), torch.full((2, 3), 6e4, dtype=torch.float16), torch.zeros(0, 3)],
    ids=["whose sum overflows", "whose sum overflows in fp16", "none"],
)
def test_finite_values_can_be_weights(value: Tensor) -> None:
    check_values({"weight": value}, OURS)


@pytest.mark.parametrize("values", [[torch.nan], [torch.inf], [-torch.inf], [torch.inf, -torch.inf], [1e39]])
def test_values_that_are_not_finite_in_float32_are_refused(values: list[float]) -> None:
    value = torch.ones(2, 3, dtype=torch.float64)
    value[0, : len(values)] = torch.tensor(values, dtype=torch.float64)
    with pytest.raises(CheckpointError, match="weight has values that can't be weights"):
        check_values({"weight": value}, OURS)


def test_integers_are_no_floating_point_weights() -> None:
    with pytest.raises(CheckpointError, match=r"torch\.int64"):
        check_values({"weight": torch.zeros(2, 3, dtype=torch.int64)}, OURS)
