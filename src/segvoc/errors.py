"""Errors that a user can mend and warnings to read: each is one line that names the thing and the mend."""


class SegvocError(Exception):
    """Base of every error that the caller can mend; the message is one line."""


class InputError(SegvocError):
    """A picture, folder or file that can't be read; the other inputs of the same call are not concerned."""


class OutputError(SegvocError):
    """A result that can't be written; what stood there before is untouched."""


class TrainingError(SegvocError):
    """A training run that can't go on; its last good checkpoint stays."""


class UsageError(SegvocError, ValueError):
    """A call that is wrong as a whole: words, names or options that don't fit together."""


class CheckpointError(UsageError):
    """A file of weights that is missing, damaged, unsafe to read or made for another network."""


class PromptTruncatedWarning(UserWarning):
    """A word is longer than the text tower can read; the end of it was cut."""


class DamagedJournalWarning(UserWarning):
    """A line of a journal can't be read; what it kept is lost or done again."""


class SharedCoresWarning(UserWarning):
    """Other programs use the same cores, and PyTorch's waiting threads slow all of them down; see `segvoc.threads`."""


class UnknownWordWarning(UserWarning):
    """The text tower knows no part of a word, so it can't tell it from other unknown words."""


class FirstFrameWarning(UserWarning):
    """An image file has several frames or pages, of which only the first is read."""


def missing_extra(package: str, extra: str) -> UsageError:
    """The error to raise where a package is missing that only one of segvoc's extras installs.

    Args:
        package: the missing package, as pip calls it.
        extra: the extra that installs it, for example "benchmarks".
    """
    return UsageError(f'this needs {package}, which isn\'t installed; install it with: pip install "segvoc[{extra}]"')


def one_line(error: BaseException) -> str:
    """What another library's error says, as part of a line of ours: its first line, or its name if it says nothing."""
    lines = str(error).strip().splitlines()
    return lines[0][:120] if lines else type(error).__name__
