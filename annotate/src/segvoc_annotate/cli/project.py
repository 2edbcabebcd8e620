"""`segvoc project`: a project's folder from the command line."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path
from shutil import rmtree
from typing import TYPE_CHECKING

import click

from segvoc import OutputError, SegvocError, UsageError, Vocabulary
from segvoc.cli.dataset_options import DatasetOptions, dataset_options
from segvoc.cli.output import echo, example
from segvoc.errors import counted
from segvoc.imaging.video_reading import is_video
from segvoc.labeling.formats.table import writers
from segvoc.runtime.progress import Progress, aligned, printable
from segvoc.storage.files import strict_json
from segvoc.storage.records import to_json
from segvoc_annotate.projects.records import EVERY, ProjectRecord

if TYPE_CHECKING:
    from segvoc_annotate.projects.project import Project


@click.group(no_args_is_help=False)
def project() -> None:
    """Work with a project folder of `segvoc annotate`.

    Only one process may write a project; export, status, agreement, people and backup only read it, also while it is
    served. `--dataset DIR` of teach, train and evaluate reads its finished images.
    """


@project.command("export", epilog=example("segvoc project export facades --format coco-panoptic --out coco"))
@click.argument("folder", metavar="DIR")
@click.option(
    "--format",
    "format_",
    required=True,
    type=click.Choice([*writers(of_videos=True)]),
    metavar="NAME",
    help="The format.",
)
@click.option("--out", required=True, metavar="FOLDER", help="Folder for the dataset.")
@click.option("--all", "all_", is_flag=True, help="Include labeled images that aren't done.")
@click.option("--no-images", is_flag=True, help="Don't copy the images.")
def export(folder: str, format_: str, out: str, all_: bool, no_images: bool) -> int:
    """Export the labels of DIR as a dataset of another tool, with the images, ready for training.

    NAME is one of coco-panoptic, coco-instances, labelme, cvat, cvat-video (frames of videos, with tracks), yolo-seg,
    voc, label-studio, masks-by-class. Only images that are done are written, unless --all is given.
    """
    from segvoc_annotate.projects.exporting import ProjectExport
    from segvoc_annotate.projects.folder import ProjectFolder

    export_ = ProjectExport(
        project=ProjectFolder(folder), format=format_, only_done=not all_, copy_images=not no_images
    )
    count = len(export_.states)
    with Progress("exporting", total=count, unit="image") as progress:
        problems = export_.to_folder(out, progress.reach)
    for problem in problems:
        echo(f"segvoc: error: {problem}", err=True)
    echo(f"-> {out} ({count - len(problems)} images, {len(export_.words)} words)")
    return 1 if problems else 0


@project.command("import")
@click.argument("folder", metavar="DIR")
@dataset_options
@click.option("--video", metavar="FILE", help="A video, to add its frames.")
@click.option("--every", type=click.IntRange(1), metavar="N", help=f"Of --video, each N-th frame. [default: {EVERY}]")
@click.option("--done", is_flag=True, help="Mark the images as done.")
@click.option("--edited", is_flag=True, help="Take over label maps in DIR/labels that another program changed.")
def import_(
    folder: str, video: str | None, every: int | None, done: bool, edited: bool, dataset: DatasetOptions
) -> int:
    """Import images, with any labels, into the project DIR; create it if missing.

    \b
    segvoc project import street --video clip.mp4 --every 10
    segvoc project import street --dataset coco/ --split val --done
    segvoc project import street --images photos --labels maps --classes classes.json
    segvoc project import street --dataset other_project.zip

    New words are added. Images already in the project keep their labels. If DIR is a video, the project is the folder
    of its name, and has its frames: segvoc project import clip.mp4
    """
    from segvoc.imaging.result_paths import skipped_files_line
    from segvoc.labeling.formats.project import is_project
    from segvoc_annotate.projects.importing import Importing
    from segvoc_annotate.projects.project import Project

    if dataset.stretch is not None:
        raise UsageError("a project has its images as they are; leave out --stretch")
    if is_video(folder) and not Path(folder).is_dir() and video is None:
        folder, video = Path(folder).stem, folder
    _check_sources(dataset, {"--video": video, "--edited": edited}, every)
    plain = not (dataset.rename or dataset.drop)
    # a single dataset may be a project, whose words and histories are imported too
    path = dataset.paths[0] if len(dataset.paths) == 1 and plain and not (dataset.labels or dataset.classes) else None
    labeled = dataset.read() if path is None and (dataset.paths or dataset.labels) else None
    is_new = not Path(folder).exists()
    with (
        Project(folder) if is_project(folder) else Project.create(folder) as opened,
        _without_leftovers(opened, is_new=is_new),
        Progress("importing", unit="image") as progress,
    ):
        opened.recover()  # an interrupted import may have left a partial image
        importing = Importing(project=opened, done=done, on_step=progress.reach)
        if edited:
            result = importing.edited()
        elif video is not None:
            result = importing.video(video, every or EVERY)
        elif path is not None:
            format_, split = (next(iter(values), None) for values in (dataset.formats, dataset.splits))
            about = {"images": dataset.images, "split": split, "background": dataset.background}
            result = importing.path(path, format_, **about)
        else:
            result = importing.images(str(dataset.images)) if labeled is None else importing.dataset(labeled)
    if (line := skipped_files_line(result.passed_over)) is not None:
        echo(f"segvoc: {line}", err=True)
    for remark in result.remarks:
        echo(f"segvoc: {remark}", err=True)
    for problem in result.problems:
        echo(f"segvoc: error: {problem}", err=True)
    echo(f"-> {folder} ({len(result.added)} images, {len(opened.record.present)} words)")
    return 1 if result.problems else 0


def _check_sources(dataset: DatasetOptions, others: Mapping[str, object], every: int | None) -> None:
    """Raise a `UsageError` unless the images come from one place, and all options are about that."""
    sources = {"--dataset": dataset.paths, "--images": dataset.images is not None, **others}
    given = [option for option, value in sources.items() if value]
    if given != ["--dataset", "--images"] and len(given) != 1:
        raise UsageError(f"give one of {', '.join(sources)}")
    if every is not None and "--video" not in given:
        raise UsageError("--every is about frames of videos; add --video, or leave it out")
    if not dataset.paths and (dataset.labels is None) != (dataset.classes is None):
        raise UsageError("--labels and --classes belong together; give both, or neither")


@contextmanager
def _without_leftovers(project: "Project", *, is_new: bool) -> Iterator[None]:
    """Remove a new project into which nothing could be imported."""
    try:
        yield
    except SegvocError:
        if is_new and not project.images():
            rmtree(project.folder, ignore_errors=True)
        raise


@project.command(epilog=example("segvoc project status facades"))
@click.argument("folder", metavar="DIR")
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON with the state of each image.")
def status(folder: str, as_json: bool) -> int:
    """Count the images of DIR that are done, labeled and unlabeled, accepted and sent back, and each word's pixels."""
    from segvoc_annotate.projects.folder import ProjectFolder

    opened = ProjectFolder(folder)
    record, (states, problems) = opened.record, opened.states()
    if as_json:
        images = [to_json(state) for state in states]
        echo(strict_json({**to_json(record), "images": images, "removed": opened.removed(), "problems": problems}))
        return 1 if problems else 0
    done, labeled = sum(state.done for state in states), sum(state.revision > 0 for state in states)
    counts = {"images": len(states), "done": done, "labeled": labeled - done, "unlabeled": len(states) - labeled}
    counts |= Counter(state.review.verdict for state in states if state.review)
    echo(f"{record.name}: {', '.join(f'{count} {what}' for what, count in counts.items())}")
    pixels, images, objects = Counter[str](), Counter[str](), Counter[str]()
    for state in states:
        pixels.update(state.pixels)
        images.update(state.pixels.keys())
        objects.update(state.objects or {})
    total = sum(state.width * state.height for state in states if state.revision) or 1
    rows = [["word", "images", "objects", "pixels"]]
    for word in record.words:
        key = str(word.id)
        if not word.removed or pixels[key]:
            name = _line(word.name) + (" (removed)" if word.removed else "")
            rows.append([name, str(images[key]), str(objects[key] or "-"), f"{100 * pixels[key] / total:.1f} %"])
    for line in aligned(rows) if record.words else ():
        echo(line)
    for problem in problems:
        echo(f"segvoc: {problem}", err=True)
    return 1 if problems else 0


