"""How quickly captioned pictures become features on disk, and features become batches again.

    python benchmarks/caption_cache_speed.py [--pictures N] [--workers N] [--device cuda] [--folder FOLDER]

The pictures are drawn (640 x 480 pixels, JPEG, as COCO's). Features are those of ViT-B/16 at 224 px, three taps
of 197 tokens; `--tower` runs the tower (its weights are random), without it numbers stand for its answers, so that what
is measured is everything but the tower. Reading again is from files that the system still has in memory.
"""

import argparse
import os
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from machine import keep
from PIL import Image
from torch import Tensor

from segvoc.data.captions.batches import FrozenEncoders
from segvoc.data.captions.feature_cache import CacheSettings, encode_pictures
from segvoc.data.captions.feeds import open_feed
from segvoc.data.captions.phrases import PhraseSet, phrase_extractor
from segvoc.data.captions.sources import captioned_images
from segvoc.data.training.training_set import ShardedSampler
from segvoc.encoders.openai_clip import OpenAIClipImageEncoder
from segvoc.encoders.vit import vit_b16

SIZE = 224


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=256)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--tower", action="store_true")
    parser.add_argument("--folder", help="where the cache is to be; a temporary folder if not given")
    arguments = parser.parse_args()
    rows: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        _draw(folder / "set", arguments.pictures)
        found = captioned_images(folder / "set")
        phrases = PhraseSet.collect(found, phrase_extractor())
        encoders = _encoders(torch.device(arguments.device), tower=arguments.tower)
        for mirrored in (False, True):
            settings = CacheSettings(mirrored=mirrored)
            start = time.perf_counter()
            shards = encode_pictures(folder / "cache", phrases, encoders, settings, workers=arguments.workers)
            seconds = time.perf_counter() - start
            rows.append(_row(f"write, mirrored {mirrored}", arguments.pictures, seconds, shards.bytes()))
            feed = open_feed(phrases, encoders, folder / "cache", seed=0, mirror=mirrored)
            sampler = ShardedSampler(
                batch=64, passes=1, rank=0, ranks=1, first_step=0, steps=max(1, arguments.pictures // 64)
            )
            start = time.perf_counter()
            read = sum(len(batch.taps[0]) for batch in feed.batches(sampler, arguments.workers))
            rows.append(_row(f"read, mirrored {mirrored}", read, time.perf_counter() - start, shards.bytes()))
    workers = f"{arguments.workers} workers, {'with' if arguments.tower else 'without'} the tower, {arguments.device}"
    load = f"{os.getloadavg()[0]:.1f}"
    keep("caption_cache_speed", rows, setting=workers, load=load)


def _draw(folder: Path, count: int) -> None:
    folder.mkdir()
    generator = np.random.default_rng(0)
    for number in range(count):
        coarse = generator.integers(0, 256, (12, 16, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((640, 480), Image.Resampling.BICUBIC).save(folder / f"{number}.jpg", quality=90)
        (folder / f"{number}.txt").write_text("A man riding a wave on top of a surfboard.")


def _encoders(device: torch.device, *, tower: bool) -> FrozenEncoders:
    network = OpenAIClipImageEncoder(replace(vit_b16(), taps=(3, 6, 9))).to(device).eval() if tower else None

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


def _row(what: str, pictures: int, seconds: float, size: int) -> dict[str, object]:
    return {"what": what, "pictures/s": pictures / seconds, "MB": size / 1e6}


if __name__ == "__main__":
    main()
