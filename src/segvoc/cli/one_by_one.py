"""Calls of `segvoc segment` that label big images or videos, one after the other."""

import json
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from segvoc.cli.options import print_failures
from segvoc.errors import DiskFullError, InputError
from segvoc.imaging.result_paths import InputImage, ResultFiles
from segvoc.labeling.labeling import BeginWork, Labeling, finished, result_stamp
from segvoc.progress import Progress, print_line
from segvoc.storage.resume import Key, stamp_of

if TYPE_CHECKING:
    from segvoc.inference.segmenter import Segmenter


_Files = TypeVar("_Files", bound=ResultFiles)


def disk_full(error: DiskFullError, done: int, total: int, what: str) -> DiskFullError:
    """The error that ends a call on a full disk.

    Args:
        error: that of one result.
        done: how many are done.
        total: how many there are.
        what: "images" or "videos".
    """
    if total == 1:
        return error
    return DiskFullError(f"{error}; {done} of {total} {what} are done, and the same call with --resume does the others")


def print_result(line: str | None) -> None:
    """Print a line to standard output, beside any bar; None prints nothing."""
    if line is not None:
        print_line(line, err=False)


class Steps:
    """Progress within one image or video: called with what is done, by earlier calls too, and with all there is."""

    def __init__(self, progress: Progress) -> None:
        self._progress, self._has_begun = progress, False

    def __call__(self, done: int, total: int | None) -> None:
        """Show that `done` rows or frames of `total` are done."""
        if not self._has_begun:
            self._has_begun, self._progress.done = True, done
            if total is not None:
                self._progress.start(total)
        else:
            self._progress.update(done - self._progress.done)


@dataclass(frozen=True, kw_only=True)
class OneByOne:
    """A call of `segvoc segment` with big images or videos."""

    labeling: Labeling
    model: "Segmenter"
    begin: BeginWork
    """Begins the work of the call, with all that the results depend on."""
    as_json: bool
    """Whether lines are reports, which are then printed of what was done before, too."""
    resume: bool
    """Whether to go on with what an earlier call has done."""

    def label(
        self,
        work: Sequence[tuple[InputImage, _Files | None]],
        label: Callable[[InputImage, _Files, Steps], tuple[Any, bool]],
        settings: Key,
        *,
        what: str,
        unit: str,
    ) -> int:
        """Label images or videos, print a line for each, and keep which are done.

        Args:
            work: what to label, and where the results go; None if there is nothing to read.
            label: labels one and writes its results; returns what was found, and whether all of it could be read.
            settings: all that the results depend on.
            what: "images" or "videos".
            unit: what a bar counts: "row", "frame".

        Returns:
            The exit code: 1 if one failed, or is damaged.

        Raises:
            UsageError: an earlier call has left results of other settings, or another call labels the same.
            OutputError: a result can't be written.
        """
        planned = [(source.path, files) for source, files in work if files is not None]
        failures, damaged = 0, 0
        with self.begin(settings) if self.resume or len(work) > 1 else nullcontext() as kept:
            done = finished(kept, planned) if self.resume and kept is not None else set()
            for number, (source, files) in enumerate(work):
                try:
                    if files is None:
                        raise InputError(source.problem or "nothing to read")
                    if files.stem in done:
                        print_line(f"segvoc: {str(source.path)!r} was done before")
                        line = json.dumps(files.read_report(), allow_nan=False) if self.as_json else None
                    else:
                        read = stamp_of(source.path)
                        with Progress("labeling", unit=unit) as progress:
                            result, whole = label(source, files, Steps(progress))
                        damaged += not whole
                        if kept is not None and whole:
                            kept.finish(files.stem, result_stamp(source.path, read, files))
                        line = self.labeling.describe(result, files)
                except InputError as error:
                    failures += 1
                    print_line(f"segvoc: error: {error}")
                    continue
                except DiskFullError as error:
                    raise disk_full(error, number - failures, len(work), what) from None
                print_result(line)
        print_failures(failures, len(work), what)
        return 1 if failures or damaged else 0
