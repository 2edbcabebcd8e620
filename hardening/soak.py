"""Hours of mixed work in one process and in a service: memory, files and threads stay as they are.

    python -m hardening.soak [--minutes 120] [--keep]

Four threads share one model, a child is forked from the process with the model loaded, 200 small models are loaded and
dropped, good and bad images are labeled, and a service answers. Samples are taken every two seconds, of the memory
that is left when the C library has given back what was freed: it may keep tens of megabytes for long after an image of
60,000 columns. Growth is the slope of a line through the samples after the first tenth of the time, ten minutes of two
hours.
"""

import argparse
import ctypes
import json
import os
import random
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from hardening.cases import mutated
from hardening.corpus.images import base_images
from hardening.fuzz import RESULTS
from segvoc.errors import SegvocError
from segvoc.exported.shipped import open_tiny
from segvoc.models.network_segmenter import NetworkSegmenter
from tests.inference.small_network import small_network, small_segmenter
from tests.serving.services import in_process, png

WORDS = ("cat", "sofa", "wall", "a red disc")
CHILD_SECONDS = 60
"""After which a forked child is taken to hang."""

MODELS = 200
"""Models that are loaded and dropped."""


def state() -> dict[str, float]:
    """Memory in use [MB], open files and threads of this process."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's
    if trim is not None:
        trim(0)
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":" in line)
    return {
        "megabytes": int(fields["VmRSS"].split()[0]) / 1024,
        "files": len(os.listdir("/proc/self/fd")),
        "threads": int(fields["Threads"]),
    }


class Work:
    """The mixed work; every piece checks what it gave."""

    def __init__(self, folder: Path, client: Any) -> None:
        self.client = client
        self.folder, self.model, self.shipped = folder, small_segmenter(), open_tiny()
        self.random = random.Random(0)
        self.images = list(base_images().items())
        self.image = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
        self.expected = self.model.segment(self.image, WORDS).labels
        self.loaded, self.counts = (
            0,
            dict.fromkeys(("threads", "images", "models", "forks", "shipped", "requests"), 0),
        )

    def threads(self) -> None:
        """Four threads label with one model, and get what one gets."""
        with ThreadPoolExecutor(4) as pool:
            results = list(pool.map(lambda _: self.model.segment(self.image, WORDS).labels, range(4)))
        assert all(np.array_equal(labels, self.expected) for labels in results)
        self.counts["threads"] += 1

    def bad_images(self) -> None:
        """Good and damaged images of every format, from memory and from files."""
        for name, content in self.random.sample(self.images, 5):
            damaged = content if self.random.random() < 0.5 else mutated(content, self.random)
            path = self.folder / name
            path.write_bytes(damaged)
            for source in (damaged, path):
                try:
                    self.model.segment(source, WORDS, window="single")
                except SegvocError:
                    continue
        self.counts["images"] += 1

    def models(self) -> None:
        """A small model is built, saved, and dropped."""
        if self.loaded < MODELS:
            self.loaded += 1
            one: NetworkSegmenter = small_segmenter()
            assert np.array_equal(one.segment(self.image, WORDS).labels, self.expected)
            one.network.load_state_dict(small_network().state_dict())
        self.counts["models"] = self.loaded

    def fork(self) -> None:
        """A child that is forked after the model was loaded labels with it."""
        pid = os.fork()
        if pid == 0:  # whatever happens, it must not go on with its parent's work
            code = 2
            try:
                signal.alarm(CHILD_SECONDS)
                code = 0 if np.array_equal(self.model.segment(self.image, WORDS).labels, self.expected) else 1
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
        status = os.waitpid(pid, 0)[1]
        assert status == 0, f"a forked child ended with status {status}"
        self.counts["forks"] += 1

    def service(self) -> None:
        """The service answers a good request, and refuses a bad image."""
        for content, code in ((png(), 200), (png()[:60], 422)):
            answer = self.client.post("/v1/segment", files={"image": content}, data={"words": ",".join(WORDS)})
            assert answer.status_code == code or (code == 422 and answer.status_code == 400), answer.text
        self.counts["requests"] += 2

    def tiny(self) -> None:
        """The shipped programs label an image."""
        assert self.shipped.segment(self.image, WORDS).labels.shape == (40, 60)
        self.counts["shipped"] += 1


def growth(samples: list[tuple[float, float]]) -> float:
    """Growth of a value in percent of its mean an hour, after the first tenth of the time."""
    rest = [sample for sample in samples if sample[0] >= samples[-1][0] / 10]
    times, values = np.array(rest).T
    slope = np.polyfit(times, values, 1)[0] if len(rest) > 1 else 0.0
    return float(slope * 3600 / max(values.mean(), 1e-9) * 100)


def soak(minutes: float) -> dict[str, Any]:
    """Work for some minutes in this process; the figures and the errors."""
    errors: list[str] = []
    samples: dict[str, list[tuple[float, float]]] = {"megabytes": [], "files": [], "threads": []}
    with tempfile.TemporaryDirectory(prefix="segvoc-soak-") as folder, in_process(small_segmenter()) as client:
        work = Work(Path(folder), client)
        pieces: list[Callable[[], None]] = [work.threads, work.bad_images, work.models, work.fork, work.tiny]
        pieces.append(work.service)
        start, sampled, told = time.monotonic(), -2.0, 0.0
        while (now := time.monotonic() - start) < minutes * 60:
            for piece in pieces:
                try:
                    piece()
                except Exception as error:
                    errors.append(f"{piece.__name__}: {type(error).__name__}: {str(error)[:200]}")
            if now - sampled >= 2:
                sampled = now
                for name, value in state().items():
                    samples[name].append((now, value))
            if now - told >= 60:
                told = now
                values = ", ".join(f"{one[-1][1]:.1f} {name}" for name, one in samples.items())
                print(f"{now / 60:.0f} of {minutes:.0f} minutes: {values}, {len(errors)} errors", file=sys.stderr)
    return {
        "minutes": minutes,
        "work": work.counts,
        "errors": errors,
        "growth_percent_an_hour": {name: round(growth(one), 2) for name, one in samples.items()},
        "first": {name: round(one[len(one) // 10][1], 1) for name, one in samples.items()},
        "last": {name: round(one[-1][1], 1) for name, one in samples.items()},
    }


def main() -> None:
    """Work, sample, print the figures; fail on errors, and on growth of more than 1 % an hour."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=120.0)
    parser.add_argument("--keep", action="store_true", help="write benchmarks/results/hardening_soak.json")
    arguments = parser.parse_args()
    os.environ["SEGVOC_CACHE"] = "off"
    figures = soak(arguments.minutes)
    print(json.dumps(figures, indent=1))
    if arguments.keep:
        (RESULTS / "hardening_soak.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    grown = any(value > 1 for value in figures["growth_percent_an_hour"].values())
    sys.exit(1 if figures["errors"] or grown else 0)


if __name__ == "__main__":
    main()
