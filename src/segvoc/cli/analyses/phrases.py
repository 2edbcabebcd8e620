"""`segvoc analyze phrases`: what captions give to learn from."""

from typing import Literal

import click

from segvoc.analysis.caption_phrases import PhraseCounts, counted
from segvoc.data.captions.cleaning import CleaningRules
from segvoc.data.captions.phrases import phrase_extractor
from segvoc.data.captions.sources import captioned_images

PROBLEMS_SHOWN = 20
"""Captions and pictures that are named; the others are counted."""


@click.command()
@click.argument("captions")
@click.option("--images", metavar="FOLDER", help="The pictures that a file of captions names; else in its own folder.")
@click.option(
    "--extractor", default="auto", metavar="NAME", help="spacy, rules, or auto (spacy where it is installed)."
)
@click.option(
    "--match",
    type=click.Choice(("word", "substring")),
    default="word",
    show_default=True,
    help="Excluded: by word, or by substring.",
)
@click.option("--most", type=click.IntRange(min=1), default=8, show_default=True, help="Phrases that a picture keeps.")
@click.option("--same-head", default="keep", show_default=True, help="'small cat' beside 'cat': or drop.")
@click.option("--show", type=click.IntRange(min=0), default=20, show_default=True, help="The most common phrases.")
@click.option("--out", metavar="FILE", help="A table (CSV) with every phrase of every caption, and what became of it.")
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
    """Show the noun phrases of CAPTIONS, what is kept of them and why not the others (SynSeg, appendix A).

    \b
    segvoc analyze phrases captions.json --images DIR --out phrases.csv

    CAPTIONS is a folder (photo.jpg with photo.txt), a file (COCO's captions, JSON, JSON Lines, CSV, TSV), or
    WebDataset's tars ("set/{000000..000099}.tar"); docs/how_to/captions.md tells more.
    """
    problems = 0

    def told(problem: str) -> None:
        nonlocal problems
        problems += 1
        if problems <= PROBLEMS_SHOWN:
            click.echo(f"segvoc: warning: {problem}", err=True)

    rules = CleaningRules(match=match, most=most, same_head=same_head)
    found = captioned_images(captions, images, on_problem=told)
    counts = counted(found, phrase_extractor(extractor), rules, csv_path=out)
    _print(counts, show)
    if out is not None:
        click.echo(out)
    if problems:
        shown = f", the first {PROBLEMS_SHOWN} are named above" if problems > PROBLEMS_SHOWN else ""
        click.echo(f"segvoc: {problems} captions or pictures were passed over{shown}", err=True)
    return 1 if problems else 0


def _print(counts: PhraseCounts, show: int) -> None:
    kept = sum(counts.kept.values())
    click.echo(f"{counts.pictures} pictures, {counts.captions} captions, {counts.without} pictures without a phrase")
    click.echo(
        f"{kept} phrases kept ({kept / counts.pictures:.1f} a picture, {len(counts.kept)} different), "
        f"{sum(counts.dropped.values())} dropped"
    )
    if show and counts.kept:
        click.echo("\npictures  phrase")
        for phrase, count in sorted(counts.kept.items(), key=lambda item: (-item[1], item[0]))[:show]:
            click.echo(f"{count:8d}  {phrase}")
    if counts.dropped:
        click.echo("\n dropped  why, and what most often")
        for reason, count, phrases in counts.reasons():
            click.echo(f"{count:8d}  {reason} ({', '.join(phrases)})")
