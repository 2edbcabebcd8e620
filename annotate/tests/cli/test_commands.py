"""`segvoc project`, `segvoc annotate`, `segvoc page`, and `segvoc serve` with Label Studio."""

import gzip
import json
import logging
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from annotate.tests.drawn_video import drawn_video
from segvoc.errors import UsageError
from segvoc.models.shipped import copy_tiny
from segvoc.serving.settings import ServiceSettings
from segvoc_annotate import static_page
from segvoc_annotate.projects import archive
from segvoc_annotate.projects.folder import ProjectFolder
from segvoc_annotate.projects.project import Project
from segvoc_annotate.projects.records import ProjectOptions
from segvoc_annotate.projects.work_files import LabelWork
from tests.cli.command import Command, draw_photos
from tests.processes import free_port


def test_from_labels_to_a_dataset_and_back(segvoc_command: Command) -> None:
    draw_photos("photos/a.png", "photos/sub/b.png")
    Path("labels").mkdir()
    Image.fromarray(np.ones((40, 60), np.uint8)).save("labels/a.png")
    Path("classes.json").write_text('["cat", "sofa"]')
    folders = ("--images", "photos", "--labels", "labels", "--classes", "classes.json")
    assert segvoc_command("project", "import", "street", *folders, "--done").out == "-> street (2 images, 2 words)\n"
    changes = ("--add", "wall, door", "--rename", "sofa", "couch", "--remove", "wall")
    listed = segvoc_command("project", "words", "street", *changes)
    assert listed.out.split() == ["0", "cat", "1", "couch", "3", "door"]
    told = segvoc_command("project", "status", "street").out.splitlines()
    assert told[0] == "street: 2 images, 1 done, 0 labeled, 1 unlabeled"
    assert told[3].split() == ["couch", "1", "-", "100.0", "%"]
    status = json.loads(segvoc_command("project", "status", "street", "--json").out)
    assert [image["done"] for image in status["images"]] == [True, False]
    segvoc_command("project", "export", "street", "--format", "voc", "--out", "out").ok()
    assert Path("out/VOCdevkit/VOC2012/JPEGImages/a.jpg").exists()
    segvoc_command("project", "backup", "street", "saved.zip").ok()
    other = segvoc_command("project", "import", "other", "--dataset", "saved.zip")
    assert other.out == "-> other (2 images, 3 words)\n"
    (Path("photos") / "notes.txt").write_text("none")
    third = segvoc_command("project", "import", "third", "--images", "photos")
    assert third.out == "-> third (2 images, 0 words)\n" and "skipped 1 file" in third.err and "1 .txt" in third.err
    assert Project("other").state(Project("other").image("a.png")).done


def test_words_are_merged_and_images_reviewed(segvoc_command: Command) -> None:
    draw_photos("photos/a.png")
    with Project.create("street", words=["cat", "sofa"]) as project:
        project.add("a.png", Path("photos/a.png").read_bytes())
        project.write("a.png", LabelWork.of_labels(np.ones((40, 60), np.uint16)), expected=0)
        project.set_done("a.png", True, expected=1)
    segvoc_command("project", "words", "street", "--rename", "sofa", "cat").refused("--merge OLD 'cat'")
    segvoc_command("project", "words", "street", "--merge", "sofa", "dog").refused("no word 'dog'")
    assert segvoc_command("project", "words", "street", "--merge", "sofa", "cat").out.split() == ["0", "cat"]
    assert segvoc_command("project", "reviewers", "street").out == "everybody\n"
    assert segvoc_command("project", "reviewers", "street", "--set", "anna, ben").out == "anna, ben\n"
    with Project("street") as project:
        project.review("a.png", "accepted", "", expected=3, by="ben")
    told = segvoc_command("project", "status", "street").out.splitlines()
    assert told[0] == "street: 1 images, 1 done, 0 labeled, 0 unlabeled, 1 accepted"
    assert told[2].split() == ["cat", "1", "-", "100.0", "%"]
    segvoc_command("project", "backup", "street", "saved.zip").ok()
    segvoc_command("project", "import", "other", "--dataset", "saved.zip").ok()
    review = Project("other").state(Project("other").image("a.png")).review
    assert review is not None and (review.verdict, review.by) == ("accepted", "ben")


