"""The page of verdicts of a rehearsal."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from statistics import fmean

from rehearsal.trials import ABOVE_CHANCE, LOSS_FALLS_TO, PARTS_ABOVE_CHANCE, Trial
from segvoc.evaluation.report.markdown import percent
from segvoc.storage.atomic_writes import write_atomically

STYLE = "body{font:15px sans-serif;margin:2em}td,th{padding:.2em .8em;text-align:left;border-bottom:1px solid #ddd}"


@dataclass(frozen=True, kw_only=True)
class Verdicts:
    """What a rehearsal found."""

    trials: Sequence[Trial]
    """The recipes that weren't killed."""
    killed: Sequence[Trial]
    """The same once more, killed and continued."""
    minutes: float
    """How long it took."""

    def different(self) -> list[str]:
        """For each killed trial whose numbers aren't those of the whole one, which of them."""
        whole = {trial.name: trial for trial in self.trials}
        found = []
        for trial in self.killed:
            if trial.code not in (0, 1) or whole[trial.name].code not in (0, 1):
                found.append(f"{trial.name}: ended with exit code {trial.code}; see {trial.folder / 'log'}")
                continue
            expected, numbers = whole[trial.name].numbers(), trial.numbers()
            wrong = [name for name in expected if expected[name] != numbers[name]]
            found += [f"{trial.name}: other {', '.join(wrong)} after {len(trial.kills)} kills"] if wrong else []
        return found

    def failures(self) -> list[str]:
        """A line for everything that isn't as expected."""
        return [f"{trial.name}: {text}" for trial in self.trials for text in trial.shortfalls()] + self.different()

    def rows(self) -> list[list[str]]:
        """A row for each recipe."""
        table = [["recipe", "score", "chance", "loss", "kills", "seconds", "CPU seconds", "verdict"]]
        kills = {trial.name: len(trial.kills) for trial in self.killed}
        for trial in self.trials:
            short = trial.shortfalls()
            shown = ["—"] * 3
            if trial.code in (0, 1):
                scores, losses = trial.scores(), trial.losses()
                shown = [", ".join(f"{name} {percent(score)}" for name, score in scores.items())]
                shown += [f"{fmean(trial.chances().values()):.1f}", f"{losses[0]:.3f} to {losses[-1]:.3f}"]
            times = [f"{trial.seconds:.0f}", f"{trial.cpu_seconds:.0f}"]
            table.append([trial.name, *shown, str(kills.get(trial.name, 0)), *times, "; ".join(short) or "learned"])
        return table


def write_page(path: Path, verdicts: Verdicts) -> None:
    """Write the page; each recipe links its report."""
    head, *rows = verdicts.rows()
    cells = "".join(f"<th>{escape(name)}</th>" for name in head)
    lines = [f"<tr>{cells}</tr>"]
    for trial, (name, *rest) in zip(verdicts.trials, rows, strict=True):
        link = f"{trial.report.relative_to(path.parent).as_posix()}/index.html"
        cells = "".join(f"<td>{escape(text)}</td>" for text in rest)
        lines.append(f'<tr><td><a href="{link}">{escape(name)}</a></td>{cells}</tr>')
    kills, failures = sum(len(trial.kills) for trial in verdicts.killed), verdicts.failures()
    result = f"{len(failures)} of the expectations are not met" if failures else "all expectations are met"
    text = (
        f"{len(verdicts.trials)} recipes of the papers in small, from archives to verdicts, in {verdicts.minutes:.1f} "
        f"minutes: {result}. Expected: a mean mIoU of at least {ABOVE_CHANCE:g} times (of parts, an h-IoU of "
        f"{PARTS_ABOVE_CHANCE:g} times) chance (labels drawn at random from the classes of the images), a loss that "
        f"falls to at most {LOSS_FALLS_TO:g} times its beginning, and the same numbers after {kills} kills at random "
        "moments."
    )
    listed = "".join(f"<li>{escape(line)}</li>" for line in failures)
    table = f"<table>{''.join(lines)}</table>"
    title = "Rehearsal of the papers' recipes"
    body = f"<h1>{title}</h1><p>{escape(text)}</p><ul>{listed}</ul>{table}"
    content = f'<!doctype html><meta charset="utf-8"><title>{title}</title><style>{STYLE}</style>{body}'
    write_atomically(path, lambda file: file.write(content.encode()))