@project.command(epilog=example('segvoc project words facades --add "curb, hedge"'))
@click.argument("folder", metavar="DIR")
@click.option("--add", metavar="WORDS", help='Words to add, separated by commas: "curb, hedge".')
@click.option("--rename", nargs=2, multiple=True, metavar="OLD NEW", help="Rename a word; its pixels stay.")
@click.option("--merge", nargs=2, multiple=True, metavar="OLD NEW", help="Give a word's pixels to another word.")
@click.option("--remove", multiple=True, metavar="WORD", help="Stop looking for a word; its pixels keep its id.")
@click.option("--json", "as_json", is_flag=True, help="Print each word as one line of JSON.")
def words(
    folder: str,
    add: str | None,
    rename: Sequence[tuple[str, str]],
    merge: Sequence[tuple[str, str]],
    remove: Sequence[str],
    as_json: bool,
) -> None:
    """List the words of DIR with their ids, after adding, renaming, merging or removing words."""
    from segvoc_annotate.projects.folder import ProjectFolder
    from segvoc_annotate.projects.project import Project

    if add is None and not (rename or merge or remove):
        record = ProjectFolder(folder).record
    else:
        with Project(folder) as opened:
            if add is not None:
                opened.add_words(Vocabulary(add).words)
            record = _changed(opened, rename, merge, remove)
    for word in record.words if as_json else record.present:
        echo(strict_json(to_json(word)) if as_json else f"{word.id:>5}  {_line(word.name)}")


