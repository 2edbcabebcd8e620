"""The training loop: steps, checkpoints, metrics, best weights and stopping; on a CPU or GPUs."""

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from segvoc.data.training.training_set import ShardedSampler, seed_of
from segvoc.errors import CheckpointError, TrainingError, UsageError
from segvoc.layers.batch_statistics import share_norms
from segvoc.networks.base import SegmentationNetwork
from segvoc.runtime.distributed import Processes, available_cores, wrap_distributed
from segvoc.runtime.process_settings import float32_products
from segvoc.training.nonfinite import find_nonfinite, is_finite
from segvoc.training.objectives import TrainingObjective
from segvoc.training.parameters import freeze_others, learning_rates, parameter_groups
from segvoc.training.recipe import OptimizerConfig, Recipe
from segvoc.training.run_folder import RunFolder

SIGNALS = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def stop_signals() -> Iterator[list[int]]:
    """Collect received signals in a list, which the run checks after each step; the second has its usual effect."""
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield received  # Python lets only the main thread set handlers
        return

    def note(number: int, frame: object) -> None:
        received.append(number)
        signal.signal(number, before[signal.Signals(number)])

    before = {number: signal.signal(number, note) for number in SIGNALS}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


ForwardPass = tuple[int, int, int]
"""Step, rank and number (within the step) of a forward pass, from 0."""

Inputs = tuple[Any, ...]
"""The arguments of the objective in a pass."""

Losses = dict[str, Tensor]
"""Scalars by name; "loss" is minimized."""

OnProblems = Callable[[Sequence[str]], None]
"""Called with the problems of each batch."""


@runtime_checkable
class TrainingTask(Protocol):
    """Training data with a matching objective.

    Every batch has `problems`, with one line for each unreadable image.
    """

    def objective(self, network: SegmentationNetwork, recipe: Recipe) -> TrainingObjective:
        """The module that maps `inputs` to losses by name."""
        ...

    def batches(
        self, sampler: ShardedSampler, workers: int, *, pinned: bool, signals: Sequence[int] = ()
    ) -> Iterator[Any]:
        """The sampler's batches, loaded by `workers` processes (0: this process); see `read_ahead`."""
        ...

    def inputs(self, batch: Any, number: ForwardPass, device: torch.device) -> Inputs:
        """The arguments of the objective, moved to the device.

        Raises:
            InputError: the batch is empty because none of its images could be read.
        """
        ...


class Passes:
    """Reads and runs the passes of steps; on a GPU see `segvoc.training.cuda_passes`."""

    def __init__(self, task: TrainingTask, objective: TrainingObjective, processes: Processes) -> None:
        recipe = objective.recipe
        self.task, self.objective, self.processes = task, objective, processes
        self.accumulated, self.precision = recipe.optimizer.grad_accum_steps, recipe.runtime.precision
        self.device = next(objective.parameters()).device
        self.module = wrap_distributed(objective, processes)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.precision == "float16")

    def read(self, loader: Iterator[Any], step: int, on_problems: OnProblems) -> list[Inputs]:
        """Read the inputs of a step's passes; those of an objective with a divisor end with its mean over all passes.

        Dividing a pass's sums by this mean, also over processes, makes their mean that over all labeled pixels.
        """
        rank, count = self.processes.rank, self.processes.count
        passes = [self.next_inputs(loader, (step, rank, number), on_problems) for number in range(self.accumulated)]
        divisors = [divisor for inputs in passes if (divisor := self.objective.divisor(*inputs)) is not None]
        if not divisors:
            return passes
        total = self.processes.total(torch.stack(divisors).sum(0)).clamp(min=1)
        return [(*inputs, total / (len(passes) * count)) for inputs in passes]

    def next_inputs(self, loader: Iterator[Any], number: ForwardPass, on_problems: OnProblems) -> Inputs:
        """Read a batch, and move its inputs to the device."""
        batch = next(loader)
        on_problems(batch.problems)
        return self.task.inputs(batch, number, self.device)

    def gradients(self, inputs: Inputs, *, is_last: bool) -> Losses:
        """Run a pass: its losses, and its share of the gradients, which processes exchange after a step's last pass."""
        accumulating = self.module if isinstance(self.module, DistributedDataParallel) and not is_last else None
        with nullcontext() if accumulating is None else accumulating.no_sync():
            with self.autocast():
                losses: Losses = self.module(*inputs)
            self.scaler.scale(losses["loss"] / self.accumulated).backward()
        return {name: value.detach() for name, value in losses.items()}

    def autocast(self) -> AbstractContextManager[Any]:
        """The precision of a forward pass."""
        if self.precision == "float32":
            return nullcontext()
        return torch.autocast(self.device.type, getattr(torch, self.precision))

    def release(self) -> None:
        """Free memory for a validation."""


