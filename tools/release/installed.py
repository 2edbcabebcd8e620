"""An installation of a built wheel in an environment of its own, as a user has it: nothing else is there."""

import os
import re
import shlex
import shutil
import signal
import subprocess
import time
import venv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError
from urllib.request import Request, urlopen

SERVICE = "http://127.0.0.1:8000"
"""Where `segvoc serve` listens."""

HIDDEN = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
"""Variables that would let other packages in."""


@dataclass(frozen=True, kw_only=True)
class Ended:
    """A command that has ended."""

    code: int
    """Its exit code."""
    text: str
    """What it wrote to both outputs."""
    seconds: float
    """How long it took [s]."""


class Installation:
    """A virtual environment that can install one wheel by its name.

    Args:
        folder: made anew; holds the environment, and a home folder with empty caches.
        wheels: the folder of the wheel.
    """

    def __init__(self, folder: Path, wheels: Path) -> None:
        self.environment = folder / "environment"
        shutil.rmtree(folder, ignore_errors=True)
        venv.EnvBuilder(with_pip=True, symlinks=os.name != "nt").create(self.environment)
        self.programs = self.environment / ("Scripts" if os.name == "nt" else "bin")
        home = folder / "home"
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

    def program(self, name: str) -> str:
        """Path of a program of the environment, as a shell there would find it."""
        found = shutil.which(name, path=str(self.programs))
        if found is None:
            raise FileNotFoundError(f"{name} isn't installed in {self.environment}")
        return found

    def bytes(self) -> int:
        """Size of all that is in the environment [bytes]."""
        return sum(path.lstat().st_size for path in self.environment.rglob("*") if not path.is_dir())

    def run(
        self,
        command: str | Sequence[str],
        folder: Path,
        variables: Mapping[str, str] | None = None,
        standard_input: str = "",
    ) -> Ended:
        """Run a line of a page, or its words, in a folder."""
        words = shlex.split(command) if isinstance(command, str) else list(command)
        begin = time.monotonic()
        ended = subprocess.run(
            [self.program(words[0]), *words[1:]],
            cwd=folder,
            env={**self.variables, **(variables or {})},
            input=standard_input,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
            check=False,
            timeout=3600,
        )
        return Ended(code=ended.returncode, text=ended.stdout, seconds=time.monotonic() - begin)

    def serve(self, command: str, folder: Path, ask: Callable[[], str | None]) -> Ended:
        """Start a service, ask it something once it is ready, and stop it as Ctrl-C does.

        Args:
            command: the line that starts it.
            folder: where it runs.
            ask: sends a request; returns what was wrong with the answer, or None.
        """
        words, log = shlex.split(command), folder / "service.log"
        begin = time.monotonic()
        flags = getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)
        with log.open("w") as written:
            process = subprocess.Popen(
                [self.program(words[0]), *words[1:]],
                cwd=folder,
                env=self.variables,
                stdout=written,
                stderr=written,
                creationflags=flags,
            )
            try:
                wrong = ask() if (ready := _is_ready(process)) else "it isn't ready after two minutes"
            finally:
                process.send_signal(getattr(signal, "CTRL_BREAK_EVENT", signal.SIGINT))
                try:
                    code = process.wait(60)
                except subprocess.TimeoutExpired:
                    process.kill()
                    code = process.wait()
        # Windows ends a process by Ctrl-Break with a code of its own
        stopped = code == 0 or os.name == "nt"
        if wrong is None and stopped:
            return Ended(code=0, text="", seconds=time.monotonic() - begin)
        what = wrong or f"it ended with exit code {code}"
        text = f"{what}\n{log.read_text(errors='replace') if not ready or wrong else ''}"
        return Ended(code=code or 1, text=text, seconds=time.monotonic() - begin)


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
    request = Request(
        f"{SERVICE}/v1/segment", body, {"Content-Type": f"multipart/form-data; boundary={boundary}"}, method="POST"
    )
    try:
        with urlopen(request, timeout=120) as answer:
            labeled = answer.read()
        with urlopen(f"{SERVICE}/", timeout=10) as answer:
            page = answer.read()
        with urlopen(f"{SERVICE}/backends.json", timeout=10) as answer:
            backends = answer.read()
    except OSError as error:
        return f"a request failed: {error}"
    if b'"classes"' not in labeled or b"app.js" not in page:
        return f"it answered {labeled[:200]!r}, and its page begins {page[:100]!r}"
    return (
        None if b'"model/"' in backends else "its page can't run models in the browser: the WebAssembly file is missing"
    )


def last_line(text: str) -> str:
    """The last line that a command wrote, without a progress bar's earlier states."""
    lines = [line for line in re.split(r"[\r\n]+", text) if line.strip()]
    return lines[-1] if lines else ""
