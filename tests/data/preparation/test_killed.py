"""A preparation that is killed, at any write, goes on where it was; the result is that of one that wasn't."""

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from segvoc.data.benchmarks import BENCHMARKS, find_benchmark, prepared
from segvoc.data.manifests import Manifest
from segvoc.data.preparation.prepare import prepare
from segvoc.errors import UsageError
from segvoc.storage.resume import done_entry, stamp_of
from tests.data.original_files import pack
from tests.data.preparation.test_prepare import KINDS
from tests.data.replicas import replica
from tests.processes import survivors


def results(root: Path) -> dict[str, bytes]:
    """All files but the temporary ones that a kill may leave."""
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and not path.name.endswith(".tmp")
    }


@pytest.mark.parametrize(
    "name", [name if name in KINDS else pytest.param(name, marks=pytest.mark.slow) for name in BENCHMARKS]
)
def test_interrupted_again_and_again_every_benchmark_comes_to_the_same_end(tmp_path, monkeypatch, name):
    """Ctrl-C at every sixth write at the latest."""
    replica(name, tmp_path / "whole")
    pack(name, tmp_path / "whole")
    shutil.copytree(tmp_path / "whole", tmp_path / "interrupted")
    prepare(find_benchmark(name), tmp_path / "whole", allow_missing=True)
    replace, writes, interrupts = Path.replace, 0, 0

    def interrupted(path: Path, target: Path) -> None:
        nonlocal writes
        writes += 1
        if writes == 6:
            raise KeyboardInterrupt
        replace(path, target)

    monkeypatch.setattr(Path, "replace", interrupted)
    while interrupts < 20:
        writes = 0
        try:
            prepare(find_benchmark(name), tmp_path / "interrupted", allow_missing=True)
            break
        except KeyboardInterrupt:
            interrupts += 1
            with pytest.raises(UsageError, match="is not prepared"):
                prepared(find_benchmark(name), tmp_path / "interrupted")
    assert 0 < interrupts < 20
    assert results(tmp_path / "interrupted") == results(tmp_path / "whole")


def test_a_journal_that_ends_within_a_line_is_read_up_to_it(tmp_path):
    name = "coco-stuff"
    replica(name, tmp_path)
    first = prepare(find_benchmark(name), tmp_path, allow_missing=True).manifest
    (stem, labels), value = ("000000000139", first.records[0].labels), {"records": [vars(first.records[0])]}
    value |= {"stem": stem, "left_out": {}, "sha256": {labels: "0" * 64}}
    line = json.dumps(done_entry({"layout": 1}, stem, [stamp_of(tmp_path / labels)], value))
    Manifest.path(tmp_path, name).unlink()
    journal = tmp_path / "segvoc/coco-stuff.journal"
    journal.write_text(f"{line}\n{line.replace('139', '285')[:50]}")
    labels = [tmp_path / record.labels for record in first.records]
    before = [path.stat().st_mtime_ns for path in labels]
    second = prepare(find_benchmark(name), tmp_path, allow_missing=True).manifest
    assert second.records == first.records
    assert [path.stat().st_mtime_ns == time for path, time in zip(labels, before, strict=True)] == [True, False, False]
    assert second.sha256 != first.sha256  # the journal's word for the first file is taken
    assert not journal.exists()


def test_label_maps_of_another_program_are_made_anew(tmp_path):
    """What no journal of ours tells of may be anything."""
    replica("a-150", tmp_path)
    path = tmp_path / "ADEChallengeData2016/annotations_detectron2/validation/ADE_val_00000001.png"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"something else")
    prepare(find_benchmark("a-150"), tmp_path, allow_missing=True)
    assert path.read_bytes().startswith(b"\x89PNG")


KILLED_WITH_WORKERS = """
import multiprocessing, os, signal, sys
from pathlib import Path
from segvoc.data.preparation import prepare as preparation
from segvoc.data.benchmarks import find_benchmark

def run():
    def killed(value):
        Path(sys.argv[2]).write_text(" ".join(str(child.pid) for child in multiprocessing.active_children()))
        os.kill(os.getpid(), signal.SIGKILL)
    preparation.to_json = killed
    preparation.prepare(find_benchmark("coco-stuff"), sys.argv[1], jobs=2, allow_missing=True)

run()
"""


def test_no_worker_outlives_a_killed_preparation(tmp_path):
    replica("coco-stuff", tmp_path)
    pids = tmp_path / "pids"
    # nothing is captured: a worker that lived on would keep a pipe open
    done = subprocess.run([sys.executable, "-c", KILLED_WITH_WORKERS, str(tmp_path), str(pids)], check=False)
    assert done.returncode == -signal.SIGKILL
    workers = [int(pid) for pid in pids.read_text().split()]
    assert len(workers) == 2
    assert survivors(workers) == []