def test_images_are_assigned_and_two_people_compared(segvoc_command: Command) -> None:
    draw_photos("photos/a.png", "photos/b.png", "photos/sub/c.png")
    segvoc_command("project", "import", "street", "--images", "photos").ok()
    segvoc_command("project", "words", "street", "--add", "cat, sofa").ok()
    assert segvoc_command("project", "assign", "street").out == "nobody: 3 images\n"
    segvoc_command("project", "assign", "street", "--copies").refused("--to")
    assert segvoc_command("project", "assign", "street", "--to", "anna, ben").out == "anna: 2 images\nben: 1 image\n"
    told = segvoc_command("project", "assign", "street", "--to", "cleo", "--images", "sub/*", "--copies")
    assert told.out == "anna: 2 images\nben: 1 image\ncleo: 1 image\n"
    segvoc_command("project", "agreement", "street").refused("--copies --to NAME")
    with Project("street") as project:
        for name, labels in (("sub/c.png", np.zeros((40, 60))), ("sub/c (cleo).png", np.eye(40, 60))):
            by = "cleo" if "cleo" in name else "lead"  # it is assigned to anna
            project.write(name, LabelWork.of_labels(labels.astype(np.uint16)), expected=0, by=by)
            project.set_done(name, True, expected=project.state(project.image(name)).revision, by=by)
        project.review("sub/c.png", "accepted", "", expected=project.state(project.image("sub/c.png")).revision)
    told = segvoc_command("project", "agreement", "street", "--out", "differences")
    assert [line.split() for line in told.out.splitlines()[1:]] == [
        ["cat", "98.3", "%"],
        ["sofa", "0.0", "%"],
        ["mean", "49.2", "%"],
        ["same", "pixels", "98.3", "%"],
        ["image", "by", "and", "IoU", "same", "pixels"],
        ["sub/c.png", "lead", "cleo", "49.2", "%", "98.3", "%"],
    ]
    assert Path("differences/sub/c (cleo).png.png").exists()
    told = segvoc_command("project", "people", "street", "--csv", "work.csv").out.splitlines()
    assert told[0].split() == "person assigned done images actions minutes gold IoU same pixels".split()
    assert [line.split()[0] for line in told[1:]] == ["anna", "ben", "cleo", "lead"]
    assert told[3].split() == ["cleo", "1", "1", "0", "0", "0.0", "1", "49.2", "%", "98.3", "%"]
    assert len(Path("work.csv").read_text().splitlines()) == 3
    segvoc_command("project", "assign", "street", "--to", "anna", "--images", "*", "--copies").refused(
        "'a.png' is anna's already"
    )
    assert segvoc_command("project", "assign", "street", "--to", "", "--images", "*").out == "nobody: 4 images\n"


def test_a_model_of_a_strangers_project_is_not_run_and_the_trash_is_emptied(segvoc_command: Command) -> None:
    draw_photos("photos/a.png")
    with Project.create("street", options=ProjectOptions(model="street/taught/m")) as project:
        project.add("a.png", Path("photos/a.png").read_bytes())
        project.remove("a.png")
    segvoc_command("annotate", "street", "--no-browser").refused("model 'street/taught/m' is no known one")
    assert segvoc_command("project", "empty-trash", "street").out == "1 image deleted\n"
    assert not any(Path("street/trash").rglob("*.png")) and Project("street").removed() == []


def test_words_are_printed_on_one_line_each(segvoc_command: Command) -> None:
    with pytest.raises(UsageError, match="line break"):
        Project.create("kitchen", words=["cat\nsofa"])
    Project.create("street", words=["cat", "\x1b[31mred"]).close()
    listed = segvoc_command("project", "words", "street")
    assert len(listed.out.splitlines()) == 2 and "\x1b" not in listed.out


