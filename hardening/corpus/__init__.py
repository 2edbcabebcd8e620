"""The corpus of bad inputs, family by family."""

import random
from collections.abc import Callable, Collection, Iterator

from hardening.cases import Case
from hardening.corpus.archives import archive_cases
from hardening.corpus.folders import dataset_cases, export_cases, run_cases
from hardening.corpus.images import image_cases
from hardening.corpus.shared_models import shared_model_cases
from hardening.corpus.texts import text_cases
from hardening.corpus.weights import weight_cases

_FAMILIES: dict[str, Callable[[random.Random, float], Iterator[Case]]] = {
    "images": image_cases,
    "texts": text_cases,
    "weights": weight_cases,
    "archives": archive_cases,
    "datasets": dataset_cases,
    "exported": export_cases,
    "models": shared_model_cases,
    "runs": run_cases,
}


def corpus(rng: random.Random, scale: float, only: Collection[str] = ()) -> Iterator[Case]:
    """The cases of all families of these groups (none: all); the same for the same seed.

    Args:
        rng: seeded by the caller.
        scale: 1 for some ten thousand.
        only: names of groups, such as "images".
    """
    for name, cases in _FAMILIES.items():
        own = random.Random(rng.random())
        if not any(only) or name in only:
            yield from cases(own, scale)
