"""Labeling in several processes, which share the CPU's cores; each labels its share of the batches in order."""

import warnings
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from contextlib import closing, nullcontext, suppress
from functools import partial
from itertools import chain
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from threading import Lock

from segvoc.errors import (
    Hint,
    LabelingWarning,
    ProcessError,
    PromptTruncatedWarning,
    SegvocError,
    UnknownWordWarning,
    UsageError,
    one_line,
)
from segvoc.inference.hints import MOST_SAID
from segvoc.inference.segmenter import Segmenter
from segvoc.labeling.task import FolderWork, Outcome, Planned, Task
from segvoc.models.digests import model_device
from segvoc.runtime import process_settings
from segvoc.storage.resume import ResumableWork

Label = Callable[[Task, Segmenter, Sequence[Planned], FolderWork | None], Generator[Outcome, None, None]]
"""Labels inputs in this process: `run.label_inputs`."""

_LAST_IMAGE = 30.0
"""Timeout for a worker process to finish its current images [s]."""


def label_in_processes(
    label: Label, task: Task, model: Segmenter, batches: Sequence[Sequence[Planned]], work: FolderWork | None = None
) -> Generator[Outcome, None, None]:
    """Label batches of images by `label` in several processes, which share the CPU's cores.

    `model` validates words and options; each process loads a copy. The generator raises `ProcessError` if a process was
    killed, or couldn't load the model; this call `UsageError` if words and options conflict, or the model is on a GPU.
    """
    if model_device(model) != "cpu":
        raise UsageError("a GPU labels images in batches, not in several processes; leave out --jobs, or --device cpu")
    label(task, model, [], None).close()
    return _from_processes(label, task, batches, min(task.labeling.jobs, len(batches)), work)


def _from_processes(
    label: Label, task: Task, batches: Sequence[Sequence[Planned]], jobs: int, work: FolderWork | None
) -> Generator[Outcome, None, None]:
    threads = max(1, (process_settings.onnx_threads() or process_settings.cores()) // max(1, jobs))
    context = get_context("spawn")  # threads don't survive a fork
    workers: list[tuple[BaseProcess, Connection]] = []
    try:
        for job in range(jobs):
            ours, theirs = context.Pipe(duplex=False)
            share = list(chain.from_iterable(batches[job::jobs]))
            # each process has a journal of its own
            begin = work and partial(ResumableWork, work.path.with_stem(f"{work.path.stem}-{job}"), work.key)
            process = context.Process(target=_serve, args=(theirs, label, task, share, begin, threads), daemon=True)
            with process_settings.interrupts_ignored():
                process.start()
            theirs.close()
            workers.append((process, ours))
        counts = Counter[Hint]()
        for number, batch in enumerate(batches):
            process, connection = workers[number % jobs]
            for _ in batch:
                yield _next_outcome(connection, process, counts)
        for process, connection in workers:
            with suppress(ProcessError):  # the end of the process
                while True:
                    _next_outcome(connection, process, counts)
        for hint, images in counts.most_common(MOST_SAID):
            warnings.warn(LabelingWarning(hint, images, sum(map(len, batches))), stacklevel=3)
    finally:
        for _, connection in workers:
            connection.close()
        for process, _ in workers:
            process.join(_LAST_IMAGE)
            process.kill()


def _next_outcome(connection: Connection, process: BaseProcess, counts: Counter[Hint]) -> Outcome:
    """The next outcome of a process; hints before it are counted, and other warnings passed on."""
    while True:
        try:
            received = connection.recv()
        except (EOFError, OSError):
            process.join()
            raise ProcessError(
                f"{process_settings.exit_reason(process.exitcode)}; what it had finished is kept: "
                "give --resume to go on, and fewer --jobs if memory is short"
            ) from None
        if isinstance(received, LabelingWarning):
            counts[received.hint] += received.images
        elif isinstance(received, Warning):
            warnings.warn(received, stacklevel=4)
        elif isinstance(received, ProcessError):  # of the whole process
            raise received
        else:
            return received


def _serve(
    connection: Connection,
    label: Label,
    task: Task,
    images: Sequence[Planned],
    begin: Callable[[], FolderWork] | None,
    threads: int,
) -> None:
    process_settings.exit_when_parent_dies()
    process_settings.for_own_process(threads)
    lock = Lock()

    def send(message: object) -> None:
        with lock:
            connection.send(message)

    # the parent has already warned about the words
    for known in (PromptTruncatedWarning, UnknownWordWarning):
        warnings.simplefilter("ignore", known)
    warnings.simplefilter("always", LabelingWarning)
    process_settings.ignore_warnings_of_image_libraries()
    warnings.showwarning = lambda message, *_, **__: send(message)
    # the parent has exited, or closed the pipe
    with suppress(BrokenPipeError, ConnectionResetError):
        try:
            with nullcontext() if begin is None else begin() as work:
                with closing(label(task, task.labeling.load(), images, work)) as outcomes:
                    for outcome in outcomes:
                        send(outcome)
        except SegvocError as error:
            send(ProcessError(str(error)))
        except Exception as error:
            send(ProcessError(f"a process failed with an unexpected {type(error).__name__}: {one_line(error)}"))
