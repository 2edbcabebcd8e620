"""What commands print."""

import click

from segvoc.progress import printable


def echo(text: object, *, err: bool = False, nl: bool = True) -> None:
    """Print a text to standard output or error; control characters of names in it are escaped."""
    click.echo(printable(str(text)), err=err, nl=nl)
