"""What one part of segvoc writes of a model, every other reads back whole.

The words in order, the word for the background, what was taught, the temperature of the confidence, and the labels are
the same after each writer, for each reader.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import jaxtyping
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import segvoc
from segvoc.cli.options import ModelOptions
from segvoc.data.labeled_images import LabeledImages
from segvoc.errors import UsageError
from segvoc.exporting import export as exporting
from segvoc.imaging.label_maps import read_label_map
from segvoc.inference.segmentation import Segmentation
from segvoc.inference.taught import learning
from segvoc.models.conversion import convert
from segvoc.models.headers import TRAINING
from segvoc.models.preset import Preset
from segvoc.models.presets import PRESETS
from segvoc.networks.part_cat_seg import PCA_PART, part_protocols
from segvoc.storage.records import to_json
from segvoc.training.recipe import Recipe
from segvoc.training.recipes import finetune
from segvoc.training.start import Start, build
from tests.cli.command import Command, make_command
from tests.networks.test_part_cat_seg import small as small_part_network
from tests.official_checkpoints import official_weights, small_preset
from tests.training.runs import drawn_images

BACKGROUND = "ground"
TEMPERATURE = 1.75
SMALL = {"steps": 1, "batch_size": 1, "num_val_images": 1, "num_workers": 0, "crop_size": 96, "short_sides": (96,)}


def small_parts() -> Preset:
    """PCA-Seg's part mode with a few channels."""

    def built(configuration: object) -> torch.nn.Module:
        return small_part_network(PCA_PART)

    preset = replace(PRESETS["pca-part-b"], build=built, protocols_of=lambda _: part_protocols(96))
    return at_side(replace(preset, templates_of=lambda _: ("a {}", "the {}")), 96)


def at_side(preset: Preset, side: int) -> Preset:
    """A preset with one square view; programs aren't exported for fewer cells than a window of attention has."""
    protocols = dict.fromkeys(preset.protocols, replace(preset.protocols["single"], size=side))
    return replace(preset, protocols_of=lambda _: protocols)


@dataclass(frozen=True)
class Written:
    """A model that was written, and what every reader has to find there."""

    place: Path
    """The file or folder."""
    preset: str
    model: segvoc.Segmenter
    """The model that was written."""
    photo: Path
    words_file: tuple[Path, ...] = ()
    """Taught words beside the model."""

    @property
    def is_exported(self) -> bool:
        return (self.place / "segvoc.json").exists()

    @property
    def file(self) -> Path:
        """The file of weights."""
        return self.place if self.place.is_file() else self.place / "model.safetensors"

    @property
    def taught_options(self) -> list[str]:
        return [f"--taught={path}" for path in self.words_file]

    @property
    def taught_files(self) -> list[segvoc.TaughtWords]:
        return [segvoc.TaughtWords.load(path) for path in self.words_file]

    @property
    def expected(self) -> Segmentation:
        return labeled(self.model, self.photo)

    def check(self, found: segvoc.Segmenter) -> None:
        """Check a model that a reader has opened."""
        ours = self.model
        assert (found.own_words, found.own_background) == (ours.own_words, ours.own_background)
        assert found.origin.get(TRAINING) == ours.origin.get(TRAINING)
        assert [one.digest for one in found.taught] == [one.digest for one in ours.taught]
        assert [one.record.temperature for one in found.taught] == [one.record.temperature for one in ours.taught]
        result = labeled(found, self.photo)
        assert (result.words, result.background) == (self.expected.words, self.expected.background)
        self.check_labels(result.labels)
        np.testing.assert_allclose(result.confidence, self.expected.confidence, atol=1e-3)

    def check_labels(self, labels: np.ndarray) -> None:
        """Programs compute the same in another order."""
        equal = float((labels == self.expected.labels).mean())
        assert equal > 0.999 if self.is_exported else equal == 1


@cache
def labeled(model: segvoc.Segmenter, photo: Path) -> Segmentation:
    """By the words that the model knows; a model without any is asked for some."""
    return model.segment(photo, None if model.own_words else ["cat", "red disc"])


