"""The scores that papers report: all rows of their tables, and those to set beside the scores of a preset."""

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from segvoc.data.published_tables import PUBLISHED_ROWS
from segvoc.data.published_tables.rows import PartProtocol, PrintedScores, PublishedRow
from segvoc.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class PublishedScore:
    """What a paper reports for a network on a benchmark."""

    preset: str
    """Our name of the network."""
    table: str
    """The paper and its table."""
    scores: PrintedScores
    """In percent: "miou", or for parts "seen", "unseen" and "harmonic" (their harmonic mean, as printed)."""
    protocol: PartProtocol | None = None
    """For parts: how they were predicted."""
    source: str = ""
    """Address of the page with the scores, where there is one besides the paper."""


def published_rows(preset: str) -> tuple[PublishedRow, ...]:
    """All rows that a preset stands for, as it is or with settings, in the order of the tables."""
    return tuple(row for row in PUBLISHED_ROWS if row.preset == preset)


def recipe_rows(recipe: str) -> tuple[PublishedRow, ...]:
    """All rows that a recipe trains, as it is or with settings, in the order of the tables."""
    return tuple(row for row in PUBLISHED_ROWS if row.recipe == recipe)


def find_rows(name: str) -> tuple[PublishedRow, ...]:
    """Look up rows by name.

    Args:
        name: the name of a row, in upper or lower case; or a preset, for the rows that the papers report for it first.

    Raises:
        UsageError: there are none; the message suggests similar names.
    """
    folded = name.casefold()
    rows = tuple(row for row in PUBLISHED_ROWS if row.name.casefold() == folded or (row.main and row.preset == name))
    if rows:
        return rows
    names = dict.fromkeys(row.preset for row in PUBLISHED_ROWS if row.main) | {row.name: None for row in PUBLISHED_ROWS}
    known = {one.casefold(): one for one in names}
    similar = [known[found] for found in get_close_matches(folded, known, n=3, cutoff=0.4)]
    suggestion = " or ".join(map(repr, similar)) or "'pca-seg-b' or 'PCA-Seg, Table 3, serial'"
    raise UsageError(f"no published row is called {name!r}; did you mean {suggestion}?")


def scored_benchmarks(preset: str) -> tuple[str, ...]:
    """The benchmarks on which papers report scores of a preset as it is, in the order of the tables."""
    return tuple(dict.fromkeys(name for row in _main_rows() if row.preset == preset for name in row.scores))


def published_scores(benchmark: str) -> tuple[PublishedScore, ...]:
    """The scores that papers report for presets as they are, in the order of the tables; empty if there are none."""
    return tuple(
        PublishedScore(
            preset=row.preset,
            table=row.title,
            scores=row.scores[benchmark],
            protocol=row.protocol,
            source=row.source,
        )
        for row in _main_rows()
        if benchmark in row.scores
    )


def _main_rows() -> Sequence[PublishedRow]:
    return [row for row in PUBLISHED_ROWS if row.main]
