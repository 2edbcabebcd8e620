"""The mode that refuses what waits for the device."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from tests.device_waits import NoDeviceWaits


@pytest.mark.parametrize(
    "waits",
    [
        lambda x: x.sum().item(),
        lambda x: bool((x > 0).any()),
        lambda x: x[x > 0],
        lambda x: x.masked_fill_(x > 0, 0.0)[torch.where(x > 1)],
        lambda x: x.unique(),
    ],
)
def test_what_waits_is_refused(waits: Callable[[Tensor], object]) -> None:
    with NoDeviceWaits(), pytest.raises(AssertionError, match="waits"):
        waits(torch.rand(3))
