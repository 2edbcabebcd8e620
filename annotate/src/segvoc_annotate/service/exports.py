"""Exports of a project as jobs: each runs in its own process, says how far it is, and leaves a zip."""

import secrets
import shutil
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, ClassVar, Literal

from segvoc import UsageError
from segvoc.storage.atomic_writes import writing
from segvoc_annotate.projects.exporting import ProjectExport
from segvoc_annotate.projects.folder import ProjectFolder
from segvoc_annotate.projects.project import Project
from segvoc_annotate.projects.records import DOCUMENTED, NotInProjectError, now
from segvoc_annotate.service.worker_process import Job, OnEnd, reporting

AT_ONCE, KEPT = 2, 4
"""Max running exports of a project, and exports of each person that are kept."""

MOST_PROBLEMS = 20
"""Max lines about images in a state; the zip has all of them."""

FOLDER = ".segvoc/exports"

STOPPED = "it was stopped; start it again"


@dataclass(frozen=True, kw_only=True)
class ExportState:
    """An export of the project."""

    __pydantic_config__: ClassVar = DOCUMENTED

    id: str
    format: str
    all: bool
    """Whether it has all labeled images, and not only those that are done."""
    state: Literal["running", "done", "failed", "canceled"] = "running"
    images: int
    """Number of images to export."""
    finished: int = 0
    """Number of images so far."""
    bytes: int | None = None
    """Size of the zip, once it is done."""
    problems: tuple[str, ...] = ()
    """A line for each of the first images that can't be exported; `problems.txt` in the zip has all."""
    message: str | None = None
    """One line about what failed."""
    by: str
    at: str
    """When it began, in UTC."""


class Exports:
    """The exports of a project: the last few, with their zips in its folder until `stop`, or the next start."""

    def __init__(self, project: Project, on_end: OnEnd) -> None:
        self.project, self._on_end = project, on_end
        self._guard = threading.Lock()
        self._jobs: dict[str, _Job] = {}
        self._folder = project.folder / FOLDER
        shutil.rmtree(self._folder, ignore_errors=True)

    def states(self) -> list[ExportState]:
        """All exports, the last one first."""
        return [job.state for job in reversed([*self._jobs.values()])]

    def running(self) -> int:
        """How many run."""
        return sum(state.state == "running" for state in self.states())

    def start(self, format_: str, *, only_done: bool, by: str) -> ExportState:
        """Start an export, or return the caller's running one that is the same; `UsageError` as `ProjectExport`.

        `UsageError` also if too many are running.
        """
        export = ProjectExport(project=self.project, format=format_, only_done=only_done)
        with self._guard:
            running = [job for job in self._jobs.values() if job.state.state == "running"]
            for job in running:
                if (job.state.format, job.state.all, job.state.by) == (format_, not only_done, by):
                    return job.state
            if len(running) >= AT_ONCE:
                raise UsageError(f"{len(running)} exports are running already; wait for one, or cancel it")
            ended = [id_ for id_, job in self._jobs.items() if job not in running and job.state.by == by]
            for id_ in ended[: max(0, len(ended) - KEPT + 1)]:
                self._drop(id_)
            with writing(self._folder):
                self._folder.mkdir(parents=True, exist_ok=True)
            state = ExportState(
                id=secrets.token_hex(8), format=format_, all=not only_done, images=len(export.states), by=by, at=now()
            )
            job = self._jobs[state.id] = _Job(
                self.project.folder, self._folder / f"{state.id}.zip", state, self._on_end
            )
            job.start()
            return state

    def state(self, id_: str) -> ExportState:
        """An export; `NotInProjectError` if there is none."""
        return self._job(id_).state

    def file(self, id_: str) -> tuple[ExportState, Path]:
        """An export and its zip; `UsageError` if it isn't done."""
        job = self._job(id_)
        if job.state.state != "done":
            raise UsageError(f"this export is {job.state.state}; only one that is done has a file")
        return job.state, job.path

    def remove(self, id_: str, by: str | None = None) -> ExportState:
        """Cancel an export, or delete its zip; the export is gone. `UsageError` if it isn't of `by` (None: any)."""
        with self._guard:
            owner = self._job(id_).state.by
            if by not in (None, owner):
                raise UsageError(f"this export is of {owner!r}; start one of your own")
            return self._drop(id_)

    def stop(self) -> None:
        """Cancel and delete all, because the service stops."""
        with self._guard:
            for id_ in [*self._jobs]:
                self._drop(id_)
            shutil.rmtree(self._folder, ignore_errors=True)

    def _job(self, id_: str) -> "_Job":
        if id_ not in self._jobs:
            raise NotInProjectError(f"the project has no export {id_[:40]!r}; it may have been removed")
        return self._jobs[id_]

    def _drop(self, id_: str) -> ExportState:
        job = self._jobs.pop(id_)
        job.end("canceled", STOPPED)
        job.path.unlink(missing_ok=True)
        return job.state


class _Job(Job):
    state: ExportState

    def __init__(self, folder: Path, path: Path, state: ExportState, on_end: OnEnd) -> None:
        super().__init__(state, on_end, export_zip, folder, path, state.format, not state.all)
        self.path = path

    def told(self, kind: str, *values: Any) -> Mapping[str, Any]:
        """See `Job.told`."""
        if kind == "finished":
            return {"finished": values[0]}
        if kind == "failed":
            return {"state": "failed", "message": values[0]}
        return {"state": "done", "problems": tuple(values[0][:MOST_PROBLEMS]), "bytes": self.path.stat().st_size}


def export_zip(folder: Path, path: Path, format_: str, only_done: bool, to: Connection) -> None:
    """Export a project, and report the progress to the parent.

    Messages are ("finished", images so far), and finally ("done", lines about images) or ("failed", line).
    """
    with reporting(to):
        tempfile.tempdir = str(path.parent)  # what a kill leaves there, the next start removes
        export = ProjectExport(project=ProjectFolder(folder), format=format_, only_done=only_done)
        to.send(("done", export.to_zip(path, lambda number, _: to.send(("finished", number)))))
