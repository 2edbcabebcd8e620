"""Overhead of the evaluation loop over the network alone: `tiny` on photographs with 23 words, on 2 threads.

    python -m benchmarks.evaluation_speed [--images FOLDER] [--count N] [--repeats N]

One run alternates between the network alone on images in memory, and the loop of `segvoc evaluate`, which reads the
same images and their label maps from files, scores them and saves the scores. Times are per image, and the shortest of
all repeats. By default the images are the sample photographs, repeated; the labels are the network's own.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from itertools import count, cycle, islice
from pathlib import Path

import torch

import segvoc
from benchmarks.machine import keep
from segvoc.data.labeled_images import LabeledImage, LabeledImages
from segvoc.evaluation.protocol import evaluation_protocol
from segvoc.evaluation.runner import TaskSegmenter, segment_and_score
from segvoc.evaluation.task import EvaluationSettings, EvaluationTask
from segvoc.imaging.label_maps import write_label_map
from segvoc.imaging.palette import class_colors
from segvoc.imaging.reading import read_image
from segvoc.imaging.result_paths import image_paths
from segvoc.storage.resume import ResumableWork

ROOT = Path(__file__).parent.parent
WORDS = 23


def main() -> None:
    """Measure, print and save the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", default=str(ROOT / "samples"))
    parser.add_argument("--count", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    segvoc.keep_freed_memory()  # as the command line does, which the figures are meant for
    torch.set_num_threads(2)
    vocabulary = segvoc.Vocabulary.read(ROOT / "benchmarks/coco_panoptic_words.txt")
    vocabulary = segvoc.Vocabulary(vocabulary.words[:: len(vocabulary) // WORDS][:WORDS])
    model = segvoc.load("tiny", dtype="float32")  # as `segvoc evaluate` does
    found = [image.path for image in image_paths([arguments.images])]
    chosen = list(islice(cycle(found), arguments.count))
    arrays = [read_image(path) for path in chosen]
    with tempfile.TemporaryDirectory() as folder:
        task, runs = _task(model, chosen, vocabulary, Path(folder)), count()

        def alone() -> None:
            for array in arrays:
                model.segment([array], vocabulary)

        def loop() -> None:
            with ResumableWork(Path(folder) / f"run-{next(runs)}.jsonl", {}) as work:
                network = TaskSegmenter(model, task, evaluation_protocol(model, task, EvaluationSettings()))
                segment_and_score(
                    network,
                    [[image] for image in task.select_images(None)],
                    lambda image, truth, score: work.finish(image.stem, truth.stamp, score.to_json()),
                )

        alone()
        turns = [(_seconds(alone), _seconds(loop)) for _ in range(arguments.repeats)]
    rows: list[dict[str, object]] = []
    for column, clock in enumerate(("clock", "processor")):
        network, evaluation = (min(turn[which][column] for turn in turns) / len(chosen) for which in (0, 1))
        added = 100 * (evaluation / network - 1)
        rows.append(
            {
                "time": f"{clock}, {WORDS} words",
                "network [s]": network,
                "evaluation [s]": evaluation,
                "added [%]": added,
            }
        )
    keep("evaluation_speed", [row | {"load": os.getloadavg()[0]} for row in rows])


def _task(
    model: segvoc.NetworkSegmenter, paths: list[Path], vocabulary: segvoc.Vocabulary, folder: Path
) -> EvaluationTask:
    """An evaluation on the photographs, with the network's own labels as ground truth."""
    pairs = []
    for number, path in enumerate(paths):
        labels = folder / f"{number}.png"
        write_label_map(labels, model.segment(path, vocabulary).labels, class_colors(len(vocabulary)))
        pairs.append(LabeledImage(image=path, labels=labels, stem=str(number)))
    images = LabeledImages(name="speed", vocabulary=vocabulary, images=tuple(pairs))
    return EvaluationTask(name="speed", title="speed", images=images, classes=vocabulary.words)


def _seconds(work: Callable[[], None]) -> tuple[float, float]:
    """Wall-clock time, and processor time of all threads, which depends less on other load."""
    start, processor = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - start, time.process_time() - processor


if __name__ == "__main__":
    main()
