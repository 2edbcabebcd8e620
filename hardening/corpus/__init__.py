"""The corpus of bad inputs, family by family."""

import random
from collections.abc import Callable, Iterator

from hardening.cases import Case
from hardening.corpus.archives import archive_cases
from hardening.corpus.folders import dataset_cases, export_cases, run_cases
from hardening.corpus.pictures import picture_cases
from hardening.corpus.texts import text_cases
from hardening.corpus.weights import weight_cases

_FAMILIES: dict[str, Callable[[random.Random, float], Iterator[Case]]] = {
    "pictures": picture_cases,
    "texts": text_cases,
    "weights": weight_cases,
    "archives": archive_cases,
    "datasets": dataset_cases,
    "exported": export_cases,
    "runs": run_cases,
}


def corpus(rng: random.Random, scale: float, only: str = "") -> Iterator[Case]:
    """The cases of all families whose names begin with `only`; the same for the same seed.

    Args:
        rng: seeded by the caller.
        scale: 1 for some ten thousand.
        only: the beginning of a name.
    """
    for name, cases in _FAMILIES.items():
        own = random.Random(rng.random())
        if name.startswith(only) or only.startswith(name):
            yield from cases(own, scale)
