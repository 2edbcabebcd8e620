"""Hints: what suggests that other words or options were meant, found with each result."""

import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np

from segvoc.errors import Hint, LabelingWarning, warn_caller
from segvoc.imaging.label_maps import UNLABELED
from segvoc.inference.decision import AUTO, Background, Rules
from segvoc.inference.job import ImageViews, LabelingJob
from segvoc.inference.reports import LabelStatistics, Summary
from segvoc.vocabulary import Vocabulary, folded

SURROUNDINGS_SHARE = 1 / 3
"""Share of an image in which stand-ins for the background beat all words from which the background is hinted at."""

COARSE = 8
"""Sides of an image relative to those of the map by which that share is estimated."""

SURE = 0.6
"""Mean confidence from which the words of a call cover its image, so that surroundings aren't looked for."""

UNLABELED_SHARE = 0.1
"""Share of an image without a label from which words for the rest of it are hinted at."""

REMEMBERED = 1024
"""Hints of a model's calls to remember."""

_SEPARATORS = re.compile(r"[;|\t\n\uff1b\uff0c\u3001\u060c\u061b]|\s\.\s|\.$")
"""Separators that people use instead of commas; also in Chinese, Japanese and Arabic, and Grounding DINO's periods."""

_AND = re.compile(r"\s+(?:and|or|&)\s+", re.IGNORECASE)
"""What stands between the words of a phrase."""

_NOTHING = re.compile(r"(the )?([a-z]+ )?background|(everything|anything|all) else|the (rest|others)")
"""What people write for pixels of none of their words."""


def find_hints(
    statistics: LabelStatistics, job: LabelingJob, image: Callable[[], ImageViews] | None = None
) -> tuple[Hint, ...]:
    """Find the hints of a result, by its words, its confidence, and what surroundings are in the same encoded image.

    Surroundings are compared with the image only if its words are unlikely.

    Args:
        statistics: those of the result's labels.
        job: the call.
        image: gives the image, and its views as a whole; None: it is too big, or there are several.
    """
    vocabulary, known_words, found = job.words.vocabulary, job.engine.own_words, list[Hint]()
    fills = job.options.threshold is None and job.words.background is None and job.query.parts is None
    unlabeled = statistics.unlabeled / statistics.total
    if vocabulary.words != known_words:
        found += word_hints(vocabulary, fills_image=fills, is_found=unlabeled < 1)
        found += known_word_hints(vocabulary.words, known_words) if known_words else []
        if fills and job.query.is_open:
            wholes = [job.query.queried.words[at] for at in job.query.group("unnamed wholes")]
            found += unlabeled_hints(wholes, unlabeled)
        elif fills and image is not None and float(statistics.confidence.sum()) / statistics.total < SURE:
            found += surroundings_hints(share_of_surroundings(job, image()))
    if job.window_is_named and image is not None and job.has_plain_window(image()):
        same = " has no effect on this image, which "
        found.append(Hint((("window", job.options.window), same, ("window", "auto"), " sees in the same way")))
    about = job.result_metadata
    if Summary.of(statistics, about["words"], about["background"], about["unsure_below"]).unsure:
        found.append(Hint(("low confidence everywhere; your words may not be in this image",)))
    return tuple(found)


class HintWarnings:
    """Warns of the hints of a model's calls; thread-safe."""

    def __init__(self) -> None:
        self._said: OrderedDict[Hint, None] = OrderedDict()
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[object, ...]:
        return HintWarnings, ()  # locks can't be copied, and what this process said isn't another's

    def warn(self, counts: Mapping[Hint, int], total: int) -> None:
        """Warn the caller of each hint, with the number of images that have it, of a `total`.

        Of a single image, which may be one of a loop, only what hasn't been said yet.
        """
        for hint, images in counts.items():
            if self._is_new(hint) or total > 1:
                warn_caller(LabelingWarning(hint, images, total))

    def _is_new(self, hint: Hint) -> bool:
        with self._lock:
            is_new = hint not in self._said
            self._said[hint] = None
            self._said.move_to_end(hint)
            if len(self._said) > REMEMBERED:
                self._said.popitem(last=False)
        return is_new


