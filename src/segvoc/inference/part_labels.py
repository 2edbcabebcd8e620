"""Part labels: parts are queried along with the words and lie within their objects."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt16
from torch import Tensor

from segvoc.errors import UsageError
from segvoc.imaging.label_maps import UNLABELLED
from segvoc.inference.protocols import Protocol
from segvoc.inference.strongest_class import StrongestOfOwner
from segvoc.inference.view_logits import ViewLogits
from segvoc.layers.class_selection import WithParts
from segvoc.vocabulary import MAX_CLASSES, PartVocabulary, Vocabulary, parts_by_object

PartsAgainst = Literal["object", "half"]
"""When a pixel gets a part. "object": if its best part beats the object's own word, for networks that only compare
words. "half": if the probability of the best part is above 0.5, for networks trained on parts."""

NO_PART = UNLABELLED
"""Label of pixels without a part."""


def words_with_objects(words: Iterable[str] | Vocabulary | None, parts: PartVocabulary | None) -> Vocabulary:
    """The words, followed by the objects that only the parts mention.

    Raises:
        UsageError: there are no words, or invalid ones.
    """
    if parts is None:
        return words if isinstance(words, Vocabulary) else Vocabulary(() if words is None else words)
    if words is None:
        if not parts.objects:
            raise UsageError(f"{parts.parts[0].name!r} is a part of any object, and no object is named; give words too")
        return Vocabulary(parts.objects)
    vocabulary = words if isinstance(words, Vocabulary) else Vocabulary(words)
    known = set(vocabulary.words)
    added = [name for name in parts.objects if name not in known]
    return Vocabulary((*vocabulary.words, *added), synonyms=vocabulary.synonyms) if added else vocabulary


@dataclass(frozen=True)
class Candidate:
    """A part that pixels of an object may be labelled as."""

    owner: int
    """Index of the object's word in the query."""
    part: int
    """Index of the part in the part vocabulary."""
    place: int
    """Index of the part's word in the query."""


@dataclass(frozen=True)
class AskedParts:
    """A query that includes parts."""

    asked: Vocabulary
    """The requested words, followed by those of parts ("dog's head"); a part of any object has a word for each
    object."""
    words: int
    """Number of requested words."""
    candidates: tuple[Candidate, ...]
    """Candidates, grouped by object in ascending order of their parts."""

    @classmethod
    def beside(cls, vocabulary: Vocabulary, parts: PartVocabulary, none: str | None = None) -> "AskedParts":
        """Add the parts of the requested words to the query.

        Args:
            vocabulary: the requested words.
            parts: the parts to label.
            none: the background, which has no parts.

        Raises:
            UsageError: a part's word is also a requested word, an object is the background, or there are too many
                words.
        """
        places = {word: place for place, word in enumerate(vocabulary.words)}
        for name in parts.objects:
            if name not in places or name == none:
                raise UsageError(f"{name!r} is the background, which has no parts; take it out of the parts")
        candidates: list[Candidate] = []
        of_objects = parts_by_object(vocabulary.words, parts.parts)
        for owner, (name, of_object) in enumerate(zip(vocabulary.words, of_objects, strict=True)):
            for index, part in () if name == none else of_object:
                place = places.setdefault(part.word(name), len(places))
                if place < len(vocabulary):
                    raise UsageError(f"{part.word(name)!r} is both a word and a part; ask for it as one of them")
                candidates.append(Candidate(owner, index, place))
            if len(places) > MAX_CLASSES:
                raise UsageError(
                    f"the words and their parts are more than {MAX_CLASSES} together; ask for fewer at a time"
                )
        return cls(Vocabulary(places, synonyms=vocabulary.synonyms), len(vocabulary), tuple(candidates))

    def adapted(self, protocol: Protocol) -> Protocol:
        """The protocol with class selection restricted to the requested words; selected objects keep their parts."""
        if protocol.selection is None:
            return protocol
        owners: list[list[int]] = [[] for _ in range(len(self.asked) - self.words)]
        for candidate in self.candidates:
            owners[candidate.place - self.words].append(candidate.owner)
        return replace(protocol, selection=WithParts(protocol.selection, self.words, tuple(map(tuple, owners))))

    def label(
        self,
        output: ViewLogits,
        labels: UInt16[np.ndarray, "H W"],
        objects: Float[Tensor, "H W"],
        label_of: Sequence[int],
        against: PartsAgainst,
        protocol: Protocol,
    ) -> tuple[UInt16[np.ndarray, "H W"], Float32[np.ndarray, "H W"]]:
        """Label the part at each pixel.

        Args:
            output: the network's logits for the whole query.
            labels: the word at each pixel, or 65535; only the parts of this word are considered there.
            objects: the network's score for that word: a logit or, with `sigmoid_first`, a probability.
            label_of: the label of each requested word.
            against: the rule by which a pixel gets a part.
            protocol: the protocol that the image was segmented with.

        Returns:
            Index of the part at each pixel, `NO_PART` where there is none, and its probability (0 there).
        """
        device = objects.device
        place_of = np.full(UNLABELLED + 1, -1, np.int32)
        place_of[list(label_of)] = np.arange(self.words)
        present = set(place_of[np.bincount(labels.ravel()).nonzero()[0]].tolist())
        owner = torch.from_numpy(place_of[labels]).to(device)
        chosen = [candidate for candidate in self.candidates if candidate.owner in present]
        best = StrongestOfOwner(owner)
        owners, parts, places = (
            torch.tensor([getattr(candidate, name) for candidate in chosen], dtype=torch.int64, device=device)
            for name in ("owner", "part", "place")
        )
        for maps, classes in output.maps(protocol, (labels.shape[0], labels.shape[1]), classes=places.unique()):
            asked = torch.isin(places, classes)
            best.update_of(maps[torch.searchsorted(classes, places[asked])], parts[asked], owners[asked])
        half = 0.5 if protocol.sigmoid_first else 0.0
        found = best.value > (objects if against == "object" else torch.tensor(half, device=device))
        probability = (best.value if protocol.sigmoid_first else best.value.sigmoid()).where(found, 0)
        part_labels = best.index.where(found, NO_PART)
        return part_labels.cpu().numpy().astype(np.uint16), probability.cpu().numpy()
