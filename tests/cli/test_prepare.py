"""`segvoc prepare` on the command line; tests/data/preparation has what it makes of every benchmark."""

import pytest

from tests.cli.command import Command
from tests.data.original_files import pack, save_ids
from tests.data.replicas import halves, replica


def test_prepares_several_benchmarks_and_prints_a_summary_of_each(segvoc_command, tmp_path) -> None:
    replica("pas-20", tmp_path)
    replica("a-150", tmp_path)
    pack("a-150", tmp_path)
    call = ("prepare", "pas-20", "a-150", "--data", tmp_path, "--partial", "--jobs", 1)
    done = segvoc_command(*call).ok()
    assert done.err == ""
    assert done.out.splitlines() == [
        f"pas-20: 2 of 1449 images, 1 left out -> {tmp_path}/VOCdevkit/VOC2012/annotations_detectron2/val",
        f"a-150: 2 of 2000 images -> {tmp_path}/ADEChallengeData2016/annotations_detectron2/validation",
    ]
    again = segvoc_command(*call)
    assert (again.code, again.err) == (0, "")
    assert again.out.splitlines() == [
        "pas-20: 2 of 1449 images, 1 left out: already prepared",
        "a-150: 2 of 2000 images: already prepared",
    ]


def test_damage_fails_its_image_and_a_damaged_archive_its_own_benchmark(segvoc_command, tmp_path) -> None:
    replica("a-150", tmp_path)
    save_ids(tmp_path / "ADEChallengeData2016/annotations/validation/ADE_val_00000001.png", halves(1, 200))
    (tmp_path / "VOCtrainval_11-May-2012.tar").write_bytes(b"<html>404</html>")
    done = segvoc_command("prepare", "pas-20", "a-150", "--data", tmp_path, "--partial", "--jobs", 1)
    assert done.code == 1
    archive, image, last = done.err.splitlines()
    assert "VOCtrainval_11-May-2012.tar' is damaged or incomplete" in archive
    assert "ADE_val_00000001.png" in image and "contains the id 200" in image
    assert last == "segvoc: 2 images failed, the others were prepared"
    assert done.out.startswith("a-150: 1 of 2000 images, 1 failed -> ")


def test_nothing_is_done_if_one_benchmark_lacks_its_download(segvoc_command, tmp_path) -> None:
    replica("pas-20", tmp_path)
    done = segvoc_command("prepare", "pas-20", "pc-59", "--data", tmp_path, "--partial")
    done.refused("PC-59", "VOCtrainval_03-May-2010.tar", "host.robots.ox.ac.uk", "trainval_merged.json")
    assert not (tmp_path / "VOCdevkit/VOC2012/annotations_detectron2").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["a-151"], "'a-151' is unknown"), (["a-150", "--jobs", "0"], "'--jobs': 0"), ([], "BENCHMARK")],
)
def test_wrong_calls_are_refused(segvoc_command: Command, arguments: list[str], said: str) -> None:
    segvoc_command("prepare", *arguments, "--data", ".").refused(said)
