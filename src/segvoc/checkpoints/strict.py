"""Published weights under our names: all of them fit exactly, or one line says what doesn't."""

import re
from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor

from segvoc.errors import CheckpointError

_MOST_NAMED = 10
"""Weights of each kind of complaint that the one line of an error names."""

Renames = Iterable[tuple[str, str | Callable[[re.Match[str]], str]]]
"""Patterns in published names, and what stands in their place in ours; one after another."""


def renamed(official: str, renames: Renames) -> str:
    """A published name with all of `renames` done."""
    for pattern, replacement in renames:
        official = re.sub(pattern, replacement, official)
    return official


def inside(prefix: str, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights whose names begin with `prefix`, without it."""
    return {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}


def fit_exactly(
    renamed: Iterable[tuple[str, str, Tensor]], expected: Mapping[str, torch.Size], whose: str
) -> dict[str, Tensor]:
    """Each weight by our name, if the names and shapes are just those that are expected.

    Args:
        renamed: published name, our name and value of each weight.
        expected: shape of each of our parameters and buffers.
        whose: the part of the network that the weights are for, as the error calls it.

    Raises:
        CheckpointError: a name or a shape that doesn't fit, or a parameter without a value. The first of each kind are
            named; the error's notes (`--debug`) list all.
    """
    found: dict[str, Tensor] = {}
    strange: list[str] = []
    for theirs, ours, value in renamed:
        if ours not in expected or ours in found:
            strange.append(theirs)
        elif value.shape != expected[ours]:
            strange.append(f"{theirs} {list(value.shape)} instead of {list(expected[ours])}")
        found[ours] = value
    missing = [name for name in expected if name not in found]
    if strange or missing:
        complaints = (_first("strange", strange), _first("missing", missing))
        error = CheckpointError(
            f"these {whose} weights are of another network: {'; '.join(filter(None, complaints))}; "
            "take the file that `segvoc info` names for this model"
        )
        for kind, names in (("strange", strange), ("missing", missing)):
            error.add_note("\n".join([f"{kind}: {len(names)}", *names]))
        raise error
    return found


def check_values(state: Mapping[str, Tensor], ours: Mapping[str, Tensor]) -> None:
    """Refuse what has the right names and shapes and yet can't be weights.

    Raises:
        CheckpointError: NaN, infinity (also where float32 ends), or numbers of another kind than in `ours`.
    """
    for name, value in state.items():
        if value.is_floating_point() != ours[name].is_floating_point() or not value.float().isfinite().all():
            raise CheckpointError(f"{name} holds what can't be a weight (NaN, infinity or {value.dtype}); take another")


def _first(kind: str, names: list[str]) -> str:
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return f"{kind} {', '.join(names[:_MOST_NAMED])}{more}" if names else ""