@dataclass(frozen=True)
class Workshop:
    """A small network that was trained on drawn images, and what its writers write."""

    preset: str
    folder: Path
    images: LabeledImages

    def of(self, place: Path, model: segvoc.Segmenter, *words: Path) -> Written:
        return Written(place, self.preset, model, self.folder / "set/images/0.png", words)

    @cache  # noqa: B019 readers share it
    def written(self, writer: str) -> Written:
        out = self.folder / writer
        file = out.with_suffix(".safetensors")
        if writer == "train":
            train(Recipe(model=self.preset).with_settings(**settings(self.preset)), self.images, out)
            return self.of(out, segvoc.load_network(out, device="cpu", dtype="float32"))
        if writer == "finetune":
            recipe = finetune("tiny", images=len(self.images)).with_settings(**SMALL, views=1)
            train(recipe, self.images, out)
            return self.of(out, segvoc.load_network(out, device="cpu", dtype="float32"))
        if writer == "convert":
            save_file(dict(official_weights(self.preset)), self.folder / "official.safetensors")
            convert(self.folder / "official.safetensors", file, self.preset)
            given = segvoc.load_network(self.preset, weights=self.folder / "official.safetensors", device="cpu")
            return self.of(file, given)
        base = self.written("train")
        if writer == "teach":
            words = segvoc.teach(base.model, self.images, keep_worse=True)
            words = replace(words, record=replace(words.record, temperature=TEMPERATURE))
            words.save(out.with_suffix(".words.safetensors"))
            return self.of(base.place, base.model.with_taught(words), out.with_suffix(".words.safetensors"))
        model = self.written("teach").model if "teach" in WRITERS[self.preset] else base.model
        if writer == "save":
            segvoc.save(model, file)
            return self.of(file, model)
        if writer == "push":
            segvoc.push(model, "lab/round", out=out)
            return self.of(out, model)
        with pytest.MonkeyPatch.context() as patch:
            if self.preset == "tiny":  # words leave its weights as they ship, and so do its programs
                model = self.written("finetune").model
                patch.setattr(exporting, "_write_programs", None)
            patch.setattr(exporting, "SIZES", ((96, 128),))
            patch.setattr(exporting, "WORDS", exporting.WORDS[:4])
            segvoc.export(model, out)
        return self.of(out, model)


def train(recipe: Recipe, images: LabeledImages, run: Path) -> None:
    start = Start() if recipe.model == "tiny" else Start(weights="random")
    segvoc.train(recipe, images, run, start=start, device="cpu", progress=False, callbacks=[])


def settings(preset: str) -> dict[str, Any]:
    return SMALL if preset == "tiny" else {**SMALL, "dataset": "", "lr": 1e-2}


WRITERS: dict[str, dict[str, list[str]]] = {
    "tiny": {
        "train": ["evaluate"], "save": ["--weights"], "push": ["load"], "export": ["load", "info"],
        "teach": ["--model"], "finetune": ["train", "serve"],
    },
    "pca-seg-clip-b": {
        "train": ["load", "train"], "save": ["--model"], "push": ["evaluate", "info"], "teach": ["serve"],
        "convert": ["--weights"], "export": [],
    },
    "pca-part-b": {"train": [], "save": ["evaluate"], "push": [], "export": []},
}  # fmt: skip
"""By preset, with readers that meet each writer and each reader; all others are slow, and tracing takes a minute.

No official checkpoint has tiny's or our part network's names, and part networks can't be taught.
"""


def read_by_load(written: Written, command: Command) -> None:
    model = segvoc.load(written.place, device="cpu", dtype="float32")
    written.check(model.with_taught(*written.taught_files) if written.words_file else model)


def read_by_model(written: Written, command: Command) -> None:
    """`segvoc segment --model`; without words if the model knows some."""
    _check_command(written, command, "--model", written.place)


def read_by_weights(written: Written, command: Command) -> None:
    """`segvoc segment --weights`."""
    _check_command(written, command, "--model", written.preset, "--weights", written.file)


def _check_command(written: Written, command: Command, *options: object) -> None:
    ours = written.expected
    words = () if written.model.own_words else ("--words", ", ".join(ours.words))
    options = (*options, *words, *written.taught_options, "--json", "--device=cpu", "--dtype=float32")
    found = json.loads(command("segment", written.photo, *options).ok().out)
    assert [one["name"] for one in found["classes"]] == list(ours.words)
    written.check_labels(read_label_map("out/0.png"))
    report = json.loads(json.dumps(ours.report()))
    for one, other in zip(found["classes"], report["classes"], strict=True):
        assert one["color"] == other["color"]  # gray for the background
        assert one["confidence"] == pytest.approx(other["confidence"], abs=1e-3)


def read_by_training(written: Written, command: Command) -> None:
    """The network that training starts from."""
    if written.is_exported:
        with pytest.raises(UsageError, match="is an exported model, which only labels images"):
            finetune(str(written.place))
        return
    recipe = finetune(str(written.place), method="network").with_settings(crop_size=96)
    built = build(recipe, Start(), 0)
    started = built.segmenter({}, 0)
    digests = [one.digest for one in (*started.taught, *written.taught_files)]
    assert digests == [one.digest for one in written.model.taught]
    state = written.model.network.state_dict()  # type: ignore[attr-defined]
    assert all(torch.equal(value, state[name]) for name, value in built.network.state_dict().items())


