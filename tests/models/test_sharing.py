"""Models on a hub that stands on loopback: there and back, what its refusals mean, and what others have put there."""

import json
import socket
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import ModelCard, file_download

import segvoc
from segvoc.checkpoints.hub import CARD, CONFIG, SHARED_WEIGHTS
from segvoc.errors import CheckpointError, UsageError
from segvoc.models.network_segmenter import NetworkSegmenter
from segvoc.models.presets import PRESETS
from tests.images import made_photograph, one_line_error
from tests.inference.taught.drawn_examples import drawn_examples
from tests.loopback_hub import LoopbackHub, use_hub, without_network
from tests.loopback_repositories import LoopbackRepository
from tests.official_checkpoints import small_preset

NAME = "lab/drawn"
WORDS = ["grass", "sky", "brick"]


@pytest.fixture(autouse=True)
def home(hub: LoopbackHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    use_hub(monkeypatch, tmp_path / "home", hub.url)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(file_download.time, "sleep", lambda _: None)
    monkeypatch.setitem(PRESETS, "cat-seg-b", small_preset("cat-seg-b"))
    return tmp_path / "home"


@pytest.fixture
def model() -> NetworkSegmenter:
    return segvoc.load("cat-seg-b", weights="random", device="cpu")


def probabilities(model: segvoc.Segmenter) -> np.ndarray:
    found = model.segment(made_photograph(), WORDS, return_probabilities=True).probabilities
    assert found is not None
    return found


def test_there_and_back_with_equal_results_in_private_on_branches_and_offline(hub, model, monkeypatch):
    writer = hub.repositories.token
    taught = model.with_taught(segvoc.teach(model, drawn_examples(2), keep_worse=True))
    address = segvoc.push(taught, NAME, private=True, token=writer, license="Apache-2.0")
    assert address == f"{hub.url}/{NAME}"
    repository = hub.repositories.known[NAME]
    assert repository.private and {CARD, CONFIG, SHARED_WEIGHTS} <= repository.files().keys()
    card = ModelCard(repository.files()[CARD].decode())
    assert card.data.library_name == "segvoc" and card.data.license == "apache-2.0"
    assert card.data.pipeline_tag == "image-segmentation" and not card.data.eval_results
    assert "Measured on 2 images, each held out while it learned from the others: too few to rely on" in card.text
    assert "hf_writer" not in repr(repository.files())

    found = segvoc.load(NAME, token=writer, device="cpu")
    assert found.name == NAME and found.dtype == "float32" and set(found.known_words) == set(WORDS)
    assert [one.digest for one in found.taught] == [one.digest for one in taught.taught]
    assert np.array_equal(probabilities(found), probabilities(taught))

    segvoc.push(model, f"{NAME}@bare", token=writer)
    bare = segvoc.load(f"{NAME}@bare", token=writer)
    assert bare.name == f"{NAME}@bare" and not bare.taught
    assert np.array_equal(probabilities(bare), probabilities(model))

    without_network(monkeypatch)
    asked = len(hub.asked)
    assert [one.digest for one in segvoc.load(NAME).taught] == [one.digest for one in taught.taught]
    assert not segvoc.load(f"{NAME}@bare").taught
    with one_line_error(CheckpointError, "HF_HUB_OFFLINE is set", "doesn't have it"):
        segvoc.load(f"{NAME}@other")
    assert len(hub.asked) == asked


def test_a_second_push_replaces_the_files_of_the_first_and_may_keep_the_card(hub, model):
    hub.repositories.known[NAME] = LoopbackRepository()
    own = {CARD: b"mine", "notes.txt": b"mine", "taught_2.words.safetensors": b"old", "card/old.png": b"old"}
    hub.repositories.known[NAME].commit(own)
    segvoc.push(model, NAME, token=hub.repositories.token, keep_card=True)
    files = hub.repositories.known[NAME].files()
    assert files[CARD] == b"mine" and files.keys() == {CARD, "notes.txt", "card/old.png", CONFIG, SHARED_WEIGHTS}
    segvoc.push(model, NAME, token=hub.repositories.token)
    files = hub.repositories.known[NAME].files()
    assert files.keys() == {CARD, "notes.txt", CONFIG, SHARED_WEIGHTS} and files[CARD] != b"mine"


def test_what_cannot_be_shared_is_told(hub, model):
    with one_line_error(UsageError, "is not a repository name", "owner/name"):
        segvoc.push(model, "drawn", token=hub.repositories.token)
    with one_line_error(UsageError, "unpublished weights", "share its weights too"):
        segvoc.push(model, NAME, weights=False)
    with one_line_error(UsageError, "is a custom network"):
        segvoc.push(segvoc.load("cat-seg-l", network=model.network, weights="random"), NAME)
    with one_line_error(CheckpointError, "can't be written to the hub", "not logged in"):
        segvoc.push(model, NAME)
    with one_line_error(CheckpointError, "this token has no write access (403)"):
        segvoc.push(model, NAME, token=hub.repositories.reader)
    hub.status = 503
    with one_line_error(CheckpointError, "the hub answers 503"):
        segvoc.push(model, NAME, token=hub.repositories.token)
    assert not hub.repositories.known


def test_refusals_to_read_are_told(hub, model, home, monkeypatch):
    shared, closed, gated = LoopbackRepository(), LoopbackRepository(private=True), LoopbackRepository(gated=True)
    segvoc.push(model, NAME, out="saved")
    for one in (shared, closed, gated):
        one.commit({path.name: path.read_bytes() for path in Path("saved").iterdir()})
    hub.repositories.known |= {NAME: shared, "lab/closed": closed, "lab/gated": gated}
    cases: list[tuple[str, dict, tuple[str, ...]]] = [
        ("lab/none", {}, ("isn't here", "no such repository, or it is private", "hf auth login")),
        ("lab/closed", {}, ("it is private",)),
        ("lab/closed", {"token": hub.repositories.reader}, ("this token doesn't see it",)),
        (NAME, {"token": "hf_wrong"}, ("refuses the token (401)",)),
        ("lab/gated", {}, ("it is gated", f"{hub.url}/lab/gated")),
        (f"{NAME}@v9", {}, ("no revision 'v9'", "branch, tag or commit")),
    ]
    for name, given, said in cases:
        with one_line_error(CheckpointError, *said):
            segvoc.load(name, **given)
    with one_line_error(UsageError, "is not a repository"):
        segvoc.load("tiny", token="hf_any")
    hub.status = 503
    with one_line_error(CheckpointError, "the hub answers 503"):
        segvoc.load(NAME)
    use_hub(monkeypatch, home, "http://127.0.0.1:9")
    with one_line_error(CheckpointError, "the hub can't be reached", "HF_HOME"):
        segvoc.load(NAME)

    def unresolved(*_: object) -> None:
        raise socket.gaierror("Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unresolved)
    monkeypatch.setattr(time, "sleep", lambda seconds: pytest.fail(f"waits {seconds} s for a network"))
    with one_line_error(CheckpointError, "the hub can't be reached", "HF_HOME"):
        segvoc.load("folder/model")


def _changed(config: bytes, **entries: object) -> bytes:
    content = json.loads(config)
    content["segvoc"] |= entries
    return json.dumps(content).encode()


Changes = dict[str, bytes | Callable[[bytes], bytes] | None]
"""Files with other contents, or changed by a function, or removed."""

DAMAGES: dict[str, tuple[Changes, tuple[str, ...]]] = {
    "weights missing": ({SHARED_WEIGHTS: None}, (f"has no {SHARED_WEIGHTS}", "share the model again")),
    "weights cut off": ({SHARED_WEIGHTS: lambda whole: whole[:-100]}, ("lab/drawn", "is damaged")),
    "weights of a page": ({SHARED_WEIGHTS: b"<html>"}, ("is a web page",)),
    "configuration cut off": ({CONFIG: lambda whole: whole[:20]}, ("can't be read",)),
    "newer": ({CONFIG: partial(_changed, format=9)}, ("newer segvoc",)),
    "unknown entry": ({CONFIG: partial(_changed, more=1)}, ("is damaged", "more")),
    "file outside": ({CONFIG: partial(_changed, weights="../../model.safetensors")}, ("files elsewhere",)),
    "another library's": (
        {CONFIG: b'{"architectures": ["SegformerForSegmentation"], "model_type": "segformer"}'},
        ("SegformerForSegmentation of transformers", "no model of segvoc", "segvoc push"),
    ),
    "no configuration": ({CONFIG: None}, ("files (README.md, model.safetensors)", "no model of segvoc")),
    "CLIP of another size": (
        {CONFIG: b'{"model_type": "clip", "vision_config": {"patch_size": 32}}'},
        ("patches of 32 px", "ViT-B/16"),
    ),
    "DINOv2": ({CONFIG: b'{"model_type": "dinov2"}'}, ("dinov2", "--encoder-weights")),
    "exported": ({CONFIG: b"{}", "segvoc.json": b"{}"}, ("hf download lab/drawn",)),
}

FOREIGN = ("another library's", "no configuration", "CLIP of another size", "DINOv2", "exported")
"""Cases whose weights aren't fetched."""


def test_what_is_damaged_or_foreign_is_told_in_a_repository_and_in_a_folder(hub, model, tmp_path):
    segvoc.push(model, NAME, out="saved")
    whole = {path.name: path.read_bytes() for path in Path("saved").iterdir()}
    hub.repositories.known[NAME] = repository = LoopbackRepository()
    for kind, (changes, said) in DAMAGES.items():
        begun = len(hub.asked)
        changed = {name: change(whole[name]) if callable(change) else change for name, change in changes.items()}
        files = {name: content for name, content in (whole | changed).items() if content is not None}
        repository.commit(files)
        with one_line_error(CheckpointError, *said):
            segvoc.load(NAME)
        if kind in FOREIGN:  # which may be large
            assert not any(path.endswith(SHARED_WEIGHTS) for _, path, _ in hub.asked[begun:])
            continue
        folder = tmp_path / kind
        folder.mkdir()
        for name, content in files.items():
            (folder / name).write_bytes(content)
        with one_line_error(CheckpointError, *(part.replace(NAME, str(folder)) for part in said)):
            segvoc.load(folder)
    repository.commit(whole)
    hub.break_after = 1000
    assert np.array_equal(probabilities(segvoc.load(NAME)), probabilities(model))
