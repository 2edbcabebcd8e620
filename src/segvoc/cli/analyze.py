"""`segvoc analyze`: the papers' tables and figures, made anew."""

import click

from segvoc.cli.lazy_group import LazyGroup

ANALYSES = {
    "ablation": "Train every cell of a table with several seeds, and compare.",
    "blocks": "Parameters, multiply-adds, memory and seconds of a block.",
    "compare": "Two networks, or two ways of one, side by side on a picture.",
    "costs": "How alike a picture is to each word, before aggregation and after.",
    "gates": "Which of PCA-Seg's experts is listened to where.",
    "phrases": "What captions give to learn from: noun phrases, and those left out.",
    "redundancy": "How much PCA-Seg's experts say the same.",
    "streams": "How alike the two streams are, in training and on a picture.",
    "sweep": "Scores over the values of a setting.",
}
"""Every analysis, each in a file of its name in `segvoc.cli.analyses`, and its line in the help."""


@click.group(cls=LazyGroup, lines=ANALYSES, package="segvoc.cli.analyses", no_args_is_help=False)
def analyze() -> None:
    """Make a table or a figure of the papers, with networks and pictures of your own."""
