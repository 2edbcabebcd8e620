"""Batches on Ray, started once for all tests of this file."""

import contextlib
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
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
        for name in ("AUTH_TOKEN", "BACKEND_LOG_LEVEL", "USAGE_STATS_ENABLED", "agent_register_timeout_ms"):
            name = f"RAY_{name}"
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


def test_a_shard_that_kills_its_worker_or_raises_costs_itself_alone(started: None, tmp_path: Path) -> None:
    source = folder_of(tmp_path / "in", [f"{name}.jpg" for name in "abcdefgh"])
    (source / "c.jpg").write_bytes(b"kill")
    (source / "f.jpg").write_bytes(b"raise")
    with BatchRun(ray_batch(source, tmp_path / "out", load=BrittleSegmenter)) as done:
        list(done)
    place = source.as_posix()
    killed, raised = sorted(done.problems)
    assert killed.startswith(f"the shard from '{place}/c.jpg' to '{place}/d.jpg' failed (3 workers died with it")
    shard = f"the shard from '{place}/e.jpg' to '{place}/f.jpg'"
    assert raised == f"{shard} failed (RuntimeError: no such code)"
    assert [row["key"] for row in rows_of(tmp_path / "out")] == ["a.jpg", "b.jpg", "g.jpg", "h.jpg"]
    for name in ("c.jpg", "f.jpg"):
        folder_of(source, [name])
    with BatchRun(ray_batch(source, tmp_path / "out")) as done:
        list(done)
    assert (done.before, done.images, done.problems) == (4, 8, [])
    assert len(rows_of(tmp_path / "out")) == 8


def test_what_ray_wraps_is_found() -> None:
    inner = UsageError("the model differs")
    outer = RuntimeError("a worker died")
    outer.__cause__ = inner
    assert engine._lost(outer) is inner
    other = engine._lost(RuntimeError("\x1b[36ma worker died\x1b[39m\nTraceback"))
    assert isinstance(other, ProcessError)
    assert str(other) == "Ray can't go on (a worker died); run the same call again to go on"


def test_a_start_of_ray_that_times_out_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    class SlowNode(engine.Node):
        def __init__(self) -> None:
            raise TimeoutError("the node is not up after 30 s")

        def kill_all_processes(self, *, check_alive: bool) -> None:
            calls.append("kill")

    def start(**options: Any) -> None:
        calls.append("init")
        if len(calls) < 3:
            SlowNode()

    monkeypatch.setattr(engine, "PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(engine.ray, "is_initialized", lambda: False)
    monkeypatch.setattr(engine.ray, "init", start)
    monkeypatch.setattr(engine.ray, "shutdown", lambda: calls.append("shutdown"))
    engine.connect(ray_batch(Path("in"), Path("out")))
    assert calls == ["init", "kill", "shutdown", "init"]


@pytest.mark.slow
def test_no_cluster_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_cluster(**options: Any) -> None:
        raise ConnectionError("Could not find any running Ray instance.\nMore")

    monkeypatch.setattr(engine.ray, "is_initialized", lambda: False)
    monkeypatch.setattr(engine, "PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(engine.ray, "init", no_cluster)
    with one_line_error(UsageError, "'auto'", "--address"):
        engine.connect(ray_batch(Path("in"), Path("out"), address="auto"))
    with one_line_error(ProcessError, "Ray doesn't start here"):
        engine.connect(ray_batch(Path("in"), Path("out")))


def test_the_example_for_kubernetes_is_a_job_of_this_command() -> None:
    yaml = pytest.importorskip("yaml")
    job, service = (
        yaml.safe_load((ROOT / f"examples/ray_{name}.yaml").read_text(encoding="utf-8")) for name in ("job", "service")
    )
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


@pytest.mark.slow
@pytest.mark.parametrize("killed", ["driver", "worker"])
def test_a_driver_that_is_killed_goes_on_when_called_again_and_a_worker_is_replaced(
    tmp_path: Path, killed: str
) -> None:
    import psutil  # here, since it comes with Ray

    names = [f"{number:02}.jpg" for number in range(24)]
    folder = folder_of(tmp_path / "photos", names)
    options = "--words cat,wall --workers 1 --cpus 1 --shard-images 2 --rows-a-file 2".split()
    call = [sys.executable, "-m", "segvoc", "batch", folder, "--out", tmp_path / "out", *options]
    driver = subprocess.Popen(call, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    children: list[psutil.Process] = []
    try:
        end = time.monotonic() + 300
        while len(list((tmp_path / "out").glob("*.parquet"))) < 3:
            assert driver.poll() is None and time.monotonic() < end
            time.sleep(0.05)
        children = psutil.Process(driver.pid).children(recursive=True)
        if killed == "worker":
            next(child for child in children if "_Label" in " ".join(child.cmdline())).kill()
            assert driver.wait(300) == 0
        else:
            driver.kill()
            driver.wait()
        before = {path.name: path.read_bytes() for path in (tmp_path / "out").glob("*.parquet")}
        assert (killed == "worker") == (len(before) == 12)
        done = subprocess.run(call, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        assert "24 images ->" in done.stdout
    finally:
        driver.kill()
        for process in children:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
    assert [row["key"] for row in rows_of(tmp_path / "out")] == names  # each once
