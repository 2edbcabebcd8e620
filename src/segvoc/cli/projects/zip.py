"""`segvoc project zip`: the whole project as one file."""

from typing import BinaryIO

import click

from segvoc.cli.output import echo


@click.command("zip")
@click.argument("folder", metavar="DIR")
@click.option("--out", metavar="FILE", help="The zip.  [default: DIR.zip]")
def zip(folder: str, out: str | None) -> None:
    """Save DIR with its images, labels, history and trash as one zip.

    `segvoc annotate FILE` and the page open it again.
    """
    from segvoc.projects.archive import archived
    from segvoc.projects.folder import ProjectFolder
    from segvoc.storage.atomic_writes import write_atomically

    project = ProjectFolder.open(folder)
    target = f"{project.folder}.zip" if out is None else out

    def write(file: BinaryIO) -> None:
        for piece in archived(project):
            file.write(piece)

    write_atomically(target, write)
    echo(f"-> {target}")
