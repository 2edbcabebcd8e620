"""The images that arguments name, and what is told about them."""

from collections import Counter
from collections.abc import Iterable

from segvoc.imaging.result_paths import InputImage, PathLike, image_paths, passed_over_line
from segvoc.progress import print_line


def named_images(arguments: Iterable[PathLike], skip: PathLike | None = None) -> list[InputImage]:
    """All images that arguments name, as `image_paths` finds them; a line says which files of folders aren't images."""
    passed_over: Counter[str] = Counter()
    found = image_paths(arguments, skip, passed_over)
    if (line := passed_over_line(passed_over)) is not None:
        print_line(f"segvoc: {line}")
    return found


def print_failures(failures: int, total: int, what: str, others: str = "the others are done") -> None:
    """Print the last line of a call in which images failed, each of which was named, where it says more than that.

    Args:
        failures: number of failures.
        total: number of images, or of whatever the call is about.
        what: their name in the plural.
        others: what is true of the others.
    """
    if total > 1 and failures:
        print_line(f"segvoc: {failures} of {total} {what} failed" + ("" if failures == total else f", {others}"))
