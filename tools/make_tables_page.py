"""Write docs/papers/tables.md: every row of every table and every figure of the papers, with its commands.

Usage: python -m tools.make_tables_page. The rows are in `tools/papers`; `tests/papers` runs their commands in small.
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tools.papers.cat_seg import CAT_SEG
from tools.papers.err_seg import ERR_SEG
from tools.papers.pca_seg import PCA_SEG
from tools.papers.rows import STATUS_TEXTS, Row
from tools.papers.syn_seg import SYN_SEG

PAGE = Path(__file__).resolve().parents[1] / "docs" / "papers" / "tables.md"
PAPERS = (PCA_SEG, CAT_SEG, ERR_SEG, SYN_SEG)
HEAD = """# The papers' tables and figures

Every row of every table, and every figure, with the commands that make it. No score of a paper was measured here: the
published weights of most rows can't be had, and their training takes days on several GPUs. What is counted rather than
trained (parameters, multiply-adds) agrees, and tests check it. This page is made by `python -m tools.make_tables_page`,
and a test runs all of its commands on small networks and data.

In the commands, `ROOT` is the folder of [the benchmarks](../how_to/benchmarks.md) (by default `$DETECTRON2_DATASETS`),
and `REPORT`, `RUN` and `FOLDER` are new folders. `images`, `labels` and `classes.json` are labeled images of yours;
`captions.json` has [captions](../how_to/captions.md). `pca-seg-b.safetensors` and the like are weights: those of a
training (`REPORT/seed-0/run/model.safetensors`, `RUN/model.safetensors`), or the authors' checkpoint. `DECLIP-B.pt`,
`DECLIP-L.pt` and `convnext_base_w_320.bin` are [encoders](../how_to/weights.md) that segvoc can't fetch.

`segvoc reproduce` sets our scores beside those of the row. With `--train` it trains first, and `--benchmark a-150`
scores one benchmark alone. A file of weights keeps the options that it was trained with, so that it needs no `--set`.
Benchmarks are scored by the papers' protocols; [paper against code](differences.md) has what differs in the networks,
and [baselines](baselines.md) the parameters of every variant.
"""


def page() -> Iterator[str]:
    """The lines of the page."""
    yield HEAD
    yield from _summary()
    for paper in PAPERS:
        yield f"\n## {paper.title}\n"
        if paper.text:
            yield f"{paper.text}\n"
        yield "| where | what | status | commands and notes |\n|---|---|---|---|"
        yield from map(_line, paper.rows)


def _summary() -> Iterator[str]:
    counts = Counter(row.status for row in rows())
    yield "| status | rows | what it means |\n|---|---|---|"
    for status, text in STATUS_TEXTS.items():
        yield f"| {status} | {counts[status]} | {text} |"


def rows() -> tuple[Row, ...]:
    """The rows of all papers."""
    return tuple(row for paper in PAPERS for row in paper.rows)


def _line(row: Row) -> str:
    commands = "<br>".join(f"`{command}`" for command in row.commands)
    return f"| {row.where} | {row.what} | {row.status} | {'<br>'.join(filter(None, (commands, row.note)))} |"


def main() -> None:
    """Write the page anew."""
    PAGE.write_text("\n".join(page()) + "\n", encoding="utf-8")
    print(PAGE)


if __name__ == "__main__":
    main()
