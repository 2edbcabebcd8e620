"""The addresses of a project."""

import io
import json
import os
import re
import shutil
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from annotate.tests.projects.drawn_projects import damaged
from annotate.tests.service.jobs import dying, stuck
from annotate.tests.services import NO_PAGE, in_process
from segvoc_annotate.projects import records
from segvoc_annotate.projects.archive import open_project
from segvoc_annotate.projects.project import Project
from segvoc_annotate.projects.records import ProjectOptions
from segvoc_annotate.projects.work_files import LabelWork, read_work
from segvoc_annotate.service import exports
from segvoc_annotate.service_extension import AnnotateRoutes
from segvoc_annotate.settings import AnnotateSettings
from tests.serving.services import drawn_image, failure, listening, png, post, wait_until_open
from tests.serving.test_event_loop import Heart, check_beats

LABELS = np.repeat(np.array([0, 1], np.uint16), 24)[:, None].repeat(64, axis=1)

EXPORTS = "/v1/project/exports"


def ended(client: TestClient, state: dict[str, Any]) -> dict[str, Any]:
    """An export, once it isn't running."""
    while state["state"] == "running":
        time.sleep(0.05)
        state = client.get(f"{EXPORTS}/{state['id']}").json()
    return state


@pytest.fixture
def street(tmp_path: Path) -> Path:
    project = Project.create(tmp_path / "street", words=["cat", "sofa, couch"])
    for number, name in enumerate(("a.png", "sub/ü b.png")):
        project.add(name, png(drawn_image(number)))
    return project.folder


def work_of(labels: np.ndarray = LABELS, **changes: Any) -> bytes:
    work = LabelWork.of_labels(labels)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        files: dict[str, Any] = {"state.json": '{"source": "person", "answers": "x"}', "labels.png": labels}
        for name, value in {**files, **work.planes(), **changes}.items():
            if isinstance(value, np.ndarray):
                content = io.BytesIO()
                Image.fromarray(value).save(content, "PNG")
                value = content.getvalue()
            if value is not None:
                archive.writestr(name, value)
    return buffer.getvalue()


COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)


