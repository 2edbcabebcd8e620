"""How well `segvoc segment` hides reading, encoding words and writing behind the network.

    python benchmarks/segment_overlap.py ../shared/data/photos/coco-panoptic/images

Both figures are of the same images, taken in turns in one process, so that a busy machine slows both alike: the work of
the command (encoding the words, reading, network, label search, overlays, reports and files), and the network with the
label search alone, on images that are in memory.
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

import torch

import segvoc
from segvoc.cli.segment import write_results
from segvoc.imaging.reading import read_image
from segvoc.imaging.result_paths import image_paths, plan_results
from segvoc.inference.prepared_vocabulary import PreparedVocabulary
from segvoc.models.network_segmenter import NetworkSegmenter

WORDS = Path(__file__).with_name("coco_panoptic_words.txt")


def command_seconds(model: NetworkSegmenter, paths: list[str], words: list[str]) -> float:
    """Time of the whole command but loading the model [s]."""
    with tempfile.TemporaryDirectory() as out:
        start = time.perf_counter()
        inputs = image_paths(paths)
        plans = plan_results(inputs, out)
        results = model.segment_many((image.path for image in inputs), model.encode(words), yield_errors=True)
        lines = list(write_results(inputs, plans, results, out, as_json=True))
        assert all(isinstance(line, str) for line in lines)
        return time.perf_counter() - start


def network_seconds(model: NetworkSegmenter, paths: list[str], words: PreparedVocabulary) -> float:
    """Time of the network and the label search alone [s]."""
    images = [read_image(path) for path in paths]
    start = time.perf_counter()
    for image in images:
        model.segment(image, words)
    return time.perf_counter() - start


def main() -> None:
    """Measure, and print one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder of photographs")
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--images", type=int, default=60)
    parser.add_argument("--words", type=int, default=20)
    parser.add_argument("--turn", type=int, default=5, help="images of a turn")
    arguments = parser.parse_args()
    segvoc.keep_freed_memory()
    segvoc.threads()
    model = segvoc.load_network(arguments.model, dtype="float32")
    words = WORDS.read_text(encoding="utf-8").split("\n")[: arguments.words]
    paths = sorted(str(path) for path in arguments.folder.iterdir())[: arguments.images]
    prepared = model.encode(words)
    network_seconds(model, paths[:2], prepared)
    command = network = 0.0
    for start in range(0, len(paths), arguments.turn):
        turn = paths[start : start + arguments.turn]
        network += network_seconds(model, turn, prepared)
        command += command_seconds(model, turn, words)
    row = {
        "model": arguments.model,
        "images": len(paths),
        "words": len(words),
        "threads": torch.get_num_threads(),
        "command_seconds": round(command, 2),
        "network_seconds": round(network, 2),
        "ratio": round(command / network, 3),
        "load": [round(load, 2) for load in os.getloadavg()],
    }
    print(json.dumps(row))


if __name__ == "__main__":
    main()
