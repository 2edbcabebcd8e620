"""Improves the model of a project with the images that are done: one job at a time, which can be canceled."""

import logging
import multiprocessing
import os
import shutil
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any, Literal

from segvoc.data.project_images import done_images
from segvoc.errors import SegvocError, UsageError
from segvoc.inference.segmenter import Segmenter
from segvoc.process_settings import how_it_ended
from segvoc.projects.project import Project
from segvoc.projects.records import now
from segvoc.records import from_json, to_json
from segvoc.serving.project.improving import TUNING_PREFIX, ImprovementOrder, improve
from segvoc.storage.atomic_writes import writing
from segvoc.storage.json_files import read_json, write_json
from segvoc.storage.locks import FolderLock, lock_folder

TAUGHT_FOLDER = "taught"
IMPROVED_FILE = f"{TAUGHT_FOLDER}/improved.words.safetensors"
"""The words that the images of the project have taught, below its folder."""

STATE_FILE, CANCEL_FILE, UNFINISHED_FILE = "improvement.json", "cancel", ".unfinished.words.safetensors"
"""In the folder of taught words: how far the job is; there while it is to be canceled; what it has written so far."""

FEWEST_IMAGES = 2
"""One has to be held out."""

NEWS_SECONDS = 0.25
"""Time between two looks for news of the process, and for somebody who cancels [s]."""

CANCEL_SECONDS = 10.0
"""Time in which a canceled job ends [s]."""


@dataclass(frozen=True, kw_only=True)
class Means:
    """Scores over all words [%]."""

    miou: float | None
    accuracy: float | None
    words: Mapping[str, float | None] = field(default_factory=dict)
    """IoU of each word; None where no held-out image shows it."""


@dataclass(frozen=True, kw_only=True)
class HeldOutGains:
    """What the words gained, on images that were held out."""

    before: Means
    """By text alone."""
    after: Means
    """With examples."""
    keep_text: tuple[str, ...]
    """Words that keep their text alone, because examples made them worse."""


@dataclass(frozen=True, kw_only=True)
class ImprovementState:
    """How far the job is, or how it ended."""

    state: Literal["none", "running", "done", "failed", "canceled"] = "none"
    stage: str | None = None
    share: float | None = None
    """Of all work, in [0, 1]."""
    images: int = 0
    """Images that are learned from."""
    finetune: bool = False
    scores: HeldOutGains | None = None
    message: str | None = None
    """One line on what went wrong, or on what else there is to say."""
    by: str | None = None
    at: str | None = None
    """When it began, in UTC."""


class Improvement:
    """The job of a project. Each process of the service has one of these; the folder says what the others do.

    The process that began the job holds a lock until its end. A state that says "running" without a lock is that of a
    process that was ended.

    Args:
        project: the project.
        open_model: loads the model; it has to be picklable.
        steps: of fine-tuning; None: as many as suit the number of images.
    """

    def __init__(self, project: Project, open_model: Callable[[], Segmenter], steps: int | None = None) -> None:
        self.project, self.open_model, self.steps = project, open_model, steps
        self.folder = project.folder / TAUGHT_FOLDER
        self._guard = threading.Lock()
        self._job: _Job | None = None

    def state(self) -> ImprovementState:
        """How far the job is, whichever process it is of."""
        job = self._job
        if job is not None and job.is_alive():
            return job.state
        state = self._written()
        if state.state != "running":
            return state
        try:
            lock = self._lock()
        except UsageError:
            return state  # another process works on it
        try:
            # it may have ended between the two looks
            state = self._written()
            if state.state == "running":
                message = "the service was stopped while it learned; start it again"
                state = replace(state, state="failed", stage=None, share=None, message=message)
                self.clean()
                self._write(state)
            return state
        finally:
            del lock

    def start(self, *, finetune: bool, by: str) -> ImprovementState:
        """Begin; a job that runs already is joined.

        Raises:
            UsageError: there are too few images that are done.
            OutputError: the folder can't be written.
        """
        with self._guard:
            if self.state().state == "running":
                return self.state()
            images = len(done_images(self.project))
            if images < FEWEST_IMAGES:
                raise UsageError(f"only {images} image is done; words are learned from at least {FEWEST_IMAGES}")
            with writing(self.folder):
                self.folder.mkdir(exist_ok=True)
            try:
                lock = self._lock()
            except UsageError:
                return self.state()  # another process was faster
            self.clean()
            state = ImprovementState(
                state="running", stage="opening the model", share=0.0, images=images, finetune=finetune, by=by, at=now()
            )
            self._write(state)
            self._job = _Job(self, state, lock)
            self._job.start()
            return state

    def cancel(self) -> ImprovementState:
        """Cancel the job, whichever process it is of; returns once it has ended."""
        if self.state().state != "running":
            return self.state()
        with writing(self.folder / CANCEL_FILE):
            (self.folder / CANCEL_FILE).touch()
        waited = threading.Event()
        for _ in range(round(CANCEL_SECONDS / NEWS_SECONDS)):
            if self.state().state != "running":
                break
            waited.wait(NEWS_SECONDS)
        return self.state()

    def stop(self) -> None:
        """End the job, as the service stops; the state says so."""
        if (job := self._job) is not None and job.is_alive():
            job.stopping.set()
            job.join(CANCEL_SECONDS)

    def finish(self, taught: Mapping[str, Any], state: ImprovementState) -> ImprovementState:
        """Put the new file in the place of an earlier one, and note it in the project."""
        os.replace(self.folder / UNFINISHED_FILE, self.project.folder / IMPROVED_FILE)
        self.project.improved(IMPROVED_FILE, by=state.by or "")
        done = replace(state, state="done", stage=None, share=1.0)
        if taught["miou"] is None:
            return replace(done, message="too few images are done to hold some out, so nothing says how good it is")
        # fine-tuning notes how many it learned from, which are fewer
        images = state.images if state.finetune else int(taught["images"])
        return replace(done, scores=_gains(taught), images=images)

    def clean(self) -> None:
        """Remove what a job leaves that was ended; the caller holds the lock."""
        for name in (UNFINISHED_FILE, CANCEL_FILE):
            (self.folder / name).unlink(missing_ok=True)
        for folder in self.folder.glob(f"{TUNING_PREFIX}*"):
            shutil.rmtree(folder, ignore_errors=True)

    def _lock(self) -> FolderLock | None:
        return lock_folder(self.folder)

    def _written(self) -> ImprovementState:
        path = self.folder / STATE_FILE
        try:
            return from_json(ImprovementState, read_json(path)) if path.exists() else ImprovementState()
        except (SegvocError, OSError, ValueError):
            return ImprovementState(state="failed", message=f"{str(path)!r} is damaged; start it again")

    def _write(self, state: ImprovementState) -> None:
        write_json(self.folder / STATE_FILE, to_json(state))


