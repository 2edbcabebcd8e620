"""The option of commands that compare labels with those of training."""

import click

training_labels_option = click.option(
    "--training",
    default="coco-stuff",
    show_default=True,
    metavar="NAME",
    help="The training labels: a benchmark, or a JSON list of names.",
)
"""Adds --training to a command, as `training`; `segvoc.analysis.vocabularies.training_labels` reads it."""
