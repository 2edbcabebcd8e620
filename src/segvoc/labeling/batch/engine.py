"""The engine on Ray: actors with a model each read, label and write shards, as they are planned.

If a worker or node is lost, another one gets its shards; one that was already written is overwritten with the same name
and content.
"""

import logging
import math
import os
import pickle
import secrets
import time
import traceback
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import ray
from ray._private.node import Node
from ray.exceptions import ObjectLostError, OutOfMemoryError, RayActorError, RayError, WorkerCrashedError

from segvoc.errors import (
    ColorProfileWarning,
    FirstFrameWarning,
    LabelingWarning,
    OutputError,
    ProcessError,
    SegvocError,
    UsageError,
    one_line,
)
from segvoc.labeling.batch.work import Batch, Join, ModelFacts, TaskOutcome, Trial, Worker, WorkerTask, find_facts
from segvoc.runtime import process_settings

MOST_DEATHS = 3
"""Workers that may die with a task before it is given up."""

MOST_LOST = 20
"""Workers that may be lost without a task done before the run ends."""


class RayEngine:
    """Runs a batch on Ray; starts Ray or joins its cluster on first use, unless the program has already started it."""

    def __init__(self, batch: Batch) -> None:
        self.batch, self._resources = batch, {"num_cpus": batch.cpus, "num_gpus": batch.gpus}
        self.workers = 0
        """Number of model replicas, once they are started."""

    def facts(self) -> ModelFacts:
        """Run `find_facts` on a worker."""
        connect(self.batch)
        if self.batch.workers is None:  # an autoscaling cluster makes room for requested workers
            self._room()
        find: Any = ray.remote(_find_facts).options(**self._resources, max_retries=3)
        try:
            return pickle.loads(ray.get(find.remote(pickle.dumps(self.batch))))
        except RayError as error:
            raise _lost(error) from None

    def run(
        self, next_task: Callable[[], WorkerTask | None], facts: ModelFacts
    ) -> Iterator[tuple[WorkerTask, TaskOutcome]]:
        """Do tasks, as `next_task` gives them, and yield what comes of each, in any order.

        `next_task` is asked whenever a worker is free; None means that there is nothing to do until a task ends.
        """
        self.workers = self.batch.workers or self._room()
        pool = _Pool(self.batch, facts, self.workers, self._resources)
        try:
            yield from pool.run(next_task)
        except RayError as error:
            raise _lost(error) from None
        finally:
            pool.close()

    def _room(self) -> int:
        cpus, gpus = self.batch.cpus, self.batch.gpus
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        room = sum(
            int(min(node.get("CPU", 0.0) / cpus, node.get("GPU", 0.0) / gpus if gpus else math.inf)) for node in nodes
        )
        if not room:
            raise UsageError(f"no node has {cpus:g} cores and {gpus:g} GPUs; give fewer --cpus or --gpus")
        return room


STARTS, PAUSE_SECONDS = 3, 2.0
"""How often Ray is started until it answers, and the pause between [s]: on a busy machine a start may time out."""


def connect(batch: Batch) -> None:
    """Start Ray on this machine, or join its cluster, unless this process already has."""
    if ray.is_initialized():
        return
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    os.environ.setdefault("RAY_agent_register_timeout_ms", "120000")
    options: dict[str, Any] = {"address": batch.address}
    if batch.address is None:
        # a token for this cluster: Ray would store its token in the user's home, which may be read-only
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
        options = {"num_cpus": max(process_settings.cores(), int(Batch.cpus)), "include_dashboard": False}
    reason = ""
    for _ in range(STARTS if batch.address is None else 1):
        try:
            ray.init(**options, log_to_driver=False, logging_level=logging.ERROR)
            return
        except Exception as error:  # Ray raises `Exception` itself
            reason = one_line(error)
            _end_failed_start(error)
            time.sleep(PAUSE_SECONDS)
    if batch.address is None:
        raise ProcessError(f"Ray doesn't start here ({reason}); look into /tmp/ray")
    raise UsageError(f"no Ray cluster answers at {batch.address!r} ({reason}); check --address")


def _end_failed_start(error: Exception) -> None:
    """End the processes of a node that didn't come up in time, which Ray leaves running."""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if isinstance(node := frame.f_locals.get("self"), Node):
            node.kill_all_processes(check_alive=False)
    ray.shutdown()


def _find_facts(sent: bytes) -> bytes:
    return pickle.dumps(find_facts(pickle.loads(sent)))


