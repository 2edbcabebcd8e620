"""What frames of a video take over from the nearest frame that is done."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from annotate.tests.drawn_video import WORDS, disks, drawn_video, labels_of, mark_done
from segvoc.imaging.label_maps import UNLABELED
from segvoc.models.shipped import open_tiny
from segvoc_annotate.projects.carrying import FrameSource, outdated_frames
from segvoc_annotate.projects.importing import Importing
from segvoc_annotate.projects.people import assign
from segvoc_annotate.projects.project import Project
from segvoc_annotate.projects.work_files import LabelWork


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = Project.create(tmp_path / "street", words=WORDS)
    Importing(project=project).video(drawn_video(tmp_path / "clip.mp4", frames=6), 1)
    return project


def name_of(number: int) -> str:
    return f"clip/frame_{number:06}.jpg"


def sources(project: Project) -> dict[int, int]:
    """By the numbers of frames that are outdated, those of where they take over from; the nearest first."""
    pairs = [(one.frame.frame, one.source.frame) for one in outdated_frames(project)]
    found = {frame.number: source.number for frame, source in pairs if frame is not None and source is not None}
    distances = [abs(frame - source) for frame, source in found.items()]
    assert distances == sorted(distances)
    return found


def test_the_nearest_frame_that_is_done_counts(project: Project) -> None:
    assert sources(project) == {}
    mark_done(project, name_of(1), 1)
    assert sources(project) == {0: 1, 2: 1, 3: 1, 4: 1, 5: 1}
    mark_done(project, name_of(5), 5)
    assert sources(project) == {4: 5, 0: 1, 2: 1, 3: 1}  # 3 is as near to both: the earlier one
    # what a person corrected or imported, or what is a copy for somebody, stays as it is
    project.write(name_of(3), LabelWork.of_labels(labels_of(3)), expected=0)
    draft = LabelWork(labels=labels_of(2), draft=labels_of(2), source="person")
    project.write(name_of(2), draft, expected=0)
    assign(project, [name_of(0)], ["ben"], as_copies=True)
    assert sources(project) == {4: 5, 0: 1}


def test_a_draft_is_made_once(project: Project) -> None:
    """Until the frame, the words or how unlikely pixels are treated change."""
    mark_done(project, name_of(0), 0)

    def answer() -> int:
        outdated = outdated_frames(project)
        for one in outdated:
            work = LabelWork(labels=labels_of(0), draft=labels_of(0), source="model", answers=one.answers)
            project.write(one.frame.image, work, expected=one.frame.revision, by="the model", has_draft=True)
        return len(outdated)

    assert (answer(), answer()) == (5, 0)
    assert project.index.changes(0)[-1].what == "draft"
    project.add_words(["crate"])
    assert (answer(), answer()) == (5, 0)
    options = replace(project.record.options, threshold=0.5)
    project.update(expected=project.record.revision, options=options)
    assert (answer(), answer()) == (5, 0)
    project.set_done(name_of(0), False, expected=project.state(project.image(name_of(0))).revision)
    assert answer() == 0
    project.set_done(name_of(0), True, expected=project.state(project.image(name_of(0))).revision)
    assert answer() == 5
    # drafts have no parts, which the page would ask for
    options = replace(project.record.options, parts="blorp: lid")
    project.update(expected=project.record.revision, options=options)
    assert answer() == 0


def test_words_and_objects_are_taken_over(project: Project) -> None:
    """Words that the model doesn't know are learned; disks that touch stay two objects, with their numbers."""
    mark_done(project, name_of(0), 0)
    (one, *_) = outdated_frames(project)
    model, (left, right) = open_tiny(), disks(1)
    source = FrameSource(model, project, one.source)
    work = source.draft(project, one.frame, one.answers)
    plain = model.segment(str(project.image(name_of(1)).path), WORDS).labels
    truth = labels_of(1)
    assert (work.labels == truth).mean() > max(0.97, (plain == truth).mean())
    assert work.draft is not None and work.corrections is None and work.source == "model"
    np.testing.assert_array_equal(work.labels, work.draft)
    assert work.objects is not None
    inside = [np.bincount(work.objects[disk], minlength=5) for disk in (left, right)]
    assert [int(counts.argmax()) for counts in inside] == [4, 2]
    assert all(counts.max() > 0.95 * counts.sum() for counts in inside)


def test_unlikely_pixels_lose_their_word(project: Project) -> None:
    project.add_words(["nothing"])
    options = replace(project.record.options, threshold=1.0, background="nothing")
    project.update(expected=project.record.revision, options=options)
    mark_done(project, name_of(0), 0, has_objects=False)
    (one, *_) = outdated_frames(project)
    work = FrameSource(open_tiny(), project, one.source).draft(project, one.frame, one.answers)
    assert work.objects is None and work.confidence is not None
    unlikely = work.confidence < 255
    assert (work.labels[unlikely] == 2).all() and unlikely.any()
    record = project.update(expected=project.record.revision, options=replace(options, background=None))
    assert record.options.background is None
    work = FrameSource(open_tiny(), project, one.source).draft(project, one.frame, one.answers)
    assert work.confidence is not None and (work.labels[work.confidence < 255] == UNLABELED).all()


def test_a_frame_with_one_word_teaches_nothing(project: Project) -> None:
    labels = np.zeros_like(labels_of(0))
    state = project.write(name_of(0), LabelWork.of_labels(labels), expected=0)
    project.set_done(name_of(0), True, expected=state.revision)
    (one, *_) = outdated_frames(project)
    model = open_tiny()
    work = FrameSource(model, project, one.source).draft(project, one.frame, one.answers)
    np.testing.assert_array_equal(work.labels, model.segment(str(project.image(name_of(1)).path), WORDS).labels)
