"""Scores on several benchmarks as a radar plot: PCA-Seg, Fig. 2.

Every benchmark has an axis of its own. Its edge is the best score of all lines, its center 80 % of the lowest, so that
differences between networks can be seen; both stand beside it. Part benchmarks have an axis for each protocol, of the
harmonic mean of seen and unseen classes.
"""

import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from segvoc.analysis.charts import new_figure, save_figure
from segvoc.data.benchmarks import BENCHMARKS, SEMANTIC
from segvoc.data.published_scores import find_rows
from segvoc.errors import InputError, UsageError, one_line
from segvoc.evaluation.report.markdown import percent
from segvoc.progress import aligned
from segvoc.storage.json_files import read_json, strict_json, write_json
from segvoc.version import __version__

CENTER = 0.8
"""Score at the center of an axis, relative to the lowest on it."""

FEWEST = 3
"""Fewest axes: with less there is no polygon."""

PROTOCOLS = {"pred-all": "Pred-All", "oracle-obj": "Oracle-Obj"}
"""The protocols of part benchmarks, with their names on an axis."""


class AxisScore(NamedTuple):
    """A score on one axis."""

    network: str
    name: str
    axis: str
    """Name of the axis."""
    title: str
    """What stands beside the axis."""
    score: float
    """In percent."""
    source: str
    """The report, or the row of a paper."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """The scores of a network, measured or published."""

    name: str
    axes: dict[str, AxisScore] = field(default_factory=dict)
    """Scores by the name of the axis."""
    published: bool = False
    """Whether the scores are a paper's."""

    def add(self, score: AxisScore) -> None:
        """Add a score.

        Raises:
            UsageError: the line has another one on the same axis.
        """
        if (first := self.axes.setdefault(score.axis, score)) is not score:
            title = first.title.replace("\n", " ")
            raise UsageError(
                f"{first.source!r} and {score.source!r} both have {title} of {self.name}; give one of them"
            )

    @property
    def scores(self) -> dict[str, float]:
        """Score by the name of the axis, in percent."""
        return {axis: score.score for axis, score in self.axes.items()}

    @property
    def sources(self) -> dict[str, str]:
        """For each axis, the report or the row of a paper that the score is from."""
        return {axis: score.source for axis, score in self.axes.items()}


