"""`segvoc analyze`: the papers' tables and figures, made anew."""

import click

from segvoc.cli.lazy_group import LazyGroup

ANALYSES = {
    "ablation": "Train every cell of a table with several seeds, and compare.",
}
"""Every analysis, each in a file of its name in `segvoc.cli.analyses`, and its line in the help."""


@click.group(cls=LazyGroup, lines=ANALYSES, package="segvoc.cli.analyses", no_args_is_help=False)
def analyze() -> None:
    """Make a table or a figure of the papers, with networks and pictures of your own."""
