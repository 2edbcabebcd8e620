"""`python -m venv`, `pip install --require-hashes` and the packages of this repository: tools/install.sh VENV LOCK.

Installs what has changed, and all of it where an installation was interrupted, the clone moved or Python changed.
"""

import fcntl
import hashlib
import os
import re
import subprocess
import sys
import threading
import time
import venv
from pathlib import Path

folder, lock, root = Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve(), Path(__file__).resolve().parents[1]
projects = [root] if lock.name == "requirements-light.lock" else [root, root / "annotate"]
contents = b"".join(file.read_bytes() for file in (lock, *(project / "pyproject.toml" for project in projects)))
environment = f"{folder} {sys.base_prefix} {sys.version_info[:2]}\n"
complete = environment + hashlib.sha256(contents).hexdigest()
folder.mkdir(parents=True, exist_ok=True)
if any(folder.iterdir()) and not (folder / ".installed").exists():
    sys.exit(f"error: {folder} has files of something else: move them, or name another folder")
record = (folder / ".installed").open("a+")
os.dup2(record.fileno(), 0)  # as standard input, whose lock children inherit: they may outlive this process
fcntl.flock(0, fcntl.LOCK_EX)
record.seek(0)
if (installed := record.read()) == complete:
    sys.exit()
print(f"Installing {lock.name} into {folder} with Python {sys.version.split()[0]}: this takes minutes", flush=True)


def show_progress() -> None:
    """Count the packages that are there, since pip says nothing: in place on a terminal, elsewhere line by line."""
    every, begin, end = (1, "\r", "") if sys.stdout.isatty() else (10, "", "\n")
    start, wanted = time.monotonic(), len(re.findall(r"^[\w.-]+==", lock.read_text(), re.MULTILINE))
    while not is_over.wait(every):
        there = min(wanted, len([*folder.glob("lib/*/site-packages/*.dist-info")]))
        print(f"{begin}{there} of {wanted} packages after {time.monotonic() - start:.0f} s", end=end, flush=True)


is_over = threading.Event()
threading.Thread(target=show_progress, daemon=True).start()
record.truncate(0)
if not installed.startswith(environment):
    subprocess.run(["rm", "-rf", *(path for path in folder.iterdir() if path.name != ".installed")], check=True)
    venv.create(folder, symlinks=True, with_pip=True)
# isolated from PYTHONPATH (-I); pip's downloads stay out of /tmp, which may be small
python, os.environ["TMPDIR"] = (folder / "bin" / "python", "-I", "-m"), str(folder)
options = ("install", "--require-hashes", "--no-deps", "--only-binary=:all:", "-qq", "--requirement")
settings = subprocess.run([*python, "pip", "config", "list"], capture_output=True, text=True).stdout
uv = re.findall(r"^uv==.*\n(?:\s.*\n)*", lock.read_text(), re.MULTILINE)
try:
    if uv and not re.search(r"\.(index-url|no-index)=", settings):  # twice as fast, but deaf to pip's settings
        (folder / "uv.lock").write_text(uv[0])
        subprocess.run([*python, "pip", *options, folder / "uv.lock"], check=True)
        subprocess.run([*python, "uv", "--system-certs", "pip", *options, lock, "--python", python[0]], check=False)
    subprocess.run([*python, "pip", *options, lock], check=True)  # what uv has installed is there already
    editable = ("--no-index", "--no-deps", "--no-build-isolation", *(f"--editable={path}" for path in projects))
    subprocess.run([*python, "pip", "install", "--quiet", *editable], check=True)
except subprocess.CalledProcessError:
    sys.exit("error: the installation failed (see above); the same command makes it again")
is_over.set()
print("\n" if sys.stdout.isatty() else "", end="", flush=True)
record.write(complete)
record.flush()
