"""`diagnose`: everything together, and a small image that is labeled."""

import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from PIL import features

from segvoc.diagnosis.engines import find_engines
from segvoc.diagnosis.machine import describe_machine, problems_of_machine, set_variables, warnings_of_machine
from segvoc.diagnosis.places import described, places, problems_of_places
from segvoc.diagnosis.requirements import Package, installed_version, missing_of_extras, packages
from segvoc.errors import SegvocError, one_line
from segvoc.exported.shipped import SHIPPED, open_tiny
from segvoc.storage.digests import file_sha256
from segvoc.version import __version__

PILLOW_FEATURES = {"jpg": "JPEG", "zlib": "PNG", "webp": "WebP", "libtiff": "compressed TIFF"}
"""What Pillow can be built without, by its own names."""


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """What was found on a machine."""

    facts: dict[str, dict[str, str]]
    """By section and name, for people."""
    problems: list[str]
    """One line each: what is wrong, and the fix."""
    warnings: list[str] = field(default_factory=list)
    """One line each: what is as it is at the moment, without being wrong."""

    def to_json(self) -> dict[str, Any]:
        """The same as plain data."""
        return asdict(self)


def diagnose() -> Diagnosis:
    """Look at the installation, the machine, the folders and the shipped model; takes a few seconds."""
    found, engines = packages(), find_engines()
    versions = {package.name: package.installed for package in found if package.installed is not None}
    extras = missing_of_extras(found)
    runs, failure = _label_something()
    facts = {
        "segvoc": {"version": __version__, "tiny": runs},
        "machine": describe_machine(),
        "engines": engines.facts,
        "packages": versions,
        "extras": {name: f"lacks {', '.join(lacking)}" if lacking else "complete" for name, lacking in extras.items()},
        "folders": {purpose: described(folder) for purpose, folder in places().items()},
        "variables": set_variables(),
    }
    problems = [*_of_packages(found), *engines.problems, *_of_weights(), *failure]
    problems += [*problems_of_machine(), *problems_of_places()]
    return Diagnosis(facts=facts, problems=problems, warnings=list(warnings_of_machine()))


def _of_packages(found: list[Package]) -> Iterator[str]:
    if not found:
        yield "segvoc runs from its sources without being installed; install it with: pip install --editable ."
    incomplete = {extra for extra, lacking in missing_of_extras(found).items() if lacking}
    used = [package for package in found if package.extra not in incomplete]  # nobody has asked for the others
    yield from dict.fromkeys(package.problem for package in used if package.problem is not None)
    if installed_version("onnxruntime") is not None and installed_version("onnxruntime-gpu") is not None:
        yield (
            "onnxruntime and onnxruntime-gpu are both installed and overwrite one another; remove both, and install "
            "one again"
        )
    for feature, name in PILLOW_FEATURES.items():
        if not features.check(feature):
            yield f"this Pillow was built without {name}, which it can't read; install its wheel: pip install Pillow"


def _of_weights() -> Iterator[str]:
    for name, digest in json.loads((SHIPPED / "tiny.json").read_text(encoding="utf-8"))["sha256"].items():
        path = SHIPPED / name
        if not path.is_file() or file_sha256(path) != digest:
            yield f"{str(path)!r} is not the file that ships; install segvoc again"


def _label_something() -> tuple[str, list[str]]:
    """Label a gray image, and say how long it took; or what went wrong."""
    begin = time.perf_counter()
    try:
        open_tiny().segment(np.full((64, 64, 3), 127, np.uint8), ["cat", "wall"])
    except SegvocError as error:
        return "doesn't run", [f"tiny can't label an image: {one_line(error)}"]
    except Exception as error:  # whatever a broken installation raises
        return "doesn't run", [f"tiny can't label an image ({type(error).__name__}: {one_line(error)}); report it"]
    return f"labels an image; {time.perf_counter() - begin:.1f} s with loading", []
