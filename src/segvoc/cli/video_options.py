"""Options of videos, which are labeled frame by frame."""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import click


@dataclass(frozen=True, kw_only=True)
class FrameOptions:
    """The values of the options that `video_options` adds, as typed."""

    every: int | None
    smooth: float | None

    @property
    def given(self) -> str | None:
        """One of the options that is there; None without any."""
        return next((f"--{name}" for name, value in vars(self).items() if value is not None), None)


def video_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options to a command, which gets them by the names of `FrameOptions`."""
    return functools.reduce(lambda command, name: _OPTIONS[name](command), reversed(list(_OPTIONS)), function)


_OPTIONS: Mapping[str, Callable[[Callable[..., Any]], Callable[..., Any]]] = {
    "every": click.option(
        "--every",
        type=click.IntRange(min=1),
        metavar="N",
        help="Videos: label every N-th frame; the overlay video has all frames, and those between keep its labels.",
    ),
    "smooth": click.option(
        "--smooth",
        type=click.FloatRange(min=0, max=1, max_open=True),
        metavar="A",
        help="Videos: weight of earlier frames in labels, from 0 (none) to below 1; calms what flickers.",
    ),
}