class _Job(threading.Thread):
    """Watches the process that learns."""

    def __init__(self, improvement: Improvement, state: ImprovementState, lock: FolderLock | None) -> None:
        super().__init__(name="segvoc-improvement", daemon=True)
        self.improvement, self.state, self._lock = improvement, state, lock
        self.stopping = threading.Event()

    def run(self) -> None:
        """Follow the process until it ends."""
        try:
            ended = self._watched()
        except SegvocError as error:
            ended = replace(self.state, state="failed", message=str(error))
        except Exception:
            logging.getLogger("segvoc").exception("improving the project failed")
            ended = replace(self.state, state="failed", message="it failed inside; the service's log has the reason")
        with suppress(OSError, SegvocError):
            self.improvement.clean()
            self.improvement._write(ended)
        self.state = ended
        self._lock = None

    def _watched(self) -> ImprovementState:
        folder, project = self.improvement.folder, self.improvement.project.folder
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe(duplex=False)
        order = ImprovementOrder(
            project=project, out=folder / UNFINISHED_FILE, finetune=self.state.finetune, steps=self.improvement.steps
        )
        process = context.Process(target=improve, args=(self.improvement.open_model, order, theirs))
        process.start()
        theirs.close()
        try:
            return self._followed(process, ours, folder / CANCEL_FILE)
        finally:
            process.kill()
            process.join()

    def _followed(self, process: SpawnProcess, news: Connection, cancel: Path) -> ImprovementState:
        while True:
            if cancel.exists():
                return replace(self.state, state="canceled", stage=None, share=None)
            if self.stopping.is_set():
                message = "the service was stopped while it learned; start it again"
                return replace(self.state, state="failed", stage=None, share=None, message=message)
            if not news.poll(NEWS_SECONDS):
                continue
            try:
                what, *told = news.recv()
            except EOFError:
                process.join()
                message = f"{how_it_ended(process.exitcode)}; start it again"
                return replace(self.state, state="failed", stage=None, share=None, message=message)
            if what == "step":
                self.state = replace(self.state, stage=told[0], share=max(self.state.share or 0.0, round(told[1], 3)))
                if not news.poll():
                    self.improvement._write(self.state)
            elif what == "done":
                return self.improvement.finish(told[0], self.state)
            else:
                ended: Literal["done", "failed"] = "done" if what == "nothing" else "failed"
                return replace(self.state, state=ended, stage=None, share=None, message=told[0])


def _gains(record: Mapping[str, Any]) -> HeldOutGains:
    """The scores that a file of taught words has."""
    words = record["words"]
    before, after = (
        Means(
            miou=record[f"miou{suffix}"],
            accuracy=record[f"accuracy{suffix}"],
            words={word["name"]: word[name] for word in words},
        )
        for suffix, name in (("_before", "before"), ("", "after"))
    )
    return HeldOutGains(
        before=before, after=after, keep_text=tuple(word["name"] for word in words if word["keeps_text"])
    )
