"""Which part of its object each pixel is: parts are asked for beside the words, and lie inside their objects."""

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
"""Where a pixel has a part at all. "object": where its strongest part is likelier than its object's own word, for
networks that only compare words; "half": where that part has a probability of 0.5, for networks that learnt parts."""

NO_PART = UNLABELLED
"""The part of a pixel without one."""


def words_with_objects(words: Iterable[str] | Vocabulary | None, parts: PartVocabulary | None) -> Vocabulary:
    """The words, and after them the objects that only the parts name.

    Raises: UsageError: there are none, or they are no words.
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
    """A part that may take pixels of an object. owner, place: of the object's and the part's word in what is asked."""

    owner: int
    part: int
    place: int


@dataclass(frozen=True)
class AskedParts:
    """What a network is asked about parts.

    asked: the words that are looked for, and after these `words` first ones those of parts: "dog's head", and of a part
    of any object one for each object. candidates: object by object, its parts in ascending order.
    """

    asked: Vocabulary
    words: int
    candidates: tuple[Candidate, ...]

    @classmethod
    def beside(cls, vocabulary: Vocabulary, parts: PartVocabulary, none: str | None = None) -> "AskedParts":
        """The parts of the words that are looked for; of `none`, which stands for none of them, there are none.

        Raises:
            UsageError: the word of a part is among the words, an object is not (it is the background), or they are
                too many.
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
        """The protocol, with a class selection that chooses among the words alone; parts go with their objects."""
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
        """The part of each pixel, and its probability (0 where there is none).

        Args:
            output: the network's logits for all that was asked.
            labels: the word of each pixel, or 65535; only a part of this word is looked for there.
            objects: what the network said of that word, a logit or (`sigmoid_first`) a probability.
            label_of: the label of each word that is looked for.
            against: what a part must outdo.
            protocol: the way of the image.
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