def with_damaged_labels(compression: int) -> bytes:
    """A work file in another compression, in which some bytes of the labels are others."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(work_of())) as plain, zipfile.ZipFile(buffer, "w", compression) as archive:
        for name in plain.namelist():
            archive.writestr(name, plain.read(name))
    return damaged(buffer.getvalue(), b"labels.png", 24)


def put(client: TestClient, path: str, revision: int, user: str = "anna", **body: Any) -> Any:
    headers = {"If-Match": f'"{revision}"', "X-Segvoc-User": quote(user)}
    return client.put(f"/v1/project{path}", json=body, headers=headers)


def put_work(
    client: TestClient, name: str, revision: int, content: bytes | None = None, user: str = "anna", **query: str
) -> Any:
    headers = {"If-Match": f'"{revision}"', "Content-Type": "application/zip", "X-Segvoc-User": quote(user)}
    address = f"/v1/project/work/{quote(name, safe='')}"
    return client.put(address, content=content or work_of(), headers=headers, params=query)


def test_label_finish_and_reopen(street: Path) -> None:
    with in_process(project=street) as client:
        assert client.get("/backends.json").json()["project"] is True
        told = client.get("/v1/project")
        assert told.headers["etag"] == '"1"'
        assert [image["image"] for image in told.json()["images"]] == ["a.png", "sub/ü b.png"]
        assert client.get("/v1/project/work/a.png").status_code == 404
        blind = client.put("/v1/project/done/a.png", json={"done": True})
        assert blind.json()["error"]["message"] == "If-Match is missing; see /openapi.json"
        state = put_work(client, "sub/ü b.png", 0, user="Jörg").json()
        assert (state["revision"], state["by"], state["pixels"]) == (1, "Jörg", {"0": 1536, "1": 1536})
        found = client.get("/v1/project/work/sub%2F%C3%BC%20b.png")
        assert (found.headers["etag"], found.headers["content-type"]) == ('"1"', "application/zip")
        done = "/done/sub%2F%C3%BC%20b.png"
        state = put(client, done, 1, done=True).json()
        assert (state["done"], state["revision"]) == (True, 2)
        refused = put_work(client, "sub/ü b.png", 2)
        assert (refused.status_code, refused.json()["current"]) == (409, state) and "reopen it" in refused.text
        assert put(client, done, 2, done=True).json() == state  # it is
        assert put(client, done, 2, done=False).json()["done"] is False
        assert put_work(client, "sub/ü b.png", 3, found.content).json()["revision"] == 4
    assert (street / "labels/sub/ü b.png").is_file()


def test_a_request_for_another_project_changes_nothing(street: Path) -> None:
    with in_process(project=street) as client:
        before = client.get("/v1/project")
        served = before.json()["id"]
        assert before.headers["X-Segvoc-Project"] == served == Project(street).record.id
        for method, path, body in (
            ("PUT", "/v1/project", {"name": "kitchen"}),
            ("PUT", "/v1/project/work/a.png", None),
            ("DELETE", "/v1/project/images/a.png", None),
            ("GET", "/v1/project/changes", None),
        ):
            headers = {"X-Segvoc-Project": "other", "If-Match": "1"}
            answer = client.request(method, path, json=body, headers=headers)
            assert (answer.status_code, failure(answer)) == (409, "another_project")
            assert answer.headers["X-Segvoc-Project"] == served
            assert answer.json()["project"] == {"id": served, "name": "street"}
        assert client.get("/v1/project", headers={"X-Segvoc-Project": served}).json() == before.json()


def test_an_image_is_known_by_its_id_and_a_revision_never_comes_twice(street: Path) -> None:
    with in_process(project=street) as client:
        (image, _) = client.get("/v1/project").json()["images"]
        assert put_work(client, image["id"], 0).json()["id"] == image["id"]
        assert client.get(f"/v1/project/work/{image['id']}").content == client.get("/v1/project/work/a.png").content
        client.delete(f"/v1/project/images/{image['id']}")
        files = {"image": ("a.png", png(drawn_image(7)))}
        (other,) = client.post("/v1/project/images", files=files).json()["added"]
        assert other["image"] == "a.png" and other["id"] != image["id"]
        # a stroke for the former photograph
        for revision in (0, 1):
            assert failure(put_work(client, image["id"], revision)) == "not_found"
        assert client.get("/v1/project").json()["images"][0] == other
        # the former one comes back in its place
        client.delete(f"/v1/project/images/{other['id']}")
        restored = client.post(f"/v1/project/restored/{image['id']}").json()
        assert (restored["id"], restored["revision"]) == (image["id"], 1)
        used = put_work(client, "a.png", 1, change="one")
        assert used.status_code == 200
        assert "something else" in put_work(client, "sub/ü b.png", 0, change="one").json()["error"]["message"]


def test_pages_hear_that_older_files_were_put_back(street: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    times = count(1_000)
    monkeypatch.setattr(records, "clock", lambda: next(times))
    with in_process(project=street) as client:
        first = put_work(client, "a.png", 0).json()
        shutil.copytree(street, street.with_name("backup"))
        older = (street / "work/a.png").with_suffix(".zip").read_bytes()
        second = put_work(client, "a.png", first["revision"], work_of(1 - LABELS)).json()
        seq = client.get("/v1/project").json()["seq"]
    (street / "work/a.zip").write_bytes(older)
    with in_process(project=street) as client:
        back = client.get("/v1/project").json()["images"][0]
        assert back["revision"] > second["revision"] and back["pixels"] == first["pixels"]
        assert put_work(client, "a.png", first["revision"]).status_code == 412
        assert not client.get(f"/v1/project/changes?after={seq}").json().get("restart")
    shutil.rmtree(street)
    street.with_name("backup").rename(street)
    with in_process(project=street) as client:
        assert client.get(f"/v1/project/changes?after={seq}").json()["restart"]
        third = put_work(client, "a.png", first["revision"], work_of(1 - LABELS)).json()
        assert third["revision"] not in (first["revision"], second["revision"], back["revision"])


def test_an_id_stays_that_of_its_image_in_the_trash_and_in_archives(street: Path, tmp_path: Path) -> None:
    with in_process(project=street) as client:
        first, second = client.get("/v1/project").json()["images"]
        labels = put_work(client, first["id"], 0).json()
        older = (street / "work/a.zip").read_bytes()
        for _ in range(2):  # the first answer was lost
            for image in (first, second):
                gone = client.delete(f"/v1/project/images/{image['id']}?change={image['id']}")
                assert gone.status_code == 200
        archive = client.get("/v1/project/archive").content
        # the same photograph by another name is another image, and so is another photograph of that name
        files = [("image", ("z.png", png(drawn_image(0)))), ("image", ("a.png", png(drawn_image(7))))]
        added = client.post("/v1/project/images", files=files).json()["added"]
        assert first["id"] not in {one["id"] for one in added}
        # whose labels don't become those of the former one
        (street / "work/a.zip").write_bytes(older)
        assert "labels of another image" in put_work(client, "a.png", 0).text
        assert not client.get("/v1/project").json()["images"][0]["revision"]
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/street.zip").write_bytes(archive)
    with open_project(tmp_path / "elsewhere/street.zip") as unpacked, in_process(project=unpacked.folder) as client:
        assert client.post(f"/v1/project/restored/{first['id']}").json() == labels
        assert client.post(f"/v1/project/restored/{second['id']}").json()["id"] == second["id"]


def test_words_stay_those_of_their_ids_when_an_older_project_json_is_put_back(street: Path) -> None:
    older = (street / "project.json").read_bytes()
    with Project(street) as project:
        project.add_words(["tree", "lamp"])
        project.merge_words(1, 0)
        ours = project.update(expected=3, words=(*project.record.words[:3], replace(project.record.words[3], name="x")))
    (street / "project.json").write_bytes(older)
    with in_process(project=street) as client:
        told = client.get("/v1/project").json()
        found = [(word["id"], word["name"], word["merged_into"]) for word in told["words"]]
        assert found == [(0, "cat", None), (1, "sofa, couch", 0), (2, "tree", None), (3, "x", None)]
        assert told["revision"] > ours.revision and put(client, "", 1, name="road").status_code == 412


def test_a_change_whose_answer_was_lost_is_made_once(street: Path) -> None:
    with in_process(project=street) as client:

        def send(revision: int, change: str, done: str = "true") -> Any:
            return put_work(client, "a.png", revision, change=change, done=done)

        first = send(0, "one")
        assert (first.json()["revision"], first.json()["done"], first.json()["change"]) == (1, True, "one")
        assert send(0, "one").json() == first.json()
        assert send(0, "other").status_code == 412
        # whoever says whether it is done may change an image that is
        assert put_work(client, "a.png", 1).status_code == 409
        second = send(1, "two", "false").json()
        assert (second["revision"], second["done"]) == (2, False)
        assert send(0, "one").json() == second  # made, and changed by others since
        changes = client.get("/v1/project/changes?after=0").json()["changes"]
        made = [(one["what"], one["change"]) for one in changes if one["image"] == "a.png"]
        assert made == [("added", None), ("done", "one"), ("reopened", "two")]
        # images and words alike; somebody who does the opposite meanwhile isn't overruled
        for _ in range(2):
            assert client.delete("/v1/project/images/a.png?change=gone").status_code == 200
        for _ in range(2):
            assert client.post("/v1/project/restored/a.png?change=back").json()["revision"] == 2
        assert client.delete("/v1/project/images/a.png?change=gone").json() == {"removed": []}
        for name, revision in (("road", 1), ("way", 2), ("road", 1)):
            changed = put(client, f"?change={name}", revision, name=name)
            assert changed.status_code == 200
        assert (changed.json()["name"], changed.json()["revision"]) == ("way", 3)
        for _ in range(2):
            assert put(client, "/done/a.png?change=done", 2, done=True).json()["revision"] == 3
        for _ in range(2):
            accepted = put(client, "/review/a.png?change=good", 3, verdict="accepted").json()
            assert (accepted["revision"], accepted["review"]["verdict"]) == (4, "accepted")
        for _ in range(2):
            merged = client.post("/v1/project/merged?change=merge", json={"word": 1, "into": 0})
            assert merged.json()["revision"] == 4
        assert "64" in client.delete(f"/v1/project/images/a.png?change={'x' * 65}").json()["error"]["message"]
    with in_process(project=street) as client:  # also by the next process
        assert send(1, "two", "false").json()["revision"] == 5  # after the merge


def test_who_comes_late_is_told_how_it_is_now(street: Path) -> None:
    with in_process(project=street) as client:
        first = put_work(client, "a.png", 0).json()
        late = put_work(client, "a.png", 0)
        assert (late.status_code, late.headers["etag"]) == (412, '"1"') and late.json()["current"] == first
        assert late.json()["error"]["code"] == "conflict"
        assert "has revision 1" in late.text
        unlabeled = put(client, "/done/sub%2F%C3%BC%20b.png", 0, done=True)
        assert unlabeled.status_code == 404 and "label it first" in unlabeled.text
        words = client.get("/v1/project").json()["words"]
        wall = words[0] | {"id": 2, "name": "wall"}
        changed = put(client, "", 1, words=[*words, wall])
        assert (changed.status_code, changed.json()["revision"]) == (200, 2)
        late = put(client, "", 1, name="road")
        assert (late.status_code, late.json()["current"]["revision"]) == (412, 2)
        assert client.put("/v1/project", json={"name": "road"}).status_code == 422
        assert "wall" in put(client, "", 2, words=words).json()["error"]["message"]


def test_changes_are_told_as_they_come(street: Path) -> None:
    with in_process(project=street) as client:
        seq = client.get("/v1/project").json()["seq"]
        nothing = client.get("/v1/project/changes", params={"after": seq, "wait": 0.3}).json()
        assert nothing == {"seq": seq, "changes": [], "states": {}}
        Project(street).write("a.png", LabelWork.of_labels(LABELS), expected=0, by="ben")
        told = client.get("/v1/project/changes", params={"after": seq, "wait": 20}).json()
        assert [(change["what"], change["by"]) for change in told["changes"]] == [("labels", "ben")]
        assert [state["revision"] for state in told["states"].values()] == [1]
        Project(street).add_words(["sky"])
        assert client.get(f"/v1/project/changes?after={told['seq']}").json()["project"]["revision"] == 2
    with in_process(project=street, watchers=1, requests=1) as client, ThreadPoolExecutor() as threads:
        seq = client.get("/v1/project").json()["seq"]
        wait = partial(client.get, f"/v1/project/changes?after={seq}&wait=20")
        waiting = threads.submit(wait)
        while (late := client.get(f"/v1/project/changes?after={seq}")).status_code == 200 or waiting.done():
            waiting = threads.submit(wait) if waiting.done() else waiting  # this loop had its place
            time.sleep(0.01)
        assert failure(late) == "busy"
        assert put_work(client, "a.png", 1).status_code == 200  # those who wait take no place of others
        assert [state["revision"] for state in waiting.result().json()["states"].values()] == [2]


def test_images_come_and_go(street: Path) -> None:
    with in_process(project=street, max_bytes=100_000) as client:
        files = [
            ("image", ("new/c.png", png(drawn_image(3)))),
            ("image", ("a.jpg", png())),
            ("image", ("../d.png", png())),
            ("image", ("e.png", b"GIF89a")),
            ("image", ("f.png", b"x" * 100_001)),
            ("image", ("a.png/x.png", png(drawn_image(5)))),
            ("image", ("g.png", png(drawn_image(6)))),
        ]
        for charset in ("punycode", "undefined"):  # texts are in UTF-8
            headers = {"Content-Type": f"multipart/form-data; boundary=x; charset={charset}"}
            refused = client.post("/v1/project/images", content=b"--x--", headers=headers)
            assert (refused.status_code, failure(refused)) == (415, "unsupported_media_type")
        told = client.post("/v1/project/images", files=files).json()
        assert [state["image"] for state in told["added"]] == ["new/c.png", "g.png"]
        *others, named_like = told["problems"]
        assert [problem.split("'")[1] for problem in others] == ["a.jpg", "../d.png", "e.png", "f.png"]
        assert "named like the file 'a.png'" in named_like and str(street) not in named_like
        image = client.get("/v1/project/images/new%2Fc.png")
        assert (image.content, image.headers["content-type"]) == (png(drawn_image(3)), "image/png")
        again = client.get("/v1/project/images/new%2Fc.png", headers={"If-None-Match": image.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        for _ in range(2):  # made, then kept
            small = client.get("/v1/project/thumbnails/new%2Fc.png")
            assert Image.open(io.BytesIO(small.content)).format == "JPEG"
        put_work(client, "a.png", 0)
        (gone,) = client.delete("/v1/project/images/a.png").json()["removed"]
        assert gone["image"] == "a.png" and gone["id"] != "a.png"
        assert put_work(client, "a.png", 1).status_code == 404
        assert not (street / "labels/a.png").exists()
        assert client.post("/v1/project/restored/a.png").json()["revision"] == 1
        assert client.post("/v1/project/restored/a.png").status_code == 404
        for name in ("..%2Fproject.json", "%2Fetc%2Fpasswd", "project.json", "%00", ".segvoc/.segvoc-lock", "a%0A.png"):
            refused = client.get(f"/v1/project/images/{name}")
            assert failure(refused) == "not_found" and refused.headers["X-Segvoc-Project"]
            assert put_work(client, name, 0).status_code == 404
        assert client.post("/v1/project/images/a.png").headers["allow"] == "DELETE, GET"


def test_a_client_made_from_the_description_saves_a_stroke(street: Path) -> None:
    with in_process(project=street) as client:
        document = client.get("/openapi.json").json()
        operations = {
            (method, path): operation
            for path, methods in document["paths"].items()
            for method, operation in methods.items()
            if path.startswith("/v1/project")
        }

        def check(value: Any) -> None:
            for name, part in value.items() if isinstance(value, dict) else ():
                if name == "$ref":
                    assert part.removeprefix("#/components/schemas/") in document["components"]["schemas"]
                check(part)
            for part in value if isinstance(value, list) else ():
                check(part)

        check(operations)
        for (method, path), operation in operations.items():
            known = {(one["name"], one["in"]) for one in operation["parameters"]}
            assert {(name, "path") for name in re.findall(r"{(\w+)}", path)} <= known, path
            assert (("If-Match", "header") in known) == ("requestBody" in operation and method == "put"), path
            if method == "post" and "restored" not in path:
                assert operation["requestBody"]["content"], path

        def call(method: str, path: str, body: Any = None, **values: str) -> Any:
            """A request made of what the description says alone."""
            operation = operations[method, path]
            places = {one["name"]: one["in"] for one in operation["parameters"]}
            for name in [name for name in values if places[name] == "path"]:
                path = path.replace(f"{{{name}}}", quote(values.pop(name), safe=""))
            query = {name: value for name, value in values.items() if places[name] == "query"}
            headers = {name: value for name, value in values.items() if places[name] == "header"}
            if body is not None:
                (kind,) = operation["requestBody"]["content"]
                headers["Content-Type"] = kind
            (told,) = operation["responses"]["200"]["content"]
            answer = client.request(method, path, params=query, headers=headers, content=body)
            assert answer.headers["content-type"].split("/")[0] == told.split("/")[0] or answer.status_code != 200
            return answer

        image = call("get", "/v1/project").json()["images"][1]
        stroke = {"name": image["id"], "If-Match": "0", "done": "true", "change": "one"}
        state = call("put", "/v1/project/work/{name}", work_of(), **stroke).json()
        assert (state["done"], state["revision"]) == (True, 1)
        assert call("get", "/v1/project/work/{name}", name=image["image"]).content
        named = call("put", "/v1/project", json.dumps({"name": "road"}).encode(), **{"If-Match": "1"})
        assert named.json()["name"] == "road"


def test_thumbnails_are_of_the_picture_that_is_there(street: Path) -> None:
    with in_process(project=street) as client:
        path, address = street / "images/a.png", "/v1/project/thumbnails/a.png"
        before, times = client.get(address).content, path.stat()
        path.write_bytes(png(drawn_image(9)))
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
        assert client.get(address).content != before
        # uncompressed pictures whose margins are alike
        pages = [np.full((300, 300, 3), 255, np.uint8) for _ in range(2)]
        for number, page in enumerate(pages):
            page[150, 150] = 90 * number
            Image.fromarray(page).save(street / f"images/page {number}.bmp")
        for kind in ("thumbnails", "tiles"):
            query = "?level=0&row=0&column=0" * (kind == "tiles")
            assert len({client.get(f"/v1/project/{kind}/page {number}.bmp{query}").content for number in range(2)}) == 2
        path.unlink()
        client.delete("/v1/project/images/sub%2F%C3%BC%20b.png")
        client.delete("/v1/project/removed")
        assert not (street / ".segvoc/thumbnails").exists(), "nothing of a removed picture stays"


def test_datasets_come_and_go_as_zips(street: Path, tmp_path: Path) -> None:
    other = Project.create(tmp_path / "other")
    with in_process(project=street) as client, in_process(project=other.folder) as receiver:
        nothing = client.post(EXPORTS, json={"format": "voc"})
        assert failure(nothing) == "invalid_request" and "is done" in nothing.json()["error"]["message"]
        put_work(client, "a.png", 0)
        state = ended(client, client.post(EXPORTS, json={"format": "coco-panoptic", "all": True}).json())
        assert (state["state"], state["images"], state["finished"], state["problems"]) == ("done", 1, 1, [])
        exported = client.get(f"{EXPORTS}/{state['id']}/file")
        assert "street%20coco-panoptic.zip" in exported.headers["content-disposition"]
        assert len(exported.content) == state["bytes"] and client.get(EXPORTS).json() == {"exports": [state]}
        assert failure(client.post(EXPORTS, json={"format": "nonsense", "all": True})) == "invalid_request"
        for content, done in ((exported.content, True), (client.get("/v1/project/archive").content, False)):
            files = {"archive": ("x.zip", content, "application/zip")}
            told = receiver.post("/v1/project/import", files=files, data={"done": str(done).lower()})
            assert (told.status_code, told.json()["problems"]) == (200, [])
        added = [(state["image"], state["done"]) for state in told.json()["added"]]
        assert added == [("a.png", True), ("sub/ü b.png", False)]
        refused = receiver.post("/v1/project/import", files={"archive": ("x.zip", b"no zip")})
        assert failure(refused) == "invalid_request" and "/tmp" not in refused.json()["error"]["message"]


def test_exports_are_canceled_and_removed(street: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with in_process(project=street) as client:
        put_work(client, "a.png", 0)
        for format_ in ("voc", "cvat"):
            with monkeypatch.context() as patched:
                patched.setattr(exports, "export_zip", stuck if format_ == "voc" else dying)
                state = client.post(EXPORTS, json={"format": format_, "all": True}).json()
                address = f"{EXPORTS}/{state['id']}"
                if format_ == "cvat":
                    assert "start it again" in ended(client, state)["message"]
                    continue
                assert client.post(EXPORTS, json={"format": "voc", "all": True}).json()["id"] == state["id"]
                assert failure(client.get(f"{address}/file")) == "invalid_request"
                assert client.delete(address).json()["state"] == "canceled"
                assert failure(client.get(address)) == failure(client.get(f"{address}/file")) == "not_found"
        monkeypatch.setattr(exports, "KEPT", 1)
        state = ended(client, client.post(EXPORTS, json={"format": "voc", "all": True}).json())
        assert client.get(EXPORTS).json() == {"exports": [state]}
        # those of others stay
        theirs = client.post(EXPORTS, json={"format": "cvat", "all": True}, headers={"X-Segvoc-User": "ben"}).json()
        theirs = ended(client, theirs)
        assert client.get(EXPORTS).json() == {"exports": [theirs, state]}


def test_a_key_signs_owns_its_exports_and_reads_no_trash(
    street: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = tmp_path / "keys"
    keys.write_text(f"ann: {'a' * 20} read\nben: {'b' * 20} annotate\ncleo: {'c' * 20}\n")
    ann, ben, cleo = ({"Authorization": f"Bearer {key * 20}", "X-Segvoc-User": "boss"} for key in "abc")
    (street / ".segvoc/exports").mkdir(parents=True)
    (street / ".segvoc/exports/left.zip").write_bytes(b"of a killed process")
    with in_process(project=street, api_key_file=keys) as client:
        assert not (street / ".segvoc/exports").exists()
        headers = {**ben, "If-Match": '"0"', "Content-Type": "application/zip"}
        assert client.put("/v1/project/work/a.png", content=work_of(), headers=headers).json()["by"] == "ben"
        served = client.get("/v1/project", headers=ben).json()
        assert (served["user"], served["role"]) == ("ben", "annotate")
        options = {**served["options"], "model": "theirs/m", "threshold": 0.5}
        changed = client.put("/v1/project", json={"options": options}, headers={**ben, "If-Match": '"1"'}).json()
        assert (changed["options"]["model"], changed["options"]["threshold"]) == ("tiny", 0.5)
        # two people who ask for one format have a job each
        monkeypatch.setattr(exports, "export_zip", stuck)
        order = {"format": "voc", "all": True}
        first, again, other = (client.post(EXPORTS, json=order, headers=key).json() for key in (ann, ann, ben))
        assert first["id"] == again["id"] != other["id"]
        refused = client.delete(f"{EXPORTS}/{other['id']}", headers=ann)
        assert failure(refused) == "invalid_request" and "is of 'ben'" in refused.text
        for job, key in ((first, ann), (other, cleo)):
            assert client.delete(f"{EXPORTS}/{job['id']}", headers=key).json()["state"] == "canceled"
        # what an administrator removed
        client.delete("/v1/project/images/a.png", headers=cleo)
        for key, has_it in ((ann, False), (ben, False), (cleo, True)):
            content = client.get("/v1/project/archive", headers=key).content
            names = zipfile.ZipFile(io.BytesIO(content)).namelist()
            assert any(name.startswith("trash/") for name in names) == has_it
        assert client.delete("/v1/project/removed", headers=cleo).json() == {"removed": []}
        assert not any((street / "trash").rglob("*.png"))
        assert failure(client.post("/v1/project/restored/a.png", headers=cleo)) == "not_found"


def test_a_key_that_is_revoked_while_it_waits_learns_nothing(street: Path, tmp_path: Path) -> None:
    keys, line = tmp_path / "keys", f"boss: {'k' * 20}\n"
    keys.write_text(f"{line}ben: {'b' * 20} read\n")
    boss, ben = ({"Authorization": f"Bearer {key * 20}"} for key in "kb")
    with in_process(project=street, api_key_file=keys) as client, ThreadPoolExecutor() as threads:
        seq = client.get("/v1/project", headers=boss).json()["seq"]
        waiting = threads.submit(client.get, f"/v1/project/changes?after={seq}&wait=25", headers=ben)
        wait_until_open(client, 2, **boss)
        keys.write_text(line)
        body = {"images": ["a.png"], "people": ["anna"]}
        assert client.post("/v1/project/assigned", json=body, headers=boss).status_code == 200
        assert failure(waiting.result()) == "unauthorized"


def test_images_are_assigned_and_two_people_compared(street: Path) -> None:
    """projects/test_people.py has the figures."""
    with in_process(project=street) as client:
        before = client.get("/v1/project").json()
        body = {"images": ["a.png", "sub/ü b.png"], "people": ["anna", "ben"]}
        made = client.post("/v1/project/assigned?change=x", json=body, headers={"X-Segvoc-User": "lead"}).json()
        assert [state["person"] for state in made["images"]] == body["people"]
        changes = client.get(f"/v1/project/changes?after={before['seq']}").json()
        assert [*changes["states"].values()] == made["images"] and changes["changes"][0]["what"] == "assigned"
        assert failure(client.get("/v1/project/agreement")) == "invalid_request"
        again = {"images": ["a.png"], "people": ["cleo"], "copies": True}
        for _ in range(2):  # the first answer was lost
            (copy,) = client.post("/v1/project/assigned?change=y", json=again).json()["images"]
        assert (copy["image"], copy["copy_of"], copy["person"]) == ("a (cleo).png", made["images"][0]["id"], "cleo")
        refused = client.post("/v1/project/assigned", json={**again, "people": ["anna"]})
        assert failure(refused) == "invalid_request" and "'a.png' is anna's already" in refused.text
        put_work(client, "a.png", 0, user="lead", done="true", change="a")
        put_work(client, copy["image"], 0, work_of(np.zeros_like(LABELS)), user="cleo", done="true", change="b")
        found = client.get("/v1/project/agreement").json()
        assert (found["same"], found["words"]) == (0.5, {"cat": 0.5, "sofa, couch": 0.0})
        assert found["pairs"][0]["by"] == ["lead", "cleo"]
        told = client.get("/v1/project/people").json()["people"]
        assert [(one["person"], one["actions"], one["gold"]) for one in told][1:3] == [("ben", 0, 0), ("cleo", 1, 0)]
        shown = client.get("/v1/project/differences/a%20(cleo).png")
        assert Image.open(io.BytesIO(shown.content)).size == (64, 48)
        assert failure(client.get("/v1/project/differences/a.png")) == "not_found"
        assert failure(client.post("/v1/project/assigned", json={**again, "images": ["no.png"]})) == "not_found"


def test_keys_have_roles(street: Path, tmp_path: Path) -> None:
    roles = ("label", "read", "annotate", "administer")
    keys = tmp_path / "keys"
    keys.write_text("".join(f"{role}: a-key-of-sixteen-{role} {role}\n" for role in roles) + f"boss: {'k' * 20}\n")
    work = "/v1/project/work/a.png"
    needed = {
        ("GET", "/v1/models"): "label",
        ("GET", "/v1/project"): "read",
        ("GET", work): "read",
        ("GET", "/v1/project/archive"): "read",
        ("POST", EXPORTS): "read",
        ("GET", "/v1/project/agreement"): "read",
        ("GET", "/v1/project/people"): "administer",
        ("POST", "/v1/project/assigned"): "administer",
        ("PUT", "/v1/project"): "annotate",
        ("PUT", work): "annotate",
        ("PUT", "/v1/project/done/a.png"): "annotate",
        ("POST", "/v1/project/images"): "annotate",
        ("DELETE", "/v1/project/images/no.png"): "administer",
        ("DELETE", "/v1/project/removed"): "administer",
        ("POST", "/v1/project/import"): "administer",
        ("POST", "/v1/project/improvement"): "administer",
        ("DELETE", "/v1/project/improvement"): "administer",
    }
    with in_process(project=street, api_key_file=keys) as client:
        assert client.get("/v1/project").status_code == 401
        for (method, path), least in needed.items():
            for number, role in enumerate((*roles, "boss")):
                key = "k" * 20 if role == "boss" else f"a-key-of-sixteen-{role}"
                answer = client.request(method, path, headers={"Authorization": f"Bearer {key}"})
                assert (answer.status_code == 403) == (number < roles.index(least)), (method, path, role)
                if answer.status_code == 403:
                    assert failure(answer) == "forbidden" and f"the role {least}" in answer.text
        # no route was forgotten: whoever may only label reaches nothing of the project
        label = {"Authorization": "Bearer a-key-of-sixteen-label"}
        for path, methods in client.get("/openapi.json").json()["paths"].items():
            for method in methods if path.startswith("/v1/project") else ():
                assert client.request(method, path, headers=label).status_code == 403
        sent = {
            "Authorization": "Bearer a-key-of-sixteen-annotate",
            "If-Match": '"0"',
            "Content-Type": "application/zip",
        }
        assert client.put(work, content=work_of(), headers=sent).json()["by"] == "annotate"
    with in_process() as client:
        assert client.get("/v1/project").status_code == 404 and client.get("/backends.json").json()["project"] is False


def test_errors_of_an_import_name_no_temporary_path_and_no_option_of_the_command(street: Path) -> None:
    cases: list[tuple[dict[str, str], str, str]] = [
        ({"notes.txt": "no dataset"}, "", "in the field format: "),
        ({"notes.txt": "no dataset"}, "cvat", "name its format in the field format"),
        ({"annotations/a.json": "{}", "annotations/b.json": "{}"}, "coco-instances", "the archive"),
        ({"a/images/x.png": "no image", "a/labels/x.png": "no labels", "a/classes.json": '["cat"]'}, "", ""),
    ]
    with in_process(project=street) as client:
        for files, format, said in cases:
            buffer = io.BytesIO()
            with zipfile.ZipFile(buffer, "w") as archive:
                for name, text in files.items():
                    archive.writestr(name, text)
            told = client.post("/v1/project/import", files={"archive": buffer.getvalue()}, data={"format": format})
            assert told.json().get("problems") or failure(told) == "invalid_request"
            assert said in told.text and not any(leaked in told.text for leaked in ("segvoc-", "/tmp", "--"))


def test_work_files_are_not_trusted(street: Path) -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({"labels.png": LABELS + 5}, "labels.png has the value 5"),
        ({"labels.png": LABELS[:20]}, "labels.png has 64 x 20 pixels, the image has 64 x 48"),
        ({"labels.png": np.zeros((6000, 6000), np.uint8)}, "labels.png has 6000 x 6000 pixels"),
        ({"confidence.png": np.zeros((48, 64), np.uint16)}, "8-bit gray"),
        ({"labels.png": b"\x89PNG\r\n\x1a\n cut"}, "labels.png of the work file is damaged"),
        ({"draft.png": b"x" * 2_000_000}, "too many for the image"),
        ({"labels.png": None}, "has no labels.png"),
        ({"state.json": "[" * 100_000}, "isn't JSON"),
        ({"../evil.png": b""}, "is unknown or a duplicate"),
    ]
    with in_process(project=street) as client:
        for changes, said in cases:
            refused = put_work(client, "a.png", 0, work_of(**changes))
            assert failure(refused) == "invalid_request" and said in refused.json()["error"]["message"]
        for content in (b"PK no zip", work_of()[:-9], *map(with_damaged_labels, COMPRESSIONS)):
            refused = put_work(client, "a.png", 0, content)
            assert failure(refused) == "invalid_request" and "is not a zip of PNGs" in refused.text
        assert client.get("/v1/project").json()["images"][0]["revision"] == 0


def test_the_draft_can_stay(street: Path) -> None:
    with in_process(project=street) as client:
        send = partial(put_work, client, "a.png", draft="kept")
        nothing = dict.fromkeys(("draft.png", "confidence.png"))
        refused = send(0, work_of(**nothing))
        assert failure(refused) == "invalid_request" and "no labels or draft" in refused.text
        confidence, parts = np.full((48, 64), 51, np.uint8), np.ones((48, 64), np.uint16)
        planes = {"draft.png": LABELS, "confidence.png": confidence, "parts.png": parts}
        first = put_work(client, "a.png", 0, work_of(**planes))
        before = read_work(street / "work/a.zip")[1]
        refused = send(1)
        assert failure(refused) == "invalid_request" and "draft=kept" in refused.text
        changed = work_of(**{"labels.png": 1 - LABELS, "corrections.png": np.zeros((48, 64), np.uint16), **nothing})
        second = send(1, changed).json()
        assert (second["revision"], second["uncertainty"], second["corrected"]) == (2, 0.8, 0)
        assert first.json()["uncertainty"] == 0.0
        after = read_work(street / "work/a.zip")[1]
        assert (after.draft == before.draft).all() and (after.confidence == before.confidence).all()
        assert after.parts == before.parts is not None and (after.labels == 1 - LABELS).all()
        assert send(1, changed).status_code == 412


def test_what_is_sent_is_stored_as_it_is(street: Path) -> None:
    with in_process(project=street) as client:
        put_work(client, "a.png", 0)
        sent = client.get("/v1/project/work/a.png").content  # labels in 8 bits, with a palette
        put_work(client, "sub/ü b.png", 0, sent)
        with zipfile.ZipFile(io.BytesIO(sent)) as ours, zipfile.ZipFile(street / "work/sub/ü b.zip") as stored:
            planes = [name for name in ours.namelist() if name != "state.json"]
            assert all(ours.read(name) == stored.read(name) for name in planes)
        assert (street / "labels/sub/ü b.png").read_bytes() == (street / "labels/a.png").read_bytes()
        with Image.open(street / "labels/a.png") as image:
            assert image.mode == "P"
        half = work_of(**{"state.json": '{"answers": "\\ud800"}'})  # of a character
        assert put_work(client, "a.png", 1, half).json()["answers"] == "\ud800"
        assert put_work(client, "a.png", 1, half).json()["current"]["answers"] == "\ud800"


def test_new_labels_of_an_accepted_image_take_the_acceptance_back(street: Path) -> None:
    with in_process(project=street) as client:

        def send(revision: int, labels: np.ndarray) -> Any:
            return put_work(client, "a.png", revision, work_of(**{"labels.png": labels}), "mallory", done="true").json()

        assert send(0, LABELS)["done"]
        put(client, "/review/a.png", 1, "boss", verdict="accepted")
        same = send(2, LABELS)
        assert (same["review"]["by"], same["revision"]) == ("boss", 3)
        new = send(3, 1 - LABELS)
        assert (new["done"], new["review"], new["by"]) == (True, None, "mallory")
        changes = client.get("/v1/project/changes?after=0").json()
        assert [change["what"] for change in changes["changes"]][-2:] == ["labels", "no longer accepted"]
        assert [state["review"] for state in changes["states"].values()] == [None, None]
        # and so does a merge of words
        put(client, "/review/a.png", 4, "boss", verdict="accepted")
        told = client.post("/v1/project/merged", json={"word": 1, "into": 0}).json()
        assert [(word["id"], word["removed"]) for word in told["words"]] == [(0, False), (1, True)]
        changes = client.get(f"/v1/project/changes?after={told['seq']}&wait=20").json()
        (image,) = changes["states"].values()
        assert (image["done"], image["review"], image["pixels"]) == (True, None, {"0": 3072})
        assert [change["what"] for change in changes["changes"]] == ["no longer accepted"]
        # whose objects may not change unseen, either
        put(client, "/review/a.png", image["revision"], "boss", verdict="accepted")
        objects = work_of(**{"labels.png": np.zeros_like(LABELS), "objects.png": np.ones_like(LABELS)})
        assert put_work(client, "a.png", image["revision"] + 1, objects, done="true").json()["review"] is None
        assert client.post("/v1/project/merged", json={"word": 1, "into": 1}).status_code == 422


def test_the_event_loop_waits_for_no_disk(street: Path) -> None:
    """While the disk holds up a change, and all who need it, other requests are answered."""
    with in_process(project=street) as client, Project(street) as project, ThreadPoolExecutor() as threads:
        put_work(client, "a.png", 0)
        seq = client.get("/v1/project").json()["seq"]
        with project.threads, project.index.transaction():
            waiting = [
                threads.submit(client.get, "/v1/project"),
                threads.submit(client.get, f"/v1/project/changes?after={seq}&wait=20"),
                threads.submit(client.get, "/v1/project/images/a.png"),
                threads.submit(client.get, "/v1/project/archive"),
                threads.submit(put_work, client, "a.png", 1),
            ]
            wait_until_open(client, 1 + len(waiting))
            assert client.get("/healthz").status_code == 200
            assert not any(one.done() for one in waiting)
        assert all(one.result().status_code == 200 for one in waiting)


def test_no_request_holds_the_event_loop(street: Path) -> None:
    heart, project = Heart(), AnnotateRoutes(AnnotateSettings(page=NO_PAGE, project=street))
    words = [{"id": number, "name": f"word {number}", "color": [1, 2, 3]} for number in range(8000)]
    ones, keys = [1] * 240_000, dict.fromkeys(map("{:x}".format, range(75_000)), 1)
    many = io.BytesIO()
    with zipfile.ZipFile(many, "w") as archive:
        for number in range(100_000):
            archive.writestr(str(number), b"")
    with listening(extensions=(heart.beating, project)) as port:
        for path, body, status in (
            ("", {"words": words}, 200),
            ("", {"name": "another"}, 412),  # its answer has all words
            ("", {"words": ones}, 413),
            ("", {"words": [{}] * 95_000}, 422),
            ("", {"options": {"reviewers": ones}}, 413),
            ("", {"words": [keys]}, 413),
            ("", keys, 413),
            ("/work/a.png", many.getvalue(), 422),
        ):
            kind = "application/zip" if isinstance(body, bytes) else "application/json"
            content = body if isinstance(body, bytes) else json.dumps(body, separators=(",", ":")).encode()
            change = post(f"/v1/project{path}", kind, content, 'If-Match: "1"').replace(b"POST", b"PUT", 1)
            check_beats(port, heart, change, status)


def test_what_is_damaged_or_full_is_named(street: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with in_process(project=street, upload_bytes=3000) as client:
        put_work(client, "a.png", 0)
        (street / "work/a.zip").write_bytes(b"PK")
        refused = put_work(client, "a.png", 1)
        assert failure(refused) == "damaged" and "work/a.zip" in refused.json()["error"]["message"]
        assert failure(put_work(client, "sub/ü b.png", 0, bytes(3001))) == "too_large"

        def full(*_: object) -> None:
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as no_room:
            no_room.setattr("tempfile.SpooledTemporaryFile.write", full)
            refused = put_work(client, "sub/ü b.png", 0)
            assert (refused.status_code, failure(refused)) == (507, "storage")
        monkeypatch.setattr("os.fsync", full)
        refused = put_work(client, "sub/ü b.png", 0)
        assert (refused.status_code, failure(refused)) == (507, "storage")
        assert not (street / "work/sub/ü b.zip").exists()


def test_reviews_come_from_reviewers_alone(street: Path) -> None:
    with Project(street) as project:
        project.update(expected=1, options=ProjectOptions(reviewers=("ben",)))
    with in_process(project=street) as client:
        put_work(client, "a.png", 0, done="true")
        review = partial(put, client, "/review/a.png")
        assert "'anna' doesn't review this project; ben may" in review(1, "anna", verdict="accepted").text
        assert review(1, "ben", verdict="perhaps").status_code == 422
        assert review(0, "ben", verdict="accepted").status_code == 412
        state = review(1, "ben", verdict="sent back", comment="the leg").json()
        assert (state["done"], state["review"]["comment"], state["review"]["by"]) == (False, "the leg", "ben")
        assert client.get("/v1/project/changes?after=0").json()["changes"][-1]["what"] == "sent back"
        # the list of reviewers isn't the page's to change
        told = client.get("/v1/project").json()
        changed = put(client, "", told["revision"], options=told["options"] | {"reviewers": ["anna"]}).json()
        assert changed["options"]["reviewers"] == ["ben"]
