"""The bill of materials."""

import json
from pathlib import Path

import pytest

make_sbom = pytest.importorskip("tools.make_sbom", exc_type=ImportError)
LOCK = Path(__file__).resolve().parents[2] / "requirements.lock"


def test_packages_have_the_hashes_of_the_lock() -> None:
    hashes = make_sbom.locked_hashes(LOCK.read_text(encoding="utf-8"))
    assert all(len(value) == 64 for values in hashes.values() for value in values)
    assert len(hashes["numpy"]) > 5


def test_the_bill_lists_packages_with_versions_licenses_hashes_and_what_they_need() -> None:
    lock = (
        "numpy==2.0 \\\n    --hash=sha256:"
        + "a" * 64
        + "\npandas==3.0 ; python_version >= '3'\nabsent==1 ; python_version < '3'\n"
    )
    bill = json.loads(make_sbom.as_json(make_sbom.bill_of(lock)))
    numpy, pandas = bill["components"]
    assert (numpy["name"], numpy["version"], numpy["purl"]) == ("numpy", "2.0", "pkg:pypi/numpy@2.0")
    assert numpy["licenses"] and [one["value"] for one in numpy["properties"]] == ["a" * 64]
    assert "properties" not in pandas
    needed = {one["ref"]: one.get("dependsOn", []) for one in bill["dependencies"]}
    assert needed["pandas"] == ["numpy"] and "numpy" in needed["segvoc"]
