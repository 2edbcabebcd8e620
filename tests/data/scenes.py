"""Drawn scenes whose classes can be learned from color, texture and shape, and the names that benchmarks give them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Int, UInt8

SIZE = (128, 96)

Texture = Literal["plain", "stripes", "checks", "dots"]


@dataclass(frozen=True, kw_only=True)
class Concept:
    """Something that scenes show."""

    names: tuple[str, ...]
    """What the class lists call it."""
    color: tuple[int, int, int]
    texture: Texture = "plain"
    parts: tuple[str, ...] = ()
    """What the lists of parts call its upper, middle and lower third; stuff has no parts."""


_BODY, _CAR = ("head", "torso", "leg"), ("window", "door", "wheel")

CONCEPTS: tuple[Concept, ...] = (
    Concept(names=("sky-other", "sky"), color=(120, 180, 250)),
    Concept(names=("grass", "terrain"), color=(90, 200, 40), texture="dots"),
    Concept(names=("road",), color=(70, 70, 80), texture="stripes"),
    Concept(names=("building-other", "building"), color=(190, 110, 50), texture="checks"),
    Concept(names=("tree", "vegetation"), color=(10, 90, 70), texture="dots"),
    Concept(names=("person",), color=(250, 110, 180), parts=_BODY),
    Concept(names=("car",), color=(220, 20, 30), texture="stripes", parts=_CAR),
    Concept(names=("bus",), color=(250, 220, 30), texture="checks", parts=_CAR),
    Concept(names=("dog",), color=(120, 40, 200), texture="plain", parts=_BODY),
    Concept(names=("cat",), color=(235, 240, 240), texture="stripes", parts=_BODY),
)

SKY, GRASS, ROAD, BUILDING, TREE, PERSON, CAR, BUS, DOG, CAT = range(len(CONCEPTS))

OFTEN = 0.6

SHADES = (0.35, 0.0, -0.45)
"""How much lighter (or darker, below 0) the upper, middle and lower third of a thing is."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Scene:
    """An image, and what each pixel shows."""

    image: UInt8[np.ndarray, "H W 3"]
    concepts: Int[np.ndarray, "H W"]
    """Places in `CONCEPTS`."""
    parts: Int[np.ndarray, "H W"]
    """Places in `Concept.parts`; -1 where there is no part."""

    @property
    def caption(self) -> str:
        seen = [CONCEPTS[place].names[-1] for place in np.unique(self.concepts)]
        return f"a {seen[-1]} with {' and '.join(f'a {name}' for name in seen[:-1])}"


def draw_scene(seed: Sequence[int], things: Sequence[int] = (PERSON, CAR, BUS, DOG, CAT)) -> Scene:
    """Draw a scene: sky above grass or road, perhaps a building and a tree at the horizon, and two or three things."""
    generator = np.random.default_rng(seed)
    width, height = SIZE
    rows, columns = np.mgrid[:height, :width]
    horizon = int(generator.integers(30, 50))
    ground = GRASS if generator.random() < 0.5 else ROAD
    concepts = np.where(rows < horizon, SKY, ground)
    parts = np.full((height, width), -1)
    left = int(generator.integers(0, 64))
    building = (columns >= left) & (columns < left + 40) & (rows > horizon - 28) & (rows < horizon + 6)
    if generator.random() < OFTEN:
        concepts[building] = BUILDING
    crown = (rows - horizon + 6) ** 2 + (columns - (left + 70) % width) ** 2 < 20**2
    if generator.random() < OFTEN:
        concepts[crown] = TREE
    for thing in generator.permutation(things)[: int(generator.integers(2, 4))]:
        wide, high = {PERSON: (22, 52), CAR: (48, 28), BUS: (60, 40), DOG: (40, 36), CAT: (36, 36)}[int(thing)]
        top = int(generator.integers(horizon - high // 3, height - high + 1))
        start = int(generator.integers(0, width - wide + 1))
        inside = (rows >= top) & (rows < top + high) & (columns >= start) & (columns < start + wide)
        if thing in (DOG, CAT, PERSON):  # the others are boxes
            middle = (top + high / 2, start + wide / 2)
            inside &= ((rows - middle[0]) / high) ** 2 + ((columns - middle[1]) / wide) ** 2 < 0.25
        concepts[inside] = thing
        parts[inside] = np.minimum((rows[inside] - top) * 3 // high, 2)
    image = _painted(concepts, parts) + generator.integers(-6, 7, (height, width, 3))
    return Scene(image=image.clip(0, 255).astype(np.uint8), concepts=concepts, parts=parts)


def _painted(concepts: Int[np.ndarray, "H W"], parts: Int[np.ndarray, "H W"]) -> np.ndarray:
    rows, columns = np.indices(concepts.shape)
    darker = {
        "plain": np.zeros(concepts.shape),
        "stripes": rows // 3 % 2,
        "checks": (rows // 4 + columns // 4) % 2,
        "dots": (rows % 5 < 2) & (columns % 5 < 2),
    }
    image = np.zeros((*concepts.shape, 3))
    for place, concept in enumerate(CONCEPTS):
        shade = np.array((*SHADES, 0.0))[parts] - 0.2 * darker[concept.texture]
        color = np.array(concept.color) * np.minimum(1 + shade, 1)[..., None]
        color += (255 - color) * np.maximum(shade, 0)[..., None]
        image[concepts == place] = color[concepts == place]
    return image


def place_in(classes: Sequence[str], concept: Concept) -> int | None:
    """The class of a list that stands for a concept: the first whose first synonym is one of its names, if any."""
    first = [name.split(",")[0].strip() for name in classes]
    return next((first.index(name) for name in concept.names if name in first), None)


def labels_of(scene: Scene, classes: Sequence[str], none: int) -> Int[np.ndarray, "H W"]:
    """The scene's map as places in a list of classes, or `none` where its concept isn't in the list."""
    places = [place_in(classes, concept) for concept in CONCEPTS]
    return np.array([none if place is None else place for place in places])[scene.concepts]


def part_labels_of(scene: Scene, classes: Sequence[str], none: int) -> Int[np.ndarray, "H W"]:
    """The scene's parts as places in a list such as ("cat's head", "cat's leg"); see `labels_of`."""
    labels = np.full(scene.parts.shape, none)
    for place, concept in enumerate(CONCEPTS):
        for number, part in enumerate(concept.parts):
            name = f"{concept.names[-1]}'s {part}"
            if name in classes:
                labels[(scene.concepts == place) & (scene.parts == number)] = classes.index(name)
    return labels
