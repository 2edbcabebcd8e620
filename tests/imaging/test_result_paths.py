"""Which images a call names, and where their results go."""

from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from segvoc.errors import UsageError
from segvoc.imaging import result_paths
from segvoc.imaging.result_paths import (
    InputImage,
    ResultPaths,
    image_paths,
    plan_files,
    refuse_overwriting,
    skipped_files_line,
    tells_case_apart,
)
from tests.labeling.formats.drawn_results import drawn_result


def plan_results(images: list[InputImage], out: str | Path) -> list[ResultPaths | None]:
    return plan_files(images, out, lambda _, stem: ResultPaths.below(out, stem))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def _named(images: list[InputImage]) -> list[tuple[str, str]]:
    assert all(image.problem is None for image in images)
    return [(image.path.as_posix(), image.stem) for image in images]


@pytest.mark.parametrize(
    ("files", "asked", "expected"),
    [
        (
            ["b.jpg", "sub/a.tar.PNG", "no_suffix"],
            ["sub/a.tar.PNG", Path("b.jpg"), "no_suffix"],
            [("sub/a.tar.PNG", "a.tar"), ("b.jpg", "b"), ("no_suffix", "no_suffix")],
        ),
        *(
            (
                ["in/b.JPG", "in/a.png", "in/sub/deep/c.webp", "in/notes.txt", "in/.hidden.jpg", "in/.cache/d.jpg"],
                [asked],
                [("in/a.png", "a"), ("in/b.JPG", "b"), ("in/sub/deep/c.webp", "sub/deep/c")],
            )
            for asked in ("in", "in/")
        ),
        (["a.jpg", "sub/b.jpg"], ["."], [("a.jpg", "a"), ("sub/b.jpg", "sub/b")]),
        (["in/phone.HEIC"], ["in"], [("in/phone.HEIC", "phone")]),  # found, so that it is named
        (["b.jpg", "a.jpg", "c.png", "sub/d.jpg"], ["*.jpg"], [("a.jpg", "a"), ("b.jpg", "b")]),
        (["a.jpg", "c.png", "sub/d.jpg"], ["**/*.jpg"], [("a.jpg", "a"), ("sub/d.jpg", "d")]),
        (["a.jpg", "sub/d.jpg"], ["s*"], [("sub/d.jpg", "d")]),
        (["photo[1].jpg", "photo1.jpg"], ["photo[1].jpg"], [("photo[1].jpg", "photo[1]")]),
        (["a.jpg"], ["gone.jpg", "a.jpg"], [("gone.jpg", "gone"), ("a.jpg", "a")]),
    ],
)
def test_names_folders_and_patterns_stand_for_images(folder, files, asked, expected):
    _touch(folder, *files)
    assert _named(image_paths(asked)) == expected


def test_results_of_an_earlier_run_are_no_inputs(folder: Path) -> None:
    _touch(folder, "a.jpg", "out/a.png", "out/a.overlay.png", "sub/out/b.jpg")
    assert _named(image_paths(["."], skip="out")) == [("a.jpg", "a"), ("sub/out/b.jpg", "sub/out/b")]
    assert _named(image_paths(["."], skip=folder / "sub" / ".." / "out"))[0] == ("a.jpg", "a")
    drawn_result().save("in", "a")
    Image.new("RGB", (4, 4)).save("in/b.png")  # a photo, to which somebody has moved its report
    Path("in/b.json").write_bytes(Path("in/a.json").read_bytes())
    skipped = Counter[str]()
    assert _named(image_paths(["in"], skipped=skipped)) == [("in/b.png", "b")]
    assert str(skipped_files_line(skipped)).startswith("skipped 2 label maps and overlays of earlier calls; ")


@pytest.mark.parametrize(
    ("source", "said"), [("empty", "has no images"), ("*.gif", "no file matches"), ("", "an empty name")]
)
def test_nothing_to_read_is_a_problem_of_one_input(folder: Path, source: str, said: str) -> None:
    (folder / "empty").mkdir()
    _touch(folder, "a.jpg")
    failed, good = image_paths([source, "a.jpg"])
    assert failed.problem is not None and good.problem is None
    assert said in failed.problem and source in failed.problem and "\n" not in failed.problem
    none, paths = plan_results([failed, good], "out")
    assert none is None and [path.as_posix() for path in paths] == ["out/a.png", "out/a.overlay.png", "out/a.json"]
    assert not (folder / "out").exists()


def test_addresses_are_images_but_for_those_that_nobody_fetches(folder: Path) -> None:
    named = _named(image_paths(["https://example.com/a/photo.jpg?w=100", "-"]))
    assert named == [("https:/example.com/a/photo.jpg?w=100", "photo"), ("-", "stdin")]
    for url in ("s3://bucket/[a].png", "https://archive.org/https://example.com/a.jpg"):
        (failed,) = image_paths([url])
        assert failed.problem.startswith(f"{url!r} is a URL, which isn't fetched here; download the image first")


