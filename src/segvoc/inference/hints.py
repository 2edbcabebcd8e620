"""Hints: what suggests that other words or options were meant, found with each result and said once."""

import re
import threading
from collections import OrderedDict
from collections.abc import Hashable, Sequence
from functools import lru_cache

import numpy as np

from segvoc.errors import Hint, LabelingWarning, warn_caller
from segvoc.imaging.label_maps import UNLABELED
from segvoc.inference.background import AUTO, Background
from segvoc.inference.encoded_image import EncodedViews
from segvoc.inference.job import LabelingJob
from segvoc.inference.segmentation import Segmentation
from segvoc.vocabulary import Vocabulary, folded

SURROUNDINGS = 1 / 3
"""Share of an image in which stand-ins for the background beat all words from which the background is hinted at."""

SURE = 0.6
"""Mean confidence from which the words of a call cover its image, so that surroundings aren't looked for."""

REMEMBERED = 1024
"""Hints and vocabularies of a model's calls to remember."""

_SEPARATORS = re.compile(r"[;|\t\n\uff1b\uff0c\u3001\u060c\u061b]|\s\.\s|\.$")
"""Separators that people use instead of commas; also in Chinese, Japanese and Arabic, and Grounding DINO's periods."""

_SYNONYMS = {
    "person": "man, woman, boy, girl, child, kid, baby, people, guy, lady, pedestrian",
    "road": "street, asphalt",
    "pavement": "sidewalk",
    "boat": "ship",
    "potted plant": "houseplant",
}
"""Names that work better with `tiny` than their synonyms; IoU on COCO photos: 77 % against 2 to 45 (person), 63 against
41 (road), 69 against 56, 89 against 70, and 34 against 2."""


class Hints:
    """The hints of a model's calls. A hint is said once, and an image of each vocabulary is looked at again."""

    def __init__(self) -> None:
        self._said, self._seen = _Memory(), _Memory()

    def of(self, result: Segmentation, views: EncodedViews, job: LabelingJob) -> tuple[Hint, ...]:
        """Find the hints of a result, by its words, its confidence, and surroundings of none of the words in the image.

        Args:
            result: the result.
            views: the image, encoded; surroundings are compared with the first image of a vocabulary alone.
            job: the call.
        """
        vocabulary, known_words, found = job.words.vocabulary, job.engine.own_words, list[Hint]()
        fills = job.options.fills_image and job.query.parts is None
        if vocabulary.words != known_words:
            is_found = bool((result.labels != UNLABELED).any())
            found += word_hints(vocabulary, fills_image=fills, is_found=is_found)
            found += known_word_hints(vocabulary.words, known_words)
            unlikely = float(result.confidence.mean()) < SURE
            if fills and unlikely and self._seen.adds(vocabulary.words):
                found += surroundings_hints(share_of_surroundings(job, result, views))
        if result.is_unsure:
            found.append(Hint(("low confidence everywhere; your words may not be in this image",)))
        return tuple(found)

    def warn(self, result: Segmentation) -> None:
        """Warn the caller of what hasn't been said yet."""
        for hint in result.hints:
            if self._said.adds(hint):
                warn_caller(LabelingWarning(hint))


class _Memory:
    """The last values that were seen; thread-safe."""

    def __init__(self) -> None:
        self._values: OrderedDict[int, None] = OrderedDict()
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[object, ...]:
        return _Memory, ()  # locks can't be copied, and what this process said isn't another's

    def adds(self, value: Hashable) -> bool:
        """Whether a value is new."""
        key = hash(value)  # a vocabulary may have 10,000 words
        with self._lock:
            is_new = key not in self._values
            self._values[key] = None
            self._values.move_to_end(key)
            if len(self._values) > REMEMBERED:
                self._values.popitem(last=False)
        return is_new


def share_of_surroundings(job: LabelingJob, result: Segmentation, views: EncodedViews) -> float:
    """Share of an image in which stand-ins for the background (wall, sky, ...) are likelier than all words.

    It is 0 for a model without such words (`ModelTraits.background_words`), and for a single word.
    """
    stand_ins = job.engine.traits.background_words
    if stand_ins is None or len(job.words) < 2:
        return 0.0
    background = Background(kind="unlabeled", threshold=0.0, stand_ins=stand_ins)
    labels = job.with_background(background).labels(views, result.labels.shape)
    return float(np.mean(labels == UNLABELED))


def surroundings_hints(share: float) -> list[Hint]:
    """A hint at the background if surroundings are likelier than all words in a third of an image."""
    if share < SURROUNDINGS:
        return []
    auto, other = ("background", AUTO), ("background", "other")
    start = "much of the image may not match any of your words; "
    return [Hint((start, auto, " leaves it unlabeled, ", other, " names it"))]


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
    if fills_image and (none := [word for word in words if folded(word) == "background"]):
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
        rest += f'; for separate words, use commas: "{", ".join(word.split())}"'
    return [Hint(("pixels where a single word is unlikely are unlabeled; ", ("threshold", 0), rest))]


def _separator_hint(word: str) -> Hint:
    names = re.split(r"\." if word[-1] == "." else _SEPARATORS, word)
    listed = ", ".join(filter(None, map(str.strip, names)))
    quoted = " ".join(word.split())
    return Hint(
        (f'"{quoted}" is taken as a single word; separate words with commas: "{listed}" (in a file: by lines)',)
    )


def known_word_hints(words: Sequence[str], known: Sequence[str]) -> list[Hint]:
    """Hints about words that a model, perhaps trained on a vocabulary (`known`), knows by other names."""
    requested = {folded(name.strip()) for word in words for name in word.split(",")}
    if known:
        if not words or requested & {folded(word) for word in known}:
            return []
        listed = f"{', '.join(known[:5])}{', ...' if len(known) > 5 else ''}"
        return [Hint((f"none of the words that this model was taught ({listed}) is used",))]
    hints = []
    for better, others in _SYNONYMS.items():
        meant = [f'"{name}"' for name in others.split(", ") if name in requested]
        if meant and better not in requested:
            hints.append(Hint((f'{" and ".join(meant)} may be missed; "{better}" works better',)))
    return hints