def read_by_evaluation(written: Written, command: Command) -> None:
    """`segvoc evaluate` gives the scores of the model that was written."""
    folder = written.photo.parents[1]
    options = (f"--images={folder}/images", f"--labels={folder}/labels", f"--classes={folder}/classes.json")
    rules = ("--object=sign",) if written.preset == "pca-part-b" else ()
    options = (*options, "--background", BACKGROUND, *rules, *written.taught_options, "--limit=1", "--json")
    found = json.loads(command("evaluate", written.place, *options, "--device=cpu", "--out=report").ok().out)
    expected = scores(written.model, folder, rules)
    assert [one["name"] for one in found["classes"]] == [one["name"] for one in expected["classes"]]
    for one, other in zip(found["classes"], expected["classes"], strict=True):
        assert one["iou"] == pytest.approx(other["iou"], abs=0.2 if written.is_exported else 0)


@cache
def scores(model: segvoc.Segmenter, folder: Path, rules: tuple[str, ...]) -> dict[str, Any]:
    out = folder.parent / f"scores of {id(model)}"
    return segvoc.evaluate(model, read_images(folder, bool(rules)), out, segvoc.EvaluationSettings(limit=1))


def read_images(folder: Path, has_parts: bool) -> LabeledImages:
    files = (folder / "images", folder / "labels", folder / "classes.json")
    return LabeledImages.from_folders(*files, background=BACKGROUND, owner="sign" if has_parts else None)


def read_by_info(written: Written, command: Command) -> None:
    """`segvoc info --json`."""
    found, model = json.loads(command("info", written.place, "--json").ok().out), written.model
    known = [word for word in model.own_words if word in model.known_words]
    assert found.get("words", []) == known
    assert found.get("background") == model.own_background
    taught = [] if written.words_file else [to_json(one.record) for one in model.taught]
    assert found.get("taught", []) == json.loads(json.dumps(taught))
    assert found["preset"] == written.preset


def read_by_service(written: Written, command: Command) -> None:
    """What `segvoc serve` opens, asked for the words and the background that the model knows."""
    services = pytest.importorskip("tests.serving.services", reason='needs the extra "serve"')
    ours = written.expected
    fields = {"background": ours.background} if ours.background else {}
    chosen = ModelOptions(device="cpu", taught=tuple(map(str, written.words_file)))
    with services.in_process(chosen.open(str(written.place))) as client:
        files = {"image": written.photo.read_bytes()}
        form = {"words": json.dumps(list(ours.words)), **fields}
        answer = client.post("/v1/segment", files=files, data=form, headers={"Accept": "image/png"})
        assert answer.status_code == 200, answer.text
        facts = client.get("/v1/models").json()["models"][0]
    Path("served.png").write_bytes(answer.content)
    written.check_labels(read_label_map("served.png"))
    assert facts["taught_files"] == [one.digest for one in written.model.taught]


READERS: dict[str, Callable[[Written, Command], None]] = {
    "load": read_by_load,
    "--model": read_by_model,
    "--weights": read_by_weights,
    "train": read_by_training,
    "evaluate": read_by_evaluation,
    "info": read_by_info,
    "serve": read_by_service,
}


@pytest.fixture(scope="module")
def workshops(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Workshop]]:
    """By preset; two of them are small in the table of presets."""

    @cache
    def workshop(preset: str) -> Workshop:
        folder = tmp_path_factory.mktemp(preset)
        drawn_images(folder / "set", 2)
        return Workshop(preset, folder, read_images(folder / "set", preset == "pca-part-b"))

    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)  # a traced size is no integer
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PRESETS, "pca-seg-clip-b", at_side(small_preset("pca-seg-clip-b"), 224))
        patch.setitem(PRESETS, "pca-part-b", small_parts())
        patch.setattr(learning, "STEPS", 20)
        patch.setattr("segvoc.training.monitor.draw_curves", lambda *_: None)  # a tenth of the time
        yield workshop
    jaxtyping.config.update("jaxtyping_disable", before)
    for cached in (Workshop.written, labeled, scores):
        cached.cache_clear()


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Command:
    monkeypatch.chdir(tmp_path)
    return make_command(monkeypatch, capfd)


ROWS = [
    pytest.param(
        *(preset, writer, reader), id=f"{preset}-{writer}-{reader}", marks=[] if reader in quick else [pytest.mark.slow]
    )
    for preset, writers in WRITERS.items()
    for writer, quick in writers.items()
    for reader in READERS
    if (writer, reader) != ("export", "--weights")
]


@pytest.mark.parametrize(("preset", "writer", "reader"), ROWS)
def test_what_is_written_is_read_back_whole(preset, writer, reader, workshops, command) -> None:
    READERS[reader](workshops(preset).written(writer), command)
