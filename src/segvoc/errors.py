"""Errors and warnings: each is one line that says what is wrong and what to do about it."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches


class SegvocError(Exception):
    """Base class of all errors that the caller can fix; the message is one line."""


class InputError(SegvocError):
    """An image, folder or file can't be read; other inputs of the same call are unaffected."""


class ImageTooLargeError(InputError):
    """An image has more pixels than are allowed."""


class OutputError(SegvocError):
    """A result can't be written; an earlier one is unchanged."""


class DiskFullError(OutputError):
    """There is no space left for a result, and none for those after it."""


class UnavailableError(SegvocError):
    """A storage doesn't answer, though it was asked several times; what was finished is kept."""


class ProcessError(SegvocError):
    """A process that shares the work can't go on; what it had finished is kept."""


class TrainingError(SegvocError):
    """A training run can't continue; its last good checkpoint is kept."""


class UsageError(SegvocError, ValueError):
    """A call is wrong as a whole: words, names or options that are invalid or don't fit together."""


class CheckpointError(UsageError):
    """A file of weights is missing, damaged, unsafe to read or made for another network."""


class PromptTruncatedWarning(UserWarning):
    """A word is longer than the text encoder can read; its end was cut off."""


class DamagedJournalWarning(UserWarning):
    """A line of a journal can't be read; what it kept is lost or done again."""


class UnknownWordWarning(UserWarning):
    """The text encoder probably doesn't know a word, for example because it isn't English."""


class SkippedShapesWarning(UserWarning):
    """Some annotations of a dataset have no area, hence no pixels."""


class ActivationWarning(UserWarning):
    """A checkpoint doesn't say which activation its network was trained with."""


class FirstFrameWarning(UserWarning):
    """An image file has several frames or pages, of which only the first is read."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The name that was probably meant, as an addition to an error: " (did you mean tiny?)"; "" if none is close."""
    close = get_close_matches(name, list(known), n=1)
    return f" (did you mean {close[0]}?)" if close else ""


def missing_extra(package: str, extra: str) -> UsageError:
    """The error to raise where a package is missing that only one of segvoc's extras installs.

    Args:
        package: the missing package, as pip calls it.
        extra: the extra that installs it, for example "data".
    """
    return UsageError(f'this needs {package}, which isn\'t installed; install it with: pip install "segvoc[{extra}]"')


def missing_package(package: str) -> UsageError:
    """The error to raise where a package is missing that none of segvoc's extras installs, as pip calls it."""
    return UsageError(f"this needs {package}, which isn't installed; install it with: pip install {package}")


TORCH_PACKAGES = frozenset(("huggingface_hub", "open_clip", "safetensors", "timm", "torch", "torchvision"))
"""What the extra `torch` installs, by the names of its modules."""


@contextmanager
def naming_torch() -> Iterator[None]:
    """Raise one line that names the extra `torch` where an import inside fails for want of one of its packages."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in TORCH_PACKAGES:
            raise missing_extra("PyTorch", "torch") from None
        raise


def one_line(error: BaseException) -> str:
    """Another library's error as part of a one-line message: its first line, or its name if it has no message."""
    lines = str(error).strip().splitlines()
    return lines[0][:120] if lines else type(error).__name__
