"""Small runs for the tests of training on captions: a SynSeg of a few thousand parameters, drawn features."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from segvoc.data.training.training_set import ShardedSampler
from segvoc.distributed import Processes
from segvoc.records import to_json
from segvoc.training.caption_task import CaptionBatch, CaptionTask
from segvoc.training.loop import Listeners, Training
from segvoc.training.recipe import Recipe
from segvoc.training.run_folder import open_together
from segvoc.training.tasks import StepInfo
from tests.networks.small_syn_seg import small_syn_seg

RECIPE = Recipe(model="small", supervision="captions").with_settings(
    trainable="none",
    steps=5,
    batch_size=2,
    lr=1e-2,
    max_grad_norm=1.0,
    dataset="",
    num_workers=0,
    save_every=2,
    eval_every=0,
)


@dataclass(frozen=True, init=False)
class InMemory(CaptionTask):
    """Captioned images with random features, which their places in the training order seed."""

    readable: bool = True
    dtype: torch.dtype = torch.float32

    def __init__(self, *, readable: bool = True, dtype: torch.dtype = torch.float32) -> None:
        object.__setattr__(self, "readable", readable)
        object.__setattr__(self, "dtype", dtype)

    def __len__(self) -> int:
        return 7

    def batches(self, sampler: ShardedSampler, workers: int, *, pinned: bool = False) -> Iterator[CaptionBatch]:
        for row in sampler:
            nothing = CaptionBatch((), torch.empty(0, 0), torch.empty(0, dtype=torch.int64), ("'a.jpg' is gone",))
            yield self.batch(row) if self.readable else nothing

    def batch(self, row: list[int]) -> CaptionBatch:
        generators = [torch.Generator().manual_seed(place) for place in row]
        taps = [torch.stack([torch.randn(1 + 9, 64, generator=own) for own in generators]).half() for _ in range(3)]
        counts = [1 + place % 3 for place in row]
        phrases = [torch.randn(count, 32, generator=own) for count, own in zip(counts, generators, strict=True)]
        owner = torch.arange(len(row)).repeat_interleave(torch.tensor(counts))
        return CaptionBatch(tuple(taps), torch.cat(phrases), owner, ())

    def inputs(
        self, batch: CaptionBatch, info: StepInfo, device: torch.device
    ) -> tuple[tuple[Tensor, ...], Tensor, Tensor]:
        taps, phrases, owner = super().inputs(batch, info, device)
        return tuple(tap.to(self.dtype) for tap in taps), phrases.to(self.dtype), owner


def open_captions(
    out: Path,
    *,
    dtype: torch.dtype = torch.float32,
    device: str = "cpu",
    resume: bool = False,
    task: CaptionTask | None = None,
    processes: Processes | None = None,
    **changes,
) -> Training:
    """A run of the small SynSeg, ready to go on."""
    recipe = RECIPE.with_settings(**changes)
    torch.manual_seed(3)
    processes = processes or Processes()
    folder, state = open_together(processes, torch.device(device), out, {"recipe": to_json(recipe)}, resume=resume)
    training = Training(
        network=small_syn_seg().to(device, dtype),
        task=task or InMemory(dtype=dtype),
        recipe=recipe,
        folder=folder,
        seed=1,
        processes=processes,
        listeners=Listeners(),
    )
    if state is not None:
        training.restore(state)
    return training
