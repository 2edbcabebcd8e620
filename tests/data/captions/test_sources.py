"""Finding captioned images, and what is skipped."""

import io
import json
import os
import tarfile
from pathlib import Path

import pytest
from PIL import Image

from segvoc.data.captions.sources import file_fingerprint, find_captions
from segvoc.errors import InputError, UsageError
from tests.data.captions.drawn_sets import write_captions
from tests.images import one_line_error


def png(shade):
    buffer = io.BytesIO()
    Image.new("RGB", (3, 2), (shade, 0, 0)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def folder(tmp_path):
    """Three images: a (1), sub/b (2), c (3)."""
    (tmp_path / "images/sub").mkdir(parents=True)
    for name, shade in (("a.png", 1), ("sub/b.png", 2), ("c.png", 3)):
        (tmp_path / "images" / name).write_bytes(png(shade))
    return tmp_path / "images"


def read(source, on_problem=print):
    return [image for chunk in source.chunks for image in chunk.read(on_problem)]


def found(captions, images=None):
    """The captions of each image by its shade, and the problems."""
    problems = []
    images = read(find_captions(captions, images, on_problem=problems.append), problems.append)
    assert all("\n" not in problem for problem in problems)
    return {int(image.location.read()[0, 0, 0]): list(image.captions) for image in images}, problems


def written(path, content):
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_cocos_captions(folder):
    names = {7: "a.png", 8: "sub/b.png", 9: "x.png"}
    captions = [(8, "A cat."), (7, "A\u2028 dog."), (8, "Two cats."), (9, "Not here."), (5, "Of no image."), (7, 12)]
    content = {
        "images": [{"id": number, "file_name": name} for number, name in names.items()],
        "annotations": [{"image_id": number, "caption": caption} for number, caption in captions],
    }
    captions, problems = found(written(folder.parent / "captions.json", content), folder)
    assert captions == {2: ["A cat.", "Two cats."], 1: ["A dog."]}
    assert len(problems) == 3
    assert any("'x.png' is not in" in problem for problem in problems)


def test_bad_captions_are_named_and_the_others_kept(folder):
    captions = [("a.png", text) for text in ("A dog.", "", "A   dog.")]
    captions += [("c.png", text) for text in ("A \0 cat", "long " * 3000, "A caf\udce9")]
    path = write_captions(folder.parent / "captions.json", *captions, ("gone.png", "A bird."))
    captions, problems = found(path, folder)
    assert captions == {1: ["A dog."]}
    said = ["is empty", "not clean text", "15000 characters", "'gone.png' is not", "'c.png' has no"]
    assert len(problems) == len(said) + 1
    assert all(any(part in problem for problem in problems) for part in said)


def test_images_are_in_the_files_own_folder_by_default_and_others_get_a_name_inside(folder, monkeypatch):
    monkeypatch.chdir(folder)
    assert found(write_captions(Path("here.json"), ("a.png", "A dog.")))[0] == {1: ["A dog."]}
    assert found(write_captions(folder / "captions.json", ("sub/b.png", "A cat.")))[0] == {2: ["A cat."]}
    (folder.parent / "out.png").write_bytes(png(6))
    path = write_captions(folder.parent / "captions.json", ("../out.png", "A dog."), (str(folder / "c.png"), "A cat."))
    names = [image.name for image in read(find_captions(path, folder))]
    assert names[0] == "out" and names[1].endswith("/c") and not names[1].startswith("/")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", 'no "annotations"'),
        ('{"images": [], "annotations": []}', "has a caption"),
        ('{"images": [{"id": 1}], "annotations": []}', '"file_name"'),
    ],
)
def test_what_holds_no_captions_is_a_wrong_call_with_its_mend(folder, content, said):
    with one_line_error(UsageError, said):
        find_captions(written(folder.parent / "captions.json", content), folder)


def test_missing_paths_are_named(folder):
    for wrong in (("gone.json", folder), (folder.parent / "gone", None), (folder.parent / "shard-{0..3}.tar", None)):
        with one_line_error(UsageError, "check the p"):
            find_captions(*wrong)
    with one_line_error(UsageError, "nowhere"):
        find_captions(write_captions(folder / "captions.json", ("a.png", "A dog.")), folder / "nowhere")
    with one_line_error(UsageError, "no tars", "COCO's captions JSON"):
        find_captions(folder)
    os.mkfifo(folder / "pipe")
    with one_line_error(UsageError, "pipe", "save them to a file"):
        find_captions(folder / "pipe", folder)


