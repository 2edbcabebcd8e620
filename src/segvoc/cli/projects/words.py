"""`segvoc project words`: the words of a project."""

from collections.abc import Sequence
from dataclasses import replace

import click

from segvoc.cli.output import echo
from segvoc.errors import UsageError
from segvoc.records import to_json
from segvoc.storage.json_files import strict_json


@click.command()
@click.argument("folder", metavar="DIR")
@click.option("--add", metavar="WORDS", help='Words to add, separated by commas: "curb, hedge".')
@click.option("--rename", nargs=2, multiple=True, metavar="OLD NEW", help="Give a word another name; its pixels stay.")
@click.option("--remove", multiple=True, metavar="WORD", help="No longer look for a word; its pixels keep its id.")
@click.option("--json", "as_json", is_flag=True, help="Print each word as one line of JSON.")
def words(
    folder: str, add: str | None, rename: Sequence[tuple[str, str]], remove: Sequence[str], as_json: bool
) -> None:
    """List the words of DIR with their ids, after words were added, renamed or removed."""
    from segvoc.projects.project import Project
    from segvoc.vocabulary import Vocabulary

    project = Project.open(folder)
    if add is not None:
        project.add_words(Vocabulary.parse(add).words)
    if rename or remove:
        record, changed = project.record, list(project.record.words)
        places = {word.name: place for place, word in enumerate(changed) if not word.removed}
        if unknown := [name for name in (*(old for old, _ in rename), *remove) if name not in places]:
            raise UsageError(f"the project has no word {unknown[0]!r}; its words are {', '.join(places) or 'none'}")
        for old, new in rename:
            changed[places[old]] = replace(changed[places[old]], name=new.strip())
        for name in remove:
            changed[places[name]] = replace(changed[places[name]], removed=True)
        project.update(expected=record.revision, words=tuple(changed))
    for word in project.record.words if as_json else project.record.present:
        echo(strict_json(to_json(word)) if as_json else f"{word.id:>5}  {word.name}")
