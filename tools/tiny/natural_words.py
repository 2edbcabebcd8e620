"""Score tiny on photographs that it has not seen, by the names that people use for what is there.

    python -m tools.tiny.natural_words --photos ../shared/data/photos --more build/more --scale S --bias B

Each photograph is labeled with up to six of its words under other names (`natural_words.json`: "spaniel" for a dog, or
"tennis player" for a person beside a racket), with up to three words for what typically surrounds them where the data
set names no surroundings, and with three words that aren't there. Clothes are asked for without their wearer.

Pixels, in percent: accuracy (of what is labeled "none of the words" any other word than a thing's is right); of
surroundings, those that a thing takes; of things, those that another thing takes, and that surroundings take; and of
all, those of words that aren't there.
"""

import json
import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt16
from tqdm import tqdm

import segvoc
from segvoc.models.decisions import SURROUNDINGS
from segvoc.storage.files import write_json
from tools.tiny.held_out import HeldOut, fold_command, fold_model, opened

TABLE: Mapping[str, Mapping[str, list[str]]] = json.loads(Path(__file__).with_suffix(".json").read_text())
"""By name of a data set's word: other "names", and what is "around" it; and names of a person "beside" something."""

KINDS = ("accuracy", "takes surroundings", "neighbors", "taken by surroundings", "absent")
"""What `mistakes` counts, as the head of this file explains."""

SHARE = 0.01
"""Words of at least this share of a photograph are asked for."""

MOST_WORDS = 6
ADDED = 3
"""Surroundings, and words that aren't there."""


class Question(NamedTuple):
    """Words to ask for in a photograph."""

    labels: list[int]
    """The photograph's own words, in the order of their names among `words`."""
    words: list[str]
    """Names of these words, then of surroundings, then of what isn't there."""
    around: int
    """Number of names of surroundings."""


def question(one: HeldOut) -> Question | None:
    """What to ask of a photograph, the same each time; None without a large enough region of a word."""
    chance, own, shares = random.Random(f"natural {one.photo.key}"), one.photo.words, one.shares()
    large = sorted((label for label, share in shares.items() if share >= SHARE), key=lambda label: -shares[label])
    if one.photo.data_set == "clothing":
        large = [label for label in large if own[label] not in ("skin", "hair")][:3]
    there = {str(own[label]) for label in shares}
    names = dict[str, int]()
    for label in large[:MOST_WORDS]:
        word = str(own[label])
        beside = [
            name for thing, some in TABLE["beside"].items() if word == "person" and thing in there for name in some
        ]
        others = beside or TABLE["names"].get(word, [word])
        name = chance.choice(others) if chance.random() < 0.75 else word
        names.setdefault(name if name not in names else word, label)
    if not names:
        return None
    around = [
        name for label in names.values() for name in TABLE["around"].get(str(own[label]), ["wall", "sky", "grass"])
    ]
    around = [name for name in dict.fromkeys(around) if name not in names] if None in own else []
    chance.shuffle(around)
    taken = [*names, *around[:ADDED], *(name for word in there for name in (word, *TABLE["names"].get(word, [])))]
    absent = [word for word in TABLE["names"] if not any(word in name or name in word for name in taken)]
    asked = [*names, *around[:ADDED]]
    return Question(list(names.values()), [*asked, *chance.sample(absent, ADDED)], len(asked) - len(names))


def mistakes(one: HeldOut, asked: Question, labels: UInt16[np.ndarray, "H W"]) -> dict[str, float]:
    """Shares of pixels by kind of mistake, of those kinds that a photograph can show."""
    own, count = one.photo.words, len(asked.labels)
    truth = np.full(one.labels.shape, -1)
    for number, label in enumerate(asked.labels):
        truth[one.labels == label] = number
    is_none = np.isin(one.labels, [at for at, word in enumerate(own) if word is None]) & (asked.around > 0)
    stuff = np.isin(one.labels, [at for at, word in enumerate(own) if word in SURROUNDINGS]) | is_none
    is_thing = np.array(
        [own[label] not in SURROUNDINGS for label in asked.labels] + [False] * (len(asked.words) - count + 1)
    )
    guess = np.minimum(labels, len(asked.words)).astype(int)  # the last: unlabeled
    by_thing, named = is_thing[guess], truth >= 0
    things, scored = named & ~stuff, named | is_none
    right = (named & (guess == truth)) | (is_none & ~by_thing)
    absent = (guess >= count + asked.around) & (guess < len(asked.words))
    wrong = things & (guess != truth)
    found = {
        "accuracy": (right, scored),
        "takes surroundings": (stuff & by_thing, stuff),
        "neighbors": (wrong & by_thing, things),
        "taken by surroundings": (wrong & ~by_thing & ~absent, things),
        "absent": (absent & scored, scored),
    }
    return {kind: 100 * float(some.sum()) / all_.sum() for kind, (some, all_) in found.items() if all_.any()}


def summary(rows: Sequence[tuple[str, Mapping[str, float]]]) -> list[dict[str, object]]:
    """Means over photographs of each kind, by data set and over all."""
    groups: dict[str, list[Mapping[str, float]]] = defaultdict(list)
    for data_set, row in rows:
        groups[data_set].append(row)
    groups["all"] = [row for _, row in rows]
    found = []
    for name, some in groups.items():
        by_kind = {kind: [row[kind] for row in some if kind in row] for kind in KINDS}
        means = {kind: round(float(mean(shares)), 1) for kind, shares in by_kind.items() if shares}
        found.append({"photographs": name, "number": len(some), **means})
    return found


def main() -> None:
    """Parse the command line, label, print the table."""
    parser = fold_command(__doc__)
    parser.add_argument("--out", type=Path, help="write the table to this JSON file")
    arguments = parser.parse_args()
    model, photos = fold_model(arguments)
    rows = []
    for one in opened(tqdm(photos)):
        if asked := question(one):
            result: segvoc.Segmentation = model.segment(one.pixels, asked.words)
            rows.append((one.photo.data_set, mistakes(one, asked, result.labels)))
    found = summary(rows)
    for row in found:
        print(row)
    if arguments.out:
        write_json(arguments.out, {"rows": found})


if __name__ == "__main__":
    main()