def member(archive, name, content, **changes):
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    for key, value in changes.items():
        setattr(entry, key, value)
    archive.addfile(entry, io.BytesIO(content))


def samples(path, numbers, caption="Number {}.\r\n\nNumber\u2028 {}.".format, suffix="txt"):
    with tarfile.open(path, "w") as archive:
        for number in numbers:
            member(archive, f"{number:03d}.png", png(number))
            member(archive, f"{number:03d}.{suffix}", caption(*[number] * 2).encode())
    return path


def test_webdatasets_tars_are_read_in_place(tmp_path):
    samples(tmp_path / "set-000.tar", (1, 2))
    samples(tmp_path / "set-001.tar", (3,), '{{"caption": "Number {}."}}'.format, "json")
    expected = {1: ["Number 1."], 2: ["Number 2."], 3: ["Number 3."]}
    for name in ("set-{000..001}.tar", "set-*.tar", ""):
        assert found(tmp_path / name) == (expected, [])
    assert found(tmp_path / "set-001.tar") == ({3: ["Number 3."]}, [])
    assert [image.name for image in read(find_captions(tmp_path))] == ["set-000/001", "set-000/002", "set-001/003"]


def test_files_that_a_mac_adds_are_passed_over(tmp_path: Path) -> None:
    samples(tmp_path / "plain.tar", (1,))
    with tarfile.open(tmp_path / "plain.tar") as plain, tarfile.open(tmp_path / "set.tar", "w") as archive:
        for entry in plain:
            member(archive, f"._{entry.name}", b"\0\5\x16\7")
            member(archive, entry.name, plain.extractfile(entry).read())
    assert found(tmp_path / "set.tar") == ({1: ["Number 1."]}, [])


def test_tars_that_are_missing_compressed_or_cut_off_are_named(tmp_path):
    samples(tmp_path / "set-000.tar", (1,))
    with tarfile.open(tmp_path / "set-002.tar", "w:gz") as archive:
        member(archive, "1.png", png(1))
    captions, problems = found(tmp_path / "set-{000..002}.tar")
    assert captions == {1: ["Number 1."]}
    assert "set-001.tar' is not a file" in problems[0]
    assert len(problems) == 2 and "set-002.tar' is compressed; unpack it first (gunzip)" in problems[1]
    whole = samples(tmp_path / "whole.tar", range(1, 6)).read_bytes()
    (tmp_path / "cut.tar").write_bytes(whole[: 4 * 1024 + 600])  # in the middle of the third sample
    captions, problems = found(tmp_path / "cut.tar")
    assert captions == {1: ["Number 1."], 2: ["Number 2."]} and problems


def test_members_that_are_no_files_or_lead_out_of_the_tar_are_refused(tmp_path):
    with tarfile.open(tmp_path / "set.tar", "w") as archive:
        member(archive, "1.png", png(1))
        member(archive, "1.txt", b"Number 1.")
        member(archive, "2.png", b"", type=tarfile.SYMTYPE, linkname="/etc/hostname")
        member(archive, "2.txt", b"Number 2.")
        member(archive, "3.png", b"", type=tarfile.LNKTYPE, linkname="1.png")
        member(archive, "/etc/4.png", png(4))
        member(archive, "../5.png", png(5))
        member(archive, "dev.png", b"", type=tarfile.CHRTYPE)
        member(archive, "6.png", png(6))  # without a caption
        member(archive, "7.txt", b"Number 7, without an image.")
    captions, problems = found(tmp_path / "set.tar")
    assert captions == {1: ["Number 1."]}
    refused = {problem.split("member ")[-1].split()[0] for problem in problems[:5]}
    assert refused == {"'../5.png'", "'/etc/4.png'", "'2.png'", "'3.png'", "'dev.png'"}
    assert "'6.png' has no caption" in problems[5]


def test_a_damaged_image_in_a_tar_is_named_when_it_is_read(tmp_path):
    with tarfile.open(tmp_path / "set.tar", "w") as archive:
        member(archive, "1.jpg", b"\xff\xd8\xff\xe0 and no more")
        member(archive, "1.txt", b"A dog.")
    location = read(find_captions(tmp_path / "set.tar"))[0].location
    for harm in (lambda: None, (tmp_path / "set.tar").unlink):
        harm()
        with one_line_error(InputError, "set.tar: 1.jpg"):
            location.read()
    assert file_fingerprint(location.file) == ("missing",)
