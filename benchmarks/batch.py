"""`segvoc batch` on Ray: what it adds to the model's own time, and whether kills and errors cost anything.

    python -m benchmarks.batch [--images 200] [--sleep 0.1] [--only rate cluster s3 kill]

The model sleeps and computes next to nothing, so that several of them don't share cores.

- rate: one worker on this machine, compared with the model alone on images in memory, from the first shard that is done
  to the last. What comes before (Ray's start, loading the model) is told apart.
- cluster: a cluster of three nodes on this machine, of which one is killed (SIGKILL to all of its processes) when a
  quarter of the shards is done. All results are compared with those of a run without Ray, byte by byte.
- s3: from S3 to S3 (moto's server on loopback) where one of twenty answers is an error; compared likewise.
- kill: `segvoc batch` with `tiny` is killed with -9 as a whole, and run again; compared likewise.

Rows of runs that aren't asked for (--only) stay in results/batch.json.

Fails if a result is lost, double or different, or if Ray takes more than a seventh of the time.
"""

import argparse
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import ray
from ray.cluster_utils import Cluster

from benchmarks.machine import update
from segvoc.batch.batch import Batch, Workers
from segvoc.batch.done import Record
from segvoc.batch.places import place_of
from segvoc.batch.run import BatchSummary, OnShard, run_batch
from segvoc.batch.shards import ShardLimits
from segvoc.batch.work import Gone
from tests.batch.flaky_s3 import flaky_s3
from tests.batch.quick_model import QuickSegmenter
from tests.batch.runs import WORDS, Loop, folder_of

ROOT = Path(__file__).parents[1]
SHARD = 5
"""Images of a shard."""


class Watch(OnShard):
    """Notes when shards are done, and does something at one of them.

    Args:
        at: the number of the shard.
        then: what is done there.
    """

    def __init__(self, at: int = -1, then: Callable[[], object] = lambda: None) -> None:
        self.began = time.monotonic()
        self.at, self.then = at, then
        self.done: list[tuple[float, int]] = []

    def shard(self, outcome: Record | Gone) -> None:
        """See `segvoc.batch.run.OnShard`."""
        assert isinstance(outcome, Record), outcome
        self.done.append((time.monotonic() - self.began, outcome.images))
        if len(self.done) == self.at:
            self.then()

    def steady_rate(self) -> float:
        """Images in a second, from the first shard that was done to the last."""
        return sum(images for _, images in self.done[1:]) / (self.done[-1][0] - self.done[0][0])


def label(source: str, out: str, sleep: float, watch: Watch | None = None, **options: Any) -> BatchSummary:
    """Label with the sleeping model."""
    batch = Batch(
        source=source,
        out=out,
        words=WORDS,
        load=partial(QuickSegmenter, sleep),
        sink="webdataset",
        limits=ShardLimits(images=SHARD),
        **options,
    )
    return run_batch(batch, tell=watch)


def expected(source: str, out: str) -> dict[str, bytes]:
    """The results of a run without Ray that nothing disturbs."""
    run_batch(
        Batch(
            source=source,
            out=out,
            words=WORDS,
            load=QuickSegmenter,
            sink="webdataset",
            limits=ShardLimits(images=SHARD),
        ),
        engine=Loop(),
    )
    return results(out)


def results(out: str) -> dict[str, bytes]:
    """All results by name."""
    place = place_of(out)
    return {entry.path: (place / entry.path).read() for entry in place.files() if not entry.path.startswith(".segvoc")}


def compared(found: dict[str, bytes], whole: dict[str, bytes]) -> dict[str, object]:
    """What is wrong with results."""
    return {
        "lost": len(whole.keys() - found.keys()),
        "too_many": len(found.keys() - whole.keys()),
        "different": sum(found[name] != whole[name] for name in found.keys() & whole.keys()),
    }


