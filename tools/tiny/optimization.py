"""The loop that the trainings of tiny, edges and clicks share: one optimizer step after another, which can go on."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR
from tqdm import tqdm

from segvoc.storage.atomic_writes import write_atomically

SAVE_EVERY = 100
"""Steps after which an unfinished training is saved."""


class Optimization:
    """Adam, by default with one cycle of the learning rate: up to its peak in a tenth of the steps, and down again."""

    def __init__(
        self,
        name: str,
        groups: Sequence[dict[str, Any]],
        steps: int,
        random: torch.Generator,
        *,
        rate: Callable[[int], float] | None = None,
        decay: float | None = None,
        unfinished: Path | None = None,
    ) -> None:
        """Start, or continue where another one was stopped.

        Args:
            name: shown beside the progress bar; empty for no bar.
            groups: parameters ("params") and peak learning rate ("lr") of each group, and other options of Adam.
            steps: optimizer steps in all.
            random: the generator of all random choices from the first step on.
            rate: the learning rate of a step, relative to its peak; None for the cycle.
            decay: weight decay, apart from the gradient (AdamW); None for Adam.
            unfinished: the file that an unfinished training is saved to, and goes on from if it is there.
        """
        self.name, self.total, self.random, self.unfinished = name, steps, random, unfinished
        self.parameters = nn.ParameterList(parameter for group in groups for parameter in group["params"])
        optimizer = torch.optim.Adam(groups) if decay is None else torch.optim.AdamW(groups, weight_decay=decay)
        peaks = [group["lr"] for group in groups]
        self.optimizer, self.begin = optimizer, 0
        self.schedule: LRScheduler = (
            OneCycleLR(optimizer, peaks, total_steps=steps, pct_start=0.1)
            if rate is None
            else LambdaLR(optimizer, rate)
        )
        if unfinished and unfinished.exists():
            resumed = torch.load(unfinished, weights_only=True)
            self.parameters.load_state_dict(resumed["parameters"])
            self.optimizer.load_state_dict(resumed["optimizer"])
            self.schedule.load_state_dict(resumed["schedule"])
            self.random.set_state(resumed["random"])
            self.begin = resumed["step"]

    def steps(self) -> Iterator[int]:
        """The numbers of the steps that are left; each must call `step` once."""
        left = range(self.begin, self.total)
        yield from tqdm(left, desc=self.name, initial=self.begin, total=self.total, unit="step", disable=not self.name)

    def step(self, number: int, loss: Tensor, clip_norm: float | None = None) -> None:
        """Follow the gradient of a loss, whose norm is clipped to `clip_norm` if that is given."""
        self.optimizer.zero_grad()
        loss.backward()
        if clip_norm is not None:
            nn.utils.clip_grad_norm_(self.parameters, clip_norm)
        self.optimizer.step()
        self.schedule.step()
        if self.unfinished and (number + 1) % SAVE_EVERY == 0:
            state = {"parameters": self.parameters.state_dict(), "optimizer": self.optimizer.state_dict()}
            state |= {"schedule": self.schedule.state_dict(), "random": self.random.get_state(), "step": number + 1}
            write_atomically(self.unfinished, lambda stream: torch.save(state, stream))
