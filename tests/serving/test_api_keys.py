"""API keys with names: their file, its changes, and what requests with them are told."""

import hashlib
import os
import time
from pathlib import Path

import pytest

from segvoc.errors import UsageError
from segvoc.serving import api_keys
from segvoc.serving.api_keys import ApiKeys, parsed_keys
from tests.serving.services import failure, in_process

ANNA, BEN = "anna-has-this-long-key", "ben-has-another-long-key"
HASHED = hashlib.sha256(BEN.encode()).hexdigest()


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def test_a_file_names_keys_ends_and_digests():
    keys = parsed_keys(f"# of the team\n\nanna: {ANNA} until 2027-01-31\n ben:  sha256:{HASHED}\nanna: {ANNA}-new\n")
    assert [(key.name, str(key.until)) for key in keys] == [("anna", "2027-01-31"), ("ben", "None"), ("anna", "None")]
    assert keys[1].digest == hashlib.sha256(BEN.encode()).digest()
    assert [key.name for key in parsed_keys(f"{ANNA}\n")] == ["default"]
    assert parsed_keys(f"ci@example.org: {BEN}")[0].name == "ci@example.org"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("# nobody\n", "it has 0 keys"),
        ("anna: short\n", "16 or more characters"),
        (f"{ANNA}\n{BEN}\n", "line 1 is not 'NAME: KEY'"),
        (f"anna: {ANNA}\nben {BEN}\n", "line 2 is not"),
        (f"anna: {ANNA} until tomorrow\n", "'tomorrow' is no day"),
        (f"anna: {ANNA}\nben: {ANNA}\n", "one key twice"),
        (f'a"b: {ANNA}\n', "can't be the name of a key"),
        ("\n".join(f"k{number}: {ANNA}-{number}" for number in range(1001)), "it has 1001 keys"),
    ],
)
def test_other_files_are_refused(text, said):
    with pytest.raises(UsageError, match=said) as refused:
        parsed_keys(text)
    assert ANNA not in str(refused.value)


def test_keys_have_names_in_answers_logs_and_metrics(tmp_path: Path, caplog):
    file = tmp_path / "keys"
    file.write_text(f"anna: {ANNA}\nben: sha256:{HASHED}\nold: {ANNA}-old until 2020-01-31\n")
    with in_process(api_key_file=file) as client, caplog.at_level("INFO", "segvoc.serving"):
        for key in (ANNA, BEN):
            assert client.get("/v1/models", headers=bearer(key)).status_code == 200
        for key in ("", "sha256:" + HASHED, ANNA + "x"):
            assert client.get("/v1/models", headers=bearer(key)).status_code == 401
        expired = client.get("/v1/models", headers=bearer(ANNA + "-old"))
        assert (expired.status_code, failure(expired)) == (401, "unauthorized")
        assert "'old' was valid until 2020-01-31" in expired.text
        text = client.get("/metrics", headers=bearer(BEN)).text
    assert 'segvoc_key_requests_total{key="anna",status="200"} 1.0' in text
    assert 'key="old"' not in text
    named = [record.fields.get("key") for record in caplog.records if record.message == "request"]
    assert named == ["anna", "ben", None, None, None, None, "ben"]


def test_a_changed_file_is_read_again_and_a_damaged_one_is_not(tmp_path: Path, monkeypatch, caplog):
    file = tmp_path / "keys"
    file.write_text(f"anna: {ANNA}\n")
    monkeypatch.setattr(api_keys, "LOOKING_SECONDS", 0.0)
    with in_process(api_key_file=file) as client:
        assert client.get("/v1/models", headers=bearer(BEN)).status_code == 401
        for text, anna, ben in (
            (f"anna: {ANNA}\nben: {BEN}\n", 200, 200),
            ("damaged\n", 200, 200),
            (f"ben: {BEN}\n", 401, 200),
        ):
            (tmp_path / "new").write_text(text)
            os.replace(tmp_path / "new", file)
            found = [client.get("/v1/models", headers=bearer(key)).status_code for key in (ANNA, BEN)]
            assert found == [anna, ben]
        file.unlink()
        assert client.get("/v1/models", headers=bearer(BEN)).status_code == 200
    problems = [record.fields["problem"] for record in caplog.records if record.levelname == "ERROR"]
    assert len(problems) == 2
    assert "16 or more characters" in problems[0] and "can't be read" in problems[1]


def test_all_keys_are_compared(monkeypatch):
    compared = []
    monkeypatch.setattr(api_keys.hmac, "compare_digest", lambda one, other: bool(compared.append(1)) or one == other)
    keys = ApiKeys(None, None)
    keys._keys = parsed_keys(f"anna: {ANNA}\nben: {BEN}\n")
    assert keys.check(ANNA) == "anna"
    assert len(compared) == 2


def test_every_address_that_is_not_open_needs_a_key():
    def answered() -> dict[str, bool]:
        return {}

    with in_process(api_key=ANNA) as client:
        # as another part of the service would add it
        client.app.add_api_route("/v1/added", answered)
        for method in ("GET", "HEAD"):
            assert client.request(method, "/v1/added").status_code == 401
        assert client.get("/v1/added", headers=bearer(ANNA)).status_code == 200
        described = client.get("/openapi.json").json()["paths"]
    for path, operations in described.items():
        for operation in operations.values():
            assert ("security" in operation) == (path not in ("/healthz", "/readyz"))


@pytest.mark.parametrize("scheme", ["Token", "Basic", ""])
def test_other_schemes_are_refused(scheme):
    with in_process(api_key=ANNA) as client:
        assert client.get("/v1/models", headers={"Authorization": f"{scheme} {ANNA}"}).status_code == 401
        assert client.get("/v1/models", headers={"Authorization": f"bearer {ANNA}"}).status_code == 200


def test_the_day_of_the_end_is_still_valid():
    today = time.strftime("%Y-%m-%d", time.gmtime())
    assert not parsed_keys(f"anna: {ANNA} until {today}")[0].expired