def rate(folder: Path, images: int, sleep: float) -> dict[str, object]:
    """One worker on this machine."""
    source = folder_of(folder / "in", [f"{n:05}.jpg" for n in range(images)])
    model = QuickSegmenter(sleep)
    words = model.encode(WORDS)
    paths = sorted(source.iterdir())[: max(20, images // 5)]
    began = time.monotonic()
    for path in paths:
        model.segment(path, words)
    alone = len(paths) / (time.monotonic() - began)
    watch = Watch()
    label(str(source), str(folder / "out"), sleep, watch, workers=Workers(number=1, cpus=1.0))
    found = compared(results(str(folder / "out")), expected(str(source), str(folder / "whole")))
    share = watch.steady_rate() / alone
    return {
        "run": "one machine, one worker",
        "images": images,
        "alone_per_second": round(alone, 2),
        "ray_per_second": round(watch.steady_rate(), 2),
        "share_of_rate": round(share, 3),
        "seconds_to_first_shard": round(watch.done[0][0], 1),
        **found,
    }


def cluster(folder: Path, images: int, sleep: float) -> dict[str, object]:
    """Three nodes, of which one is killed."""
    source = folder_of(folder / "in", [f"{n:05}.jpg" for n in range(images)])
    whole = expected(str(source), str(folder / "whole"))
    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        nodes.add_node(num_cpus=1.0)
        third = nodes.add_node(num_cpus=1.0)
        ray.init(address=nodes.address, log_to_driver=False, logging_level=logging.ERROR)
        kill = partial(nodes.remove_node, third, allow_graceful=False)
        watch = Watch(max(1, images // SHARD // 4), kill)
        done = label(str(source), str(folder / "out"), sleep, watch, workers=Workers(number=3, cpus=1.0))
    finally:
        ray.shutdown()
        nodes.shutdown()
    return {
        "run": "three nodes, one killed",
        "images": images,
        "labeled": done.images,
        "shards_told_twice": len(watch.done) - len(whole),
        "seconds_from_first_to_last": round(watch.done[-1][0] - watch.done[0][0], 1),
        **compared(results(str(folder / "out")), whole),
    }


def s3(folder: Path, images: int, sleep: float) -> dict[str, object]:
    """From S3 to S3, with errors."""
    source = folder_of(folder / "in", [f"{n:05}.jpg" for n in range(images)])
    with flaky_s3() as server:
        for path in source.iterdir():
            place_of(f"s3://bucket/in/{path.name}").write(path.read_bytes())
        server.share = 0.05
        done = label("s3://bucket/in", "s3://bucket/out", sleep, workers=Workers(number=1, cpus=1.0))
        server.share = 0.0
        found = results("s3://bucket/out")
        whole = expected("s3://bucket/in", str(folder / "whole"))
        errors, asked = server.answered["errors"], sum(server.answered.values()) - server.answered["errors"]
        ray.shutdown()
    return {
        "run": "S3 to S3, 5 % errors",
        "images": images,
        "labeled": done.images,
        "requests": asked,
        "errors": errors,
        **compared(found, whole),
    }


def kill(folder: Path, images: int, sleep: float) -> dict[str, object]:
    """The whole run is killed, and run again."""
    del sleep
    source = folder_of(folder / "in", [f"{n:05}.jpg" for n in range(images)])
    command = [sys.executable, "-m", "segvoc", "batch", "in", "--to", "webdataset", "--words", "cat, sofa, wall"]
    command += ["--shard-images", str(SHARD), "--out"]
    began = subprocess.Popen(
        [*command, "out"],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # so that all of Ray's processes can be killed with it
    )
    records = folder / "out" / ".segvoc" / "shards"
    while began.poll() is None and (not records.is_dir() or len(list(records.iterdir())) < 2):
        time.sleep(0.05)
    os.killpg(began.pid, signal.SIGKILL)
    began.wait()
    before = len(list(records.glob("*.json")))
    subprocess.run([*command, "out"], cwd=folder, check=True, capture_output=True)
    subprocess.run([*command, "whole"], cwd=folder, check=True, capture_output=True)
    return {
        "run": "tiny, the whole run killed",
        "images": images,
        "shards_before_the_kill": before,
        "shards": len(list(records.glob("*.json"))),
        "source": len(list(source.iterdir())),
        **compared(results(str(folder / "out")), results(str(folder / "whole"))),
    }


RUNS = {"rate": rate, "cluster": cluster, "s3": s3, "kill": kill}


def main() -> int:
    """Measure, print and keep; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--sleep", type=float, default=0.1)
    parser.add_argument("--only", nargs="*", choices=list(RUNS), default=list(RUNS))
    arguments = parser.parse_args()
    os.environ["PYTHONPATH"] = os.pathsep.join(map(str, [ROOT / "src", ROOT]))  # of the processes that Ray starts
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    rows: list[dict[str, object]] = []
    for name in arguments.only:
        folder = Path(tempfile.mkdtemp(prefix="batch"))
        try:
            images = arguments.images if name == "rate" else min(60, arguments.images)
            load = " ".join(f"{one:.1f}" for one in os.getloadavg())
            rows.append({"name": name, **RUNS[name](folder, images, arguments.sleep), "load_before": load})
            print(rows[-1], flush=True)
        finally:
            ray.shutdown()
            shutil.rmtree(folder, ignore_errors=True)
    update("batch", rows, ["name"], ray=ray.__version__, sleep_seconds=str(arguments.sleep))
    whole = not any(row[problem] for row in rows for problem in ("lost", "too_many", "different"))
    return 0 if whole and all(row.get("share_of_rate", 1.0) >= 0.85 for row in rows) else 1  # type: ignore[operator]


if __name__ == "__main__":
    sys.exit(main())
