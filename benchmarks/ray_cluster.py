"""The service on a cluster of Ray's, whose nodes are on this machine: what a second one adds, and a killed one takes.

    python -m benchmarks.ray_cluster [--seconds 20] [--clients 8] [--sleep 0.5]

The model sleeps and computes next to nothing, so that two nodes don't share cores. All clients call for `seconds`:
first one node, then two, each with one replica. Then again two, of which one is killed (SIGKILL to all of its
processes) after a third of the time. Counts requests that none of the client's attempts brought an answer to, and
answers that differ from the model's own. Fails if there is one, or if two nodes do less than 1.6 times the work of one.
"""

import argparse
import logging
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import ray
from ray import serve
from ray.cluster_utils import Cluster

from benchmarks.machine import keep
from segvoc.client import Client, ServiceError
from segvoc.serving.ray_app import ClusterSettings, application
from tests.inference.numpy_engine import NumpySegmenter
from tests.serving.services import drawn_image, png
from tests.serving.slow_models import SlowSegmenter

ROOT = Path(__file__).parents[1]
WORDS = ["cat", "wall", "grass"]
KEY = "k" * 20
PORT = 8911


@dataclass
class Calls:
    """What the clients saw."""

    answered: int = 0
    """Right answers."""
    wrong: int = 0
    """Answers that differ from the model's own."""
    lost: Counter[str] = field(default_factory=Counter)
    """Requests without an answer, by the client's error."""
    longest: float = 0.0
    """Longest time from a call to its answer, attempts included [s]."""
    lock: threading.Lock = field(default_factory=threading.Lock)
    """Of all of these."""


def call(image: bytes, expected: np.ndarray, calls: Calls, end: float) -> None:
    """Call until the end."""
    client = Client(f"http://127.0.0.1:{PORT}", api_key=KEY, attempts=8)
    while time.monotonic() < end:
        began = time.monotonic()
        try:
            right = bool(np.array_equal(client.segment(image, WORDS).labels, expected))
        except ServiceError as error:
            with calls.lock:
                calls.lost[f"{error.status} {error.code}"] += 1
            continue
        with calls.lock:
            calls.answered += right
            calls.wrong += not right
            calls.longest = max(calls.longest, time.monotonic() - began)


def load(clients: int, seconds: float, meanwhile: Callable[[], object] | None = None) -> tuple[Calls, float]:
    """Call with several clients; what they saw, and right answers in a second."""
    calls, image = Calls(), drawn_image()
    expected = NumpySegmenter().segment(image, WORDS).labels
    began = time.monotonic()
    work = partial(call, png(image), expected, calls, began + seconds)
    threads = [threading.Thread(target=work) for _ in range(clients)]
    for thread in threads:
        thread.start()
    if meanwhile is not None:
        time.sleep(seconds / 3)
        meanwhile()
    for thread in threads:
        thread.join()
    return calls, calls.answered / (time.monotonic() - began)


def deploy(replicas: int, sleep: float) -> None:
    """Run the service with so many replicas, and wait until each has answered."""
    settings = ClusterSettings(min_replicas=replicas, max_replicas=replicas, cpus=1.0)
    serve.run(application(partial(SlowSegmenter, sleep), settings))
    load(2 * replicas, 3 * sleep)


def main() -> int:
    """Measure, print and keep; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--sleep", type=float, default=0.5)
    arguments = parser.parse_args()
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT / "src"), str(ROOT)])  # of the nodes' processes
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ["SEGVOC_API_KEY"] = KEY
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    rows = []
    try:
        ray.init(address=cluster.address, log_to_driver=False, logging_level=logging.ERROR)
        serve.start(http_options={"host": "127.0.0.1", "port": PORT}, proxy_location="HeadOnly")
        for nodes in (1, 2):
            second = cluster.add_node(num_cpus=1) if nodes == 2 else None
            deploy(nodes, arguments.sleep)
            rows.append((f"{nodes} {'node' if nodes == 1 else 'nodes'}", *load(arguments.clients, arguments.seconds)))
        kill = partial(cluster.remove_node, second, allow_graceful=False)
        rows.append(("2 nodes, one killed", *load(arguments.clients, arguments.seconds, kill)))
    finally:
        serve.shutdown()
        ray.shutdown()
        cluster.shutdown()
    one = rows[0][2]
    table: list[dict[str, object]] = [
        {
            "cluster": name,
            "images_per_second": round(rate, 2),
            "times_one_node": round(rate / one, 2),
            "answered": calls.answered,
            "lost": dict(calls.lost),
            "wrong": calls.wrong,
            "longest_seconds": round(calls.longest, 2),
        }
        for name, calls, rate in rows
    ]
    facts = {"ray": ray.__version__, "clients": str(arguments.clients), "sleep_seconds": str(arguments.sleep)}
    keep("ray_cluster", table, **facts)
    whole = all(not calls.lost and not calls.wrong for _, calls, _ in rows)
    return 0 if whole and rows[1][2] >= 1.6 * one else 1


if __name__ == "__main__":
    sys.exit(main())
