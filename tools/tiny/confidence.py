"""Fit tiny's confidence to the labels of a model on photographs that it has not seen, and score it.

    python -m tools.tiny.confidence --photos ../shared/data/photos --more build/more --scale S --bias B

Each photograph is labeled with its own words and three others of its data set, and with the words of `natural_words`. A
logistic regression says of labeled pixels whether their word is right. Scores are those of photographs left out of it,
in five groups: the rank correlation of `quality` with the pixel accuracy of a photograph, the area under the curve for
an accuracy above 0.8, and the calibration error of pixels in ten bins. The numbers at the end belong into
`TINY_CONFIDENCE` (segvoc/models/presets.py), whose `TINY_DECISION.weights` is the SHA-256 of the tiny.safetensors that
they were fitted to.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float
from scipy.stats import spearmanr
from tqdm import tqdm

from segvoc.inference.confidence import MOST, WORD_FIGURES, coarse_maps, fact_rows, figures
from segvoc.inference.job import LabelingJob
from segvoc.inference.label_options import LabelOptions
from segvoc.inference.pixel_labels import search_classes
from segvoc.inference.prepared_vocabulary import PreparedVocabulary
from segvoc.models.network_segmenter import NetworkSegmenter
from segvoc.storage.files import SHIPPED, file_sha256, write_json
from tools.tiny.held_out import HeldOut, fold_command, fold_model, opened
from tools.tiny.natural_words import ADDED, question

PIXELS = 300
"""Pixels of a photograph that the regression learns from; all photographs weigh the same."""

PENALTY = 0.03
"""Of the squared weights of figures with unit variance, relative to the mean cross-entropy."""

ABSENT_WEIGHT = -4.0
"""Weight of the figure "absent", which photographs with their own words don't teach."""

GROUPS = 5


@dataclass(frozen=True)
class Labeled:
    """A labeled photograph: what its confidence follows from, and what is right."""

    key: str
    figures: Float[np.ndarray, "N F"]
    """Of some labeled pixels: logit, figures of the word, figures of the image."""
    right: Bool[np.ndarray, " N"]
    everywhere: Float[np.ndarray, "M F"]
    """Of pixels of the whole image that got a word."""
    accuracy: float


