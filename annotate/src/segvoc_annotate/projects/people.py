"""Who labels which image of a project, and the copies of images that a second person labels, too."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import PurePosixPath

from segvoc import UsageError
from segvoc.errors import one_line
from segvoc.storage.files import read_json, write_json
from segvoc.storage.records import from_json, to_json
from segvoc_annotate.projects.folder import ProjectFolder
from segvoc_annotate.projects.project import SOMEONE, Project
from segvoc_annotate.projects.records import damaged_file

ASSIGNED_FILE = "assigned.json"

LONGEST_PERSON = 64


@dataclass(frozen=True, kw_only=True)
class Assigned:
    """The content of `assigned.json`; it may name images that were removed, which can be restored."""

    people: Mapping[str, str] = field(default_factory=dict)
    """Who labels an image, by its name."""
    copies: Mapping[str, str] = field(default_factory=dict)
    """The original of a copy for a second person, by the copy's name."""


def read_assigned(project: ProjectFolder) -> Assigned:
    """Who labels what; `DamagedProjectError` if the file is damaged."""
    path = project.folder / ASSIGNED_FILE
    try:
        return from_json(Assigned, read_json(path))
    except FileNotFoundError:
        return Assigned()
    except (UsageError, ValueError) as error:
        raise damaged_file(path, one_line(error)) from None


def assign(
    project: Project,
    images: Sequence[str],
    people: Sequence[str],
    *,
    as_copies: bool = False,
    by: str = SOMEONE,
    change: str | None = None,
) -> Assigned:
    """Deal images out to people, in turn; to nobody, if there are none.

    Args:
        project: the project.
        images: the names of its images.
        people: who labels them.
        as_copies: leave the images to whom they belong, and add a copy of each without labels for its person.
        by: who assigns them.
        change: the caller's id of the change; one that was made isn't made again.

    Raises:
        NotInProjectError: the project has no such image.
        UsageError: a name isn't one line of at most 64 characters, or there is nobody to copy for.
    """
    people = [person.strip() for person in people]
    for person in people:
        if not (person and person.isprintable() and len(person) <= LONGEST_PERSON):
            raise UsageError(f"{person[:80]!r} is not a name of 1 to {LONGEST_PERSON} characters; give another")
    if as_copies and not people:
        raise UsageError("there is nobody to copy the images for; name somebody")
    with project.threads:
        before = read_assigned(project)
        if project.index.has(change):
            return before
        for name in images:
            project.image(name)
        assigned, copies = dict(before.people), dict(before.copies)
        for name, person in zip(images, cycle(people or [""]), strict=False):
            if as_copies:
                name = _copied(project, name, person, copies, by)
            assigned[name] = person
        made = Assigned(people={name: person for name, person in assigned.items() if person}, copies=copies)
        write_json(project.folder / ASSIGNED_FILE, to_json(made))
        with project.index.transaction():
            project.index.log("assigned", by=by, revision=project.record.revision, change=change)
        return made


def _copied(project: Project, name: str, person: str, copies: dict[str, str], by: str) -> str:
    """Add a copy of an image for a person, unless there is one; its name."""
    original = copies.get(name, name)
    path = PurePosixPath(original)
    copy = path.with_name(f"{path.stem} ({person.replace('/', '_')}){path.suffix}").as_posix()
    image = project.image(original)
    state, content = project.state(image), image.path.read_bytes()
    if not project.has(copy, content):
        project.add(copy, content, by=by, max_pixels=state.width * state.height)
    copies[copy] = original
    return copy
