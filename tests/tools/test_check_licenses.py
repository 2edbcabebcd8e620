"""Licenses of the locked packages."""

from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

check_licenses = pytest.importorskip("tools.check_licenses", exc_type=ImportError)
LOCK = Path(__file__).resolve().parents[2] / "requirements.lock"


def test_every_locked_package_may_be_used() -> None:
    try:
        found = list(check_licenses.licensed(LOCK.read_text(encoding="utf-8")))
    except PackageNotFoundError as error:  # `make test-versions` may resolve to other packages
        pytest.skip(f"this environment isn't the locked one: {error}")
    assert {"torch", "numpy", "click"} <= {package.name for package in found}
    assert [package for package in found if not package.accepted] == []
    assert all(f"| {package.name} | {package.version} | " in check_licenses.table(found) for package in found)