@dataclass(frozen=True, kw_only=True)
class Radar:
    """Lines over the axes that at least one of them has a score on."""

    titles: Mapping[str, str]
    """The axes in their order around the plot: name, and what stands beside it."""
    lines: tuple[Line, ...]

    @classmethod
    def of(
        cls,
        reports: Sequence[str | os.PathLike[str]],
        published: Sequence[str] = (),
        joined: Mapping[str, Sequence[str]] | None = None,
    ) -> "Radar":
        """Collect scores: a line for each network of the reports, and one for each published name.

        Args:
            reports: folders of `segvoc evaluate` or `segvoc reproduce`, or their report.json. Reports of one network
                share a line.
            published: presets or rows of the papers' tables, see `find_rows`.
            joined: further lines by name, each of several reports or presets with published scores; a method may have
                one network for semantic segmentation and another one for parts.

        Raises:
            InputError: a report can't be read.
            UsageError: a published name is unknown, a line has two scores on one axis, or there are scores on fewer
                than three axes.
        """
        networks: dict[str, Line] = {}
        for report in reports:
            for score in _report_scores(Path(report)):
                networks.setdefault(score.network, Line(name=score.name)).add(score)
        lines = _told_apart(networks.values())
        for name in dict.fromkeys(published):
            rows = find_rows(name)
            shown = rows[0].name if len(rows) == 1 and not rows[0].main else f"{name}, published"
            lines.append(_joined(shown, [_published_scores(name)], published=True))
        for name, sources in (joined or {}).items():
            reported = [os.path.exists(source) for source in sources]
            scores = [
                _report_scores(Path(source)) if is_report else _published_scores(source)
                for source, is_report in zip(sources, reported, strict=True)
            ]
            lines.append(_joined(name, scores, published=not any(reported)))
        titles = {axis: score.title for line in lines for axis, score in line.axes.items()}
        names = sorted(titles, key=lambda axis: ORDER.index(axis) if axis in ORDER else len(ORDER))
        if len(names) < FEWEST:
            found = ", ".join(titles[name].replace("\n", " ") for name in names) or "none"
            raise UsageError(
                f"a radar needs scores on {FEWEST} benchmarks or more; these are only {found}; add reports"
            )
        return cls(titles={name: titles[name] for name in names}, lines=tuple(lines))

    def limits(self, axis: str) -> tuple[float, float]:
        """The scores at the center and at the edge of an axis, in percent."""
        scores = [line.scores[axis] for line in self.lines if axis in line.scores]
        return CENTER * min(scores), max(scores)

    def radius(self, line: Line, axis: str) -> float:
        """Where a line crosses an axis: from 0 at the center to 1 at the edge; NaN without a score."""
        center, edge = self.limits(axis)
        return (line.scores[axis] - center) / ((edge - center) or 1) if axis in line.scores else math.nan

    def table(self) -> str:
        """The scores in percent, for a terminal."""
        heads = [title.replace("\n", " ") for title in self.titles.values()]
        rows = [[line.name, *(percent(line.scores.get(axis)) for axis in self.titles)] for line in self.lines]
        return "\n".join(aligned([["", *heads], *rows]))

    def write(self, folder: Path) -> None:
        """Write radar.png and radar.json.

        Raises:
            OutputError: a file can't be written.
            UsageError: matplotlib isn't installed.
        """
        ranges = [self.limits(axis) for axis in self.titles]
        axes = [
            {"name": axis, "title": title.replace("\n", " "), "center": center, "edge": edge}
            for (axis, title), (center, edge) in zip(self.titles.items(), ranges, strict=True)
        ]
        lines = [
            {"name": line.name, "published": line.published, "scores": line.scores, "sources": line.sources}
            for line in self.lines
        ]
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
            AxisScore(strict_json(model, sort_keys=True), _name(model), axis, title, float(score), str(report))
            for model, benchmarks in _networks(read_json(path))
            for entry in benchmarks
            for axis, title, score in _axes(entry)
            if score is not None
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{str(path)!r} is not a report of segvoc evaluate or segvoc reproduce ({one_line(error)})"
        ) from None


def _networks(content: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, Any], Sequence[Mapping[str, Any]]]]:
    """The networks of a report with what was evaluated, of one benchmark, of several, or of a reproduction."""
    if "models" in content:
        for model in content["models"]:
            identity = {"name": model["name"], "weights_digest": model["weights"]["sha256"], "options": {}}
            yield identity, [row for row in model["benchmarks"] if "miou" in row]
    elif "benchmarks" in content:
        yield _identity(content["model"]), content["benchmarks"]
    else:
        yield _identity(content["model"]), [{**content["data"], "miou": content["miou"], "parts": content["parts"]}]


def _identity(model: Mapping[str, Any]) -> dict[str, Any]:
    return {name: model[name] for name in ("name", "weights_digest", "options")}


def _name(model: Mapping[str, Any]) -> str:
    return " ".join([model["name"], *(f"{name}={value}" for name, value in model["options"].items())])


def _axes(entry: Mapping[str, Any]) -> Iterator[tuple[str, str, float | None]]:
    """Name, title and score of the axes of a benchmark in a report."""
    if entry["parts"] is None:
        yield entry["name"], entry["title"], entry["miou"]
        return
    for protocol, shown in PROTOCOLS.items():
        score = entry["parts"][protocol]["part-cat-seg"]["harmonic"]
        yield _axis(entry["name"], protocol), f"{entry['title']}\n{shown}", score


def _told_apart(lines: Iterable[Line]) -> list[Line]:
    """The lines, those with one name numbered: weights don't name themselves."""
    lines = list(lines)
    names = [line.name for line in lines]
    numbered = []
    for place, line in enumerate(lines):
        number = names[: place + 1].count(line.name)
        name = f"{line.name} ({number})" if names.count(line.name) > 1 else line.name
        numbered.append(replace(line, name=name))
    return numbered


def _joined(name: str, sources: Iterable[Iterable[AxisScore]], *, published: bool) -> Line:
    line = Line(name=name, published=published)
    for scores in sources:
        for score in scores:
            line.add(score)
    return line


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
            yield AxisScore(row.name, row.name, axis, title, score, row.name)
