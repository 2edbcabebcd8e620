"""docs/tutorials/own_model.md: its commands run in their order, on a few drawn images and with a few steps."""

import re
import shlex
from pathlib import Path

import pytest

from tests.loopback_hub import loopback_hub
from tests.papers.test_other_pages import commands, parsed
from tests.processes import printed
from tools.doc_examples import ROOT

PAGE = (ROOT / "docs" / "tutorials" / "own_model.md").read_text(encoding="utf-8")
COMMANDS = [command for command, whole in commands(PAGE) if whole]
DRAWINGS = re.findall(r"^python -m (\S+) (\w+) \d+ ?(\d*)$", PAGE, re.MULTILINE)
FEW_STEPS = "--steps 2 --set views=1 --set crop_size=64 --set short_sides=64 --set num_val_images=2 --set num_workers=0"


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_is_one_of_the_command_line(command: str) -> None:
    assert parsed(shlex.split(command), whole=True)[1]


@pytest.mark.slow
def test_its_commands_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for module, folder, seed in DRAWINGS:
        printed("-m", module, folder, 4, seed or 0)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    with loopback_hub() as hub:
        monkeypatch.setenv("HF_TOKEN", hub.repositories.token)
        monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        for command in COMMANDS:
            words = shlex.split(command)[1:]
            printed("-m", "segvoc", *words, *(FEW_STEPS.split() if words[0] == "train" else ()))
    for folder in ("exported", "from-hub"):
        assert sorted(path.name for path in Path(folder).glob("*.overlay.png")) == [
            f"{number:03}.overlay.png" for number in range(4)
        ]
