"""`segvoc analyze phrases`: the noun phrases of a caption set."""

from typing import Literal

import click

from segvoc.analysis.caption_phrases import PhraseCounts, count_phrases
from segvoc.cli.output import echo
from segvoc.data.captions.cleaning import CleaningRules
from segvoc.data.captions.phrases import phrase_extractor
from segvoc.data.captions.sources import find_captions
from segvoc.progress import print_line

PROBLEMS_SHOWN = 20
"""Skipped captions and images that are listed; the others are only counted."""


@click.command()
@click.argument("captions")
@click.option("--images", metavar="FOLDER", help="The images that a caption file names; default: its own folder.")
@click.option("--extractor", default="auto", metavar="NAME", help="spacy, rules, or auto: spacy where it is installed.")
@click.option(
    "--match",
    type=click.Choice(("word", "substring")),
    default="word",
    help="Excluded words match whole words, or any substring (as in the paper).",
)
@click.option("--most", type=click.IntRange(min=1), default=8, help="Most phrases that an image keeps.")
@click.option("--same-head", default="keep", help="Whether to keep or drop 'small cat' beside 'cat'.")
@click.option("--show", type=click.IntRange(min=0), default=20, help="Number of most common phrases to print.")
@click.option(
    "--out", metavar="FILE", help="Write a CSV table of every phrase of every caption and whether it is kept."
)
def phrases(
    captions: str,
    images: str | None,
    extractor: str,
    match: Literal["word", "substring"],
    most: int,
    same_head: Literal["keep", "drop"],
    show: int,
    out: str | None,
) -> int:
    """Show the noun phrases of CAPTIONS: which are kept, and why the others are dropped (SynSeg, appendix A).

    \b
    segvoc analyze phrases captions.json --images DIR --out phrases.csv

    CAPTIONS is a folder (photo.jpg with photo.txt), a file (COCO captions, JSON, JSON Lines, CSV, TSV), or WebDataset
    tars ("set/{000000..000099}.tar"); see docs/how_to/captions.md.
    """
    problems = 0

    def warn(problem: str) -> None:
        nonlocal problems
        problems += 1
        if problems <= PROBLEMS_SHOWN:
            print_line(f"segvoc: warning: {problem}")

    rules = CleaningRules(match=match, most=most, same_head=same_head)
    source = find_captions(captions, images, on_problem=warn)
    counts = count_phrases(source, phrase_extractor(extractor), rules, csv_path=out, on_problem=warn)
    _print(counts, show)
    if out is not None:
        echo(out)
    if problems:
        shown = f", the first {PROBLEMS_SHOWN} are listed above" if problems > PROBLEMS_SHOWN else ""
        echo(f"segvoc: {problems} captions or images were skipped{shown}", err=True)
    return 1 if problems else 0


def _print(counts: PhraseCounts, show: int) -> None:
    kept = sum(counts.kept.values())
    echo(f"{counts.images} images, {counts.captions} captions, {counts.without} images without a phrase")
    echo(
        f"{kept} phrases kept ({kept / counts.images:.1f} per image, {len(counts.kept)} distinct), "
        f"{sum(counts.dropped.values())} dropped"
    )
    if show and counts.kept:
        echo("\n  images  phrase")
        for phrase, count in sorted(counts.kept.items(), key=lambda item: (-item[1], item[0]))[:show]:
            echo(f"{count:8d}  {phrase}")
    if counts.dropped:
        echo("\n dropped  reason (most frequent phrases)")
        for reason, count, phrases in counts.reasons():
            echo(f"{count:8d}  {reason} ({', '.join(phrases)})")
