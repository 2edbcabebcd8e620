"""What suggested photographs teach tiny, beside as many random ones and half as many more.

    python -m benchmarks.suggest [--sets indoor car-parts] [--seeds 5]

For each seed some photographs of `../shared/data/photos` are held out, and words are taught on photographs of the
others: 20 and 30 random ones, 20 that were suggested by the text alone, and 10 of these with 10 more that were
suggested once the first were taught. Scores are of 1500 cells of each held-out photograph, which goes through the
network once.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

import segvoc
from benchmarks.machine import update
from benchmarks.teach import WITH_BACKGROUND, Examples
from segvoc.arrays import to_numpy
from segvoc.data.labeled_images import LabeledImages
from segvoc.imaging.label_maps import UNLABELED
from segvoc.inference.segmenter import Segmenter
from segvoc.inference.windows import views
from segvoc.teaching.examples import CELLS_OF_AN_IMAGE, Cells, labels_of_cells, sampled_cells
from segvoc.teaching.features import cell_features, channels_of, read_features, scored
from segvoc.teaching.learning import HeldOutScores, Learned, learn, predicted
from segvoc.teaching.suggesting import suggestions_of
from segvoc.teaching.uncertainty import ImageSummary, summary_of

HELD_OUT = {"indoor": 15, "car-parts": 40}
"""Photographs that are scored."""

SCORED_CELLS = 1500
"""Cells of a photograph that are scored."""

COUNT, MORE = 20, 30
"""Photographs that are suggested, and random ones that they are compared with."""


@dataclass(frozen=True, eq=False)
class Photograph:
    """What is kept of a photograph."""

    logits: np.ndarray
    features: dict[str, np.ndarray]
    size: tuple[int, int]
    shown: Cells
    """Labeled cells to learn from."""
    scored: Cells
    """Labeled cells to score."""


@dataclass(frozen=True, eq=False)
class Photographs:
    """A set of photographs."""

    words: tuple[str, ...]
    all: list[Photograph]

    @classmethod
    def of(cls, model: Segmenter, examples: Examples) -> "Photographs":
        """All of a set, read once."""
        text = model.encode_words(examples.vocabulary)
        protocol = replace(model.protocols["single"], selection=None)
        found: list[Photograph] = []
        for index in range(len(examples)):
            image, labels = examples.read(index)
            maps = model.find_features(views(image, protocol)[:1])
            features, logits = read_features(maps), to_numpy(model.compare(maps, text, protocol)[0])
            random = np.random.default_rng(index)
            shown = sampled_cells(features, logits, labels, index, CELLS_OF_AN_IMAGE, random)
            assert shown is not None
            grid = (int(logits.shape[2]), int(logits.shape[3]))
            of_cells = labels_of_cells(labels, grid).ravel().astype(np.int64)
            drawn = random.permutation(np.flatnonzero(of_cells != UNLABELED))[:SCORED_CELLS]
            cells = Cells(
                cell_features(features, grid, drawn).astype(np.float16),
                logits[0].reshape(logits.shape[1], -1)[:, drawn].T.astype(np.float16),
                np.zeros((0, len(drawn), logits.shape[1]), np.float16),
                of_cells[drawn],
                np.ones(len(drawn), np.float32),
                np.full(len(drawn), index),
            )
            kept = {name: to_numpy(one).astype(np.float16) for name, one in features.items()}
            found.append(Photograph(logits.astype(np.float16), kept, image.shape[:2], shown, cells))
        return cls(tuple(examples.vocabulary.words), found)

    def learned(self, indices: Sequence[int]) -> Learned:
        """What some photographs teach."""
        cells, nothing = Cells.joined([self.all[index].shown for index in indices]), np.zeros(len(self.words), np.int64)
        return learn(cells, self.words, nothing, nothing)

    def suggested(self, pool: Sequence[int], count: int, learned: Learned | None = None) -> list[int]:
        """Photographs of a pool that are suggested, by text alone or with what was learned."""
        names = {str(index): index for index in pool}
        summaries = [self._summary(index, learned) for index in pool]
        found = suggestions_of(summaries, count, model="tiny", words=self.words, taught=learned is not None)
        return [names[one.image] for one in found.suggestions]

    def _summary(self, index: int, learned: Learned | None) -> ImageSummary:
        one = self.all[index]
        logits = one.logits.astype(np.float32)
        if learned is not None and len(learned.classifiers.words):
            components, classifiers = learned.components, learned.classifiers
            weights = classifiers.weights @ components.basis.T / components.scale
            bias = classifiers.bias - weights @ components.mean
            ends = np.cumsum(list(channels_of(one.features).values()))[:-1]
            grid = (logits.shape[2], logits.shape[3])
            logits[:, classifiers.words] += scored(one.features, np.split(weights, ends, axis=1), bias, grid)
        return summary_of(str(index), one.size, self.words, logits, one.features)

    def score(self, learned: Learned, held_out: Sequence[int]) -> HeldOutScores:
        """Scores on photographs that nothing was learned from."""
        cells = Cells.joined([self.all[index].scored for index in held_out])
        classifiers = learned.classifiers
        return HeldOutScores.of(cells, predicted(cells, learned.components(cells), classifiers, classifiers.words))


def rows_of(name: str, photographs: Photographs, seed: int) -> list[dict[str, object]]:
    """The rows of one set and seed."""
    order = np.random.default_rng(seed).permutation(len(photographs.all)).tolist()
    held_out, pool = sorted(order[: HELD_OUT[name]]), sorted(order[HELD_OUT[name] :])
    random = np.random.default_rng([seed, 1]).permutation(pool).tolist()
    once = photographs.suggested(pool, COUNT)
    first = once[: COUNT // 2]
    rest = [index for index in pool if index not in first]
    then = photographs.suggested(rest, COUNT - len(first), photographs.learned(first))
    ways = {
        f"{COUNT} random": random[:COUNT],
        f"{MORE} random": random[:MORE],
        f"{COUNT} suggested": once,
        f"{COUNT} suggested in two rounds": first + then,
    }
    rows: list[dict[str, object]] = []
    for way, indices in ways.items():
        scores = photographs.score(photographs.learned(indices), held_out)
        rows.append({"set": name, "photographs": way, "seed": seed, "miou": scores.miou, "accuracy": scores.accuracy})
        print(rows[-1], flush=True)
    return rows


def means(rows: Sequence[dict[str, object]]) -> list[dict[str, object]]:
    """For each set and way the means over seeds, and the differences to the larger number of random photographs.

    Standard errors are over seeds.
    """
    found: list[dict[str, object]] = []
    for name, way in dict.fromkeys((str(row["set"]), str(row["photographs"])) for row in rows):
        line: dict[str, object] = {"set": name, "photographs": way}
        for score in ("miou", "accuracy"):
            own, other = (
                np.array([row[score] for row in rows if row["set"] == name and row["photographs"] == each], float)
                for each in (way, f"{MORE} random")
            )
            for of, values in ((score, own), (f"{score}_over_{MORE}_random", own - other)):
                line[of] = round(float(values.mean()), 2)
                line[f"{of}_error"] = round(float(values.std(ddof=1) / np.sqrt(len(values))), 2)
        found.append(line | {"seeds": sum(row["set"] == name and row["photographs"] == way for row in rows)})
    return found


def main() -> None:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, default=Path("../shared/data/photos"))
    parser.add_argument("--sets", nargs="+", choices=HELD_OUT, default=list(HELD_OUT))
    parser.add_argument("--seeds", type=int, default=5, help="draws of the held-out photographs, at least 2")
    chosen = parser.parse_args()
    model = segvoc.load("tiny", device="cpu", dtype="float32")
    for name in chosen.sets:
        folder = chosen.photos / name
        images = LabeledImages.from_folders(folder / "images", folder / "labels", folder / "classes.json")
        words = [word for word in images.vocabulary.words if word != "background" or name in WITH_BACKGROUND]
        photographs = Photographs.of(model, Examples(images, words))
        rows = [row for seed in range(chosen.seeds) for row in rows_of(name, photographs, seed)]
        for line in (found := means(rows)):
            print(line)
        update("suggest", found, ["set", "photographs"])


if __name__ == "__main__":
    main()
