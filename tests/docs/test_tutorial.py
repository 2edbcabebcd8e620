"""docs/tutorials/own_model.md runs as printed, in small."""

import shlex
import shutil
from pathlib import Path

import pytest

from tests.loopback_hub import loopback_hub
from tests.papers.test_commands import commands, parsed
from tests.processes import printed
from tools.doc_examples import ROOT

PAGE = (ROOT / "docs" / "tutorials" / "own_model.md").read_text(encoding="utf-8")
COMMANDS = [command for command, whole in commands(PAGE) if whole]
FACADES = ROOT / "samples" / "facades"
FEW_STEPS = "--steps 2 --set views=1 --set crop_size=64 --set short_sides=64 --set num_val_images=2 --set num_workers=0"


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_is_one_of_the_command_line(command: str) -> None:
    assert parsed(shlex.split(command), whole=True)[1]


@pytest.mark.slow
def test_its_commands_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in FACADES.glob("*/*"):
        target = tmp_path / folder.relative_to(FACADES.parent)
        target.mkdir(parents=True)
        for path in sorted(folder.iterdir())[:4]:
            shutil.copy(path, target)
    shutil.copy(FACADES / "classes.json", tmp_path / "facades")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    with loopback_hub() as hub:
        monkeypatch.setenv("HF_TOKEN", hub.repositories.token)
        monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        for command in COMMANDS:
            words = shlex.split(command)[1:]
            if words[0] == "annotate":
                continue  # serves until it is stopped
            printed("-m", "segvoc", *words, *(FEW_STEPS.split() if words[0] == "train" else ()))
    for folder in ("exported", "from-hub"):
        assert len(list(Path(folder).glob("*.overlay.png"))) == 4
