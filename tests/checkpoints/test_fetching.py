"""Fetching published files from a hub that stands in this process, on loopback."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from huggingface_hub import file_download

from segvoc.checkpoints import fetching
from segvoc.checkpoints.fetching import cache_path, cached, fetch, has_sha256, transfer_size
from segvoc.checkpoints.published import PUBLISHED, PublishedFile
from segvoc.errors import CheckpointError
from tests.loopback_hub import BODY, CHUNK, LoopbackHub, use_hub, without_network

HUB_FILE, WEB_FILE = PUBLISHED["cat-seg-b"], PUBLISHED["openai-clip-b"]
each_kind = pytest.mark.parametrize("file", [HUB_FILE, WEB_FILE], ids=["hub", "web"])

# arguments: SHA-256 and address (or an empty one) of each file, by name
PROCESS = """
import json, sys
from dataclasses import replace
from segvoc.checkpoints.fetching import fetch
from segvoc.checkpoints.published import PUBLISHED
from segvoc.errors import CheckpointError
for name, (sha256, url) in json.loads(sys.argv[1]).items():
    file = PUBLISHED[name]
    try:
        print(fetch(replace(file, sha256=sha256, place=replace(file.place, url=url) if url else file.place)))
    except CheckpointError as error:
        print(f"refused: {error}")
assert "torch" not in sys.modules
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hub: LoopbackHub) -> Path:
    use_hub(monkeypatch, tmp_path / "home", hub.url)
    return tmp_path / "home"


def _process(home: Path, endpoint: str, *files: PublishedFile, **settings: str) -> subprocess.Popen[str]:
    """A process of its own that fetches files and prints a line for each."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    environment = {**kept, "HF_HOME": str(home), "HF_ENDPOINT": endpoint, "NO_PROXY": "127.0.0.1", **settings}
    wanted = {file.name: (file.sha256, getattr(file.place, "url", "")) for file in files}
    command = [sys.executable, "-c", PROCESS, json.dumps(wanted)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def _refusal(file: PublishedFile) -> str:
    with pytest.raises(CheckpointError) as refusal:
        fetch(file)
    (line,) = str(refusal.value).splitlines()
    assert line.startswith(f"{file.name}: ")
    return line


def _bodies(home: Path) -> list[Path]:
    return [path for path in home.rglob("*") if path.is_file() and path.stat().st_size >= CHUNK]


@contextmanager
def _read_only(folder: Path) -> Iterator[None]:
    """Nobody may write in a folder; where root runs the tests, without root's privileges."""
    folders = [folder, *(path for path in folder.rglob("*") if path.is_dir() and not path.is_symlink())]
    for path in folders:
        path.chmod(0o555)
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)
        for path in folders:
            path.chmod(0o755)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user may enter, unlike pytest's."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@each_kind
def test_what_was_fetched_or_put_there_is_used_without_network(hub, home, monkeypatch, file):
    with monkeypatch.context() as offline:
        without_network(offline)
        refusal = _refusal(file)
    assert f"{file.name}: {file.filename} can't be fetched: HF_HUB_OFFLINE is set; get it from " in refusal
    assert f"{file.place.page} and put it at '{cache_path(file)}', or give it" in refusal
    assert "weights=FILE or --weights FILE" in refusal
    assert ("--encoder-weights FILE" in refusal) == (file.kind == "encoders")
    file = hub.publish(file)
    (content,) = hub.files.values()
    assert cached(file) is None and transfer_size(file) == BODY
    path = fetch(file)
    assert path.read_bytes() == content
    assert path == cached(file) == cache_path(file) and path.is_relative_to(home)
    asked = len(hub.asked)
    without_network(monkeypatch)
    assert fetch(file) == path and len(hub.asked) == asked
    shutil.rmtree(home)
    cache_path(file).parent.mkdir(parents=True)
    cache_path(file).write_bytes(content)
    assert fetch(file) == cache_path(file)


def test_two_processes_at_once_transfer_each_file_once(hub: LoopbackHub, home: Path) -> None:
    files = [hub.publish(HUB_FILE), hub.publish(WEB_FILE)]
    hub.delay = 0.1
    both = [_process(home, hub.url, *files) for _ in range(2)]
    (first, _), (second, error) = (process.communicate(timeout=300) for process in both)
    assert [process.returncode for process in both] == [0, 0], error
    assert first == second
    for line, content in zip(first.splitlines(), hub.files.values(), strict=True):
        assert Path(line).read_bytes() == content
    assert sorted(path for path, _ in hub.transfers()) == sorted(hub.files)