def test_a_video_becomes_a_project_of_its_name(segvoc_command: Command) -> None:
    video = drawn_video(Path("clip.mp4"), frames=6)
    assert segvoc_command("project", "import", str(video), "--every", "3").out == "-> clip (2 images, 0 words)\n"
    assert segvoc_command("project", "import", "clip", "--video", "clip.mp4").out == "-> clip (1 images, 0 words)\n"
    assert [*Project("clip").images()] == ["clip/frame_000000.jpg", "clip/frame_000003.jpg"]
    # what can't be imported leaves no project behind
    Path("text.mp4").write_text("no video")
    segvoc_command("project", "import", "text.mp4").failed(1, "is damaged or not a video")
    segvoc_command("project", "import", "text", "--video", "none.mp4").failed(1, "'none.mp4' does not exist")
    assert not Path("text").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("project", "status", "none"), "segvoc annotate none --images FOLDER"),
        (("project", "status", "photos"), "segvoc annotate PROJECT --images photos"),
        (("annotate", "new", "--images", "none"), "the folder 'none' does not exist"),
        (("annotate", "street", "--images", "photos"), "leave out --images"),
        (("serve", "--project", "photos"), "has images but no project.json"),
        (("project", "export", "street", "--format=voc", "--out=out"), "no image of the project 'street' is done"),
        (("project", "import", "street"), "give one of --dataset, --images, --video, --edited"),
        (("project", "import", "street", "--images", "photos", "--every", "2"), "--every is about frames of videos"),
        (("project", "import", "street", "--images", "photos", "--labels", "x"), "--labels and --classes"),
        (("teach", "--dataset", "street", "--out", "x.words.safetensors"), "is done; mark images as done"),
        (("page", "tiny", "photos"), "'photos' exists and is not a page; name another folder"),
        (("page", "no-such-model", "site"), "no-such-model"),
    ],
)
def test_wrong_calls_say_what_to_do(segvoc_command: Command, arguments: tuple[str, ...], said: str) -> None:
    draw_photos("photos/a.png")
    Project.create("street", words=["cat"])
    segvoc_command(*arguments).refused(said)
    assert written(Path(".")) == {"photos", "street"}


def test_annotate_makes_a_project_and_opens_the_page(monkeypatch: pytest.MonkeyPatch, segvoc_command: Command) -> None:
    draw_photos("photos/a.png")
    served, opened = [], []
    monkeypatch.setattr("webbrowser.open", opened.append)

    def run(_: object, settings: ServiceSettings, *, host: str, port: int) -> None:
        assert not logging.getLogger("segvoc.serving").isEnabledFor(logging.INFO)
        time.sleep(0.3)
        with socket.create_server((host, port)) as listener:
            listener.accept()[0].close()
            for thread in threading.enumerate():
                if thread.name == "segvoc-address":
                    thread.join(300)
        served.append((settings.extensions[0].settings.project, port))

    monkeypatch.setattr("segvoc.serving.server.run", run)
    first = segvoc_command("annotate", "street", "--words", "cat, sofa", "--images", "photos")
    said = "{} (Ctrl+C ends); loading the model tiny ...\nthe page is ready\n"
    assert (first.code, first.out) == (0, f"street: {said.format(opened[0])}")
    port = free_port()
    quiet = segvoc_command("annotate", "street", "--words", "sofa, wall", "--port", str(port), "--no-browser")
    assert quiet.out == f"street: {said.format(f'http://127.0.0.1:{port}')}" and len(opened) == 1
    assert served[1] == (Path.cwd() / "street", port)
    assert [word.name for word in Project("street").record.present] == ["cat", "sofa", "wall"]
    assert list(Project("street").images()) == ["a.png"]
    # the line that made it goes on with it, whichever words were added
    line = ("annotate", "street", "--no-browser", "--images")
    Path("link").symlink_to("photos")
    for images in ("photos", str(Path("photos").absolute()), "link"):
        segvoc_command(*line, images, "--words", "cat, sofa").ok()
    assert len(served) == 5
    Path("others").mkdir()
    segvoc_command(*line, "others", "--words", "cat, sofa").refused(
        "street' has its images in", "photos', not in 'others'"
    )
    segvoc_command(*line, "photos", "--words", "cat, hedge").refused("no word 'hedge'", "words street --add 'hedge'")
    Path("s.zip").touch()
    segvoc_command("annotate", "s.zip", "--images", "photos").refused("'s.zip' has its own images")
    assert [word.name for word in Project("street").record.present] == ["cat", "sofa", "wall"]


