"""Clicks that correct the drafts of images 21 to 40, as the text makes them and after "Improve" with the first 20.

    python -m benchmarks.annotate_corrections [--sets indoor car-parts] [--arms teach finetune] [--jobs 2] [--seed 0]

The annotator of `benchmarks/scripted_annotator.py` corrects 40 photographs as tiny labels them by the text. 20
of them, as the annotator left them, teach the words, and the drafts of the other 20 with the taught words are corrected
once more. Each row has the means over these 20 photographs. What is finished is kept in build/corrections: a call that
was stopped goes on.

tiny has learned from the photographs of `indoor`, from those of `car-parts` it hasn't; the network of clicks has seen
neither. Cars have a background, which the page's rule finds in both arms: pixels below 0.5.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from itertools import zip_longest
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.machine import update
from benchmarks.scripted_annotator import LEVEL, Annotator, Effort, connected
from segvoc.data.labeled_images import ImageAndLabels, LabeledImages
from segvoc.exported.shipped import open_tiny
from segvoc.imaging.label_maps import UNLABELED
from segvoc.teaching.taught_words import TaughtWords
from segvoc.training.tuning import TUNED_WORDS_FILE

PHOTOGRAPHS = 20
"""That teach, and that are corrected."""

BACKGROUND = {"car-parts": "background"}
"""Words that stand for "none of the others"."""

ARMS = ("text", "teach", "finetune")


@dataclass(frozen=True)
class Corrected:
    """Photographs with the labels that an annotator left; what `Segmenter.teach` reads."""

    images: LabeledImages
    labels: Sequence[np.ndarray]

    @property
    def vocabulary(self):
        """The words."""
        return self.images.vocabulary

    def __len__(self) -> int:
        """Number of photographs."""
        return len(self.images)

    def read(self, index: int) -> ImageAndLabels:
        """A photograph with the annotator's labels."""
        return ImageAndLabels(self.images.read(index).image, self.labels[index])


def corrected(image: np.ndarray, truth: np.ndarray, draft: np.ndarray) -> tuple[np.ndarray, Effort]:
    """The labels of one photograph after correction, and what it took."""
    return Annotator(image, truth).corrected(draft)


