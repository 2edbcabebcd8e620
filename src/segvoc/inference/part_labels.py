"""Part labels: parts are queried along with the words and lie within their objects."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
from array_api_compat import device
from jaxtyping import Float, Float32, Int, UInt16

from segvoc.errors import UsageError
from segvoc.imaging.label_maps import UNLABELED
from segvoc.inference.protocols import Protocol
from segvoc.inference.strongest_class import StrongestOfOwner, mean_weights
from segvoc.inference.windows import ViewLogits
from segvoc.runtime.arrays import Array, array_namespace, sigmoid, to_numpy
from segvoc.vocabulary import PartVocabulary, Vocabulary, parts_by_object
from segvoc.vocabulary.names import MAX_CLASSES, folded

PartsAgainst = Literal["object", "contrast", "half"]
"""When a pixel gets a part. "object": if its best part beats the object's word, for networks that only compare words.
"contrast": the same; then parts absent from the object share its remaining pixels: a pixel gets the part that rises
most above its mean over the object, if the object's word rises less above its mean. "half": if the probability of the
best part is above 0.5, for networks trained on parts, or on phrases with independent probabilities."""

FOUND_SHARE = 0.01
"""With "contrast", minimum share of an object's pixels for a part to count as present."""


def words_with_objects(
    words: str | Iterable[str] | Mapping[int, str] | Vocabulary | None, parts: PartVocabulary | None
) -> Vocabulary:
    """The words, followed by the objects that only the parts mention; `UsageError` without any, or if invalid."""
    if parts is None:
        return words if isinstance(words, Vocabulary) else Vocabulary(() if words is None else words)
    if words is None:
        if not parts.objects:
            raise UsageError(f"{parts.parts[0].name!r} is a part of any object, but no object is named; give words too")
        return Vocabulary(parts.objects)
    vocabulary = words if isinstance(words, Vocabulary) else Vocabulary(words)
    known = set(map(folded, vocabulary.words))
    return vocabulary.with_words(*(name for name in parts.objects if folded(name) not in known))


@dataclass(frozen=True)
class Candidate:
    """A part that pixels of an object may be labeled as."""

    owner: int
    """Index of the object's word in the query."""
    part: int
    """Index of the part in the part vocabulary."""
    place: int
    """Index of the part's word in the query."""
    of_any: bool
    """Whether the part was requested of any object rather than of this one."""


def with_part_words(
    vocabulary: Vocabulary, parts: PartVocabulary, none: str | None = None, stand_ins: Sequence[str] = ()
) -> tuple[Vocabulary, tuple[Candidate, ...]]:
    """Add the words of parts ("dog's head"; a part of any object has one per object) to the requested words.

    The background and its stand-ins have no parts. Candidates are grouped by object, in ascending order of their parts.
    `UsageError`: a part's word is also a requested word, an object is the background, or there are too many words.
    """
    places = {word: place for place, word in enumerate(vocabulary.words)}
    for name in parts.objects:
        if name not in places or name == none:
            raise UsageError(f"{name!r} is the background, which has no parts; take it out of the parts")
    candidates: list[Candidate] = []
    of_objects = parts_by_object(vocabulary.words, parts.parts)
    for owner, (name, of_object) in enumerate(zip(vocabulary.words, of_objects, strict=True)):
        for index, part in () if name == none or name in stand_ins else of_object:
            place = places.setdefault(part.word(name), len(places))
            if place < len(vocabulary):
                raise UsageError(f"{part.word(name)!r} is both a word and a part; give it as one of them")
            candidates.append(Candidate(owner, index, place, of_any=part.object is None))
        if len(places) > MAX_CLASSES:
            raise UsageError(f"the words and their parts are more than {MAX_CLASSES} together; give fewer at a time")
    return Vocabulary(places), tuple(candidates)


