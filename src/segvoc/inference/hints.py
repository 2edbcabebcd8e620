"""Hints: what suggests that other words or options were meant, found with each result."""

import re
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np

from segvoc.errors import Hint, LabelingWarning, warn_caller
from segvoc.imaging.label_maps import UNLABELED
from segvoc.inference.background import AUTO, Background
from segvoc.inference.encoded_image import EncodedViews
from segvoc.inference.job import LabelingJob
from segvoc.inference.pixel_labels import ClassLabels
from segvoc.inference.segmentation import Segmentation
from segvoc.vocabulary import Vocabulary, folded

SURROUNDINGS = 1 / 3
"""Share of an image in which stand-ins for the background beat all words from which the background is hinted at."""

SURE = 0.6
"""Mean confidence from which the words of a call cover its image, so that surroundings aren't looked for."""

MORE = 2.0
"""Times as many pixels as a word that another name has at least, to be hinted at.

With `RISE`, `CONFIDENT` and `TAKEN`, of 402 photographs labeled with a synonym 120 get the hint; following it raises
the pixel accuracy of 119, by 35 points on average, and lowers none. Of 280 with clothes or parts of cars beside "man"
or "asphalt", where the other name lowers 224, by up to 75 points, 2 get it, which lowers one by 2 points."""

RISE = 0.15
"""Minimum rise of the mean confidence in the pixels that another name gains."""

CONFIDENT = 0.5
"""Confidence from which a pixel counts as that of its word."""

TAKEN = 0.1
"""Maximum share of confident pixels of other words in the pixels that another name gains."""

REMEMBERED = 1024
"""Hints of a model's calls to remember."""

_SEPARATORS = re.compile(r"[;|\t\n\uff1b\uff0c\u3001\u060c\u061b]|\s\.\s|\.$")
"""Separators that people use instead of commas; also in Chinese, Japanese and Arabic, and Grounding DINO's periods."""

_SYNONYMS = {
    "person": {"man", "woman", "boy", "girl", "child", "kid", "baby", "people", "guy", "lady", "pedestrian"},
    "road": {"street", "asphalt"},
    "pavement": {"sidewalk"},
    "boat": {"ship"},
    "potted plant": {"houseplant"},
}
"""Names that mostly work better with `tiny` than their synonyms; IoU on COCO photos: 77 % against 2 to 45 (person), 63
against 41 (road), 69 against 56, 89 against 70, and 34 against 2."""


def find_hints(result: Segmentation, views: EncodedViews, job: LabelingJob) -> tuple[Hint, ...]:
    """Find the hints of a result, by its words, its confidence, and what other words find in the same encoded image.

    Other words are compared with the image only if its words have a name that works better, or are unlikely.

    Args:
        result: the result.
        views: the image, encoded.
        job: the call.
    """
    vocabulary, known_words, found = job.words.vocabulary, job.engine.own_words, list[Hint]()
    fills = job.options.fills_image and job.query.parts is None
    if vocabulary.words != known_words:
        is_found = bool((result.labels != UNLABELED).any())
        found += word_hints(vocabulary, fills_image=fills, is_found=is_found)
        found += known_word_hints(vocabulary.words, known_words) if known_words else synonym_hints(job, result, views)
        if fills and float(result.confidence.mean()) < SURE:
            found += surroundings_hints(share_of_surroundings(job, result, views))
    if job.has_plain_window(result.image, views):
        same = " has no effect on this image, which "
        found.append(Hint((("window", job.options.window), same, ("window", "auto"), " sees in the same way")))
    if result.is_unsure:
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


def share_of_surroundings(job: LabelingJob, result: Segmentation, views: EncodedViews) -> float:
    """Share of an image in which stand-ins for the background (wall, sky, ...) are likelier than all words.

    It is 0 for a model without such words (`ModelTraits.background_words`), and for a single word.
    """
    stand_ins = job.engine.traits.background_words
    if stand_ins is None or len(job.words) < 2:
        return 0.0
    background = Background(kind="unlabeled", threshold=0.0, stand_ins=stand_ins)
    found = job.with_background(background).class_labels(views, result.labels.shape)
    return float(np.mean(found.labels == UNLABELED))


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
    """A hint if none of the words is one that a model was trained on or taught (`known`)."""
    if not words or _names(words) & {folded(word) for word in known}:
        return []
    listed = f"{', '.join(known[:5])}{', ...' if len(known) > 5 else ''}"
    return [Hint((f"none of the words that this model was taught ({listed}) is used",))]


def synonym_hints(job: LabelingJob, result: Segmentation, views: EncodedViews) -> list[Hint]:
    """Hints at names that find more of what words mean, each tried on the encoded image in place of these words."""
    words, hints = result.words, list[Hint]()
    if job.query.parts is not None or job.smoothing is not None:  # their maps aren't those of this image and its words
        return hints
    for better, others in _SYNONYMS.items():
        meant = [index for index, word in enumerate(words) if _names([word]) & others]
        if not meant or better in _names(words):
            continue
        replaced = [better if index == meant[0] else word for index, word in enumerate(words) if index not in meant[1:]]
        tried = job.with_words(replaced).class_labels(views, result.labels.shape)
        if is_better(result, meant, tried, replaced.index(better)):
            quoted = " and ".join(f'"{words[index]}"' for index in meant)
            hints.append(Hint((f'{quoted} may be missed; "{better}" works better',)))
    return hints


def is_better(result: Segmentation, meant: Sequence[int], tried: ClassLabels, index: int) -> bool:
    """Whether a name that was tried in place of words, as the class `index`, finds more of the same thing.

    It has twice the pixels and is more confident, above all where it gained some, and hardly takes any from other words
    where these are confident: a name for the whole ("person") would take what was asked for beside it ("hat").
    """
    before, after = np.isin(result.labels, meant), tried.labels == index
    gained = after & ~before
    if not gained.any() or np.count_nonzero(after) < MORE * np.count_nonzero(before):
        return False
    if before.any() and tried.confidence[after].mean() <= result.confidence[before].mean():
        return False
    known = (result.labels != UNLABELED) & (result.confidence >= CONFIDENT)
    rise = float(tried.confidence[gained].mean() - result.confidence[gained].mean())
    return rise >= RISE and float(known[gained].mean()) <= TAKEN


def _names(words: Sequence[str]) -> set[str]:
    """All names in words, each with its synonyms."""
    return {folded(name.strip()) for word in words for name in word.split(",")}
