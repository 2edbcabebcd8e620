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
from typing import Any, Literal

from segvoc import Segmenter, SegvocError, UsageError
from segvoc.process_settings import how_it_ended
from segvoc.records import from_json, to_json
from segvoc.storage.atomic_writes import writing
from segvoc.storage.json_files import read_json, write_json
from segvoc_annotate.projects.project import Project
from segvoc_annotate.projects.records import now
from segvoc_annotate.service.improving import TUNING_PREFIX, ImprovementOrder, done_images, improve

TAUGHT_FOLDER = "taught"
IMPROVED_FILE = f"{TAUGHT_FOLDER}/improved.words.safetensors"
"""The words that the images of the project have taught, below its folder."""

STATE_FILE, UNFINISHED_FILE = "improvement.json", ".unfinished.words.safetensors"
"""In the folder of taught words: how far the job is; what it has written so far."""

STOPPED = "the service was stopped while it learned; start it again"

FEWEST_IMAGES = 2
"""One has to be held out."""

NEWS_SECONDS = 0.25
"""Time between two looks for news of the process, and whether it is to end [s]."""

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
    """The job of a project, which runs in a process of its own; the folder keeps how the last one ended.

    Args:
        project: the project.
        open_model: loads the model; it has to be picklable.
        on_taught: called by the job's thread once the project has new words.
        steps: of fine-tuning; None: as many as suit the number of images.
    """

    def __init__(
        self,
        project: Project,
        open_model: Callable[[], Segmenter],
        on_taught: Callable[[], None] = lambda: None,
        steps: int | None = None,
    ) -> None:
        self.project, self.open_model, self.on_taught, self.steps = project, open_model, on_taught, steps
        self.folder = project.folder / TAUGHT_FOLDER
        self._guard = threading.Lock()
        self._job: _Job | None = None

    def state(self) -> ImprovementState:
        """How far the job is, or how the last one ended."""
        job = self._job
        if job is not None:
            return job.state
        state = self._written()
        if state.state == "running":  # of a service that was killed
            self.clean()
            state = replace(state, state="failed", stage=None, share=None, message=STOPPED)
            self.write(state)
        return state

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
            self.clean()
            state = ImprovementState(
                state="running", stage="opening the model", share=0.0, images=images, finetune=finetune, by=by, at=now()
            )
            self.write(state)
            self._job = _Job(self, state)
            self._job.start()
            return state

    def cancel(self) -> ImprovementState:
        """Cancel the job; returns once it has ended."""
        if (job := self._job) is not None and job.is_alive():
            job.end("canceled", None)
        return self.state()

    def stop(self) -> None:
        """End the job, as the service stops; the state says so."""
        if (job := self._job) is not None and job.is_alive():
            job.end("failed", STOPPED)

    def finish(self, taught: Mapping[str, Any], state: ImprovementState) -> ImprovementState:
        """Put the new file in the place of an earlier one, and note it in the project."""
        os.replace(self.folder / UNFINISHED_FILE, self.project.folder / IMPROVED_FILE)
        self.project.improved(IMPROVED_FILE, by=state.by or "")
        self.on_taught()
        done = replace(state, state="done", stage=None, share=1.0)
        if not taught["judges"]:
            return replace(done, message="none of the done images was corrected, so nothing says how good it is")
        if taught["miou"] is None:
            return replace(done, message="too few images are done to hold some out, so nothing says how good it is")
        # fine-tuning notes how many it learned from, which are fewer
        images = state.images if state.finetune else int(taught["images"])
        return replace(done, scores=_gains(taught), images=images)

    def clean(self) -> None:
        """Remove what a job leaves that was ended."""
        (self.folder / UNFINISHED_FILE).unlink(missing_ok=True)
        for folder in self.folder.glob(f"{TUNING_PREFIX}*"):
            shutil.rmtree(folder, ignore_errors=True)

    def _written(self) -> ImprovementState:
        path = self.folder / STATE_FILE
        try:
            return from_json(ImprovementState, read_json(path)) if path.exists() else ImprovementState()
        except (SegvocError, OSError, ValueError):
            return ImprovementState(state="failed", message=f"{str(path)!r} is damaged; start it again")

    def write(self, state: ImprovementState) -> None:
        """Keep how far the job is."""
        write_json(self.folder / STATE_FILE, to_json(state))


class _Job(threading.Thread):
    """Watches the process that learns."""

    def __init__(self, improvement: Improvement, state: ImprovementState) -> None:
        super().__init__(name="segvoc-improvement", daemon=True)
        self.improvement, self.state = improvement, state
        self._end: ImprovementState | None = None

    def end(self, how: Literal["failed", "canceled"], message: str | None) -> None:
        """End it, and wait for that."""
        self._end = replace(self.state, state=how, stage=None, share=None, message=message)
        self.join(CANCEL_SECONDS)

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
            self.improvement.write(ended)
        self.state = ended

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
            return self._followed(process, ours)
        finally:
            process.kill()
            process.join()

    def _followed(self, process: SpawnProcess, news: Connection) -> ImprovementState:
        while True:
            if self._end is not None:
                return self._end
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
                    self.improvement.write(self.state)
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