def label_parts(
    candidates: Sequence[Candidate],
    output: ViewLogits,
    labels: UInt16[np.ndarray, "H W"],
    objects: Float[Array, "H W"],
    label_of: Sequence[int],
    against: PartsAgainst,
    protocol: Protocol,
) -> tuple[UInt16[np.ndarray, "H W"], Float32[np.ndarray, "H W"]]:
    """Label the part at each pixel: its index or 65535, and its probability (0 without a part).

    Only the parts of a pixel's word (`labels`, or 65535) are considered there; `objects` is the score of that word, a
    logit or, with `sigmoid_first`, a probability. `output` has the logits of the whole query, and `label_of` the label
    of each requested word, without stand-ins of the background.
    """
    xp, where = array_namespace(objects), device(objects)
    place_of = np.full(UNLABELED + 1, -1, np.int32)
    place_of[list(label_of)] = np.arange(len(label_of))
    present = set(place_of[np.bincount(labels.ravel()).nonzero()[0]].tolist())
    chosen = tuple(candidate for candidate in candidates if candidate.owner in present)
    if not chosen:
        return np.full(labels.shape, UNLABELED, np.uint16), np.zeros(labels.shape, np.float32)
    owner = xp.asarray(place_of[labels], device=where)
    maps = _CandidateMaps(chosen, output, protocol)
    best = maps.strongest(owner)
    half = 0.5 if protocol.sigmoid_first else 0.0
    found = best.value > (half if against == "half" else objects)
    winner, score = best.index, best.value
    if against == "contrast" and (missing := _missing(chosen, winner[found], owner)):
        maps = _CandidateMaps([chosen[number] for number in missing], output, protocol)
        lift = maps.lift_to_object(owner, objects)
        lifted = maps.strongest(xp.where(found, -1, owner), lift)
        more = lifted.value > objects
        winner = xp.where(more, xp.asarray(missing, device=where)[lifted.index], winner)
        score = xp.where(more, lifted.value - lift[lifted.index], score)
        found |= more
    probability = xp.clip(score, min=0, max=1) if protocol.sigmoid_first else sigmoid(score)
    parts = xp.asarray([candidate.part for candidate in chosen], device=where)
    part_labels = xp.where(found, parts[winner], UNLABELED)
    return to_numpy(part_labels).astype(np.uint16), to_numpy(xp.where(found, probability, 0))


def _missing(chosen: Sequence[Candidate], found: Int[Array, " N"], owner: Int[Array, "H W"]) -> list[int]:
    """The candidates with less than `FOUND_SHARE` of their object, excluding parts of any object.

    `found` is the candidate at each pixel that has one, `owner` the object at each pixel, from -1.
    """
    xp = array_namespace(owner)
    pixels = xp.bincount(found, minlength=len(chosen)).tolist()
    of_owner = xp.bincount(xp.reshape(owner, (-1,)) + 1).tolist()[1:]
    return [
        number
        for number, candidate in enumerate(chosen)
        if not candidate.of_any and pixels[number] < FOUND_SHARE * of_owner[candidate.owner]
    ]


class _CandidateMaps:
    """The maps of some candidates in the output for an image, which is for the whole query."""

    def __init__(self, candidates: Sequence[Candidate], output: ViewLogits, protocol: Protocol) -> None:
        self.output, self.protocol = output, protocol
        indices = partial(array_namespace(output.logits).asarray, device=device(output.logits))
        self.owners: Int[Array, " M"] = indices([candidate.owner for candidate in candidates])
        self.places: Int[Array, " M"] = indices([candidate.place for candidate in candidates])

    def strongest(self, owner: Int[Array, "H W"], lift: Float[Array, " M"] | None = None) -> StrongestOfOwner:
        """The strongest candidate of its object at each pixel; `lift` has a value per candidate, added to its map."""
        best = StrongestOfOwner(owner)
        for maps, numbers in self._read(owner.shape):
            raised = maps if lift is None else maps + lift[numbers, None, None]
            best.update_of(raised, numbers, self.owners[numbers])
        return best

    def lift_to_object(self, owner: Int[Array, "H W"], objects: Float[Array, "H W"]) -> Float[Array, " M"]:
        """For each of M candidates, its object's mean score over the object minus the candidate's mean there.

        All objects of the candidates are in the image; `objects` is the score of a pixel's object.
        """
        xp = array_namespace(objects)
        lift = xp.zeros(len(self.owners), dtype=xp.float32, device=device(objects))
        for maps, numbers in self._read(owner.shape):
            owners = self.owners[numbers]
            for present in xp.unique_values(owners):
                here, of_owner = owner == present, owners == present
                means = xp.sum(maps[of_owner, ...] * mean_weights(here, maps.shape[1], maps.shape[2]), axis=(1, 2))
                lift[numbers[of_owner]] = xp.mean(objects[here]) - means
        return lift

    def _read(self, size: Sequence[int]) -> Iterator[tuple[Float[Array, "N y x"], Int[Array, " N"]]]:
        """Maps of candidates that class selection kept, several at a time, and their indices among the candidates."""
        xp = array_namespace(self.places)
        asked = xp.sort(xp.unique_values(self.places))
        for maps, classes in self.output.maps(self.protocol, (size[0], size[1]), classes=asked):
            numbers = xp.nonzero(xp.isin(self.places, classes))[0]
            yield xp.take(maps, xp.searchsorted(classes, self.places[numbers]), axis=0), numbers
