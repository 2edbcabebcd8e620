"""Labeling with several processes of this machine, each of which has a model of its own."""

import warnings
from collections.abc import Callable, Generator, Sequence
from contextlib import closing, nullcontext, suppress
from itertools import chain
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from threading import Lock

from segvoc import process_settings
from segvoc.errors import ProcessError, PromptTruncatedWarning, SegvocError, UnknownWordWarning, UsageError
from segvoc.inference.segmenter import Segmenter
from segvoc.labeling.done_images import FolderWork, Planned, work_of_process
from segvoc.labeling.labeling import Labeling, label_images
from segvoc.models.digests import model_device

_LAST_IMAGE = 30.0
"""How long a process that is to end may take for the images that it has begun [s]."""


def label_in_processes(
    labeling: Labeling,
    model: Segmenter,
    groups: Sequence[Sequence[Planned]],
    jobs: int,
    work: FolderWork | None = None,
) -> Generator[str | SegvocError, None, None]:
    """Label images as `label_images` does, in several processes, which share the CPU's cores.

    Args:
        labeling: how.
        model: the model, which tells whether the words and options fit together; each process loads its own.
        groups: the images, in groups that go through the network together.
        jobs: number of processes.
        work: keeps which images are done; None: nothing does.

    Returns:
        A generator of the line to print for each image, in order and once its files are whole; or its error. It raises
        `ProcessError` if a process was killed, or couldn't load the model.

    Raises:
        UsageError: the words and options don't fit together, or the model is on a GPU; raised by this call.
    """
    if model_device(model) != "cpu":
        raise UsageError("a GPU labels images in batches, not in several processes; leave out --jobs, or --device cpu")
    label_images(labeling, model, []).close()
    return _in_order(labeling, groups, min(jobs, len(groups)), work)


def _in_order(
    labeling: Labeling, groups: Sequence[Sequence[Planned]], jobs: int, work: FolderWork | None
) -> Generator[str | SegvocError, None, None]:
    threads = max(1, (process_settings.onnx_threads() or process_settings.cores()) // max(1, jobs))
    context = get_context("spawn")  # threads don't survive a fork
    workers: list[tuple[BaseProcess, Connection]] = []
    try:
        for job in range(jobs):
            ours, theirs = context.Pipe(duplex=False)
            mine = list(chain.from_iterable(groups[job::jobs]))
            begin = None if work is None else work_of_process(work, job)
            process = context.Process(target=_serve, args=(theirs, labeling, mine, begin, threads), daemon=True)
            with process_settings.interrupts_ignored():
                process.start()
            theirs.close()
            workers.append((process, ours))
        for number, group in enumerate(groups):
            process, connection = workers[number % jobs]
            for _ in group:
                yield _next_line(connection, process)
    finally:
        for _, connection in workers:
            connection.close()
        for process, _ in workers:
            process.join(_LAST_IMAGE)
            process.kill()


def _next_line(connection: Connection, process: BaseProcess) -> str | SegvocError:
    while True:
        try:
            received = connection.recv()
        except (EOFError, OSError):
            process.join()
            raise ProcessError(
                f"{process_settings.how_it_ended(process.exitcode)}; what it had finished is kept: "
                "give --resume to go on, and fewer --jobs if memory is short"
            ) from None
        if isinstance(received, Warning):
            warnings.warn(received, stacklevel=4)
        elif isinstance(received, _Failure):
            raise ProcessError(received.message)
        else:
            return received


class _Failure:
    """What ends a process as a whole."""

    def __init__(self, message: str) -> None:
        self.message = message


def _serve(
    connection: Connection,
    labeling: Labeling,
    images: Sequence[Planned],
    begin: Callable[[], FolderWork] | None,
    threads: int,
) -> None:
    process_settings.end_with_parent()
    process_settings.for_own_process(threads)
    lock = Lock()

    def send(message: object) -> None:
        with lock:
            connection.send(message)

    for known in (PromptTruncatedWarning, UnknownWordWarning):  # the parent has warned of the words already
        warnings.simplefilter("ignore", known)
    process_settings.ignore_warnings_of_image_libraries()
    warnings.showwarning = lambda message, *_, **__: send(message)
    # the parent has gone, or wants no more
    with suppress(BrokenPipeError, ConnectionResetError):
        try:
            with nullcontext() if begin is None else begin() as work:
                with closing(label_images(labeling, labeling.load(), images, work)) as lines:
                    for line in lines:
                        send(line)
        except SegvocError as error:
            send(_Failure(str(error)))
