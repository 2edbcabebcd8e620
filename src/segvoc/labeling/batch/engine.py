"""The engine on Ray Data: actors with a model each read, label and write shards.

If a worker or node is lost, Ray redoes its work; a shard that was already written is overwritten with the same name and
content.
"""

import logging
import math
import os
import pickle
import secrets
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import ray
import ray.data
from ray.data import ActorPoolStrategy, DataContext
from ray.exceptions import RayError

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
from segvoc.labeling.batch.sources import BatchSource
from segvoc.labeling.batch.work import Batch, ModelFacts, Record, ShardLabeler, find_facts
from segvoc.runtime import process_settings

INPUT_BLOCKS = 4_000
"""Maximum number of groups of shards, which Ray tracks individually."""


class RayEngine:
    """Runs a batch on Ray; starts Ray or joins its cluster on first use, unless the program has already started it."""

    def __init__(self, batch: Batch) -> None:
        self.batch, self._resources = batch, {"num_cpus": batch.cpus, "num_gpus": batch.gpus}

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

    def run(self, shards: Sequence[BatchSource], facts: ModelFacts) -> Iterator[Record | str]:
        """Read, label and write; yields each finished shard, in any order, or why a shard couldn't be read."""
        batch, number = self.batch, min(self.batch.workers or self._room(), len(shards))
        context = DataContext.get_current().copy()
        context.enable_progress_bars = False
        with DataContext.current(context):
            rows = [{"shard": pickle.dumps(shard)} for shard in shards]
            data: Any = ray.data.from_items(rows, override_num_blocks=min(len(rows), INPUT_BLOCKS))
            data = data.map(
                _Label,
                fn_constructor_args=(pickle.dumps((batch, facts, max(1, int(batch.cpus)))),),
                compute=ActorPoolStrategy(size=number),
                **self._resources,
            )
            try:
                for row in data.iter_rows():
                    outcome = pickle.loads(row["outcome"])
                    if isinstance(outcome, OutputError):
                        raise outcome
                    yield outcome
            except Exception as error:  # Ray wraps workers' errors in several ways
                raise _lost(error) from None

    def _room(self) -> int:
        cpus, gpus = self.batch.cpus, self.batch.gpus
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        room = sum(
            int(min(node.get("CPU", 0.0) / cpus, node.get("GPU", 0.0) / gpus if gpus else math.inf)) for node in nodes
        )
        if not room:
            raise UsageError(f"no node has {cpus:g} cores and {gpus:g} GPUs; give fewer --cpus or --gpus")
        return room


def connect(batch: Batch) -> None:
    """Start Ray on this machine, or join its cluster, unless this process already has."""
    if ray.is_initialized():
        return
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    os.environ.setdefault("RAY_agent_register_timeout_ms", "120000")
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    options: dict[str, Any] = {"address": batch.address}
    if batch.address is None:
        # a token for this cluster: Ray would store its token in the user's home, which may be read-only
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
        options = {"num_cpus": max(process_settings.cores(), int(Batch.cpus)), "include_dashboard": False}
    try:
        ray.init(**options, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:  # Ray raises `Exception` itself
        if batch.address is None:
            raise ProcessError(f"Ray doesn't start here ({one_line(error)}); look into /tmp/ray") from None
        raise UsageError(f"no Ray cluster answers at {batch.address!r} ({one_line(error)}); check --address") from None


def _find_facts(sent: bytes) -> bytes:
    return pickle.dumps(find_facts(pickle.loads(sent)))


class _Label:
    """Actor that processes shards; Ray keeps it, with its model, for the whole run."""

    def __init__(self, sent: bytes) -> None:
        for category in (FirstFrameWarning, ColorProfileWarning, LabelingWarning):
            warnings.simplefilter("ignore", category)
        self.labeler = ShardLabeler(*pickle.loads(sent))

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        try:
            outcome = self.labeler(pickle.loads(row["shard"]))
        except OutputError as error:  # if raised, Ray would add lines
            outcome = error
        return {"outcome": pickle.dumps(outcome)}


def _lost(error: BaseException) -> SegvocError:
    """The worker's error, or one line on why Ray gave up."""
    cause: BaseException | None = error
    while cause is not None:
        for wrapped in (cause, getattr(cause, "cause", None)):
            if isinstance(wrapped, SegvocError) and not isinstance(wrapped, RayError):
                return wrapped
        cause = cause.__cause__ or cause.__context__
    return ProcessError(f"Ray can't go on ({one_line(error)}); run the same call again to go on")