def labeled(model: NetworkSegmenter, one: HeldOut, words: Sequence[str], labels: Sequence[int]) -> Labeled:
    """Label a photograph with words, the first of which are names of its `labels`."""
    job = LabelingJob.of(model, PreparedVocabulary(model.encode_words, list(words), None, None), LabelOptions())
    (output,) = job.view_logits([one.pixels])
    height, width = one.labels.shape
    found = search_classes(output, (height, width), job.query, job.protocol)()
    maps = np.asarray(coarse_maps(output, job.protocol, (height, width), len(words)))
    of_words, of_image = figures(maps, fact_rows(job.query.facts, maps))
    truth = np.full(one.labels.shape, -1)
    for number, label in enumerate(labels):
        truth[one.labels == label] = number

    def rows(y: np.ndarray, x: np.ndarray) -> Float[np.ndarray, "N F"]:
        word = np.where(found.labels[y, x] < len(words), found.labels[y, x], 0)
        logit = np.clip(np.asarray(found.strongest)[y, x], -MOST, MOST)[:, None]
        return np.concatenate([logit, of_words[word], np.broadcast_to(of_image, (len(y), len(of_image)))], axis=1)

    chance, named = np.random.default_rng(random.Random(one.photo.key).getrandbits(32)), np.argwhere(truth >= 0)
    y, x = named[chance.choice(len(named), min(PIXELS, len(named)), replace=False)].T
    with_word = np.argwhere(found.labels < len(words))
    right, every = found.labels == truth, with_word[:: max(1, len(with_word) // 4000)].T
    return Labeled(one.photo.key, rows(y, x), right[y, x], rows(*every), float(right[truth >= 0].mean()))


def questions(one: HeldOut) -> list[tuple[list[str], list[int]]]:
    """The words to label a photograph with, and which of its labels the first of them name."""
    own, there = one.photo.words, list(one.shares())
    others = [word for at, word in enumerate(own) if word is not None and at not in there]
    random.Random(one.photo.key).shuffle(others)
    asked = [([str(own[at]) for at in there] + others[:ADDED], there)] if there else []
    natural = question(one)
    return asked + ([(natural.words, natural.labels)] if natural else [])


def fitted(rows: Sequence[Labeled]) -> Float[np.ndarray, " F+1"]:
    """Bias and weights of the logistic regression, by Newton's method."""
    x, right = np.concatenate([row.figures for row in rows]), np.concatenate([row.right for row in rows])
    weight = np.concatenate([np.full(len(row.right), 1 / len(row.right)) for row in rows])
    weight, mean, std = weight / weight.mean(), x.mean(axis=0), x.std(axis=0) + 1e-6
    z = np.concatenate([np.ones((len(x), 1)), (x - mean) / std], axis=1)
    z[:, -1] = 0  # "absent" has a weight of its own
    penalty, found = PENALTY * len(x) * np.eye(z.shape[1]), np.zeros(z.shape[1])
    penalty[0, 0] = 0
    for _ in range(30):
        probability = 1 / (1 + np.exp(-z @ found))
        slope = z.T @ (weight * (probability - right)) + penalty @ found
        found -= np.linalg.solve((z * (weight * probability * (1 - probability))[:, None]).T @ z + penalty, slope)
    weights = found[1:] / std
    bias = found[0] - weights @ mean
    weights[-1] = ABSENT_WEIGHT
    return np.concatenate([[bias], weights])


def confidence(weights: Float[np.ndarray, " F+1"], x: Float[np.ndarray, "N F"]) -> Float[np.ndarray, " N"]:
    """Probabilities by the regression."""
    return 1 / (1 + np.exp(-(weights[0] + x @ weights[1:])))


def scores(rows: Sequence[Labeled]) -> dict[str, float]:
    """Score the regression on photographs left out of it; without a labeled pixel there is nothing to believe."""
    rows = [row for row in rows if len(row.everywhere)]
    keys = sorted({row.key for row in rows})
    random.Random(0).shuffle(keys)
    group = {key: number % GROUPS for number, key in enumerate(keys)}
    models = [fitted([row for row in rows if group[row.key] != number]) for number in range(GROUPS)]
    quality = np.array([confidence(models[group[row.key]], row.everywhere).mean() for row in rows])
    accuracy = np.array([row.accuracy for row in rows])
    pixels = np.concatenate([confidence(models[group[row.key]], row.figures) for row in rows])
    right, bins = np.concatenate([row.right for row in rows]), np.minimum((10 * pixels).astype(int), 9)
    error = sum((bins == at).mean() * abs(pixels[bins == at].mean() - right[bins == at].mean()) for at in set(bins))
    good = accuracy > 0.8
    area = np.mean(quality[good][:, None] > quality[~good])
    return {
        "photographs": len(rows),
        "accuracy": round(float(accuracy.mean()), 3),
        "rank correlation": round(float(np.asarray(spearmanr(quality, accuracy))[0]), 3),
        "area": round(float(area), 3),
        "calibration error": round(float(error), 3),
    }


def main() -> None:
    """Parse the command line, label, fit, print."""
    parser = fold_command(__doc__)
    parser.add_argument("--out", type=Path, help="write the scores to this JSON file")
    arguments = parser.parse_args()
    model, photos = fold_model(arguments)
    rows = [
        [labeled(model, one, words, labels) for words, labels in questions(one) if len(words) > 1]
        for one in opened(tqdm(photos))
    ]
    flat = [row for some in rows for row in some]
    questions_of = {"own": [some[0] for some in rows if some], "people's": [some[-1] for some in rows if len(some) > 1]}
    found = [{"words": name, **scores(some)} for name, some in questions_of.items()]
    for row in found:
        print(row)
    if arguments.out:
        write_json(arguments.out, {"rows": found})
    bias, slope, *others = (round(float(number), 4) for number in fitted(flat))
    word, image = others[: len(WORD_FIGURES)], others[len(WORD_FIGURES) :]
    print(f"slope={slope}, bias={bias}, word={tuple(word)}, image={tuple(image)}")
    print(f"weights={file_sha256(SHIPPED / 'tiny.safetensors')!r}")


if __name__ == "__main__":
    main()
