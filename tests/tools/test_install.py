"""`make install`: which Python it takes, what it does again, and what it leaves when it is killed. No pip runs here."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]

STUB = """#!/bin/sh
case "$*" in *"config list"*) echo "${{SETTINGS:-}}"; exit;; esac
echo "$*" >> "{calls}"
case "$*" in *"${{FAIL:-nothing}}"*) echo "ERROR: told to fail" >&2; exit 1;; esac
case "$*" in *"${{HANG:-nothing}}"*) : > "{hangs}"; read line < "{gate}";; esac
"""
"""Stands in for the environment's Python: tells pip's settings, notes other arguments, fails or hangs if told to."""

PROGRAM = """
import signal, sys, venv
from pathlib import Path
from tools import install

def create(self, folder):
    (folder / "bin").mkdir()
    (folder / "bin" / "python").write_text({stub!r})
    (folder / "bin" / "python").chmod(0o755)

signal.signal(signal.SIGINT, signal.default_int_handler)  # it may be ignored here
venv.EnvBuilder.create = create
install.SPACE["requirements.lock"] = 0.0, 0.0
install.main()
"""


class Installation:
    """An installation into tmp_path whose environment has a stub for its Python."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "an environment é"
        self.lock = folder / "requirements.lock"
        self.lock.write_text("# head\nanyio==1 \\\n    --hash=sha256:0\nuv==2 \\\n    --hash=sha256:1\n")
        self.calls, self.hangs, self.gate = folder / "calls", folder / "hangs", folder / "gate"
        os.mkfifo(self.gate)

    def start(self, **environment: str) -> subprocess.Popen[str]:
        stub = STUB.format(calls=self.calls, hangs=self.hangs, gate=self.gate)
        return subprocess.Popen(
            [sys.executable, "-c", PROGRAM.format(stub=stub), str(self.folder), str(self.lock)],
            cwd=REPOSITORY,
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, **environment: str) -> subprocess.CompletedProcess[str]:
        with self.start(**environment) as process:
            try:
                output, errors = process.communicate(timeout=60)
            finally:
                process.kill()
        return subprocess.CompletedProcess([], process.returncode, output, errors)

    def hang(self, step: str) -> subprocess.Popen[str]:
        """Start it, and return when it has come to a step, where it stays."""
        process = self.start(HANG=step)
        while not self.hangs.exists():
            assert process.poll() is None
            time.sleep(0.01)
        return process

    def go_on(self) -> None:
        """End the step that hangs."""
        self.gate.write_text("\n")

    def steps(self) -> list[str]:
        """What the environment's Python has run since the last call."""
        done = re.findall(r"ensurepip|tmp/uv|uv pip|tmp/all|compileall|--editable(?= \.)", self.calls.read_text())
        self.calls.unlink()
        return done

    def complete(self) -> bool:
        return "package" in json.loads((self.folder / ".installed").read_text())


ALL = ["ensurepip", "tmp/uv", "uv pip", "compileall", "--editable"]


@pytest.fixture
def installation(tmp_path: Path) -> Installation:
    return Installation(tmp_path)


def test_the_second_time_does_nothing_and_what_changed_is_tried_again_when_pip_failed(
    installation: Installation,
) -> None:
    first = installation.run()
    assert (first.returncode, first.stderr) == (0, "")
    assert installation.steps() == ALL
    second = installation.run()
    assert (second.returncode, second.stdout, second.stderr) == (0, "", "")
    assert not installation.calls.exists()
    installation.lock.write_text(installation.lock.read_text() + "yarl==1\n")
    assert installation.run(FAIL="tmp/all").returncode == 1
    installation.steps()
    assert installation.run().returncode == 0
    assert installation.steps() == ["tmp/all", "compileall", "--editable"]


def test_pip_installs_what_uv_fails_at_or_would_fetch_from_another_index(installation: Installation) -> None:
    failed = installation.run(FAIL="uv pip")
    assert (failed.returncode, failed.stdout.splitlines()[-1]) == (0, "uv failed; pip tries again")
    assert installation.steps() == [*ALL[:3], "tmp/all", *ALL[3:]]
    by_pip = ["ensurepip", "tmp/all", *ALL[3:]]
    settings = {"global.index-url='https://a'": by_pip, ":env:.no-index='1'": by_pip, "global.extra-index-url='b'": ALL}
    for setting, steps in settings.items():
        (installation.folder / ".installed").unlink()
        assert installation.run(SETTINGS=setting).returncode == 0
        assert installation.steps() == steps


@pytest.mark.parametrize("step", ["ensurepip", "--require-hashes", "--editable"])
def test_a_failure_is_one_line(installation: Installation, step: str) -> None:
    failed = installation.run(FAIL=step)
    assert failed.returncode == 1
    (line,) = failed.stderr.splitlines()
    assert line == f"error: told to fail (all that pip wrote: {installation.folder}/install.log)"
    assert installation.run().returncode == 0 and installation.complete()


@pytest.mark.parametrize("step", ["ensurepip", "uv pip", "compileall", "--editable"])
def test_a_killed_installation_is_waited_for_and_then_finished(installation: Installation, step: str) -> None:
    with installation.hang(step) as killed:
        killed.kill()
    installation.steps()
    with installation.start() as second:
        assert second.stdout.readline() == f"Waiting for another installation into {installation.folder}\n"
        assert not installation.calls.exists()  # what the first one has started still works there
        installation.go_on()
        assert second.wait() == 0
    assert installation.complete()
    assert ("ensurepip" in installation.steps()) == (step != "--editable")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 1), (signal.SIGTERM, 143)])
def test_an_interrupted_installation_leaves_no_process(installation: Installation, number: int, code: int) -> None:
    with installation.hang("uv pip") as interrupted:
        interrupted.send_signal(number)
        assert interrupted.wait() == code
    again = installation.run()
    assert again.returncode == 0 and "Waiting" not in again.stdout
    assert installation.complete()


@pytest.mark.parametrize(
    ("pythons", "chosen"),
    [
        ({"bin/python3": True, "bin/python3.12": True}, "bin/python3"),
        ({"bin/python3": False, "bin/python3.12": True, "bin/python3.11": True}, "bin/python3.12"),
        ({"bin/python3": True, "my venv/bin/python": True}, "bin/python3"),
        ({"bin/python3": True, "my venv/bin/python": True, "my venv/.installed": True}, "my venv/bin/python"),
        ({"bin/python3": True, "my venv/bin/python": False, "my venv/.installed": True}, "bin/python3"),
    ],
    ids=["the default", "the newest able one", "interrupted", "installed", "no longer able"],
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
