"""Checks that the built web page is what its sources give, that its types fit, and that its tests pass.

Usage: python tools/check_web.py. Needs npm, and takes the packages that annotate/web/package-lock.json names from its
registry. Prints a line for each difference and exits 1 if there are any. Leaves ONNX Runtime's WebAssembly file, which
git doesn't keep, beside the built page: the tests of the page in a browser need it.
"""

import filecmp
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
WEB = ROOT / "annotate" / "web"
COMMITTED = ROOT / "annotate" / "src" / "segvoc_annotate" / "web"
BUILT = ROOT / "build" / "web" / "page"


def differences(committed: Path, built: Path) -> list[str]:
    """A line for each file that isn't the same in both folders; what git ignores doesn't count."""
    names = [
        {path.name for path in folder.iterdir() if not path.name.endswith(".wasm.gz")} for folder in (committed, built)
    ]
    missing = [f"{committed / name} is missing" for name in sorted(names[1] - names[0])]
    stale = [f"{committed / name} is not built from any source" for name in sorted(names[0] - names[1])]
    both = sorted(names[0] & names[1])
    changed = [
        f"{committed / name} is not what the sources give"
        for name in both
        if not filecmp.cmp(committed / name, built / name, shallow=False)
    ]
    return missing + stale + changed


def addresses(lock: str) -> list[str]:
    """A line for each address of a registry in a lock file."""
    return [
        f"package-lock.json, line {number}: {line.strip()}; delete it: npm config omit-lockfile-registry-resolved"
        for number, line in enumerate(lock.splitlines(), 1)
        if '"resolved"' in line
    ]


def main() -> int:
    """Build in a folder of its own and compare."""
    npm = ["npm", "--prefix", str(WEB)]
    environment = os.environ | {"SEGVOC_WEB_OUT": f"{BUILT.as_uri()}/"}
    for command in (["ci"], ["run", "build"], ["test"]):
        result = subprocess.run([*npm, *command], env=environment, cwd=WEB, capture_output=True, text=True, check=False)
        if result.returncode:
            print(result.stdout[-4000:], result.stderr[-4000:], f"npm {' '.join(command)} failed", sep="\n")
            return 1
    for runtime in BUILT.glob("*.wasm.gz"):
        shutil.copy(runtime, COMMITTED)
    problems = differences(COMMITTED, BUILT) + addresses((WEB / "package-lock.json").read_text(encoding="utf-8"))
    for problem in problems:
        print(problem)
    print("web page: run 'make web', and commit what it writes" if problems else "web page: passed")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