class _Label:
    """Actor that does tasks; it keeps the model for the whole run."""

    def __init__(self, sent: bytes) -> None:
        for category in (FirstFrameWarning, ColorProfileWarning, LabelingWarning):
            warnings.simplefilter("ignore", category)
        self._sent = sent

    def load(self) -> bytes:
        """Load the model; returns the error, if there is one: Ray would add lines to it."""
        try:
            self.worker = Worker(*pickle.loads(self._sent))
        except SegvocError as error:
            return pickle.dumps(error)
        return pickle.dumps(None)

    def do(self, task: bytes) -> bytes:
        """Do a task; returns what has come of it, or the error that ends the run."""
        outcome: TaskOutcome | OutputError
        try:
            outcome = self.worker(pickle.loads(task))
        except OutputError as error:
            outcome = error
        except Exception as error:  # a fault of ours or of a library costs this task alone
            outcome = f"{_named(pickle.loads(task))} failed ({type(error).__name__}: {one_line(error)})"
        return pickle.dumps(outcome)


@dataclass(frozen=True, eq=False)
class _Running:
    """A task with a worker; None: the worker loads its model."""

    actor: Any
    task: WorkerTask | None = None
    deaths: int = 0
    """Number of workers that have died with the task."""


class _Pool:
    """At most `number` actors, started as there are tasks for them; the task of a lost one goes to another."""

    def __init__(self, batch: Batch, facts: ModelFacts, number: int, resources: dict[str, Any]) -> None:
        self._actor: Any = ray.remote(_Label).options(**resources, max_restarts=0, max_task_retries=0)
        self._sent = ray.put(pickle.dumps((batch, facts, max(1, int(batch.cpus)))))
        self._number = number
        self._running: dict[Any, _Running] = {}
        self._waiting = deque[tuple[WorkerTask, int]]()
        self._free = deque[Any]()
        self._lost = 0
        """Number of workers lost since the last task was done."""

    def run(self, next_task: Callable[[], WorkerTask | None]) -> Iterator[tuple[WorkerTask, TaskOutcome]]:
        """Do all tasks."""
        while True:
            self._hand_out(next_task)
            if not self._waiting and not any(running.task for running in self._running.values()):
                return
            ray.wait(list(self._running), num_returns=1)
            ready, _ = ray.wait(list(self._running), num_returns=len(self._running), timeout=0)
            for reference in ready:
                yield from self._ended(reference, self._running.pop(reference))

    def _hand_out(self, next_task: Callable[[], WorkerTask | None]) -> None:
        """Give tasks to free workers, and start workers for others."""
        while self._free:
            task, deaths = self._waiting.popleft() if self._waiting else (next_task(), 0)
            if task is None:
                return
            actor = self._free.popleft()
            self._running[actor.do.remote(pickle.dumps(task))] = _Running(actor, task, deaths)
        while len(self._running) < self._number:
            # one that loads its model takes the place of a task
            if len(self._waiting) <= sum(running.task is None for running in self._running.values()):
                if (task := next_task()) is None:
                    return
                self._waiting.append((task, 0))
            actor = self._actor.remote(self._sent)
            self._running[actor.load.remote()] = _Running(actor)

    def _ended(self, reference: Any, running: _Running) -> Iterator[tuple[WorkerTask, TaskOutcome]]:
        try:
            outcome = pickle.loads(ray.get(reference))
        except (RayActorError, WorkerCrashedError, OutOfMemoryError, ObjectLostError) as error:
            ray.kill(running.actor)  # where only its answer is lost
            self._lost += 1
            if self._lost > MOST_LOST:
                raise
            if running.task and running.deaths + 1 < MOST_DEATHS:
                self._waiting.append((running.task, running.deaths + 1))
            elif running.task:
                reason = f"{MOST_DEATHS} workers died with it, the last: {one_line(error)}"
                yield running.task, f"{_named(running.task)} failed ({reason}); give workers more memory"
            return
        if isinstance(outcome, SegvocError):
            raise outcome
        self._lost = 0
        self._free.append(running.actor)
        if running.task:
            yield running.task, outcome

    def close(self) -> None:
        """End the actors."""
        for actor in (*self._free, *(running.actor for running in self._running.values())):
            ray.kill(actor)


def _named(task: WorkerTask) -> str:
    """A task for messages."""
    if isinstance(task, Join):
        return f"joining {task.table!r}"
    shard = task.shard if isinstance(task, Trial) else task
    first, last = (shard.folder.address_of(unit[0]) for unit in (shard.units[0], shard.units[-1]))
    return repr(first) if len(shard.units) == 1 else f"the shard from {first!r} to {last!r}"


def _lost(error: BaseException) -> SegvocError:
    """The worker's error, or one line on why Ray gave up."""
    cause: BaseException | None = error
    while cause is not None:
        for wrapped in (cause, getattr(cause, "cause", None)):
            if isinstance(wrapped, SegvocError) and not isinstance(wrapped, RayError):
                return wrapped
        cause = cause.__cause__ or cause.__context__
    inner = getattr(error, "cause", None)  # of a task; Ray's own text begins with the name of the process
    reason = f"{type(inner).__name__}: {one_line(inner)}" if isinstance(inner, BaseException) else one_line(error)
    return ProcessError(f"Ray can't go on ({reason}); run the same call again to go on")
