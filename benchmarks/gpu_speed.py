"""Time and memory on a GPU: the networks alone, and `segment` from array to label map.

    python -m benchmarks.gpu_speed [--repeats N]

Random weights except for tiny, cached text embeddings, window "single", two sample photographs, repeated. `network`:
one forward pass of a batch whose pixels are on the GPU. `segment`: from images in memory to label maps in memory.
Without a GPU nothing is measured.
"""

import argparse
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

import segvoc
from benchmarks.machine import fastest, keep, save
from segvoc.imaging.reading import read_image
from segvoc.inference.label_options import LabelOptions
from segvoc.inference.windows import views
from segvoc.models.network_segmenter import NetworkSegmenter

ROOT = Path(__file__).parent.parent
PRESETS = ("tiny", "pca-seg-b", "pca-seg-l", "cat-seg-b", "cat-seg-l", "err-seg-b", "err-seg-l")
WORDS = (20, 171, 847)
BATCH = 8


def rows_of(model: NetworkSegmenter, preset: str, dtype: str, words: int, repeats: int) -> Iterator[dict[str, object]]:
    """A row for single images and one for batches."""
    names = [f"word {number}" for number in range(words)]
    photos = [read_image(photo) for photo in sorted((ROOT / "samples").glob("*.jpg"))[:2]]
    text = cast(Tensor, model.encode_words(segvoc.Vocabulary(names)))
    protocol = model.protocol(LabelOptions(window="single"), words)
    for batch in (1, BATCH):
        model.batch = batch
        images = [photos[number % len(photos)] for number in range(batch)]
        pixels = torch.from_numpy(np.concatenate([views(image, protocol) for image in images])).to(model.device)
        torch.cuda.reset_peak_memory_stats()

        def network(pixels: Any = pixels) -> None:
            with torch.inference_mode():
                model.network.selected_logits(
                    pixels, text, pooling=protocol.pooling, selection=protocol.selection, chunk=model.class_chunk
                )
            torch.cuda.synchronize()

        seconds = fastest(network, repeats)
        yield {
            "model": preset,
            "dtype": dtype,
            "words": words,
            "batch": batch,
            "network_ms": 1000 * seconds / batch,
            "segment_ms": 1000 * fastest(partial(model.segment, images, names, window="single"), repeats) / batch,
            "peak_gb": torch.cuda.max_memory_allocated() / 1e9,
        }


def main() -> None:
    """Measure, print and save the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--presets", nargs="+", default=PRESETS, choices=PRESETS)
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        print("nothing is measured, since this machine has no GPU")
        return
    rows: list[dict[str, object]] = []
    for preset in arguments.presets:
        for dtype in ("float32", "bfloat16"):
            model = segvoc.load(preset, weights=None if preset == "tiny" else "random", device="cuda", dtype=dtype)
            for words in WORDS:
                try:
                    for row in rows_of(model, preset, dtype, words, arguments.repeats):
                        rows.append(row)
                        print(row, flush=True)
                except torch.cuda.OutOfMemoryError:
                    torch.cuda.empty_cache()
            del model
            save("gpu_speed", rows, "cuda")  # after every model, so that a time limit loses little
    keep("gpu_speed", rows, "cuda")


if __name__ == "__main__":
    main()
