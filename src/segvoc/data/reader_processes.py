"""Reader processes of PyTorch's data loader: what is told when one of them is killed."""

from collections.abc import Iterator
from typing import Any, TypeVar

from torch.utils.data import DataLoader

from segvoc.errors import ProcessError, SegvocError

_Batch = TypeVar("_Batch")


def batches_of(loader: DataLoader[Any], what: str, fix: str) -> Iterator[Any]:
    """Start the reader processes of a data loader now, and give its batches.

    The error says what the processes do ("reads images") and how to go on without them.

    Raises:
        ProcessError: (while iterating) a reader process was killed.
        SegvocError: (while iterating) what a reader process has raised.
    """
    batches = iter(loader)
    return _naming_killed_readers(batches, what, fix) if loader.num_workers else batches


def _naming_killed_readers(batches: Iterator[_Batch], what: str, fix: str) -> Iterator[_Batch]:
    try:
        yield from batches
    except SegvocError as error:
        # it comes with the reader's traceback, whose last line is that of the error
        raise type(error)(str(error).rstrip().rpartition("\n")[2].partition(": ")[2]) from None
    except (RuntimeError, EOFError, ConnectionError, FileNotFoundError) as error:
        # What a reader raises comes as "Caught ... in DataLoader worker process 0". One that is gone "exited
        # unexpectedly" or "is killed by signal", or else a batch that it had announced can't be fetched from it.
        killed = str(error).startswith("DataLoader worker (pid") if isinstance(error, RuntimeError) else True
        if not killed or str(error).startswith("Caught "):
            raise
        raise ProcessError(f"a process that {what} was killed, probably because memory ran out; {fix}") from None