def _line(text: str) -> str:
    return printable(text).replace("\n", "\\n")


def _changed(
    opened: "Project", rename: Sequence[tuple[str, str]], merge: Sequence[tuple[str, str]], remove: Sequence[str]
) -> ProjectRecord:
    """The project's record after its words were merged, renamed and removed; `UsageError` if it lacks one of them."""
    from segvoc_annotate.projects.merging import follow_merges

    ids = {word.name: word.id for word in opened.record.present}
    named = *(old for old, _ in rename), *(name for pair in merge for name in pair), *remove
    if unknown := [name for name in named if name not in ids]:
        raise UsageError(f"the project has no word {unknown[0]!r}; its words are {', '.join(ids) or 'none'}")
    if taken := [new for _, new in rename if new.strip() in ids]:
        raise UsageError(f"{taken[0]!r} is a word already; merge the words: --merge OLD {taken[0]!r}")
    for old, new in merge:
        opened.merge_words(ids[old], ids[new])
    for problem in follow_merges(opened) if merge else ():
        echo(f"segvoc: {problem}", err=True)
    names, gone = {ids[old]: new.strip() for old, new in rename}, {ids[name] for name in remove}
    if names or gone:
        words = (
            replace(word, name=names.get(word.id, word.name), removed=word.removed or word.id in gone)
            for word in opened.record.words
        )
        opened.update(expected=opened.record.revision, words=tuple(words))
    return opened.record


@project.command(epilog=example('segvoc project reviewers facades --set "anna, ben"'))
@click.argument("folder", metavar="DIR")
@click.option("--set", "names", metavar="NAMES", help='Names, separated by commas; "": everybody reviews.')
def reviewers(folder: str, names: str | None) -> None:
    """List who may accept the done images of DIR or send them back: names of users, or of API keys."""
    from segvoc_annotate.projects.project import Project

    with Project(folder) as opened:
        record = opened.record
        if names is not None:
            found = tuple(name.strip() for name in names.split(",") if name.strip())
            record = opened.update(expected=record.revision, options=replace(record.options, reviewers=found))
        echo(_line(", ".join(record.options.reviewers)) or "everybody")


