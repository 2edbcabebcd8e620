"""Install locked versions and the packages of this repository, editable, into a virtual environment.

Usage: tools/install.sh FOLDER LOCK, which chooses the Python.

An environment that is up to date is left alone. One whose installation was interrupted is made afresh, and so is one
that was moved or whose Python has changed. The locked uv installs the packages, in a fifth of pip's time; pip does it
where its settings name another index, or uv fails. Errors are one line; FOLDER/install.log has what pip wrote.
"""

import fcntl
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import venv
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]

SPACE = {
    "requirements.lock": (3.6, 7.9) if sys.platform == "linux" else (0.8, 2.7),  # CUDA's libraries are for Linux alone
    "requirements-light.lock": (0.05, 0.25),
}
"""What is downloaded, and what is installed with its bytecode [GB]: measured on Linux, estimated elsewhere."""

RARELY_IMPORTED = "tests?|moto|cvat_sdk|torch/(_inductor|testing)|ray/(dashboard|llm|rllib|serve|train|tune)"
"""Folders whose modules are compiled when they are first imported, if ever."""

OPTIONS = ("--require-hashes", "--no-deps", "--only-binary", ":all:")
"""For pip and uv."""

STOPS = (signal.SIGINT, signal.SIGTERM)
"""Signals that stop an installation."""


class InstallationError(Exception):
    """What is missing and how to get it, in one line."""


class PipError(InstallationError):
    """pip or uv failed; pip has put back what it couldn't replace."""


class Environment:
    """A virtual environment, and the record of what is installed in it."""

    def __init__(self, folder: Path, lock: Path) -> None:
        self.folder = folder.resolve()
        self.lock = lock
        self.python = self.folder / "bin" / "python"
        self.mutex = self.folder / ".mutex"
        self.record = self.folder / ".installed"
        self.log = self.folder / "install.log"
        # For pip's downloads: /tmp may be small, and what a kill leaves here goes with the environment.
        self.temporary = self.folder / "tmp"
        self.base = {"folder": str(self.folder), "python": f"{sys.base_prefix} {sys.version_info[:2]}{sys.abiflags}"}
        self.versions = {**self.base, "lock": digest(lock)}
        # what labels images alone goes without segvoc-annotate
        self.packages = (".",) if lock.name == "requirements-light.lock" else (".", "annotate")
        projects = " ".join(digest(REPOSITORY / folder / "pyproject.toml") for folder in self.packages)
        self.complete = {**self.versions, "package": f"{REPOSITORY} {projects}"}

    def update(self) -> None:
        """Install what is missing."""
        if self.has(self.complete):
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        ours = self.mutex.exists() or (self.folder / "pyvenv.cfg").exists()
        if not ours and any(self.folder.iterdir()):
            raise InstallationError(f"{self.folder} has files of something else: move them, or name another folder")
        self.keep_others_out()
        fresh = not self.has(self.base)
        if fresh:
            self.clear()
        self.log.write_text("")
        self.temporary.mkdir(exist_ok=True)
        if fresh:
            self.make()
            self.install_versions()
        elif not self.has(self.versions):
            self.change_versions()
        if not self.has(self.complete):
            self.install_package()
        shutil.rmtree(self.temporary, ignore_errors=True)

    def has(self, wanted: dict[str, str]) -> bool:
        """Whether all that is wanted is on record."""
        try:
            return self.python.exists() and wanted.items() <= json.loads(self.record.read_text()).items()
        except (OSError, ValueError):
            return False

    def write_record(self, installed: dict[str, str]) -> None:
        """Replace the record, as a whole."""
        draft = self.record.with_suffix(".draft")
        draft.write_text(json.dumps(installed))
        draft.replace(self.record)

    def keep_others_out(self) -> None:
        """Wait until no other installation works here; others wait until this one has ended."""
        mutex = os.open(self.mutex, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(mutex, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"Waiting for another installation into {self.folder}")
            fcntl.flock(mutex, fcntl.LOCK_EX)
        except OSError:
            return  # this file system has no locks
        # As standard input it is passed on to all children and theirs, so that one that survives this process still
        # keeps others out.
        os.dup2(mutex, 0)

    def clear(self) -> None:
        """Delete all that an interrupted installation, or a disused one, has left."""
        for path in self.folder.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            elif path != self.mutex:
                path.unlink()

    def make(self) -> None:
        """Make the environment, with pip in it."""
        download, installed = SPACE[self.lock.name]
        needed = f"{download + installed:.3g} GB ({download:g} to download, {installed:g} installed)"
        free = shutil.disk_usage(self.folder).free / 1e9
        if free < download + installed:
            raise InstallationError(
                f"{self.folder} needs {needed} but {free:.3g} are free: "
                "free some, or make it a link to a folder on another disk"
            )
        if free < 2 * download + installed:
            os.environ["PIP_NO_CACHE_DIR"] = os.environ["UV_NO_CACHE"] = "1"  # no room for keeping the downloads
        python = f"Python {sys.version.split()[0]} of {sys.base_prefix}"
        say(f"Making {self.folder} with {python}: {needed}")
        venv.EnvBuilder(symlinks=True).create(self.folder)
        self.run("ensurepip")

    def install_versions(self) -> None:
        """Install the locked versions."""
        say(f"Installing {self.lock}")
        if not self.install_with_uv():
            takes_minutes = SPACE[self.lock.name][0] > 1
            self.install_with_pip(self.lock.read_text(), "all", shown=takes_minutes)
        self.compile_modules()
        self.write_record(self.versions)

    def install_with_uv(self) -> bool:
        """Install the locked uv, and the rest with it; False if none is locked, it fails, or pip's index is another."""
        # A package is a line at the left margin, and the indented lines that follow it.
        uv = re.search(r"^uv==.*\n(?:\s.*\n)*", self.lock.read_text(), flags=re.MULTILINE)
        if uv is None:
            return False
        settings = subprocess.run([self.python, "-I", "-m", "pip", "config", "list"], capture_output=True, text=True)
        if re.search(r"\.(index-url|no-index)=", settings.stdout):
            return False
        quiet = () if sys.stderr.isatty() else ("--quiet",)  # it lists all packages
        options = ("--system-certs", "--python", str(self.python), *OPTIONS, *quiet)
        try:
            self.install_with_pip(uv[0], "uv")
            self.run("uv", "pip", "install", *options, "--requirement", str(self.lock.resolve()), shown=True)
        except PipError:
            say("uv failed; pip tries again")
            return False
        return True

    def change_versions(self) -> None:
        """Install what the lock has changed. Where pip fails, the environment stays, and the next call tries again."""
        say(f"Installing the changes of {self.lock}")
        self.record.unlink()
        try:
            self.install_with_pip(self.lock.read_text(), "all")
        except PipError:
            self.write_record(self.base)
            raise
        self.compile_modules()
        self.write_record(self.versions)

    def install_package(self) -> None:
        """Install the packages of this repository, so that changes of their sources need no new installation."""
        folders = [piece for folder in self.packages for piece in ("--editable", folder)]
        self.run("pip", "install", "--no-index", "--no-deps", "--no-build-isolation", *folders)
        self.write_record(self.complete)

    def install_with_pip(self, packages: str, name: str, *, shown: bool = False) -> None:
        """Install packages of the lock."""
        requirements = self.temporary / name
        requirements.write_text(packages)
        options = ("--no-compile", *OPTIONS, "--requirement", str(requirements))
        self.run("pip", "install", *options, shown=shown)

    def compile_modules(self) -> None:
        """Compile what isn't compiled yet, with a process for each core.

        Some packages bring files for other Pythons, which can't be compiled: that is no failure.
        """
        options = ("-qq", "--workers", "0", "-x", f"/site-packages/(.*/)?({RARELY_IMPORTED})/")
        command = [self.python, "-I", "-m", "compileall", *options, self.folder / "lib"]
        subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)

    def run(self, *arguments: str, shown: bool = False) -> None:
        """Run a module with the environment's Python, and raise what went wrong as one line.

        It is isolated (-I): packages in PYTHONPATH don't count as installed.
        """
        command = [self.python, "-I", "-m", *arguments]
        environment = {**os.environ, "TMPDIR": str(self.temporary)}
        # signals wait until there is a process that they can end too
        signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
        with (
            self.log.open("a") as log,
            subprocess.Popen(
                command,
                cwd=REPOSITORY,
                env=environment,
                stdout=None if shown else log,
                stderr=None if shown and arguments[0] == "uv" else log,  # where uv shows its progress
                preexec_fn=let_stop,
            ) as process,
        ):
            try:
                let_stop()
                process.wait()
            except BaseException:
                process.terminate()
                raise
        if process.returncode:
            line = f"{what_failed(self.log.read_text(errors='replace'))} (all that pip wrote: {self.log})"
            raise PipError(line) if process.returncode > 0 else InstallationError(line)


