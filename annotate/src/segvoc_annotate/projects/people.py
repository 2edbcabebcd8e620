"""Who labels which image of a project, and the copies of images that a second person labels, too."""

from collections.abc import Iterable, Sequence
from itertools import count, cycle, islice
from pathlib import PurePosixPath

from segvoc import UsageError
from segvoc_annotate.projects.folder import ProjectFolder
from segvoc_annotate.projects.images import LONGEST_PIECE
from segvoc_annotate.projects.project import Project
from segvoc_annotate.projects.record_changes import SOMEONE
from segvoc_annotate.projects.records import ImageState

LONGEST_PERSON = 64


def assign(
    project: Project,
    images: Sequence[str],
    people: Sequence[str],
    *,
    as_copies: bool = False,
    by: str = SOMEONE,
    change: str | None = None,
) -> list[ImageState]:
    """Deal images out to people, in turn; to nobody, if there are none.

    Args:
        project: the project.
        images: the names or ids of its images.
        people: who labels them.
        as_copies: leave the images to whom they belong, and add a copy of each without labels for its person, who is
            nobody that has the original or labeled it.
        by: who assigns them.
        change: the caller's id of the change; one that was made isn't made again.

    Returns:
        The states of the images, or of their copies. What was assigned before an error stays; repeat the rest.

    Raises:
        NotInProjectError: the project has no such image.
        UsageError: a name isn't one line of at most 64 characters, or there is nobody to copy for. No copy is made.
    """
    people = [" ".join(person.split()) for person in people]
    for person in people:
        if not (person and person.isprintable() and len(person) <= LONGEST_PERSON):
            raise UsageError(f"{person[:80]!r} is not a name of 1 to {LONGEST_PERSON} characters; give another")
    if as_copies and not people:
        raise UsageError("there is nobody to copy the images for; name somebody")
    states = [project.state(project.image(name)) for name in dict.fromkeys(images)]
    is_made = project.index.has(change)
    if as_copies:
        copies = {(one.copy_of, one.person): one for one in project.states()[0]}
        made = list[ImageState]()
        for original, state, person in _turns(project, states, people):
            if (copy := copies.get((original, person))) is None and not is_made:
                copy = _copied(project, state, original, person, by)
            made.append(copy or state)
    else:
        turns = zip(states, cycle(people or [None]), strict=False)
        made = [state if is_made else project.assign(state.id, person, by=by) for state, person in turns]
    if change is not None and not is_made:
        with project.index.transaction():
            project.index.log("assigned", by=by, revision=project.record.revision, change=change)
    return made


def _turns(project: Project, states: Sequence[ImageState], people: Sequence[str]) -> list[tuple[str, ImageState, str]]:
    """For each photograph the id of its original, an image of it, and who gets a copy."""
    known, labelers = {one.id: one for one in project.states()[0]}, project.index.labelers()
    turns, found = cycle(people), list[tuple[str, ImageState, str]]()
    for original, listed in {one.copy_of or one.id: one for one in states}.items():
        state = known.get(original, listed)
        taken = state.person, labelers.get(original)
        if (person := next((one for one in islice(turns, len(people)) if one not in taken), None)) is None:
            names = " and ".join(people)
            raise UsageError(f"{state.image!r} is {names}'s already, or labeled by them; name others for its copy")
        found.append((original, state, person))
    return found


def _copied(project: Project, state: ImageState, original: str, person: str, by: str) -> ImageState:
    """Add a copy of an image for a person."""
    image = project.image(state.id)
    path, taken = PurePosixPath(image.name), project.index.owner
    label = "".join(character if character.isalnum() or character in " -." else "_" for character in person)

    def name_of(number: int) -> str:
        ending = f" ({label}{'' if number == 1 else f' {number}'}){path.suffix}"
        room = LONGEST_PIECE - len(ending.encode()) - len(".png")
        return path.with_name(path.stem.encode()[:room].decode(errors="ignore") + ending).as_posix()

    names = map(name_of, count(1))
    name = next(one for one in names if taken(one) is None and not (project.images_folder / one).exists())
    about = {"copy_of": original, "person": person, "frame": state.frame}
    return project.add(name, image.path.read_bytes(), by=by, max_pixels=state.width * state.height, **about)


def each_once(states: Iterable[ImageState], project: ProjectFolder) -> list[ImageState]:
    """Of images and their copies, each photograph once: the original, or the first copy of one that is gone."""
    kept = set[str | None](state.id for state in project.states()[0])
    chosen = list[ImageState]()
    for state in states:
        if state.copy_of is None or state.copy_of not in kept:
            chosen.append(state)
            kept.add(state.copy_of)
    return chosen
