"""Noun phrases of captions: the two extractors, and the phrases of a whole set of pictures."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import NamedTuple, Protocol, runtime_checkable

from segvoc.data.captions.cleaning import Cleaned, CleaningRules
from segvoc.data.captions.images import CaptionedImages
from segvoc.data.captions.noun_chunks import RulePhrases
from segvoc.errors import UsageError


@runtime_checkable
class PhraseExtractor(Protocol):
    """Captions in, the noun phrases of each out, as they are written and in their order.

    It takes many captions, since a parser is quicker with many at a time. identity: another one whenever its answers
    may be others.
    """

    @property
    def identity(self) -> str:
        """Name and version of what makes the phrases."""
        ...

    def __call__(self, captions: Iterable[str]) -> Iterator[list[str]]:
        """A list for each caption."""
        ...


def _spacy() -> PhraseExtractor:
    from segvoc.data.captions.spacy_phrases import SpacyPhrases  # here, since not everybody has spaCy

    return SpacyPhrases.load()


EXTRACTORS: dict[str, Callable[[], PhraseExtractor]] = {"rules": RulePhrases, "spacy": _spacy}
"""Every extractor by its name; `rules` needs nothing, `spacy` spaCy and its model en_core_web_sm."""


def extractor_name(name: str = "auto") -> str:
    """Of "auto" the paper's extractor where spaCy and its model are installed, else the rules; other names stay."""
    if name != "auto":
        return name
    return "spacy" if find_spec("spacy") and find_spec("en_core_web_sm") else "rules"


def phrase_extractor(name: str = "rules") -> PhraseExtractor:
    """The extractor of a name.

    Raises: UsageError: there is none of that name, or it needs what isn't installed.
    """
    name = extractor_name(name)
    if name not in EXTRACTORS:
        raise UsageError(f"the extractor of phrases {name!r} is unknown; it is one of auto, {', '.join(EXTRACTORS)}")
    return EXTRACTORS[name]()


class PicturePhrases(NamedTuple):
    """A picture's captions, the noun phrases of each, and what the rules make of them. picture: its position."""

    picture: int
    captions: tuple[str, ...]
    found: tuple[list[str], ...]
    cleaned: Cleaned


def picture_phrases(
    images: CaptionedImages, extractor: PhraseExtractor, rules: CleaningRules
) -> Iterator[PicturePhrases]:
    """What each picture's captions say, picture by picture."""
    found = extractor(caption for image in images.images for caption in image.captions)
    for index, image in enumerate(images.images):
        phrases = tuple(next(found) for _ in image.captions)
        yield PicturePhrases(index, image.captions, phrases, rules.clean(phrases))


@dataclass(frozen=True, kw_only=True)
class PhraseSet:
    """The pictures that have a phrase, and which ones.

    images: all captioned pictures. pictures: positions among them of those with a phrase. of_picture: for each of
    these, its phrases, by their positions in `phrases`. phrases: all of them, sorted. counts: phrases that were found,
    and that were dropped, by reason.
    """

    images: CaptionedImages
    pictures: tuple[int, ...]
    of_picture: tuple[tuple[int, ...], ...]
    phrases: tuple[str, ...]
    counts: Counter[str] = field(default_factory=Counter)

    @classmethod
    def collect(
        cls, images: CaptionedImages, extractor: PhraseExtractor, rules: CleaningRules | None = None
    ) -> "PhraseSet":
        """Read all captions. Pictures of which no phrase is left are left out (`len(images) - len(self)`).

        Raises: UsageError: no picture has a phrase.
        """
        pictures: list[int] = []
        chosen: list[tuple[str, ...]] = []
        counts: Counter[str] = Counter()
        for own in picture_phrases(images, extractor, rules or CleaningRules()):
            counts["kept"] += len(own.cleaned.phrases)
            counts.update(reason.partition(" ")[0].rstrip(":") for _, reason in own.cleaned.dropped)
            if own.cleaned.phrases:
                pictures.append(own.picture)
                chosen.append(own.cleaned.phrases)
        if not pictures:
            raise UsageError(
                f"no caption of {images.name!r} has a noun phrase that is kept; `segvoc analyze phrases` shows why"
            )
        phrases = tuple(sorted({phrase for own in chosen for phrase in own}))
        positions = {phrase: position for position, phrase in enumerate(phrases)}
        of_picture = tuple(tuple(positions[phrase] for phrase in own) for own in chosen)
        return cls(images=images, pictures=tuple(pictures), of_picture=of_picture, phrases=phrases, counts=counts)

    def __len__(self) -> int:
        """How many pictures have a phrase."""
        return len(self.pictures)

    def names(self, number: int) -> Sequence[str]:
        """The phrases of the picture with this number among those that have one."""
        return [self.phrases[phrase] for phrase in self.of_picture[number]]