def let_stop() -> None:
    """Deliver the signals that stop an installation."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)


def digest(file: Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(file.read_bytes()).hexdigest()


def say(line: str) -> None:
    """Print a line before what children print."""
    print(line, flush=True)


def what_failed(log: str) -> str:
    """One line for what pip wrote."""
    if "No space left on device" in log or "Disk quota exceeded" in log:
        return "no space is left on the disk: free some"
    if broken := re.search(r"connection broken by '(\w+)|urllib3\.exceptions\.(\w+)", log):
        cause = broken[1] or broken[2]
        return f"the package index can't be reached ({cause}): check the network, or name another (PIP_INDEX_URL)"
    if missing := re.search(r"No matching distribution found for (\S+)", log):
        python = sys.version.split()[0]
        return f"the package index has no {missing[1]} for Python {python} on this machine: name another (PYTHON=)"
    if other := re.search(r"DO NOT MATCH THE HASHES[^\n]*\n\s*(\S+)", log):
        return f"{other[1]} is not the locked file, cut short or changed on its way here: try again"
    errors = re.findall(r"^ERROR: (.*)", log, flags=re.MULTILINE)
    return errors[-1] if errors else "pip was killed"


def main() -> None:
    """Bring the environment up to date."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that children end too
    try:
        Environment(Path(sys.argv[1]), Path(sys.argv[2])).update()
    except KeyboardInterrupt:
        sys.exit("interrupted: the same command again finishes the installation")
    except PermissionError as error:
        sys.exit(f"error: {error.filename} can't be written: install into a clone of your own")
    except OSError as error:
        sys.exit(f"error: {error.filename or sys.argv[1]}: {error.strerror}")
    except (InstallationError, ValueError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
