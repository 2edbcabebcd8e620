"""Write bills of materials (CycloneDX): of the locked Python packages, and of what the web page is built from.

    python tools/make_sbom.py [OUT]       # default: build/sbom

`python.cdx.json` lists what is installed in this environment with licences and dependencies, and as properties the
hashes by which the lock file accepts each package's wheels. `page.cdx.json` is npm's own, if npm is there.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]

HASH_PROPERTY = "segvoc:locked-sha256"
"""Name of the property that has the hash of a wheel."""


def main() -> None:
    """Write both."""
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "build" / "sbom"
    out.mkdir(parents=True, exist_ok=True)
    bill = with_hashes(of_environment(), locked_hashes((ROOT / "requirements.lock").read_text(encoding="utf-8")))
    (out / "python.cdx.json").write_text(json.dumps(bill, indent=1) + "\n", encoding="utf-8")
    print(f"{out / 'python.cdx.json'}: {len(bill['components'])} packages")
    if shutil.which("npm") is None:
        print("no npm: the web page's packages aren't listed")
        return
    command = ["npm", "sbom", "--sbom-format", "cyclonedx", "--package-lock-only"]
    listed = subprocess.run(command, cwd=ROOT / "web", capture_output=True, text=True, check=True).stdout
    (out / "page.cdx.json").write_text(listed, encoding="utf-8")
    print(f"{out / 'page.cdx.json'}: {len(json.loads(listed)['components'])} packages")


def of_environment() -> dict[str, Any]:
    """The bill of this environment, validated against CycloneDX's schema, as its own program makes it."""
    command = [sys.executable, "-m", "cyclonedx_py", "environment", sys.executable, "--pyproject", "pyproject.toml"]
    options = ["--mc-type", "library", "--output-reproducible", "--validate"]
    made = subprocess.run([*command, *options], cwd=ROOT, capture_output=True, text=True, check=True)
    return json.loads(made.stdout)


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


def with_hashes(bill: dict[str, Any], hashes: dict[str, list[str]]) -> dict[str, Any]:
    """A bill with the locked hashes of its packages."""
    for component in bill["components"]:
        locked = hashes.get(canonicalize_name(component["name"]), [])
        component.setdefault("properties", []).extend({"name": HASH_PROPERTY, "value": value} for value in locked)
    return bill


if __name__ == "__main__":
    main()
