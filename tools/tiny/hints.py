"""Measure whether what hints propose helps: the accuracy of photographs before and after following each.

    python -m tools.tiny.hints --photos ../shared/data/photos --number 18

Photographs and their other names are those of `tools.tiny.natural_words`; the model is the shipped one, which has seen
the photographs, so that only differences mean something. A proposal helps a photograph if it gains more than a point.
"""

import random
import warnings
from argparse import ArgumentParser
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from statistics import mean

import numpy as np

import segvoc
from tools.tiny.held_out import HeldOut, opened
from tools.tiny.natural_words import Question, mistakes, question
from tools.tiny.photos import read_photos

DATA_SETS = ("voc", "coco-things", "coco-panoptic", "coco-minis", "pantry", "caltech")
SURROUNDINGS = ("wall", "sky", "grass", "tree", "road", "floor", "building", "sea")
COLORS = ("red", "blue", "green", "white", "black", "yellow", "brown", "gray")
LEAST = 1.0
"""Gain or loss that counts [points]."""


def accuracy(one: HeldOut, asked: Question, result: segvoc.Segmentation) -> float | None:
    """Right pixels [%] of a result, whose further words are like none."""
    places = [asked.words.index(word) if word in asked.words else len(asked.words) for word in result.words]
    labels = np.array([*places, len(asked.words)])[np.minimum(result.labels, len(places))]
    return mistakes(one, asked, np.where(labels == len(asked.words), 65535, labels).astype(np.uint16)).get("accuracy")


def followed(model: segvoc.Segmenter, one: HeldOut) -> Iterator[tuple[str, float, float]]:
    """What hints propose, with the accuracy before and after."""
    if (asked := question(one)) is None:
        return
    things = Question(asked.labels, asked.words[: len(asked.labels)], 1)
    around = Question(asked.labels, asked.words[: len(asked.labels) + asked.around], max(asked.around, 1))

    def tried(what: str, which: Question, before: list[str], after: list[str], **options: object):
        results = model.segment(one.pixels, before), model.segment(one.pixels, after, **options)
        scores = [accuracy(one, which, result) for result in results]
        if None not in scores:
            yield what, *scores

    for which in (things, around):
        plain = model.segment(one.pixels, which.words)
        if np.mean(plain.labels == 65535) >= 0.1 and len(which.words) > 1:
            named = [*which.words, *(word for word in SURROUNDINGS if word not in which.words)]
            yield from tried("name surroundings", which, which.words, named)
            yield from tried("--threshold 0", which, which.words, which.words, threshold=0.0)
    rule = {"background": "background"}
    yield from tried(
        "--background background, not as a word", things, [*things.words, "background"], things.words, **rule
    )
    color = random.Random(one.photo.key).choice(COLORS)
    colored = Question(around.labels, [f"{color} {around.words[0]}", *around.words[1:]], around.around)
    if (before := accuracy(one, colored, model.segment(one.pixels, colored.words))) is not None:
        yield "leave out a color", before, accuracy(one, around, model.segment(one.pixels, around.words)) or 0.0


def main() -> None:
    """Parse the command line, label, print the table."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--number", type=int, default=18, help="photographs of each data set")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    model, gains = segvoc.load("tiny"), defaultdict[str, list[float]](list)
    for name in DATA_SETS:
        photos = read_photos(arguments.photos / name, name)
        random.Random(name).shuffle(photos)
        for one in opened(photos[: arguments.number]):
            for what, before, after in followed(model, one):
                gains[what].append(after - before)
    for what, found in gains.items():
        helped, harmed = sum(gain > LEAST for gain in found), sum(gain < -LEAST for gain in found)
        print(f"{what}: {len(found)} photographs, {helped} better, {harmed} worse, {mean(found):+.1f} points")


if __name__ == "__main__":
    main()
