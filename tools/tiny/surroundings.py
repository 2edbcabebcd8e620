"""Score tiny with lists that name things and leave out what surrounds them.

    python -m tools.tiny.surroundings --photos ../shared/data/photos

Each photograph is labeled with its things and three absent ones, once so that every pixel gets a word, and once by
default, where surroundings that are far likelier than all words stay unlabeled. `tiny` was trained on these
photographs: what counts is the difference. The results go to benchmarks/results/tiny_surroundings.json.
"""

import json
import random
import warnings
from argparse import ArgumentParser
from pathlib import Path

import numpy as np
from PIL import Image

import segvoc
from segvoc.errors import LabelingWarning
from segvoc.imaging.label_maps import UNLABELED
from segvoc.storage.files import write_json

RESULTS = Path(__file__).resolve().parents[2] / "benchmarks" / "results" / "tiny_surroundings.json"
SETS = {"voc": 100, "coco-minis": 100}
"""Photographs of each set, whose labels have everything but things as "background"."""
ABSENT = 3


def main() -> None:
    """Label the photographs in both ways, and write the mean scores of each set."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=Path, required=True)
    root = parser.parse_args().photos
    warnings.simplefilter("ignore", LabelingWarning)
    model, drawn = segvoc.load("tiny"), random.Random(0)
    rows: list[dict[str, object]] = []
    for name, most in SETS.items():
        words = json.loads((root / name / "classes.json").read_text(encoding="utf-8"))
        background, scores = words.index("background"), dict[str, list[tuple[float, float]]]()
        for path in drawn.sample(sorted((root / name / "images").iterdir()), most):
            labels = np.array(Image.open(root / name / "labels" / f"{path.stem}.png"))
            there = sorted({*np.unique(labels).tolist()} - {background, 255})
            absent = drawn.sample(sorted({*range(len(words))} - {background, *there}), ABSENT)
            asked = [*there, *absent]
            image = model.encode_image(path)
            for rule, threshold in (("every pixel gets a word", 0.0), ("surroundings stay unlabeled", None)):
                found = model.segment(image, [words[at] for at in asked], threshold=threshold).labels
                ids = np.where(found == UNLABELED, background, np.take(asked, found, mode="clip"))
                is_thing, is_known = np.isin(labels, there), labels != 255
                scores.setdefault(rule, []).append(
                    (float((ids == labels)[is_thing].mean()), float((ids == labels)[is_known].mean()))
                )
        for rule, of_rule in scores.items():
            things, everything = np.mean(of_rule, axis=0)
            figures = {"of things": round(float(things), 3), "of everything": round(float(everything), 3)}
            rows.append({"photographs": name, "rule": rule, "number": most, **figures})
            print(rows[-1], flush=True)
    write_json(RESULTS, {"rows": rows})


if __name__ == "__main__":
    main()
