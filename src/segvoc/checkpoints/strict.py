"""Strict key maps: published weights fit exactly, or a one-line error lists the differences.

The key maps beside the encoders and networks take the published weights by name, and read only names and shapes of the
modules that they fill, which may be on `meta`.
"""

import re
from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor, nn

from segvoc.errors import CheckpointError, listed

_MOST_NAMED = 10
"""Max unexpected and missing weights named in an error line."""

Renames = Iterable[tuple[str, str | Callable[[re.Match[str]], str]]]
"""Patterns in published names and their replacements in ours, applied in order."""


def renamed(official: str, renames: Renames) -> str:
    """Apply all of `renames` to a published name."""
    for pattern, replacement in renames:
        official = re.sub(pattern, replacement, official)
    return official


def inside(prefix: str, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Select the weights whose names start with `prefix`, and remove it."""
    return {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}


def shapes_of(module: nn.Module, prefix: str = "") -> dict[str, torch.Size]:
    """The shapes that a module's parameters and buffers must have, by name."""
    return {f"{prefix}{name}": value.shape for name, value in module.state_dict().items()}


def with_prefixes(states: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """One state dict from those of several modules, by the prefix of each module's names."""
    return {f"{prefix}{name}": value for prefix, state in states.items() for name, value in state.items()}


def fit_exactly(
    renamed: Iterable[tuple[str, str, Tensor]], expected: Mapping[str, torch.Size], whose: str
) -> dict[str, Tensor]:
    """Return the weights by our names if names and shapes match exactly.

    `renamed` has the published name, our name and the value of each weight; `expected` the shape of each of our
    parameters and buffers, where an empty vector accepts any length; `whose` is what the weights are for, in errors.
    `CheckpointError` if a name or shape doesn't fit, or a parameter has no value: its message names the first few, its
    notes (`--debug`) list all.
    """
    state: dict[str, Tensor] = {}
    unexpected: list[str] = []
    for theirs, ours, value in renamed:
        if ours not in expected or ours in state:
            unexpected.append(theirs)
        elif value.shape != expected[ours] and not (value.ndim == 1 and expected[ours] == (0,)):
            unexpected.append(f"{theirs} {list(value.shape)} instead of {list(expected[ours])}")
        state[ours] = value
    missing = [name for name in expected if name not in state]
    if unexpected or missing:
        both = {"unexpected": unexpected, "missing": missing}
        differences = [f"{status} {listed(names, _MOST_NAMED)}" for status, names in both.items() if names]
        error = CheckpointError(
            f"these {whose} weights are of another network: {'; '.join(differences)}; "
            "use the file that `segvoc info` names for this model"
        )
        for status, names in both.items():
            error.add_note("\n".join([f"{status}: {len(names)}", *names]))
        raise error
    return state


def fit_thirds(
    renamed: Iterable[tuple[str, str, Tensor]], expected: Mapping[str, torch.Size], whose: str, packed: str
) -> dict[str, Tensor]:
    """Like `fit_exactly`, for published queries, keys and values that are packed like ours or separate.

    Our packed parameters have `packed` in their names; the name of a single third is that of `third`.
    """
    thirds = {name: [third(name, letter) for letter in "qkv"] for name in expected if packed in name}
    shapes = {name: shape for name, shape in expected.items() if name not in thirds}
    for name, names in thirds.items():
        rows, *others = expected[name]
        shapes |= dict.fromkeys(names, torch.Size((rows // 3, *others)))
    weights = (
        (theirs, *part)
        for theirs, ours, value in renamed
        for part in (
            zip(thirds[ours], value.tensor_split(3), strict=True) if ours in thirds and value.ndim else [(ours, value)]
        )
    )
    state = fit_exactly(weights, shapes, whose)
    for name, names in thirds.items():
        state[name] = torch.cat([state.pop(part) for part in names])
    return state


def third(name: str, letter: str) -> str:
    """Name the queries (q), keys (k) or values (v) in our packed parameter, for `fit_thirds`."""
    return f"{name} ({letter})"


def check_values(state: Mapping[str, Tensor], ours: Mapping[str, Tensor]) -> None:
    """Check that values can be weights: finite in float32, and floating-point or integer as in `ours`."""
    for name, value in state.items():
        values = value.float()
        # a sum is faster; it is non-finite if any value is, but may also overflow
        is_finite = bool(values.sum().isfinite()) or bool(values.isfinite().all())
        if value.is_floating_point() != ours[name].is_floating_point() or not is_finite:
            raise CheckpointError(
                f"{name} has values that can't be weights (NaN, infinity or {value.dtype}); use another"
            )
