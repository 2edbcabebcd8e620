"""`segvoc teach`, and --taught of other commands."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from segvoc.cli import export as exporting
from segvoc.imaging.label_maps import read_label_map
from segvoc.inference.exported.segmenter import ExportedSegmenter
from segvoc.inference.taught.taught_words import TaughtWords
from segvoc.models import loading, opening
from tests.cli.command import Command
from tests.inference.small_network import small_segmenter
from tests.inference.taught.drawn_examples import drawn_examples


@pytest.fixture
def command(segvoc_command: Command, monkeypatch: pytest.MonkeyPatch) -> Command:
    """`segvoc` with a small random network in place of `tiny`'s."""
    small = small_segmenter()
    monkeypatch.setattr(loading, "open_network", lambda spec, *_: small)
    monkeypatch.setattr(opening, "open_tiny", lambda: small)
    return segvoc_command


def segmented(command: Command, *more: object) -> list[dict[str, Any]]:
    done = command("segment", "set/images/0.png", "--words", "grass, sky, brick", "--json", *more).ok()
    return json.loads(done.out)["classes"]


def test_teach_and_use(command):
    options = drawn_examples(4).write(Path("set"))
    taught = ("--taught", "drawn.words.safetensors")
    done = command("teach", *options, "--out", taught[1]).ok()
    title, head, *rows, last = done.out.splitlines()
    assert "learned from 4 images" in title and head.split()[:3] == ["word", "images", "pixels"]
    assert rows[0].startswith("grass") and rows[-1].startswith("pixel accuracy")
    assert last == f"-> {taught[1]}"
    assert TaughtWords.load(taught[1]).record.images == 4
    assert segmented(command) != segmented(command, *taught)
    done = command("segment", "set/images/0.png", *taught, "--json")  # its own words
    own = [entry["name"] for entry in json.loads(done.out)["classes"]]
    assert sorted(own) == ["brick", "grass", "sky"] and f"segvoc: the words of tiny: {', '.join(own)}" in done.err
    done = command("segment", "set/images/0.png", *taught, "--words", "cat, dog")
    assert "hint: none of the words that this model was taught" in done.err
    command("segment", "set/images/0.png").refused("no words are given")
    command("evaluate", "tiny", *options, *taught, "--out", "report").ok()
    command("evaluate", "tiny", *options, "--out", "report").refused("taught")  # another evaluation than before


def test_batch_and_serve_give_the_labels_of_segment(command, monkeypatch):
    run = pytest.importorskip("segvoc.labeling.batch.run", reason='needs the extra "batch"')
    model_facts = pytest.importorskip("segvoc.serving.app", reason='needs the extra "serve"').model_facts
    from tests.labeling.batch.runs import Loop

    options = drawn_examples(2).write(Path("set"))
    words = ("--words", "grass, sky, brick")
    for seed in (0, 1):
        command("teach", *options, "--out", f"{seed}.words.safetensors", "--seed", seed)
    taught = ("--taught", "0.words.safetensors")
    command("segment", "set/images", *words, *taught, "--out", "expected").ok()
    names = sorted(path.name for path in Path("set/images").iterdir())
    expected = {name: read_label_map(Path("expected") / name) for name in names}

    monkeypatch.setattr(run, "_ray", lambda batch: Loop()(batch))
    batch = ("batch", "set/images", "--out", "labeled", "--to", "files", *words)
    command(*batch, *taught).ok()
    for name, labels in expected.items():
        assert np.array_equal(read_label_map(Path("labeled") / name), labels)
    assert "2 images were already done" in command(*batch, *taught).err
    for other in ((), ("--taught", "1.words.safetensors")):
        command(*batch, *other).refused("'labeled' has results of another call (taught", "give another --out")

    services: list[Any] = []
    monkeypatch.setattr("segvoc.serving.server.run", lambda loads, *_, **__: services.extend(loads))
    monkeypatch.delenv("SEGVOC_API_KEY", raising=False)
    for more in ((), taught):
        assert command("serve", "--dtype", "auto", *more).code == 0
    plain, with_words = (load() for load in services)
    assert not model_facts(plain, None).taught
    assert set(model_facts(with_words, None).taught) == set(with_words.taught[0].words) != set()
    for name, labels in expected.items():
        assert np.array_equal(with_words.segment(Path("set/images") / name, words[1]).labels, labels)


def test_export_without_pytorch_copies_the_words_too(segvoc_command, taught, monkeypatch):
    taught.save("a.words.safetensors")
    find_spec = exporting.find_spec
    monkeypatch.setattr(exporting, "find_spec", lambda name: None if name == "torch" else find_spec(name))
    segvoc_command("export", "tiny", "model", "--taught", "a.words.safetensors").ok()
    assert [one.digest for one in ExportedSegmenter(Path("model")).taught] == [taught.digest]
    Path("no.words.safetensors").write_bytes(b"no words")
    wrong = segvoc_command("export", "tiny", "other", "--taught", "no.words.safetensors")
    wrong.refused("'no.words.safetensors' is no file of taught words")
    segvoc_command("export", "tiny", "other", "--taught", "missing").refused("'missing' can't be read")
    assert not Path("other").exists()


def test_wrong_calls(command):
    options = drawn_examples(3).write(Path("set"))
    command("teach", *options[:2], "--out", "a").refused("--classes is missing")
    command("teach", "--dataset", "set", *options[1:], "--out", "a").refused("leave out --labels, --classes")
    command("segment", "set/images/0.png", "--words", "a, b", "--taught", "none").refused("can't be read")
    assert not Path("a").exists()
