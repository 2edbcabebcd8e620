"""What `segvoc doctor` prints, and each problem that it finds, on machines that have it."""

import json
import shutil
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest

from segvoc.cli import doctor as command
from segvoc.diagnosis import diagnosis, engines, machine, places
from segvoc.diagnosis.diagnosis import Diagnosis, diagnose
from segvoc.diagnosis.engines import find_engines
from segvoc.diagnosis.machine import problems_of_machine, warnings_of_machine
from segvoc.diagnosis.places import problems_of_places
from segvoc.diagnosis.requirements import missing_of_extras, packages
from tests.cli.command import Command


@pytest.fixture(scope="module")
def found() -> Diagnosis:
    """This machine's."""
    return diagnose()


@pytest.fixture
def doctor(segvoc_command: Command, found: Diagnosis, monkeypatch: pytest.MonkeyPatch) -> Command:
    """`segvoc doctor`, which takes seconds, with what it found before."""
    monkeypatch.setattr(diagnosis, "diagnose", lambda: found)
    return lambda *arguments: segvoc_command("doctor", *arguments)


def test_this_installation_is_complete(found: Diagnosis) -> None:
    assert found.facts["segvoc"]["tiny"].startswith("labels an image")
    assert found.facts["engines"]["PyTorch"].startswith(metadata.version("torch").split("+")[0])
    assert found.facts["extras"]["torch"] == "complete"
    assert found.facts["packages"]["onnxruntime"] == metadata.version("onnxruntime")
    assert set(found.facts["folders"]) >= {"working directory", "temporary files"}
    assert [problem for problem in found.problems if "install" in problem] == []


def test_the_command_prints_all_of_it(doctor: Command, found: Diagnosis) -> None:
    done = doctor()
    assert done.code == (1 if found.problems else 0)
    for section, facts in found.facts.items():
        assert f"{section}\n" in done.out
        assert all(f"{value}\n" in done.out for value in facts.values())
    assert f"\nproblems: {len(found.problems)}\n" in done.out
    assert json.loads(doctor("--json").out) == found.to_json()


def test_problems_end_with_1(segvoc_command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnosis, "diagnose", lambda: Diagnosis(facts={}, problems=["this; do that"]))
    done = segvoc_command("doctor")
    assert done.code == 1 and done.out == "problems: 1\n  - this; do that\n"
    assert command.doctor.name == "doctor"
    busy = Diagnosis(facts={}, problems=[], warnings=["other programs; wait"])
    monkeypatch.setattr(diagnosis, "diagnose", lambda: busy)
    done = segvoc_command("doctor")
    assert done.code == 0 and done.out == "warnings: 1\n  - other programs; wait\nproblems: 0\n"


def test_secrets_are_not_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_TOKEN", "SEGVOC_API_KEY", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "hush")
    assert "hush" not in json.dumps(machine.set_variables())


def test_packages_that_are_missing_or_too_old_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = ["present>=2", "absent>=1", "old>=3; extra == 'more'", "away; extra == 'more'", "other; python_version<'3'"]
    versions = {"present": "2.1", "old": "1.0"}

    def version(name: str) -> str:
        if name not in versions:
            raise metadata.PackageNotFoundError(name)
        return versions[name]

    monkeypatch.setattr(metadata, "requires", lambda name: asked)
    monkeypatch.setattr(metadata, "version", version)
    found = packages()
    assert [package.name for package in found] == ["present", "absent", "old", "away"]
    assert [package.problem for package in found] == [
        None,
        "absent is missing, without which segvoc doesn't run; install it with: pip install segvoc",
        'old 1.0 is installed, but segvoc needs >=3; install it with: pip install "old>=3"',
        None,
    ]
    assert missing_of_extras(found) == {"more": ["away"]}


def test_sources_that_are_not_installed_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert packages("no-such-distribution") == []
    monkeypatch.setattr(diagnosis, "packages", list)
    assert any("without being installed" in problem for problem in diagnose().problems)


def test_an_engine_that_cannot_be_imported_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(module: str) -> None:
        if module == "torchvision":
            raise RuntimeError("operator torchvision::nms does not exist\nand more")

    monkeypatch.setattr(engines, "import_module", broken)
    (problem,) = find_engines().problems
    assert problem.startswith("torchvision can't be imported (operator torchvision::nms does not exist); install ")


@pytest.mark.parametrize("built", ["13.2", None])
def test_a_gpu_that_pytorch_cannot_use_is_named(monkeypatch, tmp_path, built):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", built)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(engines, "NVIDIA_DRIVER", tmp_path)
    (problem,) = find_engines().problems
    assert ("built for CPUs alone" in problem) == (built is None)


def test_gpus_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    about = SimpleNamespace(name="Card", total_memory=80e9)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda number: about)
    assert find_engines().facts["GPU 0"] == "Card, 80 GB"


@pytest.mark.parametrize(
    ("threads", "quota", "said"),
    [
        ("64", None, "may use 8 cores; unset it, or lower it"),
        ("1", None, "leaves most of the 8 cores unused"),
        ("8", None, None),
        ("", "150000 100000", "may use 1.5 of 8 cores"),
        ("", "max 100000", None),
        ("2", "150000 100000", "leaves most"),
    ],
)
def test_threads_that_do_not_fit_the_cores(monkeypatch, tmp_path, threads, quota, said):
    monkeypatch.setattr(machine, "cores", lambda: 8)
    monkeypatch.setattr(machine, "CONTROL_GROUP", tmp_path)
    monkeypatch.setattr(machine.os, "getloadavg", lambda: (1.0, 1.0, 1.0))
    monkeypatch.setenv("OMP_NUM_THREADS", threads)
    if quota is not None:
        (tmp_path / "cpu.max").write_text(f"{quota}\n")
    found = list(problems_of_machine())
    assert (found == []) if said is None else (len(found) == 1 and said in found[0])


def test_little_memory_and_busy_cores(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text("512000000\n")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(machine, "CONTROL_GROUP", tmp_path)
    monkeypatch.setattr(machine.os, "getloadavg", lambda: (99.0, 1.0, 1.0))
    (memory,), (load,) = problems_of_machine(), warnings_of_machine()
    assert "only 0.5 GB of memory" in memory and "other programs" in load
    assert machine.describe_machine()["memory"].endswith("of which this container may use 0.5 GB")


def test_folders_without_room_or_permission(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(places, "places", lambda: {"results": tmp_path / "not" / "yet"})
    usage = SimpleNamespace(total=64 << 20, used=0, free=5_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    monkeypatch.setattr(places, "SHARED_MEMORY", tmp_path)
    room, shared = problems_of_places()
    assert room.startswith(f"'{tmp_path}' has 5 MB of free space, which is for results;")
    assert "--shm-size" in shared
    monkeypatch.setattr(places.os, "access", lambda folder, mode: False)
    assert "can't be written, which is for results" in next(problems_of_places())


def test_damaged_weights_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = tmp_path / "weights"
    shutil.copytree(diagnosis.SHIPPED, folder)
    (folder / "tiny.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    monkeypatch.setattr(diagnosis, "SHIPPED", folder)
    (problem,) = diagnosis._of_weights()
    assert "tiny.safetensors" in problem and problem.endswith("install segvoc again")


def test_a_model_that_does_not_run_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise ValueError("bad\nvery")

    monkeypatch.setattr(diagnosis, "open_tiny", broken)
    assert diagnosis._label_something() == ("doesn't run", ["tiny can't label an image (ValueError: bad); report it"])
