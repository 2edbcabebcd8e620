"""Kinds of words: "skier" is a person, "red onion" an onion.

A text encoder relates "skier" to skis rather than to people. A network that was trained on few words recognizes others
better if it also compares them with a trained word that says what they are.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from segvoc.vocabulary import folded

_AFTER_NOUN = re.compile(r"\s(?:with|in|on|at|for|from|by|behind|near|under|made of)\s")
"""What begins the rest of a phrase, after the noun that says what it is: "man in a red coat"."""

_OF = re.compile(r"\sof\s(?:an?\s|the\s)?")
"""In "slice of pizza", the kind is that of the first noun, or else of the second."""

_PLURALS = (("", ""), ("s", ""), ("es", ""), ("ies", "y"), ("ves", "f"), ("ves", "fe"))
"""Endings of plurals, and those of their singulars."""


@dataclass(frozen=True, eq=False)
class WordKinds:
    """The words that a network was trained on, and for each the words that it is a kind of."""

    by_kind: Mapping[str, Sequence[str]] = field(default_factory=dict[str, Sequence[str]])
    """Trained words, and other words for things of this kind, all in lower case and singular."""

    def __post_init__(self) -> None:
        names = {name: kind for kind, others in self.by_kind.items() for name in others}
        object.__setattr__(self, "_kinds", {kind: kind for kind in self.by_kind} | names)

    def of(self, word: str) -> str | None:
        """The trained word that a word is a kind of; None if there is none, or it is this word itself.

        A phrase is a kind of its noun, as far as the words are known: "red sports car" and "car in the rain" are cars.
        """
        name = folded(word)
        for noun in _OF.split(_AFTER_NOUN.split(name)[0]):
            parts = noun.split()
            for start in range(len(parts)):
                kind = self._known(" ".join(parts[start:]))
                if kind is not None:
                    return None if kind == name else kind
        return None

    def _known(self, name: str) -> str | None:
        kinds: Mapping[str, str] = vars(self)["_kinds"]
        singulars = (name.removesuffix(plural) + ending for plural, ending in _PLURALS if name.endswith(plural))
        return next((kinds[one] for one in singulars if one in kinds), None)


NO_KINDS = WordKinds()
"""Of a network that relates words to images by their embeddings alone."""
