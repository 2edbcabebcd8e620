"""Renew the tables of docs/how_to/benchmarks.md, between its comments: python tools/make_benchmarks_page.py."""

import re
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from segvoc.data.benchmarks import BENCHMARKS, Download
from segvoc.evaluation.protocol import PUBLISHED_PROTOCOLS
from segvoc.layers.selection_rules import MostSimilar
from segvoc.models.presets import PRESETS

PAGE = Path(__file__).resolve().parents[1] / "docs" / "how_to" / "benchmarks.md"
Rows = Iterator[tuple[object, ...]]
"""The head of a table, then its rows."""


def page() -> list[str]:
    """The lines of the page, with the tables as the code has them."""
    text = PAGE.read_text(encoding="utf-8")
    tables = {"benchmarks": benchmarks(), "downloads": downloads(), "sources": sources(), "protocols": protocols()}
    for name, table in {**tables, "scores": scores(), "scores of parts": scores(parts=True)}.items():
        head, *rows = (f"| {' | '.join(map(str, row))} |" for row in table)
        start = text.index(begin := f"<!-- {name} -->\n\n")
        lines = "\n".join((head, re.sub(r"[^|]+", "---", head), *rows))
        text = f"{text[:start]}{begin}{lines}\n\n{text[text.index('<!-- end -->', start) :]}"
    return text.splitlines()


def benchmarks() -> Rows:
    """What is scored and how."""
    yield "name", "in papers", "classes", "images", "ignored label", "scoring", "label maps"
    for name, one in BENCHMARKS.items():
        scoring, maps = "for training" if name.endswith("-train") else one.protocol, one.label_folder
        images = "" if one.image_count is None else f"{one.image_count:,}"
        yield f"`{name}`", one.title, len(one.classes), images, one.ignored, scoring, f"`{maps}/*{one.label_suffix}`"


def downloads() -> Rows:
    """What each benchmark is made of."""
    yield "benchmarks", "download", "from", "unpacked files"
    titles: dict[tuple[Download, ...], list[str]] = {}
    for one in BENCHMARKS.values():
        for _, files in groupby(one.downloads, key=lambda file: file.archives):
            titles.setdefault(tuple(files), []).append(one.title)
    for files, names in titles.items():
        places = (f"`{file.locations[0]}{file.suffix and f'/*{file.suffix}'}`" for file in files)
        yield ", ".join(names), f"`{(*files[0].archives, files[0].member)[0]}`", files[0].page, ", ".join(places)


def sources() -> Rows:
    """Where a benchmark was published, and what differs in it."""
    yield "benchmarks", "published in", "notes"
    for citation in dict.fromkeys(one.citation for one in BENCHMARKS.values()):
        several = [one for one in BENCHMARKS.values() if one.citation == citation]
        notes = "; ".join(f"{one.title}: {one.note}" for one in several if one.note)
        yield "; ".join(one.title for one in several), citation, notes


def protocols() -> Rows:
    """The protocols that evaluations follow by default."""
    yield "network", "benchmarks", "window", "classes kept", "prompt", "background below", "published in", "left open"
    for family, by_benchmark in PUBLISHED_PROTOCOLS.items():
        preset = next(preset for preset in PRESETS.values() if preset.family == family)
        for one in dict.fromkeys(by_benchmark.values()):
            names = ", ".join(f"`{name}`" for name, other in by_benchmark.items() if other == one)
            rule, below = preset.protocols[one.options.window].selection, one.options.threshold
            most = f"at most {rule.keep}" if isinstance(rule, MostSimilar) else "all"
            prompt = f"`{one.templates[0]}`" if len(one.templates) == 1 else f"{len(one.templates)} of ImageNet"
            cells = (family, names, f"`{one.options.window}`", one.options.keep_classes or most, prompt)
            yield *cells, "" if below is None else below, one.source, one.chosen


def scores(*, parts: bool = False) -> Rows:
    """The scores in percent, with a row for each network and paper table."""
    rows: dict[tuple[str, str, str], dict[str, str]] = {}
    for one in BENCHMARKS.values():
        for row in one.published if (one.parts is not None) == parts else ():
            text = " / ".join(f"{value:.1f}" for value in row.scores[one.name].values())
            rows.setdefault((f"`{row.preset}`", row.protocol or "mIoU", row.title), {})[one.title] = text
    titles = [one.title for one in BENCHMARKS.values() if any(one.title in row for row in rows.values())]
    yield "network", "score", *titles, "from"
    yield from ((*key[:2], *(row.get(title, "") for title in titles), key[2]) for key, row in rows.items())


if __name__ == "__main__":
    PAGE.write_text("\n".join(page()) + "\n", encoding="utf-8")
