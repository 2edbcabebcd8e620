"""An installation of a built wheel in an environment of its own, as a user has it: nothing else is there."""

import os
import re
import shlex
import shutil
import signal
import subprocess
import time
import venv
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple
from urllib.error import URLError
from urllib.request import Request, urlopen

SERVICE = "http://127.0.0.1:8000"
"""Where `segvoc serve` listens."""

HIDDEN = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
"""Variables that would let other packages in."""


class Ended(NamedTuple):
    """A command that has ended: its exit code, what it wrote to both outputs, and how long it took [s]."""

    code: int
    text: str
    seconds: float


class Installation:
    """A virtual environment that can install the wheels of a folder by their names; `folder` is made anew."""

    def __init__(self, folder: Path, wheels: Path) -> None:
        self.environment = folder / "environment"
        shutil.rmtree(folder, ignore_errors=True)
        venv.EnvBuilder(with_pip=True, symlinks=os.name != "nt").create(self.environment)
        self.programs = self.environment / ("Scripts" if os.name == "nt" else "bin")
        home = folder / "home"  # with empty caches
        home.mkdir(exist_ok=True)
        links = f"{os.environ.get('PIP_FIND_LINKS', '')} {wheels.resolve().as_uri()}".strip()
        self.variables = {name: value for name, value in os.environ.items() if name not in HIDDEN} | {
            "PATH": f"{self.programs}{os.pathsep}{os.environ['PATH']}",
            "PIP_FIND_LINKS": links,
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "HOME": str(home),
            "USERPROFILE": str(home),
            "XDG_CACHE_HOME": str(home / "cache"),
            "LOCALAPPDATA": str(home / "cache"),
            "NO_COLOR": "1",
            "PYTHONIOENCODING": "utf-8",
        }
        self.empty = self.bytes()

    def words(self, command: str) -> list[str]:
        """The words of a line, with the program as a shell in this environment would find it."""
        name, *words = shlex.split(command)
        if (program := shutil.which(name, path=str(self.programs))) is None:
            raise FileNotFoundError(f"{name} isn't installed in {self.environment}")
        return [program, *words]

    def bytes(self) -> int:
        """Size of all that is in the environment [bytes]."""
        return sum(path.lstat().st_size for path in self.environment.rglob("*") if not path.is_dir())

    def run(self, command: str, folder: Path, variables: Mapping[str, str] = MappingProxyType({})) -> Ended:
        """Run a line of a page in a folder."""
        begin = time.monotonic()
        ended = subprocess.run(
            self.words(command),
            cwd=folder,
            env={**self.variables, **variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            timeout=3600,
        )
        return Ended(ended.returncode, ended.stdout, time.monotonic() - begin)

    def serve(self, command: str, folder: Path, ask: Callable[[], str | None]) -> Ended:
        """Start a service, `ask` it something once it is ready (it says what was wrong), and stop it as Ctrl-C does."""
        begin, log = time.monotonic(), folder / "service.log"
        flags = getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)
        with log.open("w") as written:
            process = subprocess.Popen(
                self.words(command),
                cwd=folder,
                env=self.variables,
                stdout=written,
                stderr=written,
                creationflags=flags,
            )
            try:
                wrong = ask() if _is_ready(process) else "it isn't ready after two minutes"
            finally:
                process.send_signal(getattr(signal, "CTRL_BREAK_EVENT", signal.SIGINT))
                try:
                    code = process.wait(60)
                except subprocess.TimeoutExpired:
                    process.kill()
                    code = process.wait()
        # Windows ends a process by Ctrl-Break with a code of its own
        if wrong is None and code and os.name != "nt":
            wrong = f"it ended with exit code {code}"
        text = f"{wrong}\n{log.read_text(errors='replace')}" if wrong else ""
        return Ended(int(wrong is not None), text, time.monotonic() - begin)


def _is_ready(process: subprocess.Popen[bytes]) -> bool:
    end = time.monotonic() + 120
    while time.monotonic() < end and process.poll() is None:
        try:
            with urlopen(f"{SERVICE}/readyz", timeout=5) as answer:
                return answer.status == 200
        except (URLError, OSError):
            time.sleep(0.2)
    return False


def ask_for_labels(photo: Path) -> str | None:
    """Send a photograph to the service, and look for its page; what was wrong, or None."""
    boundary = "segvoc-release"
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="words"\r\n\r\ncat, wall\r\n--{boundary}\r\n'
    head += 'Content-Disposition: form-data; name="image"; filename="photo.jpg"\r\nContent-Type: image/jpeg\r\n\r\n'
    body = head.encode() + photo.read_bytes() + f"\r\n--{boundary}--\r\n".encode()
    request = Request(f"{SERVICE}/v1/segment", body, {"Content-Type": f"multipart/form-data; boundary={boundary}"})
    try:
        labeled, page, backends = (
            urlopen(address, timeout=120).read() for address in (request, f"{SERVICE}/", f"{SERVICE}/backends.json")
        )
    except OSError as error:
        return f"a request failed: {error}"
    if b'"classes"' not in labeled or b"app.js" not in page:
        return f"it answered {labeled[:200]!r}, and its page begins {page[:100]!r}"
    if b'"model/"' not in backends:
        return "its page can't run models in the browser: the WebAssembly file is missing"
    return None


def last_line(text: str) -> str:
    """The last line that a command wrote, without a progress bar's earlier states."""
    lines = [line for line in re.split(r"[\r\n]+", text) if line.strip()]
    return lines[-1] if lines else ""
