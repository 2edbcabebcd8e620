"""`segvoc project` and `segvoc annotate`."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segvoc_annotate.projects.project import Project
from tests.cli.command import Command, draw_photos
from tests.evaluation.drawn_sets import arguments, draw_set


def test_from_labels_to_a_dataset_and_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, segvoc_command: Command
) -> None:
    monkeypatch.chdir(tmp_path)
    draw_photos("photos/a.png", "photos/sub/b.png")
    Path("labels").mkdir()
    Image.fromarray(np.ones((40, 60), np.uint8)).save("labels/a.png")
    Path("classes.json").write_text('["cat", "sofa"]')
    folders = ("--images", "photos", "--labels", "labels", "--classes", "classes.json")
    assert segvoc_command("project", "import", "street", *folders, "--done").out == "-> street (2 images, 2 words)\n"
    listed = segvoc_command(
        "project", "words", "street", "--add", "wall, door", "--rename", "sofa", "couch", "--remove", "wall"
    )
    assert listed.out.split() == ["0", "cat", "1", "couch", "3", "door"]
    told = segvoc_command("project", "status", "street").out.splitlines()
    assert told[0] == "street: 2 images, 1 done, 0 labeled, 1 unlabeled"
    assert told[3].split() == ["couch", "1", "-", "100.0", "%"]
    status = json.loads(segvoc_command("project", "status", "street", "--json").out)
    assert [image["done"] for image in status["images"]] == [True, False]
    assert segvoc_command("project", "export", "street", "--format", "voc", "--out", "out").code == 0
    assert Path("out/VOCdevkit/VOC2012/JPEGImages/a.jpg").exists()
    assert segvoc_command("project", "zip", "street", "--out", "saved.zip").code == 0
    assert (
        segvoc_command("project", "import", "other", "--dataset", "saved.zip").out == "-> other (2 images, 3 words)\n"
    )
    (Path("photos") / "notes.txt").write_text("none")
    third = segvoc_command("project", "import", "third", "--images", "photos")
    assert third.out == "-> third (2 images, 0 words)\n" and "passed over 1 file" in third.err and "1 .txt" in third.err
    assert Project.open("other").state(Project.open("other").image("a.png")).done


def test_an_import_that_was_ended_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, segvoc_command: Command
) -> None:
    monkeypatch.chdir(tmp_path)
    call = ("project", "import", "street", *arguments(draw_set(Path("set"), 2)), "--done")
    first = segvoc_command(*call)
    state = Path("street/states/0.json")
    done = state.read_text()
    # ended after the work file was written, before the state was
    state.write_text(json.dumps(json.loads(done) | {"revision": 1, "done": False}))
    assert segvoc_command(*call) == first
    assert state.read_text() == done


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("project", "status", "none"), "segvoc annotate none --images FOLDER"),
        (("project", "status", "photos"), "segvoc annotate PROJECT --images photos"),
        (("annotate", "photos"), "segvoc annotate PROJECT --images photos"),
        (("annotate", "new", "--images", "none"), "the folder 'none' does not exist"),
        (("annotate", "street", "--images", "photos"), "leave out --images"),
        (("serve", "--project", "none"), "the project 'none' does not exist"),
        (("serve", "--project", "photos"), "has images but no project.json"),
        (
            ("project", "export", "street", "--format", "voc", "--out", "out"),
            "no image of the project 'street' is done",
        ),
        (("project", "import", "street"), "give --dataset, or --images"),
        (("project", "import", "street", "--images", "photos", "--labels", "x"), "--labels and --classes"),
        (("project", "words", "street", "--remove", "dog"), "has no word 'dog'; its words are cat"),
        (("teach", "--dataset", "street", "--out", "x.words.safetensors"), "is done; mark images as done"),
    ],
)
def test_wrong_calls_say_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, segvoc_command: Command, arguments: tuple[str, ...], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    draw_photos("photos/a.png")
    Project.create("street", words=["cat"])
    segvoc_command(*arguments).refused(said)


def test_annotate_makes_a_project_and_opens_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, segvoc_command: Command
) -> None:
    monkeypatch.chdir(tmp_path)
    draw_photos("photos/a.png")
    calls = []
    monkeypatch.setattr(
        "segvoc.serving.server.run", lambda model, settings, **options: calls.append((settings, options))
    )
    first = segvoc_command("annotate", "street", "--words", "cat, sofa", "--images", "photos", "--no-browser")
    assert first.code == 0 and first.out.startswith("street: http://127.0.0.1:")
    assert segvoc_command("annotate", "street", "--words", "sofa, wall", "--port", "9123", "--no-browser").code == 0
    (settings, options), later = calls[0], calls[1][1]
    assert settings.extensions[0].settings.project == Path.cwd() / "street" and options["host"] == "127.0.0.1"
    assert later["port"] == 9123
    assert [word.name for word in Project.open("street").record.present] == ["cat", "sofa", "wall"]
    assert list(Project.open("street").images()) == ["a.png"]
