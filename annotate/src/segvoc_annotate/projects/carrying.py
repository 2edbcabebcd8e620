"""What frames of videos take over from the nearest frame that is done: words learned there, and tracked objects."""

import json
from bisect import bisect
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, UInt8, UInt16

import segvoc
from segvoc import Segmentation, Segmenter, UsageError, Vocabulary
from segvoc.imaging.label_maps import UNLABELED, label_table
from segvoc.imaging.reading import read_image
from segvoc.inference.objects import with_objects
from segvoc.inference.tracks import CELLS, KNOWN, Tracks
from segvoc_annotate.projects.folder import ProjectFolder
from segvoc_annotate.projects.records import ImageState, ProjectRecord
from segvoc_annotate.projects.work_files import LabelWork


class CarryOver(NamedTuple):
    """A frame that takes over from another one."""

    frame: ImageState
    source: ImageState
    """The nearest frame of the video that is done; of two, the earlier one."""
    answers: str
    """What its draft answers then: `carried_from` is the id of the source."""


def outdated_frames(project: ProjectFolder) -> list[CarryOver]:
    """The frames that nobody labels yet, and whose drafts aren't what they would take over now; the nearest first."""
    record = project.record
    if not record.present or record.options.parts:
        return []
    words, options = [(word.id, word.name) for word in record.present], record.options
    asked = repr((words, options.taught, options.threshold, options.background))
    digest = sha256(asked.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    found = list[tuple[int, CarryOver]]()
    for states in project.frames().values():
        numbered = [(state.frame.number, state) for state in states if state.frame is not None]
        done = sorted((number, state.id, state) for number, state in numbered if state.done)
        for number, state in numbered if done else ():
            if state.done or state.corrected or state.source not in (None, "model"):
                continue
            after = bisect(done, number, key=lambda one: one[0])
            nearest = min(done[max(0, after - 1) : after + 1], key=lambda one: abs(one[0] - number))
            distance, source = abs(nearest[0] - number), nearest[2]
            of = {"carried_from": source.id, "revision": source.revision, "words": digest}
            if state.answers != (answers := json.dumps(of)):
                found.append((distance, CarryOver(state, source, answers)))
    return [one for _, one in sorted(found, key=lambda pair: (pair[0], -pair[1].source.revision))]


@dataclass(frozen=True, kw_only=True)
class Example:
    """A frame that is done, and its mirror image: what is learned is for frames that look nearly the same."""

    vocabulary: Vocabulary
    background: str | None
    pixels: UInt8[np.ndarray, "H W 3"]
    labels: UInt16[np.ndarray, "H W"]

    def __len__(self) -> int:
        return 2

    def read(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """See `LabeledExamples.read`."""
        step = -1 if index else 1
        return np.ascontiguousarray(self.pixels[:, ::step]), np.ascontiguousarray(self.labels[:, ::step])


class FrameSource:
    """A frame that is done, from which others take over."""

    def __init__(self, model: Segmenter, project: ProjectFolder, source: ImageState) -> None:
        self._record = project.record
        image, work = project.image(source.id), project.work(source.image)[1]
        self._labels = label_table(self._record.places)[work.labels]
        self._objects = work.objects
        words = [word.name for word in self._record.present]
        example = Example(
            vocabulary=Vocabulary(words),
            background=self._record.background,
            pixels=read_image(image.path),
            labels=self._labels,
        )
        try:
            taught = [segvoc.teach(model, example)]
        except UsageError:  # a single word, or a model that can't be taught
            taught = []
        self._words, self._model = words, model.with_taught(*taught)

    def draft(self, project: ProjectFolder, frame: ImageState, answers: str) -> LabelWork:
        """The labels and objects of another frame, which only the model and the source decide."""
        result = self._model.segment(read_image(project.image(frame.id).path), Vocabulary(self._words))
        ids = {place: word.id for place, word in enumerate(self._record.present)}
        draft, confidence = label_table(ids)[result.labels], np.round(255 * result.confidence).astype(np.uint8)
        return LabelWork(
            labels=_by_rule(draft, confidence, self._record),
            draft=draft,
            confidence=confidence,
            objects=self._tracked(result),
            source="model",
            answers=answers,
        )

    def _tracked(self, result: Segmentation) -> UInt16[np.ndarray, "H W"] | None:
        """The objects of another frame with their numbers in the source, of the words that have objects there."""
        if self._objects is None or self._objects.shape != result.labels.shape:
            return None
        counted = [label for label in np.unique(self._labels[self._objects > 0]).tolist() if label != UNLABELED]
        if not counted:
            return None
        labels, objects = np.full_like(self._labels, UNLABELED), np.zeros_like(self._objects)
        for label in counted:
            there, here = _overlapping(self._labels == label, result.labels == label)
            is_label = self._labels[there] == label
            labels[here][is_label], objects[here][is_label] = label, self._objects[there][is_label]
        tracks = Tracks()
        # as if it had been still for a while, so that what touches is divided as it is in the source
        tracks.restore(Counter({0: int(self._objects.max())}), [(labels, objects)] * KNOWN)
        found = with_objects(result, [result.words[label] for label in counted]).object_map
        return None if found is None else tracks.follow(result.labels, found)


_Place = tuple[slice, slice]


def _overlapping(one: Bool[np.ndarray, "H W"], other: Bool[np.ndarray, "H W"]) -> tuple[_Place, _Place]:
    """Where a mask is in its frame and in another one, shifted so that it overlaps another mask most."""
    from scipy.signal import correlate

    step = -(-max(one.shape) // CELLS)
    small = [mask[::step, ::step].astype(np.float32) for mask in (one, other)]
    overlap: np.ndarray = correlate(small[1], small[0], method="fft")
    row, column = np.unravel_index(int(overlap.argmax()), overlap.shape)
    (height, width), (rows, columns) = one.shape, small[0].shape
    down, right = step * (int(row) - rows + 1), step * (int(column) - columns + 1)
    there = slice(max(0, -down), height - max(0, down)), slice(max(0, -right), width - max(0, right))
    here = slice(max(0, down), height - max(0, -down)), slice(max(0, right), width - max(0, -right))
    return there, here


def _by_rule(
    draft: UInt16[np.ndarray, "H W"], confidence: UInt8[np.ndarray, "H W"], record: ProjectRecord
) -> UInt16[np.ndarray, "H W"]:
    """What a draft's labels come to: unlikely pixels lose their word, as on the page."""
    ids: Mapping[str, int] = {word.name: word.id for word in record.words}
    background = record.options.background
    unlikely = UNLABELED if background is None else ids.get(background, UNLABELED)
    return np.where(confidence < 255 * record.options.threshold, np.uint16(unlikely), draft)
