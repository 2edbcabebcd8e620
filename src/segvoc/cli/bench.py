"""`segvoc bench`: latency and memory of a model on this machine."""

import os
import time
from itertools import count
from statistics import median
from typing import TYPE_CHECKING

import click

from segvoc.cli.options import ModelOptions, label_options, model_options
from segvoc.cli.output import echo, example
from segvoc.errors import UsageError
from segvoc.inference.label_options import LabelOptions
from segvoc.runtime.hardware import peak_gigabytes
from segvoc.runtime.progress import Progress
from segvoc.storage.files import CACHE_VARIABLE

if TYPE_CHECKING:
    from PIL.Image import Image


@click.command("bench", epilog=example("segvoc bench tiny --words 20,171"))
@click.argument("model", default="tiny")
@click.option("--words", default="20,171", metavar="N,...", help="Vocabulary sizes to measure.")
@click.option("--size", default="640x480", metavar="WxH", help="Width and height of the image.")
@click.option("--repeat", default=5, type=click.IntRange(1), metavar="N", help="Calls to time for each size.")
@click.option("--threads", type=click.IntRange(1), metavar="N", help="CPU threads; by default as other commands.")
@model_options("weights", "options", "device", "dtype")
@label_options("window", "keep_classes")
def bench_command(
    model: str, words: str, size: str, repeat: int, threads: int | None, chosen: ModelOptions, labels: LabelOptions
) -> None:
    """Measure latency and memory of MODEL (by default tiny) on this machine.

    Prints a row per vocabulary size: the time to encode the words, the median, shortest and longest time from an image
    in memory to its label map, and the peak memory so far. The first call is a warm-up. Words and image are synthetic,
    which hardly changes the times; neither does `--weights random`, for models whose weights aren't available.
    """
    numbers = sorted(set(_numbers(words, ",", "--words", "20,171")))
    sides = _numbers(size.lower(), "x", "--size", "640x480")
    if len(sides) != 2:
        raise UsageError(f"--size {size!r} is not a width and a height; give both, for example 640x480")
    import torch  # here, since PyTorch takes seconds to import

    if threads is not None:
        torch.set_num_threads(threads)
    os.environ[CACHE_VARIABLE] = "off"  # words that an earlier call has encoded would be read from disk
    start = time.perf_counter()
    network = chosen.load(model)
    echo(f"{model}, {network.dtype}, {network.device}, {torch.get_num_threads()} CPU threads; window {labels.window}")
    echo(f"loaded in {time.perf_counter() - start:.2f} s; {size} pixels from memory to label map\n")
    echo("words  encode s  image s   from -   to  peak GB")
    image, indices = _image(*sides), count()
    for number in numbers:
        vocabulary = [f"word {next(indices)}" for _ in range(number)]  # new words: embeddings are kept in memory
        start = time.perf_counter()
        encoded = network.encode(vocabulary)
        encoding = time.perf_counter() - start
        times: list[float] = []
        with Progress(f"{number} words", total=repeat + 1, unit="call") as progress:
            for _ in progress.over(range(repeat + 1)):
                start = time.perf_counter()
                network.segment(image, encoded, options=labels)
                times.append(time.perf_counter() - start)
        on_gpu = network.device.type == "cuda"
        peak = torch.cuda.max_memory_allocated(network.device) / 1e9 if on_gpu else peak_gigabytes()
        timed = times[1:]  # the first call warms up
        seconds = [f"{value:#.3g}".rstrip(".") for value in (encoding, median(timed), min(timed), max(timed))]
        echo("{:5} {:>9} {:>8} {:>6} - {:<5} {:7.2f}".format(number, *seconds, peak))


def _numbers(text: str, separator: str, option: str, example: str) -> list[int]:
    parts = [part.strip() for part in text.split(separator)]
    if not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise UsageError(f"{option} {text!r} is invalid; give numbers from 1, for example {example}")
    return [int(part) for part in parts]


def _image(width: int, height: int) -> "Image":
    """Soft blots of color, the same each time."""
    import numpy as np
    from PIL import Image

    blots = np.random.default_rng(0).integers(256, size=(12, 16, 3), dtype=np.uint8)
    return Image.fromarray(blots).resize((width, height), Image.Resampling.BICUBIC)
