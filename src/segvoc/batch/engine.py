"""The engine on Ray Data: tasks read, actors with a model each label and write, and each waits for the next.

Images travel from one to the next as shards in Ray's object store, which bounds how much is read ahead. If a worker or
a node is lost, Ray does again what was lost with it; a shard that was written already is then written once more, under
the same name and with the same content.
"""

import logging
import os
import pickle
import secrets
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import ray
import ray.data
from ray.data import ActorPoolStrategy, DataContext
from ray.exceptions import RayError

from segvoc import process_settings
from segvoc.batch.results import Record
from segvoc.batch.sources import BatchSource, Task, read_shards
from segvoc.batch.work import Batch, ModelFacts, ShardLabeler, Workers, find_facts
from segvoc.errors import (
    FirstFrameWarning,
    OutputError,
    ProcessError,
    SegvocError,
    UnavailableError,
    UsageError,
    one_line,
)

MODELS_SHARE = 0.9
"""Share of a worker's cores that its model claims from Ray; the rest is for the tasks that read."""

READERS_CORES = 0.05
"""Cores that a task which reads claims: it mostly waits for a storage."""

BLOCK_BYTES = 1_000_000
"""Bytes from which on Ray passes what was read on: a shard or two at a time."""

INPUT_BLOCKS = 4_000
"""Most blocks of containers, which Ray keeps an eye on one by one."""

STARTS = 3
"""How often Ray is started: on a busy machine, its processes may not be up within the time that it gives them."""


class RayEngine:
    """Does the work of a run on Ray; see `segvoc.batch.run.Engine`.

    Ray is started here, or its cluster joined, on first use. A program that has started Ray keeps it as it is.
    """

    def __init__(self, workers: Workers) -> None:
        self.workers = workers

    def facts(self, batch: Batch) -> ModelFacts:
        """See `segvoc.batch.run.Engine.facts`."""
        connect(self.workers)
        find: Any = ray.remote(_find_facts).options(**self._resources(), max_retries=3)
        try:
            return pickle.loads(ray.get(find.remote(pickle.dumps(batch))))
        except RayError as error:
            raise _lost(error) from None

    def run(
        self, batch: Batch, source: BatchSource, tasks: Sequence[Task], facts: ModelFacts
    ) -> Iterator[Record | str]:
        """See `segvoc.batch.run.Engine.run`."""
        connect(self.workers)
        number = min(self._number(), max(1, len(tasks))) if source.kind == "images" else self._number()
        context = DataContext.get_current().copy()
        context.enable_progress_bars = False
        context.target_max_block_size = BLOCK_BYTES
        with DataContext.current(context):
            rows = [{"task": pickle.dumps(task)} for task in tasks]
            data: Any = ray.data.from_items(rows, override_num_blocks=min(len(rows), INPUT_BLOCKS))
            data = data.flat_map(
                _read,
                fn_kwargs={"source": source, "most": batch.shard_images},
                num_cpus=READERS_CORES,
                concurrency=number + 1,
            )
            data = data.map(
                _Label,
                fn_constructor_args=(pickle.dumps((batch, facts, max(1, int(self._cpus())))),),
                compute=ActorPoolStrategy(size=number),
                **self._resources(),
            )
            try:
                for row in data.iter_rows():
                    outcome = pickle.loads(row["outcome"])
                    if isinstance(outcome, OutputError):
                        raise outcome
                    yield outcome
            except SegvocError:
                raise
            except Exception as error:  # Ray wraps what a worker raises in several ways
                raise _lost(error) from None

    def _cpus(self) -> float:
        largest = max((node["Resources"].get("CPU", 0.0) for node in ray.nodes() if node["Alive"]), default=0.0)
        if self.workers.cpus is None:
            return min(2.0, largest) or 2.0
        if largest and self.workers.cpus > largest:
            raise UsageError(f"no node has {self.workers.cpus:g} cores, the largest {largest:g}; give fewer --cpus")
        return self.workers.cpus

    def _resources(self) -> dict[str, Any]:
        if self.workers.gpus and not ray.cluster_resources().get("GPU"):
            raise UsageError("the cluster has no GPU; leave out --gpus")
        return {"num_cpus": MODELS_SHARE * self._cpus(), "num_gpus": self.workers.gpus}

    def _number(self) -> int:
        if self.workers.number is not None:
            return self.workers.number
        there = ray.cluster_resources()
        room = there.get("CPU", 1.0) / self._cpus()
        if self.workers.gpus:
            room = min(room, there.get("GPU", 0.0) / self.workers.gpus)
        return max(1, int(room))


@contextmanager
def _without_banner() -> Iterator[None]:
    """Keep Ray's C++ code from printing lines of its own to standard error while it starts."""
    kept = os.dup(2)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def connect(workers: Workers) -> None:
    """Start Ray on this machine, or join its cluster, unless this process has done so.

    Raises:
        UsageError: there is no cluster at the address.
        ProcessError: Ray doesn't start.
    """
    if ray.is_initialized():
        return
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    os.environ.setdefault("RAY_agent_register_timeout_ms", "120000")
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    # it advises settings for a source of one shard
    warnings.filterwarnings("ignore", message="The maximum number of concurrent tasks", category=UserWarning)
    if workers.address is not None:
        try:
            with _without_banner():
                ray.init(address=workers.address, **quiet)
        except (ConnectionError, ValueError, RuntimeError, TimeoutError) as error:
            raise UsageError(
                f"no Ray cluster answers at {workers.address!r} ({one_line(error)}); check --address"
            ) from None
        return
    # A token of this cluster's own: Ray would keep one in the user's home, which may be read-only.
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    for attempt in range(STARTS):
        try:
            with _without_banner():
                ray.init(num_cpus=process_settings.cores(), include_dashboard=False, **quiet)
            return
        except Exception as error:  # Ray raises `Exception` itself
            with suppress(Exception):
                ray.shutdown()
            if attempt + 1 == STARTS:
                raise ProcessError(f"Ray doesn't start here ({one_line(error)}); look into /tmp/ray") from None


def _find_facts(sent: bytes) -> bytes:
    return pickle.dumps(find_facts(pickle.loads(sent)))


def _read(row: dict[str, Any], source: BatchSource, most: int) -> Iterator[dict[str, Any]]:
    """Reads a task into shards."""
    try:
        for shard in read_shards(source, pickle.loads(row["task"]), most):
            yield {"shard": pickle.dumps(shard)}
    except UnavailableError as error:
        yield {"shard": pickle.dumps(str(error))}


class _Label:
    """Labels and writes shards; Ray keeps it, with its model, for the whole run."""

    def __init__(self, sent: bytes) -> None:
        warnings.simplefilter("ignore", FirstFrameWarning)
        self.labeler = ShardLabeler(*pickle.loads(sent))

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        shard = pickle.loads(row["shard"])
        try:
            outcome = shard if isinstance(shard, str) else self.labeler(shard)
        except OutputError as error:  # raised, it would come with lines of Ray's
            outcome = error
        return {"outcome": pickle.dumps(outcome)}


def _lost(error: BaseException) -> SegvocError:
    """What a worker raised, or one line on why Ray gave up."""
    cause: BaseException | None = error
    while cause is not None:
        for found in (cause, getattr(cause, "cause", None)):
            if isinstance(found, SegvocError) and not isinstance(found, RayError):
                return found
        cause = cause.__cause__ or cause.__context__
    return ProcessError(f"Ray can't go on ({one_line(error)}); run the same call again to go on")
