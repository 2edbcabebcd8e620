"""Hints: what suggests that other words or options were meant, found with each result."""

import re
import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np

from segvoc.encoders.lexicon import without_color
from segvoc.errors import Hint, LabelingWarning, warn_caller
from segvoc.inference.decision import FILL, Rules
from segvoc.inference.job import ImageViews, LabelingJob
from segvoc.inference.pixel_labels import search_classes
from segvoc.inference.prepared_vocabulary import ClassQuery, PreparedVocabulary
from segvoc.inference.reports import LabelStatistics, LabelSummary
from segvoc.inference.windows import views
from segvoc.runtime.arrays import to_numpy
from segvoc.vocabulary import Vocabulary
from segvoc.vocabulary.names import folded

GOOD = 0.6
"""Expected share of right pixels from which nothing better is proposed."""

UNLABELED_SHARE, NAMED_SHARE, MOST_NAMED = 0.1, 0.04, 2
"""Share of an image without a label from which words for it are looked for; the least share that such a word wins, and
how many are named."""

COARSE = 8
"""Sides of an image relative to those of the map by which these shares are estimated."""

MOST_SAID = 5
"""Hints of a list of images to say; each result has its own."""

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
        found += word_hints(vocabulary, fills_image=fills)
        found += known_word_hints(vocabulary.words, known_words) if known_words else []
        if job.query.rules.decision.compares_colors:
            found += color_hints(job.query)
        if fills and image is not None and unlabeled >= UNLABELED_SHARE:
            found += unlabeled_hints(unnamed_words(job, image()))
    if image is not None and _sees_as_auto(job, image):
        same = " has no effect on this image, which "
        found.append(Hint((("window", job.options.window), same, ("window", "auto"), " sees in the same way")))
    about = job.result_metadata
    summary = LabelSummary.of(statistics, about["words"], about["background"], about["unsure_below"])
    better = None if job.taught is not None else job.query.rules.decision.better
    return (*quality_hints(summary.quality, better, is_unsure=summary.unsure), *found)


def quality_hints(quality: float | None, better: str | None, *, is_unsure: bool) -> list[Hint]:
    """What labels an image better if many of its labels may be wrong: a network, examples, or clicks."""
    absent = "your words may not be in this image"
    if quality is None or quality >= GOOD:
        return [Hint((f"low confidence everywhere; {absent}",))] if is_unsure else []
    start = f"low confidence everywhere; {absent}; if they are," if is_unsure else "many of these labels may be wrong;"
    network = "" if better is None else f"the network {better}, then "
    fixes = f"{network}teaching the words from a few labeled images (segvoc teach), or clicks (segvoc click)"
    return [Hint((f"{start} what helps is {fixes}",))]


class HintWarnings:
    """Warns of the hints of a model's calls; thread-safe."""

    def __init__(self) -> None:
        self._said: OrderedDict[Hint, None] = OrderedDict()
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[object, ...]:
        return HintWarnings, ()  # locks can't be copied, and what this process said isn't another's

    def warn(self, counts: Counter[Hint], total: int) -> None:
        """Warn the caller of the most common hints, with the number of images that have each, of a `total`.

        Of a single image, which may be one of a loop, only what hasn't been said yet.
        """
        for hint, images in counts.most_common(MOST_SAID):
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


def unnamed_words(job: LabelingJob, image: ImageViews) -> list[str]:
    """Common surroundings that win a part of what a call leaves unlabeled, those that win the most first."""
    query, decision = job.query, job.engine.traits.decision
    others = [query.queried.words[at] for at in query.group("others")]
    if not others or query.parts is not None:
        return []
    words = job.words.vocabulary.with_words(*others)
    rules = Rules(background=FILL, decision=replace(decision, common=(), wholes=(), stand_ins=None, confidence=None))
    prepared = PreparedVocabulary(job.words.encode, words, None, None)
    height, width = (max(1, round(side / COARSE)) for side in image.pixels.shape[:2])
    filling = replace(job, words=prepared, rules=rules, hints=None, options=replace(job.options, edges=False))
    (output,) = filling.compare([image.views])
    found = search_classes(output, (height, width), filling.query, filling.protocol)()
    shares = np.bincount(found.labels.ravel(), minlength=len(words))[: len(words)] / found.labels.size
    largest = [at for at in np.argsort(-shares, kind="stable") if at >= len(job.words) and shares[at] >= NAMED_SHARE]
    return [words.words[at] for at in largest[:MOST_NAMED]]


def _sees_as_auto(job: LabelingJob, image: Callable[[], ImageViews]) -> bool:
    """Whether a window that was named sees and labels the image just as "auto" does."""
    auto, window = job.engine.protocols.get("auto"), job.engine.window_protocol(job.options.window)
    if job.options.window == "auto" or auto is None or job.options.tiling is not None:
        return False
    if (window.pooling, window.selection, window.colors) != (auto.pooling, auto.selection, auto.colors):
        return False
    pixels, encoded = image()
    return len(encoded) == 1 and np.array_equal(to_numpy(encoded.pixels), views(pixels, auto))


def unlabeled_hints(words: Sequence[str]) -> list[Hint]:
    """A hint at words for what is unlabeled."""
    if not words:
        return []
    listed = " and ".join(f'"{word}"' for word in words)
    return [Hint((f"what none of your words names is unlabeled, probably {listed}; add words for it",))]


@lru_cache(maxsize=16)
def word_hints(vocabulary: Vocabulary, *, fills_image: bool = True) -> Sequence[Hint]:
    """Hints about words that probably mean something else; usually empty.

    Args:
        vocabulary: the words.
        fills_image: whether every pixel gets a word, since neither a background nor a threshold is set.
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
    if not (vocabulary.is_line and " " in word):
        return []
    listed = ", ".join(_AND.split(word) if _AND.search(word) else word.split())
    return [Hint((f'"{word}" is taken as a single word; for separate words, use commas: "{listed}"',))]


def color_hints(query: ClassQuery) -> list[Hint]:
    """A hint if a word says the color of its thing, and no other does, so that colors decide nothing."""
    compared = {at for group in query.colored for at in group.words}
    names = query.queried.first_names
    alone = [names[at] for at, fact in enumerate(query.facts) if fact.color is not None and at not in compared]
    if not alone:
        return []
    plain = without_color(alone[0])
    return [Hint((f'"{alone[0]}": this model hardly tells colors apart; "{plain}" is found better',))]


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