@pytest.mark.parametrize(
    ("names", "stems"),
    [
        (("a.jpg", "a.png"), ("a.jpg", "a.png")),
        (("a.jpg", "b.jpg", "A.png"), ("a.jpg", "b", "A.png")),
        (("photo.overlay.jpg", "photo.jpg"), ("photo.overlay.jpg", "photo.jpg")),
        (("caf\u00e9.jpg", "cafe\u0301.png"), ("caf\u00e9.jpg", "cafe\u0301.png")),
        # the longer names of the first two are in the way of the third
        (("a.jpg", "a.png", "a.jpg.webp", "a.b.jpg"), ("a.jpg", "a.png", "a.jpg.webp", "a.b")),
        (("a", "a.jpg"), ("a", "a.jpg")),
        (("a.jpg", "a.png", "a.jpg.png"), ("a.jpg", "a.png", "a.jpg.png")),
        # on Linux; elsewhere these are one file
        (("a.jpg", "A.JPG", "b.jpg"), ("a.jpg", "A.JPG", "b")),
    ],
)
def test_results_that_would_meet_keep_their_suffixes(folder, names, stems):
    _touch(folder, *names)
    for order in (1, -1):
        plans = plan_results(image_paths(names[::order]), "out")
        assert plans == [ResultPaths.below("out", stem) for stem in stems[::order]]


@pytest.mark.parametrize("names", [("one/a.jpg", "two/a.jpg"), ("one/a.jpg", "two/A.JPG"), ("one/a", "two/a")])
def test_two_inputs_with_one_result_are_refused(folder, names, monkeypatch):
    monkeypatch.setattr(result_paths, "tells_case_apart", lambda out: False)
    _touch(folder, *names)
    for order in (names, names[::-1]):
        with pytest.raises(UsageError) as error:
            plan_results(image_paths(order), "out")
        message = str(error.value)
        assert all(name in message for name in names) and "would both write" in message and "\n" not in message


def test_a_folder_is_asked_whether_it_tells_case_apart(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "a").touch()
    assert tells_case_apart("new/folder") is not (folder / "A").exists()
    assert [path.name for path in folder.iterdir()] == ["a"]
    monkeypatch.setattr(Path, "exists", lambda path: True)
    assert not tells_case_apart(".")


@pytest.mark.parametrize(
    ("files", "asked", "out", "said"),
    [
        *((["a.png"], ["a.png"], out, r"would overwrite the input 'a\.png'") for out in (".", "sub/..", "link")),
        ([], ["missing.png"], ".", r"would overwrite the input 'missing\.png'"),
        (["in/a.jpg"], ["in", "in/a.jpg"], "out", r"in/a\.jpg.*twice"),
        (["in/sub/a.jpg", "out/sub/a.png"], ["in", "out/sub/a.png"], "out", r"'out/sub/a\.png' would overwrite the in"),
        (["a.jpg", "out"], ["a.jpg"], "out", "'out' is a file"),
    ],
)
def test_results_without_a_place_are_refused(folder: Path, files, asked, out: str, said: str) -> None:
    _touch(folder, *files)
    (folder / "sub").mkdir()
    (folder / "link").symlink_to(folder)
    with pytest.raises(UsageError, match=said):
        plan_results(image_paths(asked), out)


def test_other_files_of_folders_are_counted(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / f"{'é' * 125}.png")  # as long as names may be
    for name in ("a.txt", "b.TXT", "sub/c.eps", "README", ".hidden.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    counted: Counter[str] = Counter()
    assert [image.problem for image in image_paths([tmp_path], skipped=counted)] == [None]
    assert counted == {".txt": 2, ".eps": 1, "": 1}
    line = skipped_files_line(counted)
    assert line is not None and line.startswith("skipped 4 files that aren't images by their suffix: 2 .txt, ")
    assert "1 without a suffix" in line and skipped_files_line(Counter()) is None
    many = Counter({f".{letter}": 1 for letter in "abcdefgh"})
    assert str(skipped_files_line(many)).endswith("1 .f, 2 others")


def test_folders_of_thumbnails_and_trash_are_skipped_and_named(folder: Path) -> None:
    _touch(folder, "in/a.jpg", "in/@eaDir/a.jpg/SYNOPHOTO_XL.jpg", "in/$RECYCLE.BIN/b.jpg", "in/sub/#recycle/c.jpg")
    skipped = Counter[str]()
    assert _named(image_paths(["in"], skipped=skipped)) == [("in/a.jpg", "a")]
    line = skipped_files_line(skipped)
    assert line == "skipped folders of thumbnails and trash: #recycle/, $RECYCLE.BIN/, @eaDir/"


def test_inputs_arent_overwritten_where_another_is_missing(folder: Path) -> None:
    Path("here.png").touch()
    refuse_overwriting(["here.png", "missing.png"], [Path("other.png")])
    for result in ("here.png", "missing.png"):
        with pytest.raises(UsageError, match=f"would overwrite the input '{result}'"):
            refuse_overwriting(["here.png", "missing.png"], [Path(result)])