@each_kind
def test_another_file_is_refused_and_removed_but_never_outside_the_cache(hub, home, monkeypatch, tmp_path, file):
    file = hub.publish(file)
    ((path, content),) = hub.files.items()
    hub.files[path] = content[:-1] + bytes([content[-1] ^ 1])
    refusal = _refusal(file)
    assert f"{file.filename} was not the published file" in refusal and "was removed; try again" in refusal
    assert not _bodies(home)
    hub.files[path] = content
    fetched = fetch(file).resolve()
    assert fetched.read_bytes() == content
    fetched.write_bytes(content[:-1])
    without_network(monkeypatch)
    assert "was removed" in _refusal(file) and not _bodies(home)
    (tmp_path / "own.pth").write_bytes(b"own")
    cache_path(file).unlink(missing_ok=True)
    cache_path(file).symlink_to(tmp_path / "own.pth")
    assert "was removed" in _refusal(file)
    assert not cache_path(file).is_symlink() and (tmp_path / "own.pth").read_bytes() == b"own"


@each_kind
def test_a_transfer_that_breaks_off_is_taken_up(hub, home, monkeypatch, file):
    monkeypatch.setattr(file_download.time, "sleep", lambda _: None)
    file = hub.publish(file)
    ((path, content),) = hub.files.items()
    hub.break_after = 2 * CHUNK + 7
    assert fetch(file).read_bytes() == content
    assert hub.transfers() == [(path, 0), (path, 2 * CHUNK)]


@each_kind
def test_a_file_larger_than_the_disk_is_not_begun(hub: LoopbackHub, home: Path, file: PublishedFile) -> None:
    file = hub.publish(file)
    hub.stated_size = 1 << 60
    refusal = _refusal(file)
    assert f"no space is left at '{home}" in refusal and "HF_HOME" in refusal
    assert hub.transfers() == []


@each_kind
def test_a_read_only_cache_is_used_and_told_when_it_lacks_the_file(hub, open_folder, monkeypatch, file):
    use_hub(monkeypatch, open_folder, hub.url)
    file = hub.publish(file)
    with _read_only(open_folder):
        assert f"'{open_folder}" in (refusal := _refusal(file))
        assert "can't be written, change its mode or set HF_HOME" in refusal
    path = fetch(file)
    with _read_only(open_folder):
        assert fetch(file) == path


def test_the_hub_s_own_variables_set_endpoint_cache_and_offline_mode(hub: LoopbackHub, tmp_path: Path) -> None:
    files = [hub.publish(HUB_FILE), hub.publish(WEB_FILE)]
    lines = _process(tmp_path / "a", hub.url, *files).communicate()[0].splitlines()
    assert [Path(line).read_bytes() for line in lines] == list(hub.files.values())
    assert all(Path(line).is_relative_to(tmp_path / "a") for line in lines)
    asked = len(hub.asked)
    offline = {"HF_HUB_OFFLINE": "1"}
    assert _process(tmp_path / "a", "http://127.0.0.1:9", *files, **offline).communicate()[0].splitlines() == lines
    refusals, told = _process(tmp_path / "b", "http://127.0.0.1:9", *files, **offline).communicate()
    assert all("refused: " in line and "HF_HUB_OFFLINE is set" in line for line in refusals.splitlines())
    assert "Traceback" not in told and len(hub.asked) == asked


@each_kind
def test_refusals_of_the_server_are_told(hub, home, file):
    file, gone = hub.publish(file), "no longer has it"
    for hub.status, said in ((404, gone), (401, gone), (403, gone), (503, "answers 503")):
        refusal = _refusal(file)
        assert said in refusal and "weights FILE" in refusal


def test_a_file_is_verified_once_and_other_content_of_its_size_and_time_is_noticed(tmp_path, monkeypatch):
    reads: list[Path] = []
    inner = fetching.file_sha256
    monkeypatch.setattr(fetching, "file_sha256", lambda path: reads.append(path) or inner(path))
    monkeypatch.setenv("SEGVOC_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "model.safetensors"
    content = b"weights" * 1000
    digest = hashlib.sha256(content).hexdigest()
    path.write_bytes(content)
    assert has_sha256(path, digest) and has_sha256(path, digest)
    assert len(reads) == 1
    times = path.stat()
    path.write_bytes(content[::-1])
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert not has_sha256(path, digest)
