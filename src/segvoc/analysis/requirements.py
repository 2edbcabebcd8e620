"""What figures need beside the package's own requirements; imports nothing, so that commands can ask at once."""

from importlib.util import find_spec

from segvoc.errors import missing_extra


def require_matplotlib() -> None:
    """Fail before any work is done if figures can't be drawn.

    Raises:
        UsageError: matplotlib isn't installed.
    """
    if find_spec("matplotlib") is None:
        raise missing_extra("matplotlib", "analysis")
