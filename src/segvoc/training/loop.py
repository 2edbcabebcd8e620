"""The training loop: steps, checkpoints, metrics, best weights and stopping; on a CPU or GPUs."""

import math
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field, is_dataclass, replace
from itertools import chain
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.multiprocessing.reductions import StorageWeakRef
from torch.nn.parallel import DistributedDataParallel

from segvoc.data.training.training_set import ShardedSampler, seed_of
from segvoc.errors import CheckpointError, InputError, TrainingError, UsageError
from segvoc.layers.batch_statistics import share_norms
from segvoc.models.cuda_graphs import CapturedFunction, runs_python
from segvoc.networks.base import SegmentationNetwork
from segvoc.runtime.distributed import Processes, available_cores, wrap_distributed
from segvoc.runtime.process_settings import float32_products
from segvoc.training.objectives import TrainingObjective
from segvoc.training.recipe import OptimizerConfig, Recipe, freeze_others, learning_rates, parameter_groups
from segvoc.training.run_folder import RunFolder

SIGNALS = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def stop_signals() -> Iterator[list[int]]:
    """Collect received signals in a list, which the run checks after each step.

    The second signal has its usual effect. Python handles signals between instructions of the main thread; a hanging
    library call must be ended by SIGKILL, as `torchrun` does.
    """
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


def not_finite(
    network: nn.Module,
    losses: dict[str, float],
    passes: Sequence[tuple[Any, ...]],
    autocast: Callable[[], AbstractContextManager[Any]],
) -> str:
    """Name non-finite losses, weights and gradients, and the module where they start, in one line.

    The forward passes, as many in every process, are repeated without gradients, in the network's mode, so they change
    running statistics. They run under the caller's autocast: float16 may overflow where float32 doesn't.
    """
    outputs: list[str] = []  # the first module with finite inputs but a non-finite output; inner ones come first
    names = {module: name for name, module in network.named_modules()}

    def look(module: nn.Module, given: object, named: object, result: object) -> None:
        if not outputs and not _finite(result) and _finite(given) and _finite(named):
            outputs.append(names[module])

    handles = [module.register_forward_hook(look, with_kwargs=True) for module in names]
    try:
        for inputs in passes:  # run all, since batch norm may wait for other processes
            with torch.no_grad(), autocast():
                network(*inputs)
    finally:
        for handle in handles:
            handle.remove()
    parameters = dict(network.named_parameters())
    gradients = {name: value.grad for name, value in parameters.items() if value.grad is not None}
    found = {
        "losses": [f"{name} ({value})" for name, value in losses.items() if not math.isfinite(value)],
        "weights": [name for name, value in parameters.items() if not _finite(value)],
        "outputs of": outputs,
        "gradients of": [name for name, value in gradients.items() if not _finite(value)],
    }
    return "; ".join(f"{kind} {_some(names)}" for kind, names in found.items() if names)


def _finite(value: object) -> bool:
    """Whether all numbers in a tensor, or in containers of tensors, are finite; other values count as finite."""
    if isinstance(value, Tensor):
        return not value.is_floating_point() or bool(value.isfinite().all())
    if is_dataclass(value):
        value = vars(value)
    if isinstance(value, Mapping):
        value = list(value.values())
    return all(map(_finite, value)) if isinstance(value, list | tuple) else True


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(name or "the network" for name in names[:3]) + more


ForwardPass = tuple[int, int, int]
"""Step, rank and number (within the step) of a forward pass, from 0."""


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

    def inputs(self, batch: Any, number: ForwardPass, device: torch.device) -> tuple[Any, ...]:
        """The arguments of the objective, moved to the device.

        Raises:
            InputError: the batch is empty because none of its images could be read.
        """
        ...


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
    def note(self, score: float | None, step: int, state: Mapping[str, Tensor]) -> None:
        """Keep the validated state if its score is the best; validations without a score are ignored."""
        if not self.patience or score is None:
            return
        if self.score is not None and score <= self.score:
            self.waited += 1
            return
        self.score, self.step, self.waited = score, step, 0
        self.weights = {name: value.detach().cpu().clone() for name, value in state.items()}