def test_of_a_projects_backups_the_newest_are_kept(monkeypatch: pytest.MonkeyPatch, segvoc_command: Command) -> None:
    draw_photos("photos/a.png")
    for folder in ("street", "other/street"):
        Path(folder).parent.mkdir(exist_ok=True)
        Project.create(folder, words=["cat"], images="photos").close()
    ids = {folder: Project(folder).id for folder in ("street", "other/street")}
    at = iter(range(100))
    monkeypatch.setattr("segvoc_annotate.projects.archive.now", lambda: f"2026-01-01T00:00:{next(at):02}Z")

    def left() -> list[str]:
        return sorted(path.name for path in Path("backups").iterdir())

    foreign = [".segvoc-1.tmp", f"street.{ids['street']}.zip", f"street.{ids['street']}.20260101T000000Z.zip.bak"]
    for folder in ("street", "other/street", "street"):
        told = segvoc_command("project", "backup", folder, "backups", "--keep", "2").out.splitlines()
        assert len(told) == 1 and told[0].startswith("-> backups")
    for name in foreign:
        Path("backups", name).write_text("somebody else's")

    def names(*kept: tuple[str, int]) -> list[str]:
        return sorted([*foreign, *(f"street.{ids[folder]}.20260101T0000{at:02}Z.zip" for folder, at in kept)])

    told = segvoc_command("project", "backup", "street", "backups", "--keep", "2").out.splitlines()
    assert told[1:] == [f"deleted backups/street.{ids['street']}.20260101T000000Z.zip"]
    assert left() == names(("other/street", 1), ("street", 2), ("street", 3))
    # a clock that was put back doesn't delete what was just made
    at = iter(range(1))
    segvoc_command("project", "backup", "street", "backups", "--keep", "1").ok()
    assert left() == names(("other/street", 1), ("street", 0))
    # one that fails is none, and deletes nothing; neither does one without images
    at = iter(range(50, 60))
    real = archive.archived

    def fails(project: ProjectFolder) -> Iterator[bytes]:
        yield next(real(project))
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(archive, "archived", fails)
    segvoc_command("project", "backup", "street", "backups", "--keep", "1").failed(1, "free some space")
    monkeypatch.setattr(archive, "archived", real)
    Path("photos").rename("away")
    segvoc_command("project", "backup", "street", "backups", "--keep", "1").refused(
        "photos' does not exist; restore it"
    )
    assert left() == names(("other/street", 1), ("street", 0))
    segvoc_command("project", "backup", "street", "--keep", "1").refused("backup DIR DEST --keep N")
    # an image that isn't in it is told
    Path("away").rename("photos")
    Path("photos/b.png").write_bytes(b"no image")
    told = segvoc_command("project", "backup", "street", "saved.zip")
    assert (told.code, told.out) == (1, "-> saved.zip\n")
    assert "error: not in the backup: '" in told.err and "photos/b.png' is not an image" in told.err


def test_a_mistyped_name_asks_before_a_folder_is_made(monkeypatch: pytest.MonkeyPatch, segvoc_command: Command) -> None:
    monkeypatch.setattr("segvoc.serving.server.run", lambda *_, **__: None)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    Project.create("street", words=["cat"]).close()
    asked = []
    monkeypatch.setattr("click.confirm", lambda text, **options: asked.append((text, options["default"])))
    for name in ("stret", "forest"):
        segvoc_command("annotate", name, "--no-browser").ok()
    assert asked == [
        ("There is no project 'stret'; did you mean 'street'? Create it?", False),
        ("There is no project 'forest'. Create it?", True),
    ]
    segvoc_command("annotate", "street", "--no-browser")
    segvoc_command("annotate", "field", "--words", "grass", "--no-browser")
    assert len(asked) == 2