@project.command(epilog=example('segvoc project assign street --to "anna, ben"'))
@click.argument("folder", metavar="DIR")
@click.option("--to", "people", metavar="NAMES", help='Who labels the images, in turn: "anna, ben"; "": nobody.')
@click.option("--images", "patterns", multiple=True, metavar="PATTERN", help='Images: "sub/*.jpg"; repeatable.')
@click.option("--copies", is_flag=True, help="Add a copy of each image for its person, to compare both (agreement).")
def assign(folder: str, people: str | None, patterns: Sequence[str], copies: bool) -> None:
    """Assign images of DIR to people, and count those of each; without --images, those that nobody has.

    With --copies, --images are chosen among the originals, by default all. Nobody gets a copy of an image that is
    assigned to them, or that they labeled.
    """
    from segvoc_annotate.projects.folder import ProjectFolder
    from segvoc_annotate.projects.people import assign as assign_images
    from segvoc_annotate.projects.project import Project

    if people is None:
        if patterns or copies:
            raise UsageError('who labels the images is missing; give --to "anna, ben"')
    else:
        with Project(folder) as opened:
            states = [state for state in opened.states()[0] if not copies or state.copy_of is None]
            if patterns:
                states = [state for state in states if any(fnmatch(state.image, pattern) for pattern in patterns)]
            elif not copies:
                states = [state for state in states if state.person is None]
            listed = [name.strip() for name in people.split(",") if name.strip()]
            assign_images(opened, [state.id for state in states], listed, as_copies=copies)
    counts = Counter(state.person or "" for state in ProjectFolder(folder).states()[0])
    for person, count in sorted(counts.items()):
        echo(f"{_line(person) or 'nobody'}: {counted(count, 'image')}")


@project.command(epilog=example("segvoc project agreement street --out differences"))
@click.argument("folder", metavar="DIR")
@click.argument("other", metavar="[OTHER]", required=False)
@click.option("--all", "all_", is_flag=True, help="Include labeled images that aren't done.")
@click.option("--out", metavar="FOLDER", help="Write a map of the differences of each image: red where labels differ.")
@click.option("--json", "as_json", is_flag=True, help="Print the figures as one line of JSON.")
def agreement(folder: str, other: str | None, all_: bool, out: str | None, as_json: bool) -> int:
    """Compare the labels of two people: of images of DIR and their copies (assign --copies), or of DIR and OTHER.

    OTHER is another project that has images of the same names. Prints the IoU of each word, and the worst images with
    who labeled them: who changed their labels, or marked them as done, last.
    """
    from segvoc_annotate.projects.agreement import agreement as agreement_of
    from segvoc_annotate.projects.agreement import write_differences
    from segvoc_annotate.projects.folder import ProjectFolder

    one, two = ProjectFolder(folder), None if other is None else ProjectFolder(other)
    with Progress("comparing", unit="image") as progress:
        found = agreement_of(one, two, only_done=not all_, on_step=progress.reach)
    if out is not None:
        write_differences(found, Path(out), one, two)
    for problem in found.problems:
        echo(f"segvoc: error: {problem}", err=True)
    if as_json:
        echo(strict_json(to_json(found)))
        return 1 if found.problems else 0
    rows = [["word", "IoU"], *([_line(name), _percent(iou)] for name, iou in found.words.items())]
    rows += [["mean", _percent(found.miou)], ["same pixels", _percent(found.same)]]
    for line in aligned(rows):
        echo(line)
    rows = [["image", "by", "and", "IoU", "same pixels"]]
    rows += [
        [_line(pair.image), *map(_line, pair.by), _percent(pair.miou), _percent(pair.same)] for pair in found.pairs
    ]
    for line in aligned(rows):
        echo(line)
    return 1 if found.problems else 0


