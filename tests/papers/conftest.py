"""A folder in which the commands of the papers' pages run as they are written, in small."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import timm
import torch
from filelock import FileLock
from PIL import Image

from papers.tables import ENCODERS
from segvoc.cli import command_line
from segvoc.data.benchmarks import BENCHMARKS
from segvoc.models.presets import PRESETS
from tests.cli.command import Command, Outcome, make_command, make_script
from tests.data.captions.drawn_sets import write_captions
from tests.data.replicas import replica
from tests.papers.small_networks import PAPERS, SMALL_BACKBONE, small_papers, write_small_weights
from tests.training.runs import drawn_images

DRAWN_WITH_ANOTHER = "ade20k-part-234"
"""The benchmark that the replica of its training set brings along."""


@pytest.fixture(scope="session")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder: ROOT with all benchmarks, prepared; labeled and captioned images; weights and encoders by name.

    One worker makes it, and the others copy it.
    """
    base = tmp_path_factory.getbasetemp()
    made = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "made-papers"
    with FileLock(f"{made}.lock"):
        if not made.exists():
            make_inputs(base / "making-papers")
            (base / "making-papers").rename(made)
    return shutil.copytree(made, base / "papers", symlinks=True)


def make_inputs(folder: Path) -> None:
    drawn_images(folder, 4)
    with Image.open(folder / "images/0.png") as image:
        image.save(folder / "photo.jpg")
    captions = [(f"{number}.png", "a red disc and a blue disc") for number in range(4)]
    write_captions(folder / "captions.json", *captions)
    for name in BENCHMARKS:
        if name != DRAWN_WITH_ANOTHER:
            replica(name, folder / "ROOT")
    for path in (folder / "ROOT").rglob("ADE_val_00000002*"):
        if "urban" in path.parts:
            path.unlink()  # an image of a million pixels, with 847 words
    with small_papers(folder):
        prepare = ["prepare", *BENCHMARKS, "--data", str(folder / "ROOT"), "--jobs", "1", "--partial"]
        assert command_line.main(prepare, standalone_mode=False) == 0
        for name in [name for name, preset in PRESETS.items() if preset.family in PAPERS]:
            write_small_weights(name, folder / f"{name}.safetensors")
        for name in ("resnet101.pth", "swin_b.pth"):
            torch.save(timm.create_model(SMALL_BACKBONE).state_dict(), folder / name)
    more = (("syn-seg-b", "clipseg.safetensors"), ("pca-part-b", "pca-part-b-ade.safetensors"))
    for preset, encoder in (*ENCODERS.items(), *more):
        if not (folder / encoder).exists():
            (folder / encoder).symlink_to(f"{preset}.safetensors")


@pytest.fixture(scope="module")
def small(inputs: Path) -> Iterator[None]:
    """The papers' networks and recipes in small, while the tests of a module run."""
    with small_papers(inputs):
        yield


@pytest.fixture
def program(inputs, small, monkeypatch, capfd, tmp_path) -> Command:
    """Runs the words of a command, of `segvoc` or of a script, in a new folder that has all inputs."""
    for path in inputs.iterdir():
        (tmp_path / path.name).symlink_to(path)
    monkeypatch.chdir(tmp_path)

    def call(*words: str) -> Outcome:
        if words[0] == "segvoc":
            return make_command(monkeypatch, capfd)(*words[1:])
        assert words[:2] == ("python", "-m"), words
        return make_script(words[2].removeprefix("papers."), monkeypatch, capfd)(*words[3:])

    return call
