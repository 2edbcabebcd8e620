"""Files of secrets."""

from pathlib import Path

from segvoc.errors import UsageError


def read_secret(what: str, file: Path) -> str:
    """The content of a file of secrets, without space around it.

    Args:
        what: what errors call it.
        file: the file.

    Raises:
        UsageError: it can't be read or is empty.
    """
    try:
        secret = file.read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UsageError(f"the file of the {what}, {str(file)!r}, can't be read: {reason}; check the path") from None
    if not secret:
        raise UsageError(f"the file of the {what}, {str(file)!r}, is empty; write it there")
    return secret
