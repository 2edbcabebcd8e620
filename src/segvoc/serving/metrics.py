"""What the service counts and measures, in Prometheus' format."""

import os
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from segvoc.process_settings import is_running

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
"""Environment variable with the folder through which several processes add up their metrics."""

MOST_NAMES = 1000
"""Names of API keys among the labels."""

_SECONDS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)


def _forget_ended_processes() -> None:
    """Take what processes that are gone last told of their queues out of the sums."""
    for file in Path(os.environ.get(FOLDER_VARIABLE, os.devnull)).glob("gauge_live*_*.db"):
        number = int(file.stem.rpartition("_")[2])
        if not is_running(number):
            mark_process_dead(number)


class ServiceMetrics:
    """The metrics of one process."""

    def __init__(self) -> None:
        _forget_ended_processes()
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self.requests = self._counter("segvoc_requests", "Requests that were answered.", "route", "method", "status")
        self.request_seconds = Histogram(
            "segvoc_request_seconds",
            "Time from a request's headers to the end of its answer.",
            ("route",),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self.limited = self._counter("segvoc_limited", "Requests that a limit refused.", "limit")
        self._keys: set[str] = set()
        self._key_requests = self._counter("segvoc_key_requests", "Requests with a valid API key.", "key", "status")
        self.open = self._gauge("segvoc_open_requests", "Requests that are open.")
        self.waiting = self._gauge("segvoc_queue", "Images and vocabularies that wait for the model.")
        self.wait_seconds = self._histogram("segvoc_queue_seconds", "Time that work waited for the model.", _SECONDS)
        self.model_seconds = self._histogram("segvoc_model_seconds", "Time that a batch took in the model.", _SECONDS)
        self.batch = self._histogram("segvoc_batch_size", "Images in a batch.", (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0))

    def count_key(self, key: str, status: int) -> None:
        """Count a request with an API key."""
        # files of keys change, and metrics forget nothing
        if key in self._keys or len(self._keys) < MOST_NAMES:
            self._keys.add(key)
        else:
            key = "other"
        self._key_requests.labels(key, str(status)).inc()

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, labels, registry=self._registry)

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(name, text, registry=self._registry, multiprocess_mode="livesum")

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(name, text, buckets=buckets, registry=self._registry)

    def text(self) -> bytes:
        """All metrics; of all processes where they share a folder."""
        registry = self._registry
        if FOLDER_VARIABLE in os.environ:
            registry = CollectorRegistry()
            MultiProcessCollector(registry)
        return generate_latest(registry)
