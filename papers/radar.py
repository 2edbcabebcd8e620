"""Scores on several benchmarks as a radar plot: PCA-Seg, Fig. 2.

Each benchmark is an axis. Its edge is the best score of all lines, its center 80 % of the lowest, so that differences
between networks are visible; both are labeled. Part benchmarks have an axis per protocol, for the harmonic mean of
seen and unseen classes.
"""

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import click

from papers.drawing import new_figure, save_figure
from papers.tables import find_rows
from papers.view_options import out_option
from segvoc.cli import run_command
from segvoc.cli.output import echo
from segvoc.data.benchmarks import BENCHMARKS, SEMANTIC
from segvoc.errors import InputError, UsageError, one_line
from segvoc.evaluation.score_tables import percent
from segvoc.runtime.progress import aligned
from segvoc.runtime.version import __version__
from segvoc.storage.files import read_json, write_json

CENTER = 0.8
"""Score at the center of an axis, relative to its lowest score."""

FEWEST = 3
"""Min axes for a polygon."""

PROTOCOLS = {"pred-all": "Pred-All", "oracle-obj": "Oracle-Obj"}
"""The protocols of part benchmarks, with their names on an axis."""


@click.command()
@click.option(
    "--line",
    "lines",
    required=True,
    multiple=True,
    metavar="NAME=SOURCE;...",
    help="Draw a line of several reports, presets or rows with published scores; repeat for more.",
)
@out_option
def radar(lines: Sequence[str], out: str) -> None:
    """Draw scores on several benchmarks as a radar plot (PCA-Seg, Fig. 2).

    \b
    python -m papers.radar --line "PCA-Seg=report_b;report_parts" --line "the paper=pca-seg-b;pca-part-b" --out figures

    A source is a folder of segvoc evaluate or papers.reproduce, a preset, or a row: "PCA-Seg, Table 3, serial". Writes
    radar.png and radar.json, and prints the scores. An axis ends at its best score and begins at 80% of its lowest.
    """
    found = Radar.of(dict(map(_named_sources, lines)))
    found.write(Path(out))
    echo(found.table())
    echo(Path(out) / "radar.png")


def _named_sources(text: str) -> tuple[str, list[str]]:
    """Name and sources of a line."""
    name, _, listed = (part.strip() for part in text.partition("="))
    sources = [source for source in map(str.strip, listed.split(";")) if source]
    if not name or not sources:
        raise UsageError(f"--line {text!r} has no line name; write NAME=SOURCE;SOURCE, such as ours=report_a;report_b")
    return name, sources


class AxisScore(NamedTuple):
    """A score on one axis."""

    axis: str
    """Name of the axis."""
    title: str
    """Label of the axis."""
    score: float
    """Score in percent."""
    source: str
    """The report, or the row of a paper."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """The scores of a method, measured or published; it may have separate networks for objects and parts."""

    name: str
    axes: dict[str, AxisScore] = field(default_factory=dict)
    """Scores by the name of the axis."""
    published: bool
    """Whether the scores are a paper's."""

    @classmethod
    def of(cls, name: str, sources: Sequence[str | os.PathLike[str]]) -> "Line":
        """Collect the scores of reports, presets and rows; refuses two scores on one axis."""
        reported = [os.path.exists(source) for source in sources]
        line = cls(name=name, published=not any(reported))
        for source, is_report in zip(sources, reported, strict=True):
            for score in _report_scores(Path(source)) if is_report else _published_scores(os.fspath(source)):
                if (first := line.axes.setdefault(score.axis, score)) is not score:
                    title = first.title.replace("\n", " ")
                    raise UsageError(
                        f"{first.source!r} and {score.source!r} both have {title} of {name}; give one of them"
                    )
        return line

    @property
    def scores(self) -> dict[str, float]:
        """Score by the name of the axis, in percent."""
        return {axis: score.score for axis, score in self.axes.items()}


