"""Write bills of materials (CycloneDX): of the locked Python packages, and of what the web page is built from.

    python -m tools.make_sbom [OUT]       # default: build/sbom

`python.cdx.json` lists the locked packages that are installed here with their licenses and dependencies, and as
properties the hashes by which the lock file accepts each package's wheels. `page.cdx.json` is npm's own, if npm is
there.
"""

import json
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from cyclonedx import model
from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import bom, component
from cyclonedx.output.json import JsonV1Dot6
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tools.check_licenses import licensed

ROOT = Path(__file__).resolve().parents[1]

# what decorates the library's classes hides their types
_bill: Any = bom.Bom
_component: Any = component.Component
_property: Any = model.Property

HASH_PROPERTY = "segvoc:locked-sha256"
"""Name of the property that has the hash of a wheel."""


def main() -> None:
    """Write both."""
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "build" / "sbom"
    out.mkdir(parents=True, exist_ok=True)
    bill = bill_of((ROOT / "requirements.lock").read_text(encoding="utf-8"))
    (out / "python.cdx.json").write_text(as_json(bill), encoding="utf-8")
    print(f"{out / 'python.cdx.json'}: {len(bill.components)} packages")
    if shutil.which("npm") is None:
        print("no npm: the web page's packages aren't listed")
        return
    command = ["npm", "sbom", "--sbom-format", "cyclonedx", "--package-lock-only"]
    listed = subprocess.run(command, cwd=ROOT / "annotate" / "web", capture_output=True, text=True, check=True).stdout
    (out / "page.cdx.json").write_text(listed, encoding="utf-8")
    print(f"{out / 'page.cdx.json'}: {len(json.loads(listed)['components'])} packages")


def bill_of(lock: str) -> Any:
    """The bill of the packages of a lock file that are installed here."""
    hashes, licenses = locked_hashes(lock), LicenseFactory()
    kind = component.ComponentType.LIBRARY
    segvoc = _component(name="segvoc", type=kind, version=metadata.version("segvoc"), bom_ref="segvoc")
    components = {"segvoc": segvoc}
    for package in licensed(lock):
        name = canonicalize_name(package.name)
        components[name] = _component(
            name=package.name,
            version=package.version,
            bom_ref=name,
            purl=PackageURL("pypi", None, name, package.version),
            licenses=[licenses.make_from_string(package.license)] if package.license else [],
            properties=[_property(name=HASH_PROPERTY, value=value) for value in hashes.get(name, [])],
        )
    bill = _bill(components=[one for name, one in components.items() if name != "segvoc"])
    bill.metadata.component = segvoc
    for name, one in components.items():
        found = needed_by(name, with_extras=one is segvoc) & components.keys() - {name}
        bill.register_dependency(one, [components[other] for other in sorted(found)])
    return bill


def needed_by(name: str, *, with_extras: bool) -> set[str]:
    """What an installed package depends on here."""
    needed = map(Requirement, metadata.requires(name) or ())
    return {
        canonicalize_name(one.name)
        for one in needed
        if with_extras or one.marker is None or one.marker.evaluate({"extra": ""})
    }


def as_json(bill: Any) -> str:
    """The bill's text.

    Raises:
        ValueError: it isn't what CycloneDX's schema asks for.
    """
    text = JsonV1Dot6(bill).output_as_string(indent=1)
    if (problem := JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)) is not None:
        raise ValueError(f"the bill of materials breaks CycloneDX's schema: {problem}")
    return text + "\n"


def locked_hashes(lock: str) -> dict[str, list[str]]:
    """SHA-256 of each package's wheels in a lock file, by name."""
    hashes: dict[str, list[str]] = {}
    name = ""
    for line in lock.splitlines():
        if line[:1].isalnum():
            name = canonicalize_name(line.partition("==")[0])
        elif "--hash=sha256:" in line:
            hashes.setdefault(name, []).append(line.partition("sha256:")[2].rstrip(" \\"))
    return hashes


if __name__ == "__main__":
    main()
