"""Keys that are added and revoked while the service runs."""

import os
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from segvoc.serving import app
from tests.serving.services import in_process

ANNA, BEN = "anna-has-this-key", "ben-has-this-one-"


def status(client: TestClient, key: str) -> int:
    return client.get("/v1/models", headers={"Authorization": f"Bearer {key}"}).status_code


def test_a_key_is_added_and_one_revoked(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text(f"anna: {ANNA}\n")
    with in_process(api_key_file=keys) as client:
        assert (status(client, ANNA), status(client, BEN)) == (200, 401)
        keys.write_text(f"anna: {ANNA}\nben: {BEN}\n")
        assert (status(client, ANNA), status(client, BEN)) == (200, 200)
        keys.write_text(f"ben: {BEN}\n")
        assert (status(client, ANNA), status(client, BEN)) == (401, 200)


@pytest.mark.parametrize("content", [None, "", "ben: short\n"])
def test_a_file_that_can_not_be_used_leaves_the_keys(tmp_path: Path, content: str | None) -> None:
    keys = tmp_path / "keys"
    keys.write_text(f"anna: {ANNA}\n")
    with in_process(api_key_file=keys) as client:
        if content is None:
            keys.unlink()
        else:
            keys.write_text(content)
        assert (status(client, ANNA), client.get("/v1/models").status_code) == (200, 401)
        keys.write_text(f"anna: {ANNA}\nben: {BEN}\n")
        assert status(client, BEN) == 200


def test_a_reload_reads_a_file_that_looks_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "RELOAD_SECONDS", 0.0)
    keys = tmp_path / "keys"
    keys.write_text(f"anna: {ANNA}\n")
    with in_process(api_key_file=keys) as client:
        written = keys.stat()
        keys.write_text(f"anna: {BEN}\n")
        os.utime(keys, ns=(written.st_atime_ns, written.st_mtime_ns))
        client.portal.call(client.app.state.service.reload)
        assert (status(client, ANNA), status(client, BEN)) == (401, 200)
