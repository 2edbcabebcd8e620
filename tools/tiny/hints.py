"""Measure whether what hints propose helps: the accuracy of photographs before and after following each.

    python -m tools.tiny.hints --photos ../shared/data/photos --number 18

Photographs and their other names are those of `tools.tiny.natural_words`; the model is the shipped one, which has seen
the photographs, so that only differences mean something. A proposal helps a photograph if it gains more than a point.
"""

import math
import random
import warnings
from argparse import ArgumentParser
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from statistics import mean
from typing import Unpack

import numpy as np

import segvoc
from segvoc.imaging.label_maps import UNLABELED
from segvoc.inference.hints import UNLABELED_SHARE
from segvoc.inference.label_options import LabelKeywords
from tools.tiny.held_out import HeldOut, opened
from tools.tiny.natural_words import Question, mistakes, question
from tools.tiny.photos import read_photos

DATA_SETS = ("voc", "coco-things", "coco-panoptic", "coco-minis", "pantry", "caltech")
SURROUNDINGS = ("wall", "sky", "grass", "tree", "road", "floor", "building", "sea")
COLORS = ("red", "blue", "green", "white", "black", "yellow", "brown", "gray")
LEAST = 1.0
"""Gain or loss that counts [points]."""


def accuracy(one: HeldOut, asked: Question, result: segvoc.Segmentation) -> float:
    """Right pixels [%] of a result, whose further words are like none; NaN without pixels to score."""
    places = [asked.words.index(word) if word in asked.words else len(asked.words) for word in result.words]
    labels = np.array([*places, len(asked.words)])[np.minimum(result.labels, len(places))]
    labels = np.where(labels == len(asked.words), UNLABELED, labels).astype(np.uint16)
    return mistakes(one, asked, labels).get("accuracy", math.nan)


def followed(model: segvoc.Segmenter, one: HeldOut) -> Iterator[tuple[str, float, float]]:
    """What hints propose, with the accuracy before and after."""
    if (asked := question(one)) is None:
        return
    things = Question(asked.labels, asked.words[: len(asked.labels)], 1)
    around = Question(asked.labels, asked.words[: len(asked.labels) + asked.around], max(asked.around, 1))

    def score(which: Question, words: list[str], **options: Unpack[LabelKeywords]) -> float:
        return accuracy(one, which, model.segment(one.pixels, words, **options))

    for which in (things, around):
        if np.mean(model.segment(one.pixels, which.words).labels == UNLABELED) >= UNLABELED_SHARE:
            before = score(which, which.words)
            named = [*which.words, *(word for word in SURROUNDINGS if word not in which.words)]
            yield "name surroundings", before, score(which, named)
            yield "--threshold 0", before, score(which, which.words, threshold=0.0)
    literal, rule = [*things.words, "background"], score(things, things.words, background="background")
    yield "--background background, not as a word", score(things, literal), rule
    color = random.Random(one.photo.key).choice(COLORS)
    colored = Question(around.labels, [f"{color} {around.words[0]}", *around.words[1:]], around.around)
    yield "leave out a color", score(colored, colored.words), score(around, around.words)


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
                if not math.isnan(after - before):
                    gains[what].append(after - before)
    for what, found in gains.items():
        helped, harmed = sum(gain > LEAST for gain in found), sum(gain < -LEAST for gain in found)
        print(f"{what}: {len(found)} photographs, {helped} better, {harmed} worse, {mean(found):+.1f} points")


if __name__ == "__main__":
    main()
