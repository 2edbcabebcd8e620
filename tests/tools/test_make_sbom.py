"""The bill of materials."""

from pathlib import Path

import pytest

make_sbom = pytest.importorskip("tools.make_sbom", exc_type=ImportError)
LOCK = Path(__file__).resolve().parents[2] / "requirements.lock"


def test_packages_have_the_hashes_of_the_lock() -> None:
    hashes = make_sbom.locked_hashes(LOCK.read_text(encoding="utf-8"))
    assert all(len(value) == 64 for values in hashes.values() for value in values)
    bill = make_sbom.with_hashes({"components": [{"name": "NumPy"}, {"name": "away"}]}, hashes)
    numpy, away = bill["components"]
    assert [one["value"] for one in numpy["properties"]] == hashes["numpy"] and len(hashes["numpy"]) > 5
    assert away["properties"] == []