@dataclass(kw_only=True)
class BestWeights:
    """The state with the best score so far: trained parameters and all buffers."""

    patience: int
    """Validations in a row without a better score after which training stops; 0: no weights are kept."""
    score: float | None = None
    step: int = 0
    """The step of the best score."""
    waited: int = 0
    """Validations since the best score."""
    weights: dict[str, Tensor] = field(default_factory=dict[str, Tensor])

    @torch.no_grad()
    def update(self, score: float | None, step: int, state: Mapping[str, Tensor]) -> None:
        """Keep the validated state if its score is the best; validations without a score are ignored."""
        if not self.patience or score is None:
            return
        if self.score is not None and score <= self.score:
            self.waited += 1
            return
        self.score, self.step, self.waited = score, step, 0
        self.weights = {name: value.detach().cpu().clone() for name, value in state.items()}


_SHARED = ("gradient norm", "unreadable images", "stopped by a signal")
"""What a step averages over all processes, besides its losses."""


@dataclass(kw_only=True)
class Training:
    """A run in progress."""

    network: SegmentationNetwork
    task: TrainingTask
    recipe: Recipe
    folder: RunFolder
    seed: int
    """Seed for dropout."""
    processes: Processes = field(default_factory=Processes)
    runner: type[Passes] = Passes
    """Runs the passes of steps; `CudaPasses` on a GPU."""
    on_step: Callable[[dict[str, Any]], None] = lambda metrics: None
    """Called on rank 0 with the metrics of every step."""
    warn: Callable[[str], None] = lambda line: None
    """Called with each warning, as a readable line."""
    validate: Callable[[int], float | None] = lambda step: None
    """Called by every process with the number of completed steps, to validate the network; returns the score, the same
    in every process, or None. The network then has the weights that would be saved, in the default memory format."""

    def __post_init__(self) -> None:
        recipe, count = self.recipe, self.processes.count
        batch_size, accumulated = recipe.optimizer.batch_size, recipe.optimizer.grad_accum_steps
        if batch_size % (count * accumulated):
            raise UsageError(
                f"batch_size={batch_size} does not divide into {count} processes with grad_accum_steps={accumulated}; "
                "change one"
            )
        rates = learning_rates(self.network, recipe)
        freeze_others(self.network, rates)
        if recipe.runtime.sync_batch_norm and count > 1:
            share_norms(self.network.aggregation)
        self.device = next(self.network.parameters()).device
        self._gpus = [self.device] if self.device.type == "cuda" else []
        self.network.image_encoder.to(memory_format=torch.channels_last)  # see `Objective.forward`
        self.objective = self.task.objective(self.network, recipe)
        self.passes = self.runner(self.task, self.objective, self.processes)
        if recipe.runtime.compile:
            # compile a block's parts, which only take tensors; the block's arguments change at every step
            blocks = getattr(self.network.aggregation, "blocks", ())
            for module in (self.network.image_encoder, *(part for block in blocks for part in block.children())):
                module.compile()
        groups = parameter_groups(self.network, rates, recipe.optimizer.weight_decay)
        self.optimizer = torch.optim.AdamW(groups, weight_decay=0.0, fused=bool(self._gpus))
        self.scaler = self.passes.scaler
        self.learning = {name: value for name, value in self.network.named_parameters() if name in rates}
        self.buffers = dict(self.network.named_buffers())
        seed = seed_of(self.seed, "dropout", self.processes.rank)
        self._generators = [torch.default_generator, *(torch.cuda.default_generators[gpu.index] for gpu in self._gpus)]
        self._random_states = [torch.Generator(one.device).manual_seed(seed).get_state() for one in self._generators]
        """What `run` begins with, and a checkpoint restores."""
        self.step, self.bad_in_a_row, self.unreadable = 0, 0, set[str]()
        self.best = BestWeights(patience=recipe.runtime.patience)

    def run(self) -> None:
        """Run all remaining steps; the network then has the weights to keep: the best, or the last.

        PyTorch's global generators draw the run's random numbers; afterwards they are as before.

        Raises:
            TrainingError: too many consecutive steps had no finite loss, or the last step left non-finite weights.
            InputError: no image can be read.
            OutputError: the folder can't be written.
            SystemExit: the process received SIGTERM (exit code 143) or SIGINT (130), after saving a checkpoint.
        """
        recipe, processes = self.recipe, self.processes
        sampler = ShardedSampler(
            batch=recipe.optimizer.batch_size,
            passes=recipe.optimizer.grad_accum_steps,
            rank=processes.rank,
            ranks=processes.count,
            first_step=self.step,
            steps=recipe.optimizer.steps,
        )
        workers = min(recipe.runtime.num_workers, available_cores())  # more workers would compete for cores
        self._training_mode()
        with closing(self.folder), stop_signals() as received, torch.random.fork_rng(self._gpus):
            for generator, random_state in zip(self._generators, self._random_states, strict=True):
                generator.set_state(random_state)
            loader = self.task.batches(sampler, workers, pinned=bool(self._gpus), signals=received)
            lines = self.folder.read_lines("validation.jsonl")
            if self._validates_now() and all(line["step"] != self.step for line in lines):
                self._validate()  # before the first step, or after a kill between the checkpoint and its validation
            while self.step < recipe.optimizer.steps and not 0 < self.best.patience <= self.best.waited:
                stopped = self.run_step(loader, received)
                last = self.step == recipe.optimizer.steps
                validated = bool(self.best.patience) and self._validates_now()
                if validated:
                    self._validate()  # a checkpoint includes its validation's result
                # weights with non-finite losses must not replace the last good checkpoint
                on_time = self.step % recipe.runtime.save_every == 0 and not self.bad_in_a_row
                saved = (last or stopped or validated or on_time) and self._save_if_finite()
                if last and not saved:
                    raise TrainingError(f"the weights are not finite after the last step; {self._checkpoint_note()}")
                if self._validates_now() and not validated:
                    self._validate()
                if stopped and not last:
                    self._exit(received, saved)
        self.network.load_state_dict(self.best.weights, strict=False)

    def run_step(self, loader: Iterator[Any], received: Sequence[int] = ()) -> bool:
        """Run a step; return whether any process received a signal (with several, checked one step late)."""
        start = time.perf_counter()
        factor = rate_factor(self.recipe.optimizer, self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = group["rate"] * factor
        statistics = {name: value.clone() for name, value in self.network.named_buffers()}
        unreadable = len(self.unreadable)

        passes = self.passes.read(loader, self.step, self._report_unreadable)
        losses: dict[str, Tensor] = {}
        for number, inputs in enumerate(passes, 1):
            for name, value in self.passes.gradients(inputs, is_last=number == len(passes)).items():
                losses[name] = losses.get(name, 0) + value / len(passes)
        norm = self._clip_gradients()

        # the step's only device sync; non-finite values in one process make the mean non-finite
        flags = (len(self.unreadable) > unreadable, bool(received))
        shared = [norm, *(torch.full_like(norm, float(flag)) for flag in flags)]
        means = self.processes.mean(losses | dict(zip(_SHARED, shared, strict=True)))
        norm, any_unreadable, stopped = (means.pop(name) for name in _SHARED)
        if any_unreadable:
            for problems in self.processes.gather(sorted(self.unreadable)):
                self._report_unreadable(problems)

        self.step += 1
        problem, norm_is_finite = None, math.isfinite(norm)
        if all(map(math.isfinite, means.values())) and (norm_is_finite or self.scaler.is_enabled()):
            self.bad_in_a_row = 0
            if norm_is_finite:  # `scaler.step` would sync again to check this
                self.optimizer.step()
        else:
            problem = self._skip(means, passes, statistics)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)

        self._log(means, norm, factor, time.perf_counter() - start, problem)
        if self.bad_in_a_row >= self.recipe.runtime.max_bad_steps:
            raise TrainingError(
                f"{self.bad_in_a_row} steps in a row were not finite ({problem}); {self._checkpoint_note()}"
            )
        return stopped > 0 or (self.processes.count == 1 and bool(received))

    def _clip_gradients(self) -> Tensor:
        """Clip the global gradient norm; returns the norm before."""
        for parameter in self.learning.values():
            if parameter.grad is None:  # weight decay applies to it too, as in the released code
                parameter.grad = torch.zeros_like(parameter)
        self.scaler.unscale_(self.optimizer)
        limit = self.recipe.optimizer.max_grad_norm or math.inf
        return nn.utils.clip_grad_norm_(list(self.learning.values()), limit, foreach=True)

    def _report_unreadable(self, problems: Sequence[str]) -> None:
        """Count unreadable images and warn about them, once each."""
        new = [problem for problem in dict.fromkeys(problems) if problem not in self.unreadable]
        self.unreadable.update(new)
        for problem in new:
            self.warn(f"passed over: {problem}")

    def _skip(self, losses: dict[str, float], passes: Sequence[Inputs], statistics: Mapping[str, Tensor]) -> str:
        """Skip a step: restore the running statistics; return a description of the non-finite tensors."""
        self.bad_in_a_row += 1
        with torch.random.fork_rng(self._gpus):
            where = find_nonfinite(self.objective, losses, passes, self.passes.autocast)
        with torch.no_grad():
            for name, value in statistics.items():
                self.network.get_buffer(name).copy_(value)
        self.warn(f"step {self.step} is skipped, not finite: {where}")
        return where

    def _log(self, losses: dict[str, float], norm: float, factor: float, seconds: float, problem: str | None) -> None:
        if not self.processes.first:
            return
        rates = sorted({group["rate"] * factor for group in self.optimizer.param_groups}, reverse=True)
        metrics: dict[str, Any] = {"step": self.step, **losses, "gradient_norm": norm}
        metrics |= {"learning_rate": self.recipe.optimizer.lr * factor, "learning_rates": rates, "seconds": seconds}
        if self._gpus:
            metrics["gigabytes"] = torch.cuda.max_memory_allocated(self.device) / 1e9
        if self.unreadable:
            metrics["unreadable_images"] = len(self.unreadable)
        if problem is not None:
            metrics["problem"] = f"step {self.step} is skipped, not finite: {problem}"
        self.folder.note("metrics.jsonl", metrics)
        self.on_step(metrics)

    def _validates_now(self) -> bool:
        every = self.recipe.runtime.eval_every
        if not self.step:
            return self.recipe.runtime.eval_first
        return self.step == self.recipe.optimizer.steps or (every > 0 and self.step % every == 0)

    def _validate(self) -> None:
        self.passes.release()
        with float32_products(tf32=False):
            # without sync, batch norm statistics differ between processes; those of rank 0 are saved
            self.processes.copy_from_first(self.network.buffers())
            self.network.image_encoder.to(memory_format=torch.contiguous_format)
            try:
                score = self.validate(self.step)
            finally:
                self.network.image_encoder.to(memory_format=torch.channels_last)
                self._training_mode()
            self.best.update(score, self.step, self._state())

    def _training_mode(self) -> None:
        """Training mode for all modules except the encoders' batch norms, which keep their pre-trained statistics."""
        self.passes.module.train()
        for tower in (self.network.image_encoder, self.network.text_encoder):
            for module in tower.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()

    # ---- checkpoints

    def _state(self) -> dict[str, Tensor]:
        """Trained parameters and all saved buffers, by name in the network."""
        state = self.network.state_dict(keep_vars=True)
        return {name: value for name, value in state.items() if name in self.learning or name in self.buffers}

    def weights(self) -> dict[str, Tensor]:
        """The network's weights by name, on the CPU."""
        return {name: value.cpu() for name, value in self.network.state_dict().items()}

    def save(self) -> None:
        """Write a checkpoint that the run can resume from; every process must call this."""
        random_states = self.processes.gather([generator.get_state() for generator in self._generators])
        if self.processes.first:
            self.folder.save(
                {
                    "step": self.step,
                    "weights": {name: value.detach() for name, value in self._state().items()},
                    "optimizer": self.optimizer.state_dict(),
                    "scaler": self.scaler.state_dict(),
                    "best": vars(self.best),
                    "random_states": random_states,
                    "unreadable": sorted(self.unreadable),
                }
            )

    def restore(self, state: dict[str, Any]) -> None:
        """Restore the state from a checkpoint written by `save`; `CheckpointError` if it lacks learned weights."""
        if missing := [name for name in self._state() if name not in state["weights"]]:
            raise CheckpointError(
                f"the checkpoint in {str(self.folder.path)!r} lacks {missing[0]!r} and {len(missing) - 1} more weights "
                "of this network; start a new run in another folder"
            )
        self.network.load_state_dict(state["weights"], strict=False)  # frozen weights come from their source
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        self.best = BestWeights(**state["best"])
        # more processes than before, or a GPU where there was none, keep the states of their seeds
        saved = dict(enumerate(state["random_states"])).get(self.processes.rank, [])
        self._random_states = [*saved, *self._random_states[len(saved) :]][: len(self._random_states)]
        self.unreadable = set(state["unreadable"])
        self.step = state["step"]

    def _save_if_finite(self) -> bool:
        """Save unless the weights are non-finite in any process; return whether it saved."""
        weights = [*self.learning.values(), *self.network.aggregation.buffers()]
        nonfinite = torch.tensor(float(not is_finite(weights)), device=self.device)
        (share,) = self.processes.mean({"nonfinite": nonfinite}).values()
        if not share:
            self.save()
        return not share

    def _checkpoint_note(self) -> str:
        """The checkpoint of a failed run, and the fix."""
        path = self.folder.path
        saved = (path / "checkpoint.pt").exists()
        checkpoint = "the last good checkpoint stays" if saved else "no checkpoint has been written yet"
        return f"{checkpoint} in {str(path)!r}: check the images, or lower lr in a new run"

    def _exit(self, received: list[int], saved: bool) -> None:
        state = f"step {self.step} is saved" if saved else f"the weights are not finite, and {self._checkpoint_note()}"
        self.warn(f"stopped by a signal: {state}; continue with --resume")
        raise SystemExit(128 + (received or [signal.SIGTERM])[0])


def rate_factor(optimizer: OptimizerConfig, step: int) -> float:
    """The factor of all learning rates at a step (from 0), in [0, 1]: half a cosine from 1 to 0.

    With a warm-up of W steps, at most half of all, the first W factors increase linearly from `warmup_start_factor` to
    the cosine's value at W (detectron2's WarmupCosineLR, which ERR-Seg was trained with).
    """
    warm_up = min(optimizer.warmup_steps, optimizer.steps // 2)
    if step >= warm_up:
        return _cosine(step / optimizer.steps)
    end = _cosine(warm_up / optimizer.steps)
    return optimizer.warmup_start_factor + (end - optimizer.warmup_start_factor) * step / warm_up


def _cosine(progress: float) -> float:
    return 0.5 * (1 + math.cos(math.pi * progress))
