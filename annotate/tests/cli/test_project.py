"""`segvoc project` and `segvoc annotate`."""

import json
import logging
import socket
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segvoc.serving.settings import ServiceSettings
from segvoc_annotate.projects.project import Project
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
    assert Project("other").state(Project("other").image("a.png")).done


def test_words_are_merged_and_images_reviewed(segvoc_command: Command) -> None:
    draw_photos("photos/a.png")
    with Project.create("street", words=["cat", "sofa"]) as project:
        project.add("a.png", Path("photos/a.png").read_bytes())
        height, width = project.state(project.image("a.png")).height, project.state(project.image("a.png")).width
        project.write("a.png", LabelWork.of_labels(np.ones((height, width), np.uint16)), expected=0)
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
    assert segvoc_command("project", "zip", "street", "--out", "saved.zip").code == 0
    assert segvoc_command("project", "import", "other", "--dataset", "saved.zip").code == 0
    review = Project("other").state(Project("other").image("a.png")).review
    assert review is not None and (review.verdict, review.by) == ("accepted", "ben")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("project", "status", "none"), "segvoc annotate none --images FOLDER"),
        (("project", "status", "photos"), "segvoc annotate PROJECT --images photos"),
        (("annotate", "new", "--images", "none"), "the folder 'none' does not exist"),
        (("annotate", "street", "--images", "photos"), "leave out --images"),
        (("serve", "--project", "photos"), "has images but no project.json"),
        (
            ("project", "export", "street", "--format", "voc", "--out", "out"),
            "no image of the project 'street' is done",
        ),
        (("project", "import", "street"), "give --dataset or --images"),
        (("project", "import", "street", "--images", "photos", "--labels", "x"), "--labels and --classes"),
        (("teach", "--dataset", "street", "--out", "x.words.safetensors"), "is done; mark images as done"),
    ],
)
def test_wrong_calls_say_what_to_do(segvoc_command: Command, arguments: tuple[str, ...], said: str) -> None:
    draw_photos("photos/a.png")
    Project.create("street", words=["cat"])
    segvoc_command(*arguments).refused(said)


def test_annotate_makes_a_project_and_opens_the_page(monkeypatch: pytest.MonkeyPatch, segvoc_command: Command) -> None:
    draw_photos("photos/a.png")
    served, opened = [], []
    monkeypatch.setattr("webbrowser.open", opened.append)

    def run(_: object, settings: ServiceSettings, *, host: str, port: int) -> None:
        """Answer after a while."""
        assert not logging.getLogger("segvoc.serving").isEnabledFor(logging.INFO)
        time.sleep(0.3)
        with socket.create_server((host, port)) as listener:
            listener.accept()[0].close()
            for thread in threading.enumerate():
                if thread.name == "segvoc-address":
                    thread.join(20)
        served.append((settings.extensions[0].settings.project, port))

    monkeypatch.setattr("segvoc.serving.app.run", run)
    first = segvoc_command("annotate", "street", "--words", "cat, sofa", "--images", "photos")
    said = "{} (Ctrl+C ends); loading the model tiny ...\nthe page is ready\n"
    assert (first.code, first.out) == (0, f"street: {said.format(opened[0])}")
    port = free_port()
    quiet = segvoc_command("annotate", "street", "--words", "sofa, wall", "--port", str(port), "--no-browser")
    assert quiet.out == f"street: {said.format(f'http://127.0.0.1:{port}')}" and len(opened) == 1
    assert served[1] == (Path.cwd() / "street", port)
    assert [word.name for word in Project("street").record.present] == ["cat", "sofa", "wall"]
    assert list(Project("street").images()) == ["a.png"]


def test_a_mistyped_name_asks_before_a_folder_is_made(monkeypatch: pytest.MonkeyPatch, segvoc_command: Command) -> None:
    monkeypatch.setattr("segvoc.serving.app.run", lambda *_, **__: None)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    Project.create("street", words=["cat"]).close()
    asked = []
    monkeypatch.setattr("click.confirm", lambda text, **options: asked.append((text, options["default"])))
    for name in ("stret", "forest"):
        assert segvoc_command("annotate", name, "--no-browser").code == 0
    assert asked == [
        ("There is no project 'stret'; did you mean 'street'? Create it?", False),
        ("There is no project 'forest'. Create it?", True),
    ]
    segvoc_command("annotate", "street", "--no-browser")
    segvoc_command("annotate", "field", "--words", "grass", "--no-browser")
    assert len(asked) == 2
