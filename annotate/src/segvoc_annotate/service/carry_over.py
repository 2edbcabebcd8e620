"""A process beside the service, in which frames of videos take over from the nearest frame that is done."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal

from segvoc import Segmenter, SegvocError, TaughtWords
from segvoc.serving.middleware import FIELDS, LOGGER
from segvoc_annotate.projects.carrying import FrameSource, outdated_frames
from segvoc_annotate.projects.folder import ProjectFolder
from segvoc_annotate.projects.project import Project
from segvoc_annotate.projects.records import ConflictError, NotInProjectError
from segvoc_annotate.service.worker_process import Job, reporting

LOOK_SECONDS = 1.0
"""Interval at which changes of the project are noticed [s]."""

THE_MODEL = "the model"
"""Who the history says made these drafts."""


@dataclass(frozen=True, kw_only=True)
class CarryOverState:
    """Whether frames are being labeled."""

    state: Literal["running", "done", "failed", "canceled"] = "running"
    message: str | None = None


class CarryOvers:
    """Keeps the drafts of frames up to date, while `follow` runs; `open_model` is picklable."""

    def __init__(self, project: Project, open_model: Callable[..., Segmenter]) -> None:
        self._project, self._open_model = project, open_model

    async def follow(self) -> None:
        """Look for outdated frames at first, and after changes of the project, until this is canceled."""
        index, job = self._project.index, None
        has_frames, seen = await asyncio.to_thread(self._has_frames), index.seq
        is_due = has_frames
        try:
            while True:
                if job is None or not job.is_alive():
                    last, kinds = index.seq, {change.what for change in index.changes(seen)}
                    if kinds & {"added", "restored"} and not has_frames:
                        has_frames = await asyncio.to_thread(self._has_frames)
                    # a stroke makes no frame outdated; what came while frames were labeled may have
                    is_due = (
                        is_due or (has_frames and bool(kinds - {"labels"})) or (job is not None and job.written > 0)
                    )
                    job, seen = None, last
                    if is_due and await asyncio.to_thread(self._has_work):
                        job = _Job(self._project, self._open_model)
                        job.start()
                    is_due = False
                await asyncio.sleep(LOOK_SECONDS)
        finally:
            if job is not None:
                await asyncio.to_thread(job.end, "canceled", None)

    def _has_frames(self) -> bool:
        with suppress(SegvocError):
            return bool(self._project.frames())
        return False

    def _has_work(self) -> bool:
        with suppress(SegvocError):
            return bool(outdated_frames(self._project))
        return False


class _Job(Job):
    state: CarryOverState

    def __init__(self, project: Project, open_model: Callable[..., Segmenter]) -> None:
        super().__init__(CarryOverState(), _log_failure, label_frames, open_model, project.folder)
        self._project, self.written = project, 0

    def told(self, kind: str, *values: Any) -> Mapping[str, Any]:
        """See `Job.told`."""
        if kind != "draft":
            return {"state": kind, "message": values[0] if values else None}
        name, revision, work = values
        with suppress(ConflictError, NotInProjectError):  # somebody labels it by now
            self._project.write(name, work, expected=revision, by=THE_MODEL, has_draft=True)
            self.written += 1
        return {}


def _log_failure(state: CarryOverState, _: float) -> None:
    if state.state == "failed":
        LOGGER.warning("frames can't take over from those that are done", extra={FIELDS: {"problem": state.message}})


def label_frames(open_model: Callable[..., Segmenter], folder: Path, to: Connection) -> None:
    """Label the outdated frames of a project, the nearest to one that is done first, as it is each time.

    Messages are ("draft", name, revision, work), and finally ("done",) or ("failed", line).
    """
    with reporting(to):
        model, sent = open_model(), set[tuple[str, str]]()
        source, of = None, None
        while True:
            project = ProjectFolder(folder)
            todo = [one for one in outdated_frames(project) if (one.frame.id, one.answers) not in sent]
            if not todo:
                break
            # another frame of the same source first, since learning takes longer than labeling
            frame, origin, answers = next((one for one in todo if one.answers == of), todo[0])
            if source is None or answers != of:
                taught = (TaughtWords.load(folder / file) for file in project.record.options.taught)
                source, of = FrameSource(model.with_taught(*taught), project, origin), answers
            work = source.draft(project, frame, answers)
            sent.add((frame.id, answers))
            to.send(("draft", frame.image, frame.revision, work))
        to.send(("done",))
