"""`segvoc analyze`: reproduce the papers' tables and figures."""

import click

from segvoc.cli.lazy_group import LazyGroup

ANALYSES = {
    "ablation": "Train every row of a table with several seeds, and compare them.",
    "attention": "Spatial attention of ERR-Seg with and without redundant classes.",
    "blocks": "Parameters, multiply-adds, memory and time of an aggregation block.",
    "compare": "Two networks, or two settings of one, side by side on an image.",
    "costs": "Cost volumes of an image before and after aggregation.",
    "gates": "Weights of PCA-Seg's experts over an image.",
    "phrases": "Noun phrases in a set of captions, and why some are dropped.",
    "radar": "Scores on several benchmarks, of reports and of papers.",
    "redundancy": "Redundancy between PCA-Seg's experts.",
    "seen": "Scores of seen and of unseen classes, from finished reports.",
    "streams": "Similarity of the two streams, in training and on an image.",
    "sweep": "Scores for each value of a setting.",
    "vocabulary": "Classes in an image, and similarity of labels to those of training.",
}
"""All analyses, each in the file of its name in `segvoc.cli.analyses`, with their lines in the help."""


@click.group(cls=LazyGroup, lines=ANALYSES, package="segvoc.cli.analyses", no_args_is_help=False)
def analyze() -> None:
    """Reproduce a table or figure of the papers, with your own networks and images.

    Networks compute in float32, unless --dtype says otherwise.
    """
