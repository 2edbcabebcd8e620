"""`segvoc project`: a project's folder from the command line."""

import click

from segvoc.cli.lazy_group import LazyGroup

PROJECT_COMMANDS = {
    "export": "Write the labels as a dataset of another tool, with the images.",
    "import": "Add images with labels: datasets, folders, other projects.",
    "status": "Show what is done, and how many pixels each word has.",
    "words": "List, add, rename or remove words.",
    "zip": "Save the whole project as one zip.",
}
"""All commands, each in the file of its name in `segvoc.cli.projects`, with their lines in the help."""


@click.group(cls=LazyGroup, lines=PROJECT_COMMANDS, package="segvoc.cli.projects", no_args_is_help=False)
def project() -> None:
    """Work with the folder of a project, as `segvoc annotate` makes it; it may be served meanwhile.

    `--dataset DIR` of teach, train and evaluate reads its images that are done.
    """
