"""Videos on the service: adding their frames, and drafts that take over from a frame that is done."""

import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from starlette.testclient import TestClient

from annotate.tests.drawn_video import WORDS, drawn_video, labels_of, mark_done
from annotate.tests.services import in_process
from segvoc.models.shipped import open_tiny
from segvoc_annotate.projects.importing import Importing
from segvoc_annotate.projects.project import Project
from segvoc_annotate.projects.work_files import LabelWork
from segvoc_annotate.service.carry_over import THE_MODEL


def images(client: TestClient) -> dict[int, dict[str, Any]]:
    """The states by the number of their frame."""
    return {state["frame"]["number"]: state for state in client.get("/v1/project").json()["images"]}


def test_frames_are_added(tmp_path: Path) -> None:
    Project.create(tmp_path / "street").close()
    content = drawn_video(tmp_path / "clip.mp4", frames=6).read_bytes()
    with in_process(open_tiny, project=tmp_path / "street") as client:
        post = partial(client.post, "/v1/project/videos")
        answer = post(files={"video": ("a\\b/clip.mp4", content)}, data={"every": "2"}).json()
        assert answer["problems"] == [] and len(answer["added"]) == 3
        frame = answer["added"][1]["frame"]
        assert (frame["name"], frame["number"], frame["time"]) == ("clip.mp4", 2, 0.2)
        assert answer["added"][1]["image"] == "clip/frame_000002.jpg"
        assert len(post(files={"video": ("other.mp4", content)}, data={"every": "1"}).json()["added"]) == 6
        assert len(images(client)) == 6
        for every, file, error in (
            ("0", content, "every=0 is out of range"),
            ("-1", content, "every='-1' isn't a number of frames"),
            ("1", b"no video", "'clip.mp4' is damaged or not a video"),
        ):
            answer = post(files={"video": ("clip.mp4", file)}, data={"every": every})
            assert answer.status_code == 422 and answer.json()["error"]["message"].startswith(error)


def test_drafts_take_over_from_a_frame_that_is_done(tmp_path: Path) -> None:
    with Project.create(tmp_path / "street", words=WORDS) as project:
        names = Importing(project=project).video(drawn_video(tmp_path / "clip.mp4"), 1).added
        mark_done(project, names[0], 0)
        corrected = LabelWork.of_labels(labels_of(2))
        project.write(names[2], corrected, expected=0)
    with in_process(open_tiny, project=tmp_path / "street") as client:
        while not all(state["revision"] for state in images(client).values()):
            time.sleep(0.1)
        states = images(client)
        assert [states[number]["by"] for number in (1, 3)] == [THE_MODEL, THE_MODEL]
        assert states[2]["source"] == "import"
        changes = client.get("/v1/project/changes").json()["changes"]
        assert [one["what"] for one in changes if one["by"] == THE_MODEL] == ["draft", "draft"]
    with Project(tmp_path / "street") as project:
        assert states[0]["id"] in (project.state(project.image(names[1])).answers or "")
        assert (project.work(names[1])[1].labels == labels_of(1)).mean() > 0.95
        np.testing.assert_array_equal(project.work(names[2])[1].labels, labels_of(2))