def test_label_studio_and_its_token_come_together(segvoc_command: Command, served, monkeypatch, tmp_path):
    (tmp_path / "token").write_text("a-token\n")
    monkeypatch.setenv("SEGVOC_LABEL_STUDIO_TOKEN", "of-the-environment")
    segvoc_command("serve").ok()
    segvoc_command("serve", "--label-studio", "http://labels.example").ok()
    studio = ("--label-studio", "http://labels.example", "--label-studio-token-file", "token")
    segvoc_command("serve", *studio).refused("both SEGVOC_LABEL_STUDIO_TOKEN and --label-studio-token-file")
    monkeypatch.delenv("SEGVOC_LABEL_STUDIO_TOKEN")
    segvoc_command("serve", *studio).ok()
    added = [settings.extensions[0].settings for (_, settings), _ in served]
    assert [one.label_studio for one in added] == [None, *["http://labels.example"] * 2]
    assert [one.label_studio_token for one in added] == [None, "of-the-environment", "a-token"]
    segvoc_command("serve", "--label-studio", "http://labels.example").refused("SEGVOC_LABEL_STUDIO_TOKEN")
    segvoc_command("serve", "--label-studio-token-file", "token").refused("without its address")


@pytest.fixture
def no_files_of_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(static_page, "write_page_files", lambda folder: (folder / "index.html").touch())


def written(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.usefixtures("no_files_of_the_page")
def test_tiny_has_its_weights_once(segvoc_command: Command) -> None:
    for _ in range(2):  # an earlier page is replaced
        assert segvoc_command("page", "tiny", "site").out == "-> site\n"
    assert written(Path("site")) == {"index.html", "model", "clicks", ".segvoc-page.json"}
    assert json.loads(Path("site/model/segvoc.json").read_text())["name"] == "tiny"
    assert written(Path("site/clicks")) == {"clicks.json", "clicks.onnx", "clicks_image.onnx"}
    clicks = json.loads(Path("site/clicks/clicks.json").read_text())
    assert clicks["weights"] == {"tiny.safetensors": "../model/tiny.safetensors"}


@pytest.mark.usefixtures("no_files_of_the_page")
def test_only_files_of_the_earlier_page_are_replaced(segvoc_command: Command) -> None:
    segvoc_command("page", "tiny", "site").ok()
    weights = Path("site/model/tiny.safetensors").read_bytes()
    Path("site/model/tiny.safetensors").write_bytes(b"damaged")
    Path("site/.git").mkdir()
    foreign = {"site/.git/HEAD": "ref", "site/CNAME": "labels.example.org", "site/model/notes.txt": "mine"}
    for path, text in foreign.items():
        Path(path).write_text(text)
    about = Path("site/.segvoc-page.json")
    listed = json.loads(about.read_text())["files"]
    Path("site/old.js").touch()
    about.write_text(json.dumps({"files": [*listed, "old.js", "../photo.png"]}))  # a path that leads outside
    segvoc_command("page", "tiny", "site").refused("is not a page")
    about.write_text(json.dumps({"files": [*listed, "old.js"]}))
    segvoc_command("page", "tiny", "site").ok()
    assert {path: Path(path).read_text() for path in foreign} == foreign
    assert Path("site/model/tiny.safetensors").read_bytes() == weights and not Path("site/old.js").exists()
    assert written(Path("site")) == {"index.html", "model", "clicks", about.name, ".git", "CNAME"}
    about.write_text(json.dumps({"files": [name for name in listed if name != "index.html"]}))
    segvoc_command("page", "tiny", "site").refused("index.html' is not of the earlier page")
    assert {path: Path(path).read_text() for path in foreign} == foreign


@pytest.mark.usefixtures("no_files_of_the_page")
def test_an_exported_folder_becomes_a_page(segvoc_command: Command) -> None:
    Path("exported").mkdir()
    copy_tiny(Path("exported"))
    Path("exported/tiny.safetensors").write_bytes(gzip.compress(b"other weights"))
    segvoc_command("page", "exported", "site").ok()
    assert written(Path("site/model")) == written(Path("exported"))
    clicks = json.loads(Path("site/clicks/clicks.json").read_text())
    assert clicks["weights"] == {"tiny.safetensors": "tiny.safetensors"}
    segvoc_command("page", "exported", "other", "--weights", "x").refused("with fixed weights; leave out")
    assert not Path("other").exists()
