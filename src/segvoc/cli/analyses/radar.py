"""`segvoc analyze radar`: scores on several benchmarks as a radar plot."""

from collections.abc import Sequence
from pathlib import Path

import click

from segvoc.analysis.requirements import require_matplotlib
from segvoc.cli.output import echo
from segvoc.errors import UsageError


@click.command()
@click.argument("reports", nargs=-1, metavar="[REPORT...]")
@click.option(
    "--published",
    multiple=True,
    metavar="NAME",
    help="Draw a paper's scores too: of a preset, or of a row (PCA-Seg, Table 3, serial); repeat for more.",
)
@click.option(
    "--line",
    "lines",
    multiple=True,
    metavar="NAME=SOURCE,...",
    help="Draw one line of several reports, or presets with published scores; repeat for more.",
)
@click.option("--out", default="out", metavar="FOLDER", help="Folder for the figure.")
def radar(reports: Sequence[str], published: Sequence[str], lines: Sequence[str], out: str) -> None:
    """Draw the scores of REPORTs on their benchmarks as a radar plot (PCA-Seg, Fig. 2).

    \b
    segvoc analyze radar report_b report_l --published pca-seg-b --out figures
    segvoc analyze radar --line PCA-Seg=report_b,report_parts --line "the paper=pca-seg-b,pca-part-b" --out figures

    REPORT is a folder of segvoc evaluate or segvoc reproduce. Reports of one network share a line. Writes radar.png and
    radar.json, and prints the scores. An axis ends at its best score and begins at 80% of its lowest.
    """
    if not reports and not published and not lines:
        raise UsageError("nothing to draw; give folders of reports, or --published NAME")
    joined = dict(map(_line, lines))
    require_matplotlib()
    from segvoc.analysis.radar import Radar  # here, since PyTorch takes seconds to import

    found = Radar.of(reports, published, joined)
    found.write(Path(out))
    echo(found.table())
    echo(Path(out) / "radar.png")


def _line(text: str) -> tuple[str, list[str]]:
    """Name and sources of a line."""
    name, _, listed = (part.strip() for part in text.partition("="))
    sources = [source for source in map(str.strip, listed.split(",")) if source]
    if not name or not sources:
        raise UsageError(f"--line {text!r} names no line; write NAME=SOURCE,SOURCE, for example ours=report_a,report_b")
    return name, sources