def share_of_surroundings(job: LabelingJob, image: ImageViews) -> float:
    """Share of an image in which stand-ins for the background (wall, sky, ...) are likelier than all words.

    It is 0 for a model without such words (`Decision.stand_ins`), and for a single word.
    """
    decision = job.engine.traits.decision
    if decision.stand_ins is None or len(job.words) < 2:
        return 0.0
    common = tuple(group[0] for group in decision.common)
    few = replace(decision.stand_ins, words=common or decision.stand_ins.words)  # all of them take as long as a call
    decision = replace(decision, stand_ins=few, common=(), wholes=(), confidence=None)
    rules = Rules(background=Background(kind="unlabeled", threshold=0.0), decision=decision)
    height, width = (max(1, round(side / COARSE)) for side in image.pixels.shape[:2])
    found = job.with_rules(rules).class_labels(image.views, (height, width))
    return float(np.mean(found.labels == UNLABELED))


def surroundings_hints(share: float) -> list[Hint]:
    """A hint at the background if surroundings are likelier than all words in a third of an image."""
    if share < SURROUNDINGS_SHARE:
        return []
    auto, other = ("background", AUTO), ("background", "other")
    start = "much of the image may not match any of your words; "
    return [Hint((start, auto, " leaves it unlabeled, ", other, " names it"))]


def unlabeled_hints(wholes: Sequence[str], share: float) -> list[Hint]:
    """A hint at words for what is unlabeled, `wholes` or surroundings, if that is a tenth of an image or more."""
    if share < UNLABELED_SHARE:
        return []
    if wholes:
        listed = " or ".join(f'"{whole}"' for whole in wholes)
        return [Hint((f"pixels of no part are unlabeled; add {listed} to your words to label the rest of it",))]
    start, end = "surroundings that none of your words names are unlabeled; name them, or ", " labels every pixel"
    return [Hint((start, ("threshold", 0), end))]


@lru_cache(maxsize=16)
def word_hints(vocabulary: Vocabulary, *, fills_image: bool = True, is_found: bool = False) -> Sequence[Hint]:
    """Hints about words that probably mean something else; usually empty.

    Args:
        vocabulary: the words.
        fills_image: whether every pixel gets a word, since neither a background nor a threshold is set.
        is_found: whether any of the words is in the image.
    """
    words = vocabulary.words
    hints = [_separator_hint(word) for word in words if _SEPARATORS.search(word)]
    if fills_image and (none := [word for word in words if _NOTHING.fullmatch(folded(word))]):
        start = f'"{none[0]}" is matched literally; for unmatched pixels: '
        hints.append(Hint((start, ("background", none[0]))))
    if hints or len(words) != 1 or not fills_image:
        return hints
    (word,) = words
    if ", " in word:
        each = "give each its own entry (in a file, its own line)"
        return [Hint((f'"{word}" is a single class with synonyms; for separate classes, {each}',))]
    rest, is_phrase = " gives it the whole image", vocabulary.is_line and " " in word
    if is_found and not is_phrase:
        return []
    if is_phrase:
        separate = _AND.split(word) if _AND.search(word) else word.split()
        rest += f'; for separate words, use commas: "{", ".join(separate)}"'
    return [Hint(("pixels where a single word is unlikely are unlabeled; ", ("threshold", 0), rest))]


def _separator_hint(word: str) -> Hint:
    names = re.split(r"\." if word[-1] == "." else _SEPARATORS, word)
    listed = ", ".join(filter(None, map(str.strip, names)))
    quoted = " ".join(word.split())
    return Hint(
        (f'"{quoted}" is taken as a single word; separate words with commas: "{listed}" (in a file: by lines)',)
    )


def known_word_hints(words: Sequence[str], known: Sequence[str]) -> list[Hint]:
    """A hint if none of the words is one that a model was trained on or taught (`known`)."""
    if not words or _names(words) & {folded(word) for word in known}:
        return []
    listed = f"{', '.join(known[:5])}{', ...' if len(known) > 5 else ''}"
    return [Hint((f"none of the words that this model was taught ({listed}) is used",))]


def _names(words: Sequence[str]) -> set[str]:
    """All names in words, each with its synonyms."""
    return {folded(name.strip()) for word in words for name in word.split(",")}
