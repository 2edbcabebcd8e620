"""What `segvoc reproduce` says of missing or half-prepared data, of foreign weights and of folders that aren't its own.

Each is one line with the exit code that the documentation gives, and nothing that was there is lost.
"""

import shutil
from pathlib import Path

import pytest

from segvoc.data.preparation import prepare as preparation
from tests.cli.command import Command
from tests.cli.small_reproduction import CALL, TRAIN
from tests.data.original_files import pack
from tests.loopback_hub import LoopbackHub

pytestmark = pytest.mark.usefixtures("small_reproduction")


def files(folder: str = ".") -> dict[str, bytes]:
    """All files but those of the cache."""
    found = {path.relative_to(folder).as_posix(): path for path in Path(folder).rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in found.items() if not name.startswith("home/")}


def test_missing_data_is_named_with_archive_folder_and_page(segvoc_command: Command, hub: LoopbackHub) -> None:
    voc = "http://host.robots.ox.ac.uk/pascal/VOC/voc2012/"
    Path("data/VOCdevkit").rename("elsewhere")
    for call in (CALL, TRAIN):
        segvoc_command("reproduce", *call).failed(2, "VOCtrainval_11-May-2012.tar", voc, "put it into 'data'")
    Path("elsewhere").rename("data/VOCdevkit")
    shutil.rmtree("data/coco-stuff/images/train2017")
    done = segvoc_command("reproduce", *TRAIN)
    done.failed(2, "training needs coco-stuff-train", "train2017.zip", "https://cocodataset.org/#download", "'data'")
    assert hub.transfers() == [] and not Path("report").exists()


def test_a_preparation_that_was_stopped_is_finished(segvoc_command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:

        def stopped(*_: object) -> object:
            raise KeyboardInterrupt

        patch.setattr(preparation, "_sources", stopped)
        assert segvoc_command("reproduce", *CALL).code == 130
    assert Path("data/segvoc/pas-20.journal").exists() and not Path("report").exists()
    done = segvoc_command("reproduce", *CALL)
    assert done.code == 1 and "downloaded, will be prepared first" in done.err
    assert Path("report/report.json").exists() and not Path("data/segvoc/pas-20.journal").exists()


@pytest.mark.parametrize("kind", ["archive", "image", "manifest"])
def test_damaged_data_is_one_line(segvoc_command: Command, kind: str) -> None:
    if kind == "archive":
        pack("pas-20", Path("data"))
        shutil.rmtree("data/VOCdevkit")
        archive = Path("data/VOCtrainval_11-May-2012.tar")
        archive.write_bytes(archive.read_bytes()[:700])
    elif kind == "image":
        Path("data/VOCdevkit/VOC2012/JPEGImages/2007_000033.jpg").write_bytes(b"no image")
    else:
        Path("data/segvoc").mkdir()
        Path("data/segvoc/pas-20.json").write_text("{")
    before = files()
    done = segvoc_command("reproduce", *CALL)
    assert done.code == 2 and "Traceback" not in done.err
    last = done.err.splitlines()[-1]
    named = {"archive": "VOCtrainval_11-May-2012.tar", "image": "2007_000033", "manifest": "pas-20.json"}[kind]
    assert last.startswith("segvoc: error: none of pas-20 can be evaluated") and named in last
    assert {name: content for name, content in files().items() if name in before} == before
    assert not Path("report").exists()


def test_a_folder_of_another_call_keeps_its_files(segvoc_command: Command) -> None:
    assert segvoc_command("reproduce", *CALL).code == 1
    before = files()
    evaluated = (*CALL[:5], "--out", "report/pas-20")
    segvoc_command("reproduce", *evaluated).refused("is not a report of `segvoc reproduce`", "choose another --out")
    segvoc_command("reproduce", *TRAIN).refused(
        "has results of another call (training: none, now ", "choose another --out"
    )
    segvoc_command("reproduce", *CALL, "--train", "--seeds", "1,1").refused("seed 1 is given twice")
    Path("report/report.json").write_text("[]")
    segvoc_command("reproduce", *CALL).refused("is not a report of `segvoc reproduce`")
    Path("report/report.json").write_bytes(before["report/report.json"])
    assert files() == before