class Work:
    """The corrections of one set, kept in a folder.

    Args:
        images: the first photographs of the set, twice `PHOTOGRAPHS`.
        folder: of what is finished.
        jobs: processes that correct.
    """

    def __init__(self, images: LabeledImages, folder: Path, jobs: int) -> None:
        self.images, self.folder, self.jobs = images, folder, jobs
        self.background = BACKGROUND.get(images.name)

    def drafts(self, taught: TaughtWords | None, chosen: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
        """What the model makes of photographs."""
        model = open_tiny() if taught is None else open_tiny().with_taught(taught)
        for index in chosen:
            image = self.images.read(index).image
            yield index, model.segment(image, self.images.vocabulary.words, background=self.background).labels

    def done(self, arm: str, index: int) -> tuple[np.ndarray, Effort, float] | None:
        """Labels, effort and right pixels of the draft of a photograph that is finished; else None."""
        file = self.folder / arm / f"{index}.json"
        if not file.exists():
            return None
        found = json.loads(file.read_text())
        found["effort"]["by_word"] = {int(word): count for word, count in found["effort"]["by_word"].items()}
        return np.load(file.with_suffix(".npy")), Effort(**found["effort"]), found["right"]

    def correct(self, chosen: Sequence[int], arms: Mapping[str, TaughtWords | None]) -> None:
        """Correct those photographs that aren't finished."""
        drafts = {arm: self.drafts(taught, self.missing(arm, chosen)) for arm, taught in arms.items()}
        with ProcessPoolExecutor(self.jobs, get_context("spawn"), os.setsid) as pool:
            waiting = {}
            for several in zip_longest(*(drafts[arm] for arm in arms)):
                for arm, one in zip(arms, several, strict=True):
                    if one is not None:
                        index, draft = one
                        image, truth = self.images.read(index)
                        right = float((draft == truth)[truth != UNLABELED].mean())
                        waiting[pool.submit(corrected, image, truth, draft)] = arm, index, right
            for one in as_completed(waiting):
                (labels, effort), (arm, index, right) = one.result(), waiting[one]
                file = self.folder / arm / f"{index}.json"
                file.parent.mkdir(parents=True, exist_ok=True)
                np.save(file.with_suffix(".npy"), labels)
                file.write_text(json.dumps({"effort": asdict(effort), "right": right}))
                print(self.images.name, arm, index, round(right, 3), effort, flush=True)

    def missing(self, arm: str, chosen: Sequence[int]) -> list[int]:
        """Photographs that aren't finished."""
        return [index for index in chosen if self.done(arm, index) is None]

    def taught(self, arm: str, chosen: Sequence[int], *, by_truth: bool) -> TaughtWords:
        """The words that photographs teach as the annotator left them, or with their right labels."""
        file = self.folder / f"{arm}{'-truth' * by_truth}-{chosen[0]}.words.safetensors"
        if file.exists():
            return TaughtWords.load(file)
        if by_truth:
            labels = [self.images.read(index).labels for index in chosen]
        else:
            labels = [one[0] for one in (self.done("text", index) for index in chosen) if one is not None]
        examples = Corrected(self.images.only(list(chosen)), labels)
        start = time.process_time()
        taught = open_tiny().teach(examples) if arm == "teach" else tuned(examples)
        print(self.images.name, arm, f"{time.process_time() - start:.0f} s", taught.record, flush=True)
        taught.save(file)
        return taught


def tuned(examples: Corrected) -> TaughtWords:
    """What `segvoc train finetune` learns, as "Fine-tune" of the page does."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for name in ("images", "labels"):
            (folder / name).mkdir()
        for index in range(len(examples)):
            image, labels = examples.read(index)
            Image.fromarray(image).save(folder / "images" / f"{index}.png")
            Image.fromarray(np.where(labels == UNLABELED, 255, labels).astype(np.uint8)).save(
                folder / "labels" / f"{index}.png"
            )
        (folder / "classes.json").write_text(json.dumps(list(examples.vocabulary.words)))
        command = [sys.executable, "-m", "segvoc", "train", "finetune", "--model", "tiny", "--device", "cpu"]
        command += ["--images", "images", "--labels", "labels", "--classes", "classes.json", "--out", "run"]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(os.path.abspath(one) for one in sys.path if one)}
        subprocess.run(command, check=True, cwd=folder, env=environment, capture_output=True)
        return TaughtWords.load(folder / "run" / TUNED_WORDS_FILE)


def row_of(work: Work, arm: str, chosen: Sequence[int]) -> dict[str, object]:
    """Means over photographs, and the ratio to what their drafts by text take."""
    found = [one for one in (work.done(arm, index) for index in chosen) if one is not None]
    text = [one for one in (work.done("text", index) for index in chosen) if one is not None]
    row: dict[str, object] = {"arm": arm}
    for name in ("clicks", "words", "regions", "wrong", "left"):
        row[name] = round(float(np.mean([getattr(effort, name) for _, effort, _ in found])), 2)
    for name in ("clicks", "actions"):
        ours, theirs = (sum(getattr(effort, name) for _, effort, _ in one) for one in (found, text))
        row[f"ratio_{name}"] = round(ours / theirs, 3)
    row["right_in_draft"] = round(100 * float(np.mean([right for *_, right in found])), 1)
    tools, words = Counter[str](), Counter[str]()
    for _, effort, _ in found:
        tools.update(effort.tools)
        words.update({work.images.vocabulary.words[word]: count for word, count in effort.by_word.items()})
    return row | {"tools": dict(tools.most_common()), "actions_by_word": dict(words.most_common())}


def drafts_row(work: Work, arm: str, chosen: Sequence[int], taught: TaughtWords | None) -> dict[str, object]:
    """How many regions of the truth drafts have right, nearly (IoU of 0.5 and more), and not; nobody clicks."""
    found: list[float] = []
    for index, draft in work.drafts(taught, chosen):
        annotator, pieces = Annotator(*work.images.read(index)), connected(draft)
        found += [annotator.iou(draft, region, pieces) for region in annotator.large]
    right, near = sum(iou >= LEVEL for iou in found), sum(0.5 <= iou < LEVEL for iou in found)
    return {"arm": arm, "regions": len(found), "right": right, "near": near, "far": len(found) - right - near}


def main() -> None:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, default=Path("../shared/data/photos"))
    parser.add_argument("--sets", nargs="+", default=["indoor", "car-parts"])
    parser.add_argument("--arms", nargs="*", choices=ARMS[1:], default=["teach"], help="what Improve does")
    parser.add_argument("--jobs", type=int, default=2, help="processes that correct")
    parser.add_argument("--seed", type=int, default=0, help="draws the photographs")
    parser.add_argument("--count", type=int, default=PHOTOGRAPHS, help="photographs that are corrected twice")
    parser.add_argument("--truth", action="store_true", help="photographs teach with their right labels")
    parser.add_argument("--drafts", action="store_true", help="only count the regions that drafts have right")
    parser.add_argument("--kept", type=Path, default=Path("build/corrections"), help="folder of what is finished")
    chosen = parser.parse_args()
    for name in chosen.sets:
        folder = chosen.photos / name
        images = LabeledImages.from_folders(folder / "images", folder / "labels", folder / "classes.json")
        order = np.random.default_rng(chosen.seed).permutation(len(images)).tolist()
        images = replace(images.only(order[: 2 * PHOTOGRAPHS]), name=name)
        work = Work(images, chosen.kept / f"{name}-{chosen.seed}", chosen.jobs)
        first, last = range(PHOTOGRAPHS), range(PHOTOGRAPHS, PHOTOGRAPHS + chosen.count)
        if not chosen.truth:
            work.correct(first, {"text": None})
        taught = {arm: work.taught(arm, first, by_truth=chosen.truth) for arm in chosen.arms}
        if not chosen.drafts:
            work.correct(last, {"text": None, **taught})
        base = {
            "set": name,
            "seed": chosen.seed,
            "photographs": len(last),
            "taught_by": "truth" if chosen.truth else "annotator",
        }
        arms: dict[str, TaughtWords | None] = {"text": None, **taught}
        if chosen.drafts:
            rows = [base | drafts_row(work, arm, last, words) for arm, words in arms.items()]
        else:
            rows = [base | row_of(work, arm, last) for arm in arms]
        for row in rows:
            print(row, flush=True)
        update(f"annotate_corrections{'_drafts' * chosen.drafts}", rows, ["set", "seed", "arm"])


if __name__ == "__main__":
    main()