@project.command(epilog=example("segvoc project people street --csv work.csv"))
@click.argument("folder", metavar="DIR")
@click.option("--csv", "csv_file", metavar="FILE", help="Write a row for each person and image.")
def people(folder: str, csv_file: str | None) -> int:
    """Tell what each person did in DIR: images, actions and time, and how well they label the gold set.

    An action is a change of an image that the page saved: a stroke, another word for a region, an undo; done, reopened,
    accepted, sent back. Time is that from a person's action to the next, which counts for the later one's image; more
    than two minutes between them are a pause. What the model labels, merges of words and imports are no actions.

    The gold set are the accepted images of which people label copies: give each annotator a copy of each
    (assign --copies --to NAME). Done copies are compared with the accepted labels: mean IoU, and the share of equal
    pixels.
    """
    from segvoc.storage.atomic_writes import write_bytes
    from segvoc_annotate.projects.contributions import as_csv, contributions
    from segvoc_annotate.projects.folder import ProjectFolder

    with Progress("comparing", unit="image") as progress:
        found = contributions(ProjectFolder(folder), on_step=progress.reach)
    if csv_file is not None:
        write_bytes(csv_file, as_csv(found.images))
    for problem in found.problems:
        echo(f"segvoc: error: {problem}", err=True)
    rows = [["person", "assigned", "done", "images", "actions", "minutes", "gold", "IoU", "same pixels"]]
    for one in found.people:
        counts = map(str, (one.assigned, one.done, one.images, one.actions, f"{one.seconds / 60:.1f}", one.gold))
        rows.append([_line(one.person), *counts, _percent(one.miou), _percent(one.same)])
    for line in aligned(rows):
        echo(line)
    return 1 if found.problems else 0


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"


@project.command("empty-trash", epilog=example("segvoc project empty-trash facades"))
@click.argument("folder", metavar="DIR")
def empty_trash(folder: str) -> None:
    """Delete the removed images of DIR, with their labels, for good: they can't be put back."""
    from segvoc_annotate.projects.project import Project

    with Project(folder) as opened:
        echo(f"{counted(opened.empty_trash(), 'image')} deleted")


@project.command(epilog=example("segvoc project backup facades backups --keep 7"))
@click.argument("folder", metavar="DIR")
@click.argument("dest", metavar="[DEST]", required=False)
@click.option(
    "--keep",
    type=click.IntRange(min=1),
    metavar="N",
    help="Add a backup with the time in its name to the folder DEST, and delete all but the N newest of this project.",
)
def backup(folder: str, dest: str | None, keep: int | None) -> int:
    """Save DIR with its images, labels, assignments, history and trash as the zip DEST (default: DIR.zip).

    It may be in use meanwhile: each file is whole; changes during the backup may be in it or not. Reopen it with
    `segvoc annotate DEST` or on the page.

    With --keep, a backup has its name only when it is whole, and others are deleted after that: those alone that such a
    call made of this project (NAME.ID.TIME.zip).
    """
    from segvoc_annotate.projects.archive import backup_path, delete_backups, note_backup, write_backup
    from segvoc_annotate.projects.folder import ProjectFolder

    if keep is not None and dest is None:
        raise UsageError("--keep needs the folder of the backups: segvoc project backup DIR DEST --keep N")
    opened = ProjectFolder(folder)
    target = Path(f"{opened.folder}.zip" if dest is None else dest)
    if keep is not None:
        target = backup_path(opened, target)
    problems = write_backup(opened, target)
    try:
        note_backup(opened.folder)
    except OutputError as error:
        echo(f"segvoc: the project's metrics don't know of this backup: {error}", err=True)
    for problem in problems:
        echo(f"segvoc: error: not in the backup: {problem}", err=True)
    echo(f"-> {target}")
    for path in delete_backups(opened, target, keep) if keep is not None else ():
        echo(f"deleted {path}")
    return 1 if problems else 0