@dataclass(frozen=True, kw_only=True)
class Radar:
    """Lines over the axes that at least one of them has a score on."""

    titles: Mapping[str, str]
    """The axes in their order around the plot: name and label."""
    lines: tuple[Line, ...]

    @classmethod
    def of(cls, sources: Mapping[str, Sequence[str | os.PathLike[str]]]) -> "Radar":
        """Collect the scores of lines by name; refuses fewer than three axes."""
        lines = tuple(Line.of(name, listed) for name, listed in sources.items())
        titles = {axis: score.title for line in lines for axis, score in line.axes.items()}
        names = sorted(titles, key=lambda axis: ORDER.index(axis) if axis in ORDER else len(ORDER))
        if len(names) < FEWEST:
            found = ", ".join(titles[name].replace("\n", " ") for name in names) or "none"
            raise UsageError(
                f"a radar needs scores on {FEWEST} benchmarks or more; these are only {found}; add reports"
            )
        return cls(titles={name: titles[name] for name in names}, lines=lines)

    def limits(self, axis: str) -> tuple[float, float]:
        """The scores at the center and at the edge of an axis, in percent."""
        scores = [line.scores[axis] for line in self.lines if axis in line.scores]
        return CENTER * min(scores), max(scores)

    def radius(self, line: Line, axis: str) -> float:
        """Position of a line on an axis: 0 at the center, 1 at the edge, NaN without a score."""
        center, edge = self.limits(axis)
        return (line.scores[axis] - center) / ((edge - center) or 1) if axis in line.scores else math.nan

    def table(self) -> str:
        """Format the scores in percent for a terminal."""
        heads = [title.replace("\n", " ") for title in self.titles.values()]
        rows = [[line.name, *(percent(line.scores.get(axis)) for axis in self.titles)] for line in self.lines]
        return "\n".join(aligned([["", *heads], *rows]))

    def write(self, folder: Path) -> None:
        """Write radar.png and radar.json."""
        ranges = [self.limits(axis) for axis in self.titles]
        axes = [
            {"name": axis, "title": title.replace("\n", " "), "center": center, "edge": edge}
            for (axis, title), (center, edge) in zip(self.titles.items(), ranges, strict=True)
        ]
        lines = []
        for line in self.lines:
            sources = {axis: score.source for axis, score in line.axes.items()}
            lines.append({"name": line.name, "published": line.published, "scores": line.scores, "sources": sources})
        write_json(folder / "radar.json", {"segvoc": __version__, "axes": axes, "lines": lines})
        figure = new_figure(2, 2)
        plot: Any = figure.add_subplot(projection="polar")  # its methods aren't those of plain axes
        plot.set_theta_zero_location("N")
        plot.set_theta_direction(-1)
        angles = [2 * math.pi * place / len(self.titles) for place in range(len(self.titles))]
        for number, line in enumerate(self.lines):
            radii = [self.radius(line, axis) for axis in self.titles]
            style = {"linestyle": "--" if line.published else "-", "color": f"C{number}", "label": line.name}
            plot.plot([*angles, angles[0]], [*radii, radii[0]], marker="o", markersize=3, linewidth=1.4, **style)
        titles = zip(self.titles.values(), ranges, strict=True)
        plot.set_xticks(angles, [f"{title}\n{low:.1f} to {high:.1f}" for title, (low, high) in titles], fontsize=8)
        for label, angle in zip(plot.get_xticklabels(), angles, strict=True):
            side = round(math.sin(angle), 3)
            label.set_horizontalalignment("center" if not side else "left" if side > 0 else "right")
        plot.set_yticks([0.25, 0.5, 0.75, 1], [""] * 4)
        plot.set_ylim(0, 1.05)
        plot.tick_params(axis="x", pad=6)
        figure.legend(loc="outside lower center", ncols=2, fontsize=8)
        save_figure(folder / "radar.png", figure)


def _axis(benchmark: str, protocol: str) -> str:
    return f"{benchmark} {protocol}"


ORDER = tuple(
    axis
    for name in dict.fromkeys((*SEMANTIC, *BENCHMARKS))
    for axis in ([name] if BENCHMARKS[name].parts is None else [_axis(name, protocol) for protocol in PROTOCOLS])
)
"""The axes of benchmarks, in their order around the plot."""


def _report_scores(report: Path) -> list[AxisScore]:
    path = report / "report.json" if report.is_dir() else report
    try:
        return [
            AxisScore(axis, title, float(score), str(report))
            for entry in _entries(read_json(path))
            for axis, title, score in _axes(entry)
            if score is not None
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{str(path)!r} is not a report of segvoc evaluate or papers.reproduce ({one_line(error)})"
        ) from None


def _entries(content: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """The entries of a report: of a reproduction, of several benchmarks, or of one."""
    if "models" in content:
        return [row for model in content["models"] for row in model["benchmarks"] if "miou" in row]
    if "benchmarks" in content:
        return content["benchmarks"]
    return [{**content["data"], "miou": content["miou"], "parts": content["parts"]}]


def _axes(entry: Mapping[str, Any]) -> Iterator[tuple[str, str, float | None]]:
    """Name, title and score of the axes of a benchmark in a report."""
    if entry["parts"] is None:
        yield entry["name"], entry["title"], entry["miou"]
        return
    for protocol, shown in PROTOCOLS.items():
        score = entry["parts"][protocol]["part-cat-seg"]["harmonic"]
        yield _axis(entry["name"], protocol), f"{entry['title']}\n{shown}", score


def _published_scores(name: str) -> Iterator[AxisScore]:
    """The scores of a preset or a row of the papers' tables."""
    for row in find_rows(name):
        for benchmark, scores in row.scores.items():
            title, axis, score = BENCHMARKS[benchmark].title, benchmark, scores.get("miou")
            if row.protocol is not None:
                title, axis = f"{title}\n{PROTOCOLS[row.protocol]}", _axis(benchmark, row.protocol)
                score = scores["harmonic"]
            if score is None:
                raise UsageError(f"{row.name!r} has no mIoU; choose a row with one")
            yield AxisScore(axis, title, score, row.name)


if __name__ == "__main__":
    run_command(radar, "python -m papers.radar")
