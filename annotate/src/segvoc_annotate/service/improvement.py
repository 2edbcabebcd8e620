"""Improves a project's model with its finished images: one cancelable job at a time."""

import os
import shutil
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

from segvoc import Segmenter, SegvocError, UsageError
from segvoc.storage.atomic_writes import writing
from segvoc.storage.files import read_json, write_json
from segvoc.storage.records import from_json, to_json
from segvoc_annotate.projects.project import Project
from segvoc_annotate.projects.records import DOCUMENTED, now
from segvoc_annotate.service.improving import TUNING_PREFIX, ImprovementOrder, done_images, improve
from segvoc_annotate.service.worker_process import Job, OnEnd

TAUGHT_FOLDER = "taught"
IMPROVED_FILE = f"{TAUGHT_FOLDER}/improved.words.safetensors"
"""Words taught by the project's images, below its folder."""

STATE_FILE, UNFINISHED_FILE = "improvement.json", ".unfinished.words.safetensors"
"""In the folder of taught words: the job's state, and its partial result."""

STOPPED = "the service stopped during training; start it again"

FEWEST_IMAGES = 2
"""One image is held out."""


@dataclass(frozen=True, kw_only=True)
class Means:
    """Scores over all words [%]."""

    miou: float | None
    accuracy: float | None
    words: Mapping[str, float | None] = field(default_factory=dict)
    """IoU of each word; None if no held-out image shows it."""


@dataclass(frozen=True, kw_only=True)
class HeldOutGains:
    """Scores of the words before and after, on held-out images."""

    before: Means
    """By text alone."""
    after: Means
    """With examples."""
    keep_text: tuple[str, ...]
    """Words that keep their text embedding, because examples made them worse."""


@dataclass(frozen=True, kw_only=True)
class ImprovementState:
    """Progress or outcome of the job."""

    __pydantic_config__: ClassVar = DOCUMENTED

    state: Literal["none", "running", "done", "failed", "canceled"] = "none"
    stage: str | None = None
    share: float | None = None
    """Fraction done, in [0, 1]."""
    images: int = 0
    """Number of training images."""
    finetune: bool = False
    scores: HeldOutGains | None = None
    message: str | None = None
    """One line about the error or the result."""
    by: str | None = None
    at: str | None = None
    """When it began, in UTC."""
    can_finetune: bool = False
    """Whether this service can fine-tune; known in its answers only."""


class Improvement:
    """The improvement job of a project, in a separate process; the folder stores its last outcome.

    `open_model` is picklable; `on_taught` is called in the job's thread when the project has new taught words, `on_end`
    as in `Job`. The number of images chooses the fine-tuning `steps` (None).
    """

    def __init__(
        self,
        project: Project,
        open_model: Callable[..., Segmenter],
        on_taught: Callable[[], None] = lambda: None,
        on_end: OnEnd = lambda *_: None,
        steps: int | None = None,
    ) -> None:
        self.project, self.open_model, self.on_taught, self.steps = project, open_model, on_taught, steps
        self.on_end = on_end
        self.folder = project.folder / TAUGHT_FOLDER
        self._guard = threading.Lock()
        self._job: _Job | None = None

    def state(self) -> ImprovementState:
        """Progress of the job, or outcome of the last one."""
        job = self._job
        if job is not None:
            return job.state
        state = self._written()
        if state.state == "running":  # left by a killed service
            self.clean()
            state = replace(state, state="failed", stage=None, share=None, message=STOPPED)
            self.write(state)
        return state

    def start(self, *, finetune: bool, by: str) -> ImprovementState:
        """Start a job, or return the running one; `UsageError` if too few images are done."""
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
        """Cancel the job and wait for its end."""
        if (job := self._job) is not None and job.is_alive():
            job.end("canceled", None)
        return self.state()

    def stop(self) -> None:
        """Stop the job because the service stops, and record it."""
        if (job := self._job) is not None and job.is_alive():
            job.end("failed", STOPPED)

    def finish(self, taught: Mapping[str, Any], state: ImprovementState) -> Mapping[str, Any]:
        """Replace the previous file by the new one, and record it in the project; returns what changes in the state."""
        os.replace(self.folder / UNFINISHED_FILE, self.project.folder / IMPROVED_FILE)
        self.project.improved(IMPROVED_FILE, by=state.by or "")
        self.on_taught()
        done = {"state": "done"}
        if not taught["held_out"]:
            return done | {"message": "none of the done images was corrected, so nothing says how good it is"}
        if taught["miou"] is None:
            return done | {"message": "too few images are done to hold some out, so nothing says how good it is"}
        # fine-tuning records its number of training images, which is smaller
        images = state.images if state.finetune else int(taught["images"])
        return done | {"scores": _gains(taught), "images": images}

    def clean(self) -> None:
        """Remove the leftovers of a killed job."""
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
        """Save the job's state."""
        write_json(self.folder / STATE_FILE, to_json(state))


class _Job(Job):
    state: ImprovementState

    def __init__(self, improvement: Improvement, state: ImprovementState) -> None:
        order = ImprovementOrder(
            project=improvement.project.folder,
            out=improvement.folder / UNFINISHED_FILE,
            finetune=state.finetune,
            steps=improvement.steps,
        )
        super().__init__(state, improvement.on_end, improve, improvement.open_model, order)
        self._improvement = improvement

    def told(self, kind: str, *values: Any) -> Mapping[str, Any]:
        """See `Job.told`."""
        if kind == "step":
            return {"stage": values[0], "share": max(self.state.share or 0.0, round(values[1], 3))}
        if kind == "done":
            return self._improvement.finish(values[0], self.state)
        return {"state": "done" if kind == "nothing" else "failed", "message": values[0]}

    def ended(self, state: ImprovementState) -> ImprovementState:
        """Leave nothing but the state, which has a stage only while it runs."""
        last = replace(state, stage=None, share=1.0 if state.state == "done" else None)
        self._improvement.clean()
        self._improvement.write(last)
        return last


def _gains(record: Mapping[str, Any]) -> HeldOutGains:
    """The scores in a file of taught words."""
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
