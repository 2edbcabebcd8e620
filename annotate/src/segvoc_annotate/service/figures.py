"""A project's figures in /metrics, and its jobs that ended in the log."""

import logging
import shutil
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any, get_args

from prometheus_client import CollectorRegistry, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from segvoc import SegvocError
from segvoc.serving.middleware import FIELDS, LOGGER
from segvoc_annotate.projects.archive import last_backup
from segvoc_annotate.projects.index import read_counts
from segvoc_annotate.projects.project import Project
from segvoc_annotate.projects.records import ChangeKind

EXPORT, IMPROVE = JOBS = ("export", "improve")
"""The label `kind` of metrics."""

_OUTCOMES = ("done", "failed", "canceled")
_SECONDS = (1.0, 10.0, 60.0, 300.0, 1800.0, 7200.0)


class ProjectFigures(Collector):
    """What is asked of the project whenever the metrics are read, and counts of its jobs.

    `waiting` has the names of those whose requests wait for changes, one for each request. Figures that can't be read
    now, such as those of a volume that is away, are left out, and none waits for a change that is being made.
    """

    def __init__(self, project: Project, waiting: Sequence[str], registry: CollectorRegistry) -> None:
        self.project, self.waiting = project, waiting
        self._reading = threading.Lock()  # of two readers, one counts a change
        self._seq = project.index.seq
        self._changes = dict.fromkeys(get_args(ChangeKind), 0)
        self.running = Gauge("segvoc_project_jobs", "Jobs of the project that run.", ["kind"], registry=registry)
        about = "Time of a job of the project until its outcome."
        labels = ["kind", "outcome"]
        self.seconds = Histogram("segvoc_project_job_seconds", about, labels, buckets=_SECONDS, registry=registry)
        for job in JOBS:
            for outcome in _OUTCOMES:
                self.seconds.labels(job, outcome)  # there from the start, so that an increase is seen
        registry.register(self)

    def ended(self, job: str, state: Any, seconds: float) -> None:
        """Count a job that ended, and log it; `state` is its last one."""
        self.seconds.labels(job, state.state).observe(seconds)
        fields = {"job": job, "state": state.state, "seconds": round(seconds, 1), "by": state.by}
        is_failed = state.state == "failed"
        fields |= {"problem": state.message} if is_failed else {}
        level = logging.WARNING if is_failed else logging.INFO
        LOGGER.log(level, "a job of the project ended", extra={FIELDS: fields})

    def collect(self) -> Iterator[GaugeMetricFamily | CounterMetricFamily]:
        """The project as it is now."""
        project, waiting = self.project, [*self.waiting]
        yield _gauge("long_polls", "Requests that wait for changes of the project.", len(waiting))
        yield _gauge("people", "Names that wait for changes of the project.", len({*waiting}))
        backup = last_backup(project.folder)
        yield _gauge("backup_timestamp_seconds", "When it was last backed up; 0: never, as far as it knows.", backup)
        with suppress(OSError):
            volume = shutil.disk_usage(project.folder)
            yield _gauge("volume_bytes", "Size of the volume of the project.", volume.total)
            yield _gauge("free_bytes", "Free space of the volume of the project.", volume.free)
        images = GaugeMetricFamily("segvoc_project_images", "Images of the project.", labels=["state"])
        about = "Changes of the project since the service started."
        changes = CounterMetricFamily("segvoc_project_changes", about, labels=["what"])
        with suppress(SegvocError), self._reading:
            by_state, new = read_counts(project.index.path, self._seq)
            for what, count, last in new:
                self._changes[what] += count
                self._seq = max(self._seq, last)
            for state, count in by_state.items():
                images.add_metric([state], count)
            for what, count in self._changes.items():
                changes.add_metric([what], count)
        yield images
        yield changes


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"segvoc_project_{name}", text, value)
