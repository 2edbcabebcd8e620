"""Speed of encoding captioned images into the feature cache, and of reading batches from it.

    python -m benchmarks.caption_cache_speed [--images N] [--workers N] [--device cuda] [--folder FOLDER]

The images are drawn (640 x 480 pixels, JPEG, as in COCO). Features have the shapes of ViT-B/16 at 224 px, three taps of
197 tokens. `--encoder` runs it (with random weights); without, constants stand in for its output, so that everything
but the encoder is measured. Batches are read from files that are still in the page cache.
"""

import argparse
import os
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from benchmarks.machine import keep
from segvoc.data.captions.caption_dataset import CaptionDataset
from segvoc.data.captions.caption_index import build_index
from segvoc.data.captions.cleaning import CleaningRules
from segvoc.data.captions.feature_encoding import CacheSettings, FrozenEncoders, encode_images, image_cache
from segvoc.data.captions.sources import find_captions
from segvoc.data.training.training_set import ShardedSampler
from segvoc.encoders.openai_clip import OpenAIClipImageEncoder
from segvoc.encoders.vit import vit_b16
from segvoc.training.caption_task import open_caption_task

SIZE = 224


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--encoder", action="store_true")
    parser.add_argument("--folder", help="where the cache is to be; a temporary folder if not given")
    arguments = parser.parse_args()
    rows: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        _draw(folder / "set", arguments.images)
        index = build_index(find_captions(folder / "set"), folder / "cache", "rules", CleaningRules())
        dataset = CaptionDataset(index)
        encoders = _encoders(torch.device(arguments.device), encoder=arguments.encoder)
        for mirrored in (False, True):
            settings = CacheSettings(mirrored=mirrored)
            start = time.perf_counter()
            cache = image_cache(folder / "cache", dataset, encoders, settings)
            encode_images(cache, dataset, encoders, cache.missing(), settings, workers=arguments.workers)
            seconds = time.perf_counter() - start
            rows.append(_row(f"write, mirrored {mirrored}", arguments.images, seconds, cache.bytes()))
            task = open_caption_task(encoders, dataset, folder / "cache", seed=0, mirror=mirrored)
            steps = max(1, arguments.images // 64)
            sampler = ShardedSampler(batch=64, passes=1, rank=0, ranks=1, first_step=0, steps=steps)
            start = time.perf_counter()
            read = sum(len(batch.taps[0]) for batch in task.batches(sampler, arguments.workers, pinned=False))
            rows.append(_row(f"read, mirrored {mirrored}", read, time.perf_counter() - start, cache.bytes()))
    workers = (
        f"{arguments.workers} workers, {'with' if arguments.encoder else 'without'} the encoder, {arguments.device}"
    )
    load = f"{os.getloadavg()[0]:.1f}"
    keep("caption_cache_speed", rows, setting=workers, load=load)


def _draw(folder: Path, count: int) -> None:
    folder.mkdir()
    generator = np.random.default_rng(0)
    for number in range(count):
        coarse = generator.integers(0, 256, (12, 16, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((640, 480), Image.Resampling.BICUBIC).save(folder / f"{number}.jpg", quality=90)
        (folder / f"{number}.txt").write_text("A man riding a wave on top of a surfboard.")


def _encoders(device: torch.device, *, encoder: bool) -> FrozenEncoders:
    network = OpenAIClipImageEncoder(replace(vit_b16(), taps=(3, 6, 9))).to(device).eval() if encoder else None

    def images(pixels: Tensor) -> tuple[Tensor, ...]:
        if network is None:
            return (torch.full((len(pixels), 197, 768), float(pixels[0, 0, 0, 0])),) * 3
        taps = network(pixels).taps
        return tuple(torch.cat([tap.flatten(2).mT[:, :1], tap.flatten(2).mT], dim=1) for tap in taps)

    return FrozenEncoders(
        input_size=SIZE,
        images=images,
        texts=lambda names: torch.zeros(len(names), 512),
        image_digest="random weights",
        text_digest="random weights",
        device=device,
    )


def _row(what: str, images: int, seconds: float, size: int) -> dict[str, object]:
    return {"what": what, "images/s": images / seconds, "MB": size / 1e6}


if __name__ == "__main__":
    main()
