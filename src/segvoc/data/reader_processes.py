"""Workers of PyTorch's data loader, with a clear error if a worker is killed."""

from collections.abc import Iterator
from typing import Any, TypeVar

from torch.utils.data import DataLoader

from segvoc.errors import ProcessError, SegvocError

_Batch = TypeVar("_Batch")


def batches_of(loader: DataLoader[Any], what: str, fix: str) -> Iterator[Any]:
    """Start the workers of a data loader now, and iterate over its batches; re-raises workers' errors in one line.

    A killed worker is a `ProcessError`, whose message `what` ("reads images") and `fix` complete.
    """
    batches = iter(loader)
    return _naming_killed_readers(batches, what, fix) if loader.num_workers else batches


def _naming_killed_readers(batches: Iterator[_Batch], what: str, fix: str) -> Iterator[_Batch]:
    try:
        yield from batches
    except SegvocError as error:
        # the message includes the worker's traceback; its last line is the error
        raise type(error)(str(error).rstrip().rpartition("\n")[2].partition(": ")[2]) from None
    except (RuntimeError, EOFError, ConnectionError, FileNotFoundError) as error:
        # A worker's exception starts with "Caught ... in DataLoader worker process 0". A dead worker "exited
        # unexpectedly" or "is killed by signal", or its announced batch can't be fetched.
        killed = str(error).startswith("DataLoader worker (pid") if isinstance(error, RuntimeError) else True
        if not killed or str(error).startswith("Caught "):
            raise
        raise ProcessError(f"a process that {what} was killed, probably because memory ran out; {fix}") from None
