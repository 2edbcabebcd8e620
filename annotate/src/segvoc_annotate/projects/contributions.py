"""What each person did in a project: actions and time on each image, and how well they label the gold set."""

import csv
import io
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from typing import ClassVar

from segvoc.storage.records import to_json
from segvoc_annotate.projects.agreement import gold_scores
from segvoc_annotate.projects.folder import ProjectFolder
from segvoc_annotate.projects.records import DOCUMENTED

PAUSE = 120
"""A longer time between two actions isn't work [s]."""


@dataclass(frozen=True, kw_only=True)
class ImageWork:
    """What a person did on an image."""

    person: str
    image: str
    actions: int
    """Changes that the page saved: a stroke, a region, an undo; done, reopened, accepted, sent back."""
    seconds: int
    """From the person's last action before each of them, if that was at most `PAUSE` ago."""
    done: bool
    """Whether it is done, and this person labeled it."""
    miou: float | None = None
    """Of a copy of the gold set: mean IoU with the accepted labels, in [0, 1]."""
    same: float | None = None
    """Share of its pixels with the accepted label, in [0, 1]."""


@dataclass(frozen=True, kw_only=True)
class PersonWork:
    """What a person did in a project."""

    __pydantic_config__: ClassVar = DOCUMENTED

    person: str
    assigned: int
    """Images that are assigned to this person."""
    done: int
    """Done images that this person labeled."""
    images: int
    """Images with actions."""
    actions: int
    seconds: int
    gold: int
    """Copies of the gold set that are done."""
    miou: float | None
    """Mean IoU over the words of the gold set, in [0, 1]."""
    same: float | None
    """Share of the gold set's pixels with the accepted label, in [0, 1]."""


@dataclass(frozen=True, kw_only=True)
class Contributions:
    """What everybody did."""

    people: tuple[PersonWork, ...]
    images: tuple[ImageWork, ...]
    """By person, then by name; also images that were removed."""
    problems: tuple[str, ...]
    """A line for each copy that can't be scored, and each image that can't be used."""


def contributions(project: ProjectFolder, *, on_step: Callable[[int, int], None] = lambda *_: None) -> Contributions:
    """Sum up the history of a project, and score copies of accepted images (`gold_scores`).

    `on_step` is called with the number of copies that are scored, and of all.
    """
    states, problems = project.states()
    index, scores = project.index, gold_scores(project, on_step=on_step)
    by, names = index.labelers(), {state.id: state.image for state in states}
    done = {(by.get(state.id) or state.by or "", state.id) for state in states if state.done}
    actions = index.actions(PAUSE)
    pairs = {(pair.by[1], pair.other): pair for score in scores.values() for pair in score.pairs}
    images = list[ImageWork]()
    for person, id_ in actions.keys() | done:
        name, count, seconds = actions.get((person, id_), ("", 0, 0))
        pair = pairs.get((person, names[id_])) if id_ in names else None
        images.append(
            ImageWork(
                person=person,
                image=names.get(id_, name),
                actions=count,
                seconds=seconds,
                done=(person, id_) in done,
                miou=pair and pair.miou,
                same=pair and pair.same,
            )
        )
    images.sort(key=lambda one: (one.person, one.image))
    assigned = Counter(state.person for state in states if state.person is not None)
    people = list[PersonWork]()
    for person in sorted({*assigned, *scores, *(one.person for one in images)}):
        own, score = [one for one in images if one.person == person], scores.get(person)
        people.append(
            PersonWork(
                person=person,
                assigned=assigned[person],
                done=sum(one.done for one in own),
                images=sum(one.actions > 0 for one in own),
                actions=sum(one.actions for one in own),
                seconds=sum(one.seconds for one in own),
                gold=0 if score is None else len(score.pairs),
                miou=score and score.miou,
                same=score and score.same,
            )
        )
    problems = (*problems, *(problem for score in scores.values() for problem in score.problems))
    return Contributions(people=tuple(people), images=tuple(images), problems=problems)


def as_csv(images: Iterable[ImageWork]) -> bytes:
    """The rows of a table with a head, in UTF-8."""
    text = io.StringIO(newline="")
    rows = csv.writer(text)
    rows.writerow(field.name for field in fields(ImageWork))
    rows.writerows(to_json(one).values() for one in images)
    return text.getvalue().encode()
