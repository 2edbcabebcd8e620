"""Licenses of the locked packages."""

from email.message import Message
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

check_licenses = pytest.importorskip("tools.check_licenses", exc_type=ImportError)
LOCK = Path(__file__).resolve().parents[2] / "requirements.lock"


def _about(**fields: str) -> Message:
    about = Message()
    for name, value in fields.items():
        about[name.replace("_", "-")] = value
    return about


@pytest.mark.parametrize(
    ("fields", "license", "accepted"),
    [
        ({"License_Expression": "MIT"}, "MIT", True),
        ({"License_Expression": "Apache-2.0 AND BSD-3-Clause"}, "Apache-2.0 AND BSD-3-Clause", True),
        ({"License_Expression": "MIT AND GPL-3.0-only"}, "MIT AND GPL-3.0-only", False),
        ({"License_Expression": "GPL-3.0-only OR (MIT)"}, "GPL-3.0-only OR (MIT)", True),
        ({"License": "BSD"}, "BSD-3-Clause", True),
        ({"License": "Copyright (c) somebody", "Classifier": "License :: OSI Approved :: MIT License"}, "MIT", True),
        ({"Classifier": "License :: Other/Proprietary License"}, "Other/Proprietary License", False),
        ({"License": "AGPL-3.0"}, "AGPL-3.0", False),
        ({}, "unknown", False),
    ],
)
def test_a_license_is_told_and_judged(fields: dict[str, str], license: str, accepted: bool) -> None:
    assert check_licenses.license_of(_about(**fields)) == license
    assert check_licenses.is_accepted(license) == accepted


def test_every_locked_package_may_be_used() -> None:
    try:
        found = list(check_licenses.licensed(LOCK.read_text(encoding="utf-8")))
    except PackageNotFoundError as error:  # `make test-versions` may resolve to other packages
        pytest.skip(f"this environment isn't the locked one: {error}")
    assert {"torch", "numpy", "click"} <= {package.name for package in found}
    assert [package for package in found if not package.accepted] == []
    assert all(f"| {package.name} | {package.version} | " in check_licenses.table(found) for package in found)