_NORM, _UNREADABLE, _STOPPED = "gradient norm", "unreadable images", "stopped by a signal"
"""Values besides the losses that a step averages over all processes."""


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
        self.network.image_encoder.to(memory_format=torch.channels_last)  # see `Objective.forward`
        self.objective = self.task.objective(self.network, recipe)
        self.module = wrap_distributed(self.objective, self.processes)
        if recipe.runtime.compile:
            # compile a block's parts, which only take tensors; the block's arguments change at every step
            blocks = getattr(self.network.aggregation, "blocks", ())
            for module in (self.network.image_encoder, *(part for block in blocks for part in block.children())):
                module.compile()
        groups = parameter_groups(self.network, rates, recipe.optimizer.weight_decay)
        self.optimizer = torch.optim.AdamW(groups, weight_decay=0.0, fused=self.device.type == "cuda")
        self.learning = {name: value for name, value in self.network.named_parameters() if name in rates}
        self.buffers = dict(self.network.named_buffers())
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=recipe.runtime.precision == "float16")
        on_gpu = self.device.type == "cuda"
        self._copies = torch.cuda.Stream(self.device) if on_gpu else None
        self._ahead: tuple[Any, tuple[Any, ...] | None] | None = None
        """The next batch and its inputs, which a GPU copies while it computes."""
        self._replayed: StepPasses | None = None
        if on_gpu and recipe.runtime.cuda_graph and not recipe.runtime.compile and count * accumulated == 1:
            self._replayed = StepPasses(self.objective, self._autocast, self.scaler, list(self.learning.values()))
        torch.manual_seed(seed_of(self.seed, "dropout", self.processes.rank))
        self.step, self.bad_in_a_row, self.unreadable, self._fitted = 0, 0, set[str](), False
        self.best = BestWeights(patience=recipe.runtime.patience)

    def run(self) -> None:
        """Run all remaining steps.

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
        with closing(self.folder), stop_signals() as received:
            loader = self.task.batches(sampler, workers, pinned=self.device.type == "cuda", signals=received)
            lines = self.folder.read_lines("validation.jsonl")
            if self._validates_now() and all(line["step"] != self.step for line in lines):
                self._validate()  # before the first step, or after a kill between the checkpoint and its validation
            while self.step < recipe.optimizer.steps and not 0 < self.best.patience <= self.best.waited:
                stopped = self._one_step(loader, received)
                last = self.step == recipe.optimizer.steps
                validated = bool(self.best.patience) and self._validates_now()
                if validated:
                    self._validate()  # a checkpoint includes its validation's result
                # weights with non-finite losses must not replace the last good checkpoint
                on_time = self.step % recipe.runtime.save_every == 0 and not self.bad_in_a_row
                saved = (last or stopped or validated or on_time) and self._save_if_finite()
                if last and not saved:
                    raise TrainingError(f"the weights are not finite after the last step; {self._kept()}")
                if self._validates_now() and not validated:
                    self._validate()
                if stopped and not last:
                    self._leave(received, saved)

    def _save_if_finite(self) -> bool:
        """Save unless the weights are non-finite in any process; return whether it saved."""
        weights = [*self.learning.values(), *self.network.aggregation.buffers()]
        spoilt = torch.tensor(float(not _finite(weights)), device=self.device)
        (share,) = self.processes.mean({"spoilt": spoilt}).values()
        if not share:
            self.save()
        return not share

    def _kept(self) -> str:
        """Message on the state of a failed run, and the fix."""
        path = self.folder.path
        saved = (path / "checkpoint.pt").exists()
        kept = "the last good checkpoint stays" if saved else "no checkpoint has been written yet"
        return f"{kept} in {str(path)!r}: check the images, or lower lr in a new run"

    def _validates_now(self) -> bool:
        every = self.recipe.runtime.eval_every
        if not self.step:
            return self.recipe.runtime.eval_first
        return self.step == self.recipe.optimizer.steps or (every > 0 and self.step % every == 0)

    def _state(self) -> dict[str, Tensor]:
        """Trained parameters and all saved buffers, by name in the network."""
        state = self.network.state_dict(keep_vars=True)
        return {name: value for name, value in state.items() if name in self.learning or name in self.buffers}

    def _passes(self, loader: Iterator[Any], unreadable: list[str]) -> Iterator[tuple[Any, ...]]:
        """The objective's inputs per pass of a step; adds new image problems to `unreadable`."""
        for number in range(self.recipe.optimizer.grad_accum_steps):
            (batch, inputs), self._ahead = self._ahead or (next(loader), None), None
            unreadable += self._pass_over(batch.problems)
            if inputs is None:
                inputs = self.task.inputs(batch, (self.step, self.processes.rank, number), self.device)
            if self._copies is not None:
                stream = torch.cuda.current_stream(self.device)
                stream.wait_stream(self._copies)
                for tensor in inputs:
                    if isinstance(tensor, Tensor):
                        tensor.record_stream(stream)
            yield inputs

    def _copy_ahead(self, loader: Iterator[Any]) -> None:
        """Start to copy the first batch of the next step to a GPU, if there is one."""
        if self._copies is None or (batch := next(loader, None)) is None:
            return
        inputs = None
        # a batch without images is refused in its own step
        with torch.cuda.stream(self._copies), suppress(InputError):
            inputs = self.task.inputs(batch, (self.step + 1, self.processes.rank, 0), self.device)
        self._ahead = batch, inputs

    def _counted(self, passes: Iterator[tuple[Any, ...]]) -> Iterable[tuple[Any, ...]]:
        """Append to each pass the mean number of labeled pixels over all passes and processes.

        Dividing a pass's sums by it makes their mean over passes the mean over all labeled pixels. Passes of objectives
        that don't count pixels are read one by one.
        """
        first = next(passes)
        if (count := self.objective.counted(*first)) is None:
            return chain((first,), passes)
        every = [first, *passes]
        counts = [count, *(self.objective.counted(*inputs) for inputs in every[1:])]
        mean = self.processes.total(torch.stack(counts).sum(0)).clamp(min=1) / (len(counts) * self.processes.count)
        return [(*inputs, mean) for inputs in every]

    def _one_step(self, loader: Iterator[Any], received: Sequence[int] = ()) -> bool:
        """Run a step; return whether any process received a signal (with several, checked one step late)."""
        recipe, start = self.recipe, time.perf_counter()
        factor = rate_factor(recipe.optimizer, self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = group["rate"] * factor
        running = {name: value.clone() for name, value in self.network.named_buffers()}
        totals: dict[str, Tensor] = {}
        inputs, unreadable = (), list[str]()
        accumulated = recipe.optimizer.grad_accum_steps
        passes = self._counted(self._passes(loader, unreadable))
        for number, inputs in enumerate(passes):
            if not self._fitted:
                trained = sum(parameter.nbytes for parameter in self.learning.values())
                fit_memory(
                    self.objective, inputs, self._autocast(), trained, lambda fits: all(self.processes.gather(fits))
                )
                self._fitted = True
            is_last = number == accumulated - 1  # processes exchange gradients after this pass alone
            shared = None if is_last or not isinstance(self.module, DistributedDataParallel) else self.module
            with nullcontext() if shared is None else shared.no_sync():
                losses = self._pass(inputs)
            for name, value in losses.items():
                totals[name] = totals.get(name, 0) + value.detach() / accumulated
        self._copy_ahead(loader)
        found = self._clip_gradients()
        # the step's only device sync; non-finite values in one process make the mean non-finite
        flags = {_UNREADABLE: bool(unreadable), _STOPPED: bool(received)}
        noted = {_NORM: found} | {name: torch.full_like(found, float(flag)) for name, flag in flags.items()}
        means = self.processes.mean(totals | noted)
        norm, passed_over, stopped = means.pop(_NORM), means.pop(_UNREADABLE) > 0, means.pop(_STOPPED) > 0
        bad, unstable = not all(map(math.isfinite, means.values())), not math.isfinite(norm)
        if passed_over:
            for problems in self.processes.gather(unreadable):
                self._pass_over(problems)
        self.step += 1
        problem = None
        if bad or (unstable and not self.scaler.is_enabled()):
            problem = self._skip(means, passes if isinstance(passes, list) else [inputs], running)
        else:
            self.bad_in_a_row = 0
            if not unstable:  # `scaler.step` would sync again to check this
                self.optimizer.step()
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        self._note(means, norm, factor, time.perf_counter() - start, problem)
        if self.bad_in_a_row >= recipe.runtime.max_bad_steps:
            raise TrainingError(f"{self.bad_in_a_row} steps in a row were not finite ({problem}); {self._kept()}")
        return stopped or (self.processes.count == 1 and bool(received))

    def _pass(self, inputs: Sequence[Any]) -> dict[str, Tensor]:
        if self._replayed is not None and not self.objective.recipe.runtime.recomputes:
            return self._replayed(inputs)
        with self._autocast():
            losses: dict[str, Tensor] = self.module(*inputs)
        self.scaler.scale(losses["loss"] / self.recipe.optimizer.grad_accum_steps).backward()
        return losses

    def _clip_gradients(self) -> Tensor:
        """Clip the global gradient norm; returns the norm before."""
        for parameter in self.learning.values():
            if parameter.grad is None:  # weight decay applies to it too, as in the released code
                parameter.grad = torch.zeros_like(parameter)
        self.scaler.unscale_(self.optimizer)
        limit = self.recipe.optimizer.max_grad_norm or math.inf
        return nn.utils.clip_grad_norm_(list(self.learning.values()), limit, foreach=True)

    def _pass_over(self, problems: Iterable[str]) -> list[str]:
        """Warn about unreadable images, counting each once; return the new ones."""
        new = [problem for problem in dict.fromkeys(problems) if problem not in self.unreadable]
        self.unreadable.update(new)
        for problem in new:
            self.warn(f"passed over: {problem}")
        return new

    def _skip(self, losses: dict[str, float], passes: Sequence[tuple[Any, ...]], running: Mapping[str, Tensor]) -> str:
        """Skip a step: restore the running statistics; return a description of the non-finite tensors."""
        self.bad_in_a_row += 1
        with torch.random.fork_rng([self.device] if self.device.type == "cuda" else []):
            where = not_finite(self.objective, losses, passes, self._autocast)
        with torch.no_grad():
            buffers = dict(self.network.named_buffers())
            for name, value in running.items():
                buffers[name].copy_(value)
        self.warn(f"step {self.step} is skipped, not finite: {where}")
        return where

    def save(self) -> None:
        """Write a checkpoint that the run can resume from; every process must call this.

        Raises: OutputError: it can't be written; the previous checkpoint is kept.
        """
        generators = self.processes.gather(torch.get_rng_state())
        on_gpu = self.device.type == "cuda"
        gpu_generators = self.processes.gather(torch.cuda.get_rng_state(self.device)) if on_gpu else []
        if self.processes.first:
            self.folder.save(
                {
                    "step": self.step,
                    "weights": {name: value.detach() for name, value in self._state().items()},
                    "optimizer": self.optimizer.state_dict(),
                    "scaler": self.scaler.state_dict(),
                    "best": vars(self.best),
                    "generators": generators,
                    "gpu_generators": gpu_generators,
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
        rank = self.processes.rank
        if rank < len(state["generators"]):
            torch.set_rng_state(state["generators"][rank])
        if self.device.type == "cuda" and rank < len(state["gpu_generators"]):
            torch.cuda.set_rng_state(state["gpu_generators"][rank], self.device)
        self.unreadable = set(state["unreadable"])
        self.step = state["step"]

    def weights(self) -> dict[str, Tensor]:
        """The network's weights by name, on the CPU; the best ones if the recipe asks for them."""
        return {name: value.cpu() for name, value in self.network.state_dict().items()} | self.best.weights

    def _validate(self) -> None:
        if self._replayed is not None:
            self._replayed.release()  # its memory is for the validation
        with float32_products(tf32=False):
            # without sync, batch norm statistics differ between processes; those of rank 0 are saved
            self.processes.copy_from_first(self.network.buffers())
            self.network.image_encoder.to(memory_format=torch.contiguous_format)
            try:
                score = self.validate(self.step)
            finally:
                self.network.image_encoder.to(memory_format=torch.channels_last)
                self._training_mode()
            self.best.note(score, self.step, self._state())

    def _leave(self, received: list[int], saved: bool) -> None:
        state = f"step {self.step} is saved" if saved else f"the weights are not finite, and {self._kept()}"
        self.warn(f"stopped by a signal: {state}; continue with --resume")
        raise SystemExit(128 + (received or [signal.SIGTERM])[0])

    def _note(self, losses: dict[str, float], norm: float, factor: float, seconds: float, problem: str | None) -> None:
        if not self.processes.first:
            return
        rates = sorted({group["rate"] * factor for group in self.optimizer.param_groups}, reverse=True)
        metrics: dict[str, Any] = {"step": self.step, **losses, "gradient_norm": norm}
        metrics |= {"learning_rate": self.recipe.optimizer.lr * factor, "learning_rates": rates, "seconds": seconds}
        if self.device.type == "cuda":
            metrics["gigabytes"] = torch.cuda.max_memory_allocated(self.device) / 1e9
        if self.unreadable:
            metrics["unreadable_images"] = len(self.unreadable)
        if problem is not None:
            metrics["problem"] = f"step {self.step} is skipped, not finite: {problem}"
        self.folder.note("metrics.jsonl", metrics)
        self.on_step(metrics)

    def _autocast(self) -> AbstractContextManager[Any]:
        kind = self.recipe.runtime.precision
        return nullcontext() if kind == "float32" else torch.autocast(self.device.type, getattr(torch, kind))

    def _training_mode(self) -> None:
        """Training mode for all modules except the encoders' batch norms, which keep their pre-trained statistics."""
        self.module.train()
        for tower in (self.network.image_encoder, self.network.text_encoder):
            for module in tower.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()


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


# ---- the forward and backward pass of a step: what it keeps in memory, and its CUDA graph

Losses = dict[str, Tensor]

PLAIN_STEPS = 3
"""Steps that run before one of the same shapes is recorded: libraries choose their kernels and workspaces in them."""


def fit_memory(
    objective: TrainingObjective,
    inputs: Sequence[Any],
    autocast: AbstractContextManager[Any],
    trained: int,
    agreed: Callable[[bool], bool] = bool,
) -> None:
    """Before the first step: where `activation_checkpointing` is "auto", store activations on a GPU that has room.

    Args:
        objective: its recipe changes. It runs with random numbers of its own, and its buffers are restored.
        inputs: those of a step.
        autocast: the step's autocast.
        trained: bytes of the trained parameters, whose gradients and moments also have to fit.
        agreed: maps whether activations fit in this process to whether they fit in all.
    """
    recipe = objective.recipe
    if recipe.runtime.activation_checkpointing != "auto" or next(objective.parameters()).device.type != "cuda":
        return
    objective.recipe = without_recomputation(recipe)
    if not agreed(_stores_activations(objective, inputs, autocast, trained)):
        objective.recipe = recipe


def without_recomputation(recipe: Recipe) -> Recipe:
    """The recipe with all activations stored, and classes in one chunk."""
    runtime = replace(recipe.runtime, activation_checkpointing=False, class_chunk_size=0)
    return replace(recipe, runtime=runtime)


def _stores_activations(
    objective: nn.Module, inputs: Sequence[Any], autocast: AbstractContextManager[Any], trained: int
) -> bool:
    """Whether a GPU's free memory holds the activations of a step, by a forward pass that keeps none of them."""
    device = next(objective.parameters()).device
    buffers = [(buffer, buffer.clone()) for buffer in objective.buffers()]
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    count = SavedTensors(objective)
    try:
        with torch.random.fork_rng([device]), autocast, count:
            objective(*inputs)
    except torch.cuda.OutOfMemoryError:
        return False
    finally:
        with torch.no_grad():
            for buffer, value in buffers:
                buffer.copy_(value)
    working = torch.cuda.max_memory_allocated(device) - before
    free, _ = torch.cuda.mem_get_info(device)
    free += torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    # in the backward pass gradients of activations take about as much as the working memory of the forward pass
    return count.bytes + 2 * working + 3 * trained < 0.9 * free  # a tenth stays free


class SavedTensors(saved_tensors_hooks):
    """Counts what autograd would store in this block, and stores nothing: there can't be a backward pass.

    Tensors of a module and those that share memory count once.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__(self._note, self._missing)
        self.bytes = 0
        self._seen: dict[int, StorageWeakRef] = {}
        for tensor in (*module.parameters(), *module.buffers()):
            self._is_new(tensor)

    def _is_new(self, tensor: Tensor) -> bool:
        storage = tensor.untyped_storage()
        known = self._seen.get(storage.data_ptr())
        if known is not None and not known.expired():
            return False
        self._seen[storage.data_ptr()] = StorageWeakRef(storage)
        return True

    def _note(self, tensor: Tensor) -> None:
        if self._is_new(tensor):
            self.bytes += tensor.untyped_storage().nbytes()

    def _missing(self, _: None) -> Tensor:
        raise RuntimeError("activations were counted, not stored")


class StepPasses:
    """Forward and backward pass of steps with one pass each, from a few plain ones on as a CUDA graph.

    Args:
        objective: maps the inputs to losses; "loss" is minimized.
        autocast: makes the autocast of the forward pass.
        scaler: scales the loss.
        trained: the parameters that get gradients.
    """

    def __init__(
        self,
        objective: nn.Module,
        autocast: Callable[[], AbstractContextManager[Any]],
        scaler: torch.amp.GradScaler,
        trained: Sequence[nn.Parameter],
    ) -> None:
        self.objective, self.autocast, self.scaler, self.trained = objective, autocast, scaler, trained
        self._shapes: list[tuple[object, ...]] = []
        """Shapes of the last steps' inputs."""
        self.graph: CapturedFunction[Losses] | None = None
        """The recorded step, of the last steps' shapes."""
        self._gradients: list[Tensor | None] = []
        self.fails = False
        """Whether PyTorch couldn't record a step."""

    def __call__(self, inputs: Sequence[Any]) -> Losses:
        """Compute the losses and the gradients."""
        shapes = tuple((x.shape, x.dtype) if isinstance(x, Tensor) else None for x in inputs)
        if self.fails or None in shapes or runs_python(self.objective):
            return self.plain(*inputs)
        if self._shapes != [shapes] * PLAIN_STEPS:
            self.release()
            self._shapes = [*self._shapes, shapes][-PLAIN_STEPS:]
            return self.plain(*inputs)
        if self.graph is None:
            self._capture(inputs)
        if self.graph is None:
            return self.plain(*inputs)
        losses = self.graph(*inputs)
        for parameter, gradient in zip(self.trained, self._gradients, strict=True):
            parameter.grad = gradient
        return losses

    def release(self) -> None:
        """Give up the graph and its memory, for example to validate the network; it is recorded again."""
        self.graph, self._gradients = None, []

    def _capture(self, inputs: Sequence[Tensor]) -> None:
        for parameter in self.trained:
            parameter.grad = None
        kept_casts = torch.is_autocast_cache_enabled()
        torch.set_autocast_cache_enabled(False)  # casts outside of the graph would be missing in it
        try:
            self.graph = CapturedFunction(self.plain, inputs)
        except RuntimeError:  # the objective waits for the GPU, or memory has run out
            self.fails = True
        finally:
            torch.set_autocast_cache_enabled(kept_casts)
        self._gradients = [parameter.grad for parameter in self.trained]
        for parameter in self.trained:
            parameter.grad = None

    def plain(self, *inputs: Any) -> Losses:
        """Compute both by the code as it is."""
        with self.autocast():
            losses = self.objective(*inputs)
        self.scaler.scale(losses["loss"]).backward()
        return {name: value.detach() for name, value in losses.items()}
