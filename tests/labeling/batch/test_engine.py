"""Batches on Ray, started once for all tests of this file."""

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from segvoc.cli.batch import batch_command
from segvoc.errors import ProcessError, UsageError
from segvoc.labeling.batch.run import BatchRun
from segvoc.labeling.batch.work import Batch
from tests.images import one_line_error
from tests.labeling.batch.runs import WORDS, QuickSegmenter, contents, folder_of, label, rows_of
from tests.lazy_modules import lazily

engine = lazily("ray", 'needs the extra "batch"', "segvoc.labeling.batch.engine")

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def started() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", f"{ROOT / 'src'}{os.pathsep}{ROOT}")
        for name in ("RAY_AUTH_TOKEN", *engine.SETTINGS):
            patch.setenv(name, os.environ.get(name, ""))  # put back afterwards
            patch.delenv(name)
        patch.setenv("HOME", "/proc/no-home")  # Ray writes nothing there
        # a cluster of one core: Ray starts an idle worker for each, which takes seconds
        patch.setattr(engine.process_settings, "cores", lambda: 1)
        patch.setattr(Batch, "cpus", 1.0)
        engine.connect(ray_batch(Path(), Path()))
        yield
        engine.ray.shutdown()


def ray_batch(source: Path, out: Path, **options: Any) -> Batch:
    fixed = {"words": WORDS, "load": QuickSegmenter, "shard_images": 2, "workers": 1, "cpus": 1.0}
    return Batch(source=str(source), out=str(out), **fixed | options)


def test_ray_gives_the_results_of_a_plain_loop(started: None, tmp_path: Path) -> None:
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"
    source = folder_of(tmp_path / "in", ["a.jpg", "b.jpg", "bad.jpg", "c.jpg", "d.jpg"])

    with BatchRun(ray_batch(source, tmp_path / "out")) as done:
        list(done)
    label(source, tmp_path / "expected", load=QuickSegmenter)
    assert (done.images, done.failed, done.problems) == (5, 1, [])
    assert contents(tmp_path / "out") == contents(tmp_path / "expected")


def test_workers_that_no_node_has_are_refused(started: None, tmp_path: Path) -> None:
    source = folder_of(tmp_path / "in", ["a.jpg"])
    for workers, told in (({"cpus": 1000.0}, "no node has 1000 cores"), ({"gpus": 1.0}, "and 1 GPUs")):
        with pytest.raises(UsageError, match=told):
            BatchRun(ray_batch(source, tmp_path / "other", workers=None, **workers))


class BrittleSegmenter(QuickSegmenter):
    """Ends its process, or raises, at some contents."""

    def segment_many(self, images: Any, *arguments: Any, **options: Any) -> Any:
        def checked() -> Iterator[bytes]:
            for content in images:
                if content.startswith(b"kill"):
                    os._exit(1)
                if content.startswith(b"raise"):
                    raise RuntimeError("\x1b[31mno such code\nmore")
                yield content

        return super().segment_many(checked(), *arguments, **options)


def test_a_shard_that_kills_its_worker_or_raises_costs_itself_alone(started, tmp_path, monkeypatch):
    monkeypatch.setattr(f"{engine.name}.MOST_DEATHS", 2)
    source = folder_of(tmp_path / "in", [f"{name}.jpg" for name in "abcdefgh"])
    (source / "c.jpg").write_bytes(b"kill")
    (source / "f.jpg").write_bytes(b"raise")
    with BatchRun(ray_batch(source, tmp_path / "out", load=BrittleSegmenter)) as done:
        list(done)
    place = source.as_posix()
    killed, raised = sorted(done.problems)
    assert killed.startswith(f"the shard from '{place}/c.jpg' to '{place}/d.jpg' failed (2 workers died with it")
    shard = f"the shard from '{place}/e.jpg' to '{place}/f.jpg'"
    assert raised == f"{shard} failed (RuntimeError: no such code)"
    assert [row["key"] for row in rows_of(tmp_path / "out")] == ["a.jpg", "b.jpg", "g.jpg", "h.jpg"]
    for name in ("c.jpg", "f.jpg"):
        folder_of(source, [name])
    done = label(source, tmp_path / "out", load=QuickSegmenter)
    assert (done.before, done.images, done.problems) == (4, 8, [])
    assert len(rows_of(tmp_path / "out")) == 8


class NotingSegmenter(QuickSegmenter):
    """Notes each process that loads it, and its niceness."""

    def __init__(self, loads: Path) -> None:
        super().__init__()
        with loads.open("a") as file:
            file.write(f"{os.getpid()} {os.nice(0)}\n")


class DifferentSegmenter(QuickSegmenter):
    """Another model than the one that encoded the words, as a node with other files would have."""

    def __init__(self, known: Path) -> None:
        super().__init__()
        if known.exists():
            raise UsageError("the model differs between nodes")
        known.touch()


def test_workers_keep_their_model_have_no_lower_priority_and_tell_their_errors(started: None, tmp_path: Path) -> None:
    source = folder_of(tmp_path / "in", [f"{name}.jpg" for name in "abcdef"])
    loads = tmp_path / "loads"
    with BatchRun(ray_batch(source, tmp_path / "out", load=partial(NotingSegmenter, loads))) as done:
        list(done)
    noted = loads.read_text().splitlines()
    assert done.problems == [] and len(noted) == 2  # of the words, and of three shards
    assert {line.split()[1] for line in noted} == {str(os.nice(0))}

    known = tmp_path / "known"
    with (
        BatchRun(ray_batch(source, tmp_path / "other", load=partial(DifferentSegmenter, known))) as done,
        one_line_error(UsageError, "the model differs between nodes"),
    ):
        list(done)


