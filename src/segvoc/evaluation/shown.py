"""An evaluation that shows its progress on standard error."""

from functools import partial
from pathlib import Path

from segvoc.distributed import Processes
from segvoc.evaluation.report.report import Report
from segvoc.evaluation.result import ModelOrigin
from segvoc.evaluation.runner import evaluate
from segvoc.evaluation.task import EvaluationImage, EvaluationSettings, EvaluationTask
from segvoc.models.network_segmenter import NetworkSegmenter
from segvoc.progress import Progress, print_line, printable


def evaluate_shown(
    model: NetworkSegmenter,
    task: EvaluationTask,
    out: Path,
    settings: EvaluationSettings,
    origin: ModelOrigin,
    processes: Processes,
) -> Report:
    """Evaluate with a bar or lines of progress, and a line for each image that can't be read.

    The arguments, the result and the errors are those of `segvoc.evaluate`.
    """
    with Progress(f"evaluating on {printable(task.title)}", silent=not processes.first) as progress:
        return evaluate(
            model,
            task,
            out,
            settings,
            origin=origin,
            processes=processes,
            on_start=progress.start,
            on_result=partial(_count, progress),
        )


def _count(progress: Progress, image: EvaluationImage, error: str | None) -> None:
    """Show that an image is done, and its error if there is one."""
    if error is not None:
        print_line(f"segvoc: error: {error}")
    progress.update()
