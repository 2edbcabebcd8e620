"""The check of the manifest against the hub, with a hub on loopback."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from segvoc.checkpoints.published import PUBLISHED
from tests.loopback_hub import BODY, LoopbackHub, use_hub, without_network
from tools import check_published


@pytest.fixture(autouse=True)
def published(hub: LoopbackHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every file of the manifest in small, as the stand-in serves it."""
    use_hub(monkeypatch, tmp_path, hub.url)
    files = {name: hub.publish(file) for name, file in PUBLISHED.items()}
    monkeypatch.setattr(check_published, "PUBLISHED", files)


def _change(monkeypatch: pytest.MonkeyPatch, name: str, **changes: object) -> None:
    files = check_published.PUBLISHED
    monkeypatch.setitem(files, name, replace(files[name], **changes))


def test_a_manifest_that_agrees_is_told_without_a_transfer(hub, capsys):
    assert check_published.main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(": ")[0] for line in lines] == list(PUBLISHED)
    for line, file in zip(lines, PUBLISHED.values(), strict=True):
        told = "65.5 kB, SHA-256" if hasattr(file.place, "revision") else "65.5 kB"
        assert line == f"{file.name}: agrees ({told})"
    assert hub.transfers() == [] and len(hub.asked) == len(PUBLISHED)


@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        ("dinov2-s", {"sha256": "0" * 64}, f"its SHA-256 is .*, not {'0' * 64}"),
        ("convnext-clip-l", {"size": BODY + 1}, "its size is 65,541 B, not 65.5 kB"),
        ("cat-seg-b", {"size": 66_000, "exact_size": False}, "its size is 65.5 kB, not 66 kB"),
        ("eva02-clip-b", {"place": replace(PUBLISHED["eva02-clip-b"].place, filename="none")}, "answers 401"),
        ("openai-clip-b", {"size": 5, "exact_size": True}, "its size is 65,541 B, not 5 B"),
    ],
)
def test_what_differs_is_told(monkeypatch, capsys, name, changes, said):
    _change(monkeypatch, name, **changes)
    assert check_published.main([]) == 1
    lines = dict(line.split(": ", 1) for line in capsys.readouterr().out.splitlines())
    assert [other for other, told in lines.items() if not told.startswith("agrees")] == [name]
    assert re.search(said, lines[name])


def test_rounded_sizes_agree(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    _change(monkeypatch, "cat-seg-b", size=65_500, exact_size=False)
    assert check_published.main(["cat-seg-b"]) == 0


def test_without_network_one_line_and_an_exit_code_of_its_own(monkeypatch, capsys):
    without_network(monkeypatch)
    assert check_published.main([]) == 3
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("check_published: no network (") and line.endswith("nothing was checked")


def test_a_server_that_is_not_there_leaves_the_others_checked(monkeypatch, capsys):
    gone = {"place": replace(PUBLISHED["openai-clip-b"].place, url="http://127.0.0.1:9/w.pt")}
    _change(monkeypatch, "openai-clip-b", **gone)
    assert check_published.main(["openai-clip-b", "dinov2-s"]) == 3
    first, second = capsys.readouterr().out.splitlines()
    assert "not checked, http://127.0.0.1:9/w.pt can't be reached" in first and "agrees" in second


def test_an_unknown_name_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert check_published.main(["dino"]) == 2
    assert "'dino' is unknown; it is one of cat-seg-b, " in capsys.readouterr().err
