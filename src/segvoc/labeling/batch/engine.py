"""The engine on Ray: tasks read, label and write shards, as they are planned; a worker process keeps its model.

If a worker or node is lost, Ray gives its shard to another one; one that was already written is overwritten with the
same name and content.
"""

import logging
import math
import os
import pickle
import secrets
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

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

MOST_LOST = 7
"""Tasks in a row that may be given up before the run ends."""

STARTS, PAUSE_SECONDS = 3, 2.0
"""How often Ray is started until it answers, and the pause between [s]: on a busy machine a start may time out."""

SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    "RAY_agent_register_timeout_ms": "120000",
    "RAY_task_oom_retries": str(MOST_DEATHS - 1),
    "RAY_worker_niceness": "0",
}
"""Ray's settings, unless the environment has others; its own niceness, 15, starves workers beside other programs."""


class RayEngine:
    """Runs a batch on Ray; starts Ray or joins its cluster on first use, unless the program has already started it."""

    def __init__(self, batch: Batch) -> None:
        self.batch = batch
        self.workers = 0
        """Number of model replicas, once `facts` has asked for the cluster's nodes."""
        self.machines = 0
        """Number of machines that these take, all alike."""

    def facts(self) -> ModelFacts:
        """Run `find_facts` on a worker."""
        connect(self.batch)
        self._find_room()
        try:
            return pickle.loads(ray.get(self._remote(_find_facts).remote(pickle.dumps(self.batch))))
        except RayError as error:
            raise _lost(error) from None

    def run(
        self, next_task: Callable[[], WorkerTask | None], facts: ModelFacts
    ) -> Iterator[tuple[WorkerTask, TaskOutcome]]:
        """Do tasks, as `next_task` gives them, and yield what comes of each, in any order.

        `next_task` is asked whenever a worker is free; None means that there is nothing to do until a task ends.
        """
        sent = ray.put(pickle.dumps((self.batch, facts, max(1, int(self.batch.cpus)))))
        do = self._remote(_do, max_calls=0)  # by default Ray ends a process after a task on a GPU
        running, lost = dict[Any, WorkerTask](), 0
        try:
            while True:
                while len(running) < self.workers and (task := next_task()) is not None:
                    running[do.remote([sent], task)] = task
                if not running:
                    return
                (reference,), _ = ray.wait(list(running))
                task, outcome = running.pop(reference), ""
                try:
                    outcome, lost = ray.get(reference), 0
                except RayTaskError:
                    raise
                except RayError as error:
                    lost += 1
                    if lost == MOST_LOST:
                        raise
                    reason = f"{MOST_DEATHS} workers died with it, the last: {one_line(error)}"
                    outcome = f"{_named(task)} failed ({reason}); give workers more memory"
                yield task, outcome
        except RayError as error:
            raise _lost(error) from None
        finally:
            for reference in running:
                ray.cancel(reference, force=True)

    def _remote(self, function: Callable[..., Any], **options: Any) -> Any:
        cpus, gpus = self.batch.cpus, self.batch.gpus
        return ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=MOST_DEATHS - 1, **options)(function)

    def _find_room(self) -> None:
        cpus, gpus = self.batch.cpus, self.batch.gpus
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        rooms = [
            int(min(node.get("CPU", 0.0) / cpus, node.get("GPU", 0.0) / gpus if gpus else math.inf)) for node in nodes
        ]
        room = sum(rooms)
        if not room and self.batch.workers is None:  # an autoscaling cluster makes room for requested workers
            raise UsageError(f"no node has {cpus:g} cores and {gpus:g} GPUs; give fewer --cpus or --gpus")
        self.workers = self.batch.workers or room
        self.machines = math.ceil(self.workers * sum(map(bool, rooms)) / room) if room else self.workers


def connect(batch: Batch) -> None:
    """Start Ray on this machine, or join its cluster, unless this process already has."""
    if ray.is_initialized():
        return
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    options: dict[str, Any] = {"address": batch.address}
    if batch.address is None:
        # a token for this cluster: Ray would store its token in the user's home, which may be read-only
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
        options = {"num_cpus": max(process_settings.cores(), int(Batch.cpus)), "include_dashboard": False}
    import psutil  # which Ray brings along

    reason = ""
    for _ in range(STARTS if batch.address is None else 1):
        before = psutil.Process().children(recursive=True)
        try:
            ray.init(**options, log_to_driver=False, logging_level=logging.ERROR)
            return
        except Exception as error:  # Ray raises `Exception` itself, and leaves what it has started running
            reason = one_line(error)
            ray.shutdown()
            for process in {*psutil.Process().children(recursive=True)} - {*before}:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            time.sleep(PAUSE_SECONDS)
    if batch.address is None:
        raise ProcessError(f"Ray doesn't start here ({reason}); look into /tmp/ray")
    raise UsageError(f"no Ray cluster answers at {batch.address!r} ({reason}); check --address")


def _find_facts(sent: bytes) -> bytes:
    return pickle.dumps(find_facts(pickle.loads(sent)))


_loaded: dict[ray.ObjectRef, Worker] = {}
"""The model of this process, by what was sent of its run."""


def _do(sent: list[ray.ObjectRef], task: WorkerTask) -> TaskOutcome:
    """Do a task in a process that keeps its model; raises `OutputError`, and why the model can't be loaded."""
    (key,) = sent  # in a list, since Ray would replace it by its content
    if key not in _loaded:
        for category in (FirstFrameWarning, ColorProfileWarning, LabelingWarning):
            warnings.simplefilter("ignore", category)
        _loaded.clear()
        _loaded[key] = Worker(*pickle.loads(ray.get(key)))
    try:
        return _loaded[key](task)
    except OutputError:
        raise
    except Exception as error:  # a fault of ours or of a library costs this task alone
        return f"{_named(task)} failed ({type(error).__name__}: {one_line(error)})"


def _named(task: WorkerTask) -> str:
    """A task for messages."""
    if isinstance(task, Join):
        return f"joining {task.table!r}"
    shard = task.shard if isinstance(task, Trial) else task
    first, last = (shard.folder.address_of(unit[0]) for unit in (shard.units[0], shard.units[-1]))
    return repr(first) if len(shard.units) == 1 else f"the shard from {first!r} to {last!r}"


def _lost(error: RayError) -> SegvocError:
    """The worker's error, or one line on why Ray gave up."""
    cause = getattr(error, "cause", None)  # of a task; Ray's own text begins with the name of the process
    if isinstance(cause, SegvocError):
        return cause
    reason = f"{type(cause).__name__}: {one_line(cause)}" if isinstance(cause, BaseException) else one_line(error)
    return ProcessError(f"Ray can't go on ({reason}); run the same call again to go on")