def test_a_run_ends_where_workers_die_with_every_task(started, tmp_path, monkeypatch):
    monkeypatch.setattr(f"{engine.name}.MOST_DEATHS", 1)
    monkeypatch.setattr(f"{engine.name}.MOST_LOST", 2)
    source = folder_of(tmp_path / "in", [f"{name}.jpg" for name in "abcdef"])
    for name in "abcdef":
        (source / f"{name}.jpg").write_bytes(b"kill")
    with (
        BatchRun(ray_batch(source, tmp_path / "out", load=BrittleSegmenter)) as done,
        one_line_error(ProcessError, "Ray can't go on", "run the same call again"),
    ):
        list(done)
    assert len(done.problems) == 1


def test_a_start_of_ray_that_times_out_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    started = list[subprocess.Popen[bytes]]()

    def start(**options: Any) -> None:
        calls.append("init")
        if len(calls) < 3:
            started.append(subprocess.Popen(["sleep", "100"]))
            raise TimeoutError("the node is not up after 30 s")

    monkeypatch.setattr(f"{engine.name}.PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(engine.ray, "is_initialized", lambda: False)
    monkeypatch.setattr(engine.ray, "init", start)
    monkeypatch.setattr(engine.ray, "shutdown", lambda: calls.append("shutdown"))
    engine.connect(ray_batch(Path("in"), Path("out")))
    assert calls == ["init", "shutdown", "init"]
    assert started[0].wait() == -signal.SIGKILL


@pytest.mark.slow
def test_no_cluster_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_cluster(**options: Any) -> None:
        raise ConnectionError("Could not find any running Ray instance.\nMore")

    monkeypatch.setattr(engine.ray, "is_initialized", lambda: False)
    monkeypatch.setattr(f"{engine.name}.PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(engine.ray, "init", no_cluster)
    with one_line_error(UsageError, "'auto'", "--address"):
        engine.connect(ray_batch(Path("in"), Path("out"), address="auto"))
    with one_line_error(ProcessError, "Ray doesn't start here"):
        engine.connect(ray_batch(Path("in"), Path("out")))


def test_the_example_for_kubernetes_is_a_job_of_this_command() -> None:
    yaml = pytest.importorskip("yaml")
    job, service = (yaml.safe_load((ROOT / f"examples/ray_{name}.yaml").read_bytes()) for name in ("job", "service"))
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    words = shlex.split(job["spec"]["entrypoint"])
    assert words[:2] == ["segvoc", "batch"]
    parsed = batch_command.make_context("batch", words[2:]).params
    assert parsed["address"] == "auto"
    cluster = job["spec"]["rayClusterSpec"]
    assert cluster["rayVersion"] == service["spec"]["rayClusterConfig"]["rayVersion"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        (container,) = group["template"]["spec"]["containers"]
        assert {"name": "RAY_USAGE_STATS_ENABLED", "value": "0"} in container["env"]
        assert group is cluster["headGroupSpec"] or parsed["cpus"] <= int(container["resources"]["limits"]["cpu"])


class SlowSegmenter(QuickSegmenter):
    """Takes its time, so that there is some to kill."""

    def segment_many(self, *arguments: Any, **options: Any) -> Any:
        time.sleep(0.3)
        return super().segment_many(*arguments, **options)


DRIVER = """
import sys
from pathlib import Path
from segvoc.labeling.batch.run import BatchRun
from tests.labeling.batch.test_engine import SlowSegmenter, ray_batch
source, out, address = sys.argv[1:]
with BatchRun(ray_batch(Path(source), Path(out), rows_a_file=2, load=SlowSegmenter, address=address or None)) as run:
    for _ in run:
        pass
"""


@pytest.mark.slow
@pytest.mark.parametrize("killed", ["worker", "driver", "agent"])
def test_what_is_killed_loses_and_repeats_no_row(started: None, tmp_path: Path, killed: str) -> None:
    import psutil  # here, since it comes with Ray

    names = [f"{number:02}.jpg" for number in range(24)]
    source, out = folder_of(tmp_path / "photos", names), tmp_path / "out"
    # an agent takes its cluster with it; the others share the one of these tests
    address = "" if killed == "agent" else engine.ray.get_runtime_context().gcs_address
    driver = subprocess.Popen([sys.executable, "-c", DRIVER, source, out, address])

    def victims() -> list[psutil.Process]:
        if killed == "driver":
            return [psutil.Process(driver.pid)]
        if killed == "agent":
            return [one for one in psutil.Process(driver.pid).children() if one.name() == "raylet"]
        return [one for one in psutil.process_iter(["cmdline"]) if "ray::_do" in (one.info["cmdline"] or ())]

    try:
        end = time.monotonic() + 300
        while len(list(out.glob("*.parquet"))) < 3 or not victims():
            assert driver.poll() is None and time.monotonic() < end
            time.sleep(0.02)
        victims()[0].kill()
        assert (driver.wait(300) == 0) == (killed == "worker")
    finally:
        driver.kill()
    before = len(list(out.glob("*.parquet")))
    assert before == 12 if killed == "worker" else before < 12
    with BatchRun(ray_batch(source, out, rows_a_file=2)) as run:
        list(run)
    assert (run.images, run.problems) == (24, [])
    assert [row["key"] for row in rows_of(out)] == names  # each once
