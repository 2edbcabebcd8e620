"""`make install`: which Python it takes, what it does again, and what follows when it is killed. No pip runs here."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]

STUB = """#!/bin/sh
case "$*" in *"config list"*) echo "$SETTINGS"; exit;; esac
echo "$*" >> calls
case "$*" in *"${FAIL:-nothing}"*) exit 1;; *"${HANG:-nothing}"*) : > hangs; read line < gate;; esac
"""
"""Stands in for the environment's Python: tells pip's settings, notes other arguments, fails or hangs if told to."""

PROGRAM = """
import runpy, sys, venv

def create(folder, **options):
    (folder / "bin").mkdir()
    (folder / "bin" / "python").write_text({stub!r})
    (folder / "bin" / "python").chmod(0o755)
    open("calls", "a").write("created\\n")

venv.create = create
runpy.run_path({script!r})
"""

UV = ["created", "pip uv.lock", "uv", "pip a.lock", "editable"]
PIP = ["created", "pip a.lock", "editable"]


class Installation:
    """An installation in a folder, whose environment has a stub for its Python."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.lock, self.record = folder, folder / "a.lock", folder / "an environment é" / ".installed"
        self.lock.write_text("# head\nanyio==1 \\\n    --hash=sha256:0\nuv==2 \\\n    --hash=sha256:1\n")
        os.mkfifo(folder / "gate")

    def start(self, **environment: str) -> subprocess.Popen[bytes]:
        program = PROGRAM.format(stub=STUB, script=str(REPOSITORY / "tools" / "install.py"))
        command = [sys.executable, "-c", program, str(self.record.parent), str(self.lock)]
        environment = {**os.environ, "SETTINGS": "", **environment}
        return subprocess.Popen(command, cwd=self.folder, env=environment, stderr=subprocess.DEVNULL)

    def run(self, **environment: str) -> tuple[int, list[str]]:
        """Its exit code, and what it did."""
        with self.start(**environment) as process:
            process.communicate(timeout=300)
        return process.returncode, self.steps()

    def steps(self) -> list[str]:
        """What was done since the last call."""
        calls = self.folder / "calls"
        lines = calls.read_text().splitlines() if calls.exists() else []
        calls.unlink(missing_ok=True)
        names = {"--editable": "editable", "-m uv": "uv", "/uv.lock": "pip uv.lock", "/a.lock": "pip a.lock"}
        return [next((name for part, name in names.items() if part in line), line) for line in lines]


@pytest.fixture
def installation(tmp_path: Path) -> Installation:
    return Installation(tmp_path)


def test_only_what_changed_is_installed_again(installation: Installation) -> None:
    assert installation.run() == (0, UV)
    assert installation.run() == (0, [])
    installation.lock.write_text(installation.lock.read_text() + "yarl==1\n")
    assert installation.run() == (0, UV[1:])
    assert installation.run() == (0, [])
    installation.record.parent.rename(installation.folder / "moved")
    installation.record = installation.folder / "moved" / ".installed"
    assert installation.run() == (0, UV)


@pytest.mark.parametrize(
    ("settings", "steps"),
    [
        ({"SETTINGS": "global.index-url='https://a'"}, PIP),
        ({"SETTINGS": ":env:.no-index='1'"}, PIP),
        ({"SETTINGS": "global.extra-index-url='b'", "FAIL": "-m uv"}, UV),
    ],
)
def test_pip_installs_what_uv_fails_at_or_may_not_fetch(installation: Installation, settings, steps) -> None:
    assert installation.run(**settings) == (0, steps)
    installation.lock.write_text("anyio==1 \\\n    --hash=sha256:0\n")  # without uv
    assert installation.run() == (0, PIP[1:])


@pytest.mark.parametrize(("step", "done"), [("uv.lock", 2), ("a.lock", 4), ("--editable", 5)])
def test_what_failed_is_made_again(installation: Installation, step: str, done: int) -> None:
    assert installation.run(FAIL=step) == (1, UV[:done])
    assert installation.run() == (0, UV)


def test_a_killed_installation_is_waited_for_and_made_again(installation: Installation) -> None:
    hangs = installation.folder / "hangs"
    with installation.start(HANG="-m uv") as killed:
        while not hangs.exists():
            assert killed.poll() is None
            time.sleep(0.01)
        killed.kill()
    assert installation.steps() == UV[:3]
    with installation.start() as second:
        time.sleep(0.3)
        assert installation.steps() == []  # what the first one has started still works there
        (installation.folder / "gate").write_text("\n")
        assert second.wait() == 0
    assert installation.steps() == UV


def test_a_folder_of_something_else_stays_as_it_is(installation: Installation) -> None:
    installation.record.parent.mkdir()
    (installation.record.parent / "thesis.txt").touch()
    assert installation.run() == (1, [])
    assert [path.name for path in installation.record.parent.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize(
    ("pythons", "chosen"),
    [
        ({"bin/python3": True, "bin/python3.12": True}, "bin/python3"),
        ({"bin/python3": False, "bin/python3.12": True, "bin/python3.11": True}, "bin/python3.12"),
        ({"bin/python3": True, "my venv/bin/python": True}, "my venv/bin/python"),
        ({"bin/python3": True, "my venv/bin/python": False}, "bin/python3"),
    ],
    ids=["the default", "the newest able one", "the environment's", "no longer able"],
)
def test_the_first_python_that_can_make_environments_is_chosen(tmp_path, pythons, chosen) -> None:
    """tools/install.sh, with stand-ins for Pythons."""
    for name, able in pythons.items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f'#!/bin/sh\n[ "$1" = -c ] && exit {0 if able else 1}\necho "{name}: $*"\n')
        file.chmod(0o755)
    command = ["/bin/sh", str(REPOSITORY / "tools" / "install.sh"), "my venv", "a.lock"]
    done = subprocess.run(command, cwd=tmp_path, env={"PATH": str(tmp_path / "bin")}, capture_output=True, text=True)
    assert done.stdout == f"{chosen}: {REPOSITORY}/tools/install.py my venv a.lock\n"
