"""`segvoc fetch`, from a hub on loopback."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from segvoc.checkpoints.fetching import cache_path, cached
from segvoc.checkpoints.published import PUBLISHED, UNCONFIRMED, PublishedFile
from segvoc.models.presets import PRESETS
from tests.loopback_hub import BODY, LoopbackHub, use_hub, without_network


@pytest.fixture
def files(hub: LoopbackHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, PublishedFile]:
    """The manifest in small, as the stand-in serves it; the presets name the same files."""
    use_hub(monkeypatch, tmp_path / "home", hub.url)
    small = {name: hub.publish(file) for name, file in PUBLISHED.items()}
    for name, file in small.items():
        monkeypatch.setitem(PUBLISHED, name, file)
    for name, preset in PRESETS.items():
        encoders = tuple(small.get(file.name, file) for file in preset.encoders)
        published = preset.published and small[preset.published.name]
        monkeypatch.setitem(PRESETS, name, replace(preset, encoders=encoders, published=published))
    return small


@pytest.mark.parametrize(
    ("arguments", "fetched"),
    [
        (["cat-seg-b"], ["cat-seg-b"]),
        (["pca-part-b", "dinov2-s", "syn-seg-b"], ["openai-clip-b", "dinov2-s"]),
        (["clipseg", "clip-b", "eva-clip-l"], ["clipseg-rd64-refined", "openai-clip-b", "eva02-clip-l"]),
        (["--all"], list(PUBLISHED)),
    ],
)
def test_models_recipes_and_files_are_fetched_once(segvoc_command, files, hub, arguments, fetched):
    done = segvoc_command("fetch", *arguments).ok()
    assert done.labeled == fetched
    for line, name in zip(done.out.splitlines(), fetched, strict=True):
        file = files[name]
        assert line == (f"{name}: fetched, 65.5 kB, SHA-256 verified, license {file.license} -> {cache_path(file)}")
        assert (f"segvoc: license of {name}: {file.license_note}" in done.err) == bool(file.license_note)
    count = "1 file" if len(fetched) == 1 else f"{len(fetched)} files"
    total = f"{BODY * len(fetched) / 1000:.3g} kB"
    assert f"segvoc: {count} to fetch, {total}\n" in done.err
    transfers = len(hub.transfers())
    again = segvoc_command("fetch", *arguments)
    assert (again.code, again.out) == (0, done.out.replace(": fetched, ", ": here already, "))
    assert "to fetch" not in again.err and len(hub.transfers()) == transfers == len(fetched)


def test_encoders_are_fetched_without_pytorch(segvoc_command, files, monkeypatch):
    monkeypatch.setitem(sys.modules, "segvoc.models.presets", None)
    assert segvoc_command("fetch", "dinov2-s").ok().labeled == ["dinov2-s"]


def test_the_list_tells_size_license_place_and_use(segvoc_command, monkeypatch, tmp_path):
    use_hub(monkeypatch, tmp_path, "http://127.0.0.1:9")
    path = cache_path(PUBLISHED["dinov2-s"])
    path.parent.mkdir(parents=True)
    path.write_bytes(b"something")
    done = segvoc_command("fetch", "--list")
    assert (done.code, done.err) == (0, "")
    head, *rows, note = done.out.splitlines()
    assert head.split() == ["name", "size", "license", "here", "for"]
    assert [row.split()[0] for row in rows] == list(PUBLISHED)
    cells = {row.split()[0]: [cell.strip() for cell in row.split("  ") if cell][1:] for row in rows}
    assert cells["cat-seg-b"] == ["819 MB", "MIT", "no", "model cat-seg-b"]
    assert cells["convnext-clip-l"] == ["1.41 GB", "MIT", "no", "training err-seg-l"]
    assert cells["dinov2-s"][:3] == ["88.2 MB", "Apache-2.0", "yes"]
    assert cells["clipseg-rd64"][1] == "Apache-2.0 *" and note.startswith("* `segvoc info NAME`")
    use = "model clip-b; training cat-seg-b, pca-seg-clip-b, err-seg-vit-b-frozen, part-cat-seg-b"
    assert use in cells["openai-clip-b"][-1]


def test_without_network_each_file_is_named_with_page_and_place(segvoc_command, files, monkeypatch):
    assert segvoc_command("fetch", "dinov2-s").code == 0
    without_network(monkeypatch)
    done = segvoc_command("fetch", "pca-part-b", "cat-seg-l")
    assert done.code == 1 and done.labeled == ["dinov2-s"]
    for line, name in zip(done.errors, ["openai-clip-b", "cat-seg-l"], strict=True):
        file = files[name]
        assert line.startswith(f"segvoc: error: {name}: {file.filename} can't be fetched: HF_HUB_OFFLINE is set; ")
        assert f"get it from {file.place.page} and put it at '{cache_path(file)}'" in line
    assert done.err.splitlines()[-1] == "segvoc: 2 of 3 files failed"


def test_a_false_file_fails_and_the_others_are_fetched(segvoc_command, files, hub):
    hub.files[next(iter(hub.files))] = bytes(BODY)
    done = segvoc_command("fetch", "cat-seg-b", "cat-seg-l")
    done.failed(1, "cat-seg-b: model_base.pth was not the published file", "was removed; try again")
    assert done.labeled == ["cat-seg-l"] and done.err.splitlines()[-1] == "segvoc: 1 of 2 files failed"
    assert cached(files["cat-seg-b"]) is None


def test_wrong_calls_are_refused_before_anything_is_fetched(segvoc_command, files, hub):
    for arguments, *said in (
        (["cat-sec-b"], "'cat-sec-b' is unknown (did you mean cat-seg-b?); it is one of the files cat-seg-b, "),
        (["err-seg"], UNCONFIRMED["err-seg"].page, "can't be checked"),
        (["pca-seg-b"], UNCONFIRMED["declip-b"].page, "no page states file, revision, SHA-256 or license"),
        ([], "give names of models, recipes or files, or --all, or --list"),
        (["dinov2-s", "--all"], "or --all, or --list"),
    ):
        segvoc_command("fetch", *arguments).refused(*said)
    assert hub.asked == []
