"""What can be in the way of a change to a project."""

from segvoc import UsageError
from segvoc_annotate.projects.records import ImageState, ProjectRecord


class ConflictError(UsageError):
    """Somebody else was faster: what is to be changed has another revision than the caller knows.

    Args:
        message: what happened.
        current: how it is now.
    """

    def __init__(self, message: str, current: ImageState | ProjectRecord) -> None:
        super().__init__(message)
        self.current = current


class ImageDoneError(ConflictError):
    """The labels of an image that is done aren't changed."""


class NotInProjectError(UsageError):
    """The project has no such image, or nothing about it yet."""


def changed_meanwhile(what: str, current: ImageState | ProjectRecord) -> ConflictError:
    """The error for something that has another revision than expected."""
    return ConflictError(
        f"{what} was changed meanwhile and has revision {current.revision}; look at it, and try again", current
    )
