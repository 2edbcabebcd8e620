"""Names of files that others have chosen, as paths that stay where they belong."""

import re
from pathlib import Path


def safe_path(name: str) -> Path:
    """The name of a file in a dataset or an archive as a path that stays below the folder that it is joined to.

    Raises:
        ValueError: it is a URL, absolute, or points outside the folder.
    """
    if re.match(r"[a-zA-Z][a-zA-Z0-9+.-]*://", name):
        raise ValueError(f"{name[:100]!r} is a URL, which isn't fetched")
    if (
        "\0" in name
        or "\n" in name
        or any(len(piece.encode("utf-8", "replace")) > 255 for piece in re.split(r"[/\\]", name))
    ):
        raise ValueError(f"{name[:100]!r} is no name of a file")
    path = Path(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or re.match(r"[a-zA-Z]:", name):
        raise ValueError(f"{name[:100]!r} points outside the folder")
    return path
