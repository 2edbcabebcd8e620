"""Label Studio's contract, with a stand-in on loopback: predictions, where images may come from, what is refused."""

import base64
import contextlib
import http.server
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw
from starlette.testclient import TestClient

import segvoc
from annotate.tests.services import NO_PAGE, in_process
from segvoc import __version__
from segvoc.errors import UsageError
from segvoc_annotate.service_extension import AnnotateRoutes
from segvoc_annotate.settings import AnnotateSettings
from tests.brush_masks import unpacked
from tests.cli.command import SAMPLES
from tests.inference.numpy_engine import NumpySegmenter
from tests.serving.services import drawn_image, failure, listening, png
from tests.serving.test_event_loop import Heart, check_beats
from tests.serving.test_event_loop import post as http_post

WORDS = ["cat", "sofa", "table", "wall"]
LABELS = ["cat", "Furniture", "W"]
LABEL_OF_WORD = np.array([0, 1, 1, 2])
VERSION = f"segvoc-numpy-{__version__}"
KEY = "k" * 20

TOKEN = "0123456789abcdef0123456789abcdef01234567"

BRUSH = (
    '<View><Image name="img" value="$photo"/><BrushLabels name="masks" toName="img"><Label value="cat"/>'
    '<Label value="Furniture" predicted_values="sofa, table"/><Label value="wall" alias="W"/></BrushLabels></View>'
)


def with_options(config: str, options: str) -> str:
    return config.replace('toName="img"', f'toName="img" {options}')


def data_uri(content: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def predict_body(*images: object, config: str = BRUSH, context: object = None) -> dict[str, Any]:
    """What Label Studio posts to /predict, with much that doesn't matter."""
    tasks = [
        {"id": number, "data": {"photo": image, "note": "x"}, "annotations": [], "predictions": [], "is_labeled": False}
        for number, image in enumerate(images, 1)
    ]
    params = {"login": None, "password": None, "context": context}
    return {"tasks": tasks, "model_version": "old", "project": "7.1700000000", "label_config": config, "params": params}


def region(kind: str, label: str, image: str, value: dict[str, Any], **more: Any) -> dict[str, Any]:
    """What Label Studio 1.23.2 says of a region that was drawn with a smart tool."""
    size = {"original_width": 133, "original_height": 200, "image_rotation": 0}
    names = {"id": "HFHwrgupXP", "from_name": "smart", "to_name": image, "type": kind, "origin": "manual"}
    return {**size, "value": {**value, kind: [label]}, **names, **more}


def click(x: float, y: float, label: str = "cat", image: str = "img", on: bool = True) -> dict[str, Any]:
    value = {"x": x, "y": y, "width": 0.37, "labels": [label]}
    return region("keypointlabels", label, image, value, is_positive=on)


def box(x: float, y: float, width: float, height: float, rotation: float = 0, label: str = "cat") -> dict[str, Any]:
    value = {"x": x, "y": y, "width": width, "height": height, "rotation": rotation}
    return region("rectanglelabels", label, "img", value)


@dataclass
class Answer:
    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class LabelStudio:
    url: str
    answers: dict[str, Answer]
    asked: list[tuple[str, str, str]]
    """Method, path and query, and authorization of each request."""


@contextlib.contextmanager
def label_studio() -> Iterator[LabelStudio]:
    """A Label Studio on loopback, with one uploaded image."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            authorization = self.headers.get("Authorization", "")
            studio.asked.append((self.command, self.path, authorization))
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            answer = studio.answers.get(self.path, Answer(404))
            if self.command == "POST":
                assert json.loads(body)["refresh"]
            elif authorization not in (f"Token {TOKEN}", "Bearer short-lived"):
                answer = Answer(401)
            elif "*/*" not in self.headers.get("Accept", "*/*"):
                answer = Answer(406)  # as Label Studio 1.23.2 does, which negotiates JSON before it sends the file
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.end_headers()
            with contextlib.suppress(OSError):
                self.wfile.write(answer.body)

        do_POST = do_GET

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        url = f"http://127.0.0.1:{server.server_port}"
        studio = LabelStudio(url, {"/data/upload/7/a.png": Answer(body=png())}, [])
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield studio
        server.shutdown()


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    with in_process(max_pixels=1_000_000, backends=("label-studio",)) as client:
        yield client


def test_the_routes_are_there_only_where_asked_for() -> None:
    routes = {"/predict", "/setup", "/webhook", "/health"}
    for settings, answered in (({}, set()), ({"backends": ("label-studio",)}, routes)):
        with in_process(**settings) as client:
            assert {path for path in client.get("/openapi.json").json()["paths"] if path in routes} == answered
            assert (client.get("/health").status_code == 200) == bool(answered)


@pytest.fixture(scope="module")
def studio() -> Iterator[LabelStudio]:
    with label_studio() as studio:
        yield studio


@pytest.fixture
def connected(studio: LabelStudio) -> Iterator[TestClient]:
    studio.asked.clear()
    with in_process(label_studio=studio.url, label_studio_token=TOKEN, fetch_seconds=1.0, max_bytes=50_000) as client:
        yield client


def predicted(client: TestClient, *images: object, **options: Any) -> list[dict[str, Any]]:
    answer = client.post("/predict", json=predict_body(*images, **options))
    assert answer.status_code == 200, answer.text
    return answer.json()["results"]


def refused(client: TestClient, *images: object, **options: Any) -> tuple[int, str, str]:
    answer = client.post("/predict", json=predict_body(*images, **options))
    return answer.status_code, failure(answer), answer.json()["error"]["message"]


def label_map(prediction: dict[str, Any], shape: tuple[int, int]) -> np.ndarray:
    """The index of each pixel's label; -1 for none."""
    labels = np.full(shape, -1)
    for region in prediction["result"]:
        assert (region["original_height"], region["original_width"]) == shape
        inside = unpacked(region["value"]["rle"], *shape) == 255
        assert (labels[inside] == -1).all()
        (name,) = region["value"]["brushlabels"]
        labels[inside] = LABELS.index(name)
    return labels


def test_health_and_setup_are_as_label_studio_wants_them(client):
    assert client.get("/health").json() == {"status": "UP", "model_class": "numpy"}
    body = {"project": "7.17", "schema": BRUSH, "hostname": "http://evil.example"}
    assert client.post("/setup", json=body).json() == {"model_version": VERSION}
    assert client.post("/setup", json={"project": "7.17", "schema": "<View></View>"}).status_code == 200
    assert client.post("/webhook", json={"action": "ANNOTATION_CREATED", "project": {"id": 7}}).status_code == 200


def test_masks_are_the_labels_of_the_words(client):
    images = [drawn_image(seed, size) for seed, size in ((0, (48, 64)), (1, (33, 70)))]
    found = predicted(client, *(data_uri(png(image)) for image in images))
    assert len(found) == 2
    for prediction, image in zip(found, images, strict=True):
        expected = NumpySegmenter().segment(image, WORDS)
        labels = LABEL_OF_WORD[expected.labels]
        np.testing.assert_array_equal(label_map(prediction, labels.shape), labels)
        assert prediction["model_version"] == VERSION
        assert prediction["score"] == pytest.approx(expected.confidence.mean(), abs=1e-4)
        for region in prediction["result"]:
            own = labels == LABELS.index(region["value"]["brushlabels"][0])
            assert region["score"] == pytest.approx(expected.confidence[own].mean(), abs=1e-4)
            assert (region["from_name"], region["to_name"], region["type"]) == ("masks", "img", "brushlabels")
        assert len({region["id"] for region in prediction["result"]}) == len(prediction["result"])


@pytest.mark.parametrize("background", ["other", "wall"])
def test_background_and_threshold_are_the_projects(client, background):
    options = f'model_background="{background}" model_score_threshold="0.7"'
    (found,) = predicted(client, data_uri(png()), config=with_options(BRUSH, options))
    expected = NumpySegmenter().segment(drawn_image(), WORDS, background=background, threshold=0.7)
    np.testing.assert_array_equal(label_map(found, (48, 64)), np.append(LABEL_OF_WORD, -1)[expected.labels])


DOGS = np.asarray(Image.open(SAMPLES / "dogs.jpg").convert("RGB").crop((0, 0, 532, 800)).reduce(4))
"""133 x 200 pixels."""

UPPER, LOWER = (40.0, 31.0), (56.0, 52.0)
"""The dogs, in percent."""


def pixel(x: float, y: float) -> tuple[float, float]:
    return x * 1.33, y * 2.0


@pytest.mark.parametrize(
    ("regions", "expected"),
    [
        ([click(*UPPER)], {"points": pixel(*UPPER)}),
        (
            [click(*UPPER), click(*LOWER), click(45, 6, on=False)],
            {"points": [pixel(*UPPER), pixel(*LOWER), pixel(45, 6)], "labels": [1, 1, 0]},
        ),
        ([box(30, 22, 25, 25)], {"box": (*pixel(30, 22), *pixel(55, 47))}),
        ([box(30, 22, 25, 25), click(*UPPER)], {"box": (*pixel(30, 22), *pixel(55, 47)), "points": pixel(*UPPER)}),
        ([box(55, 22, 37.594, 16.625, rotation=90)], {"box": (*pixel(30, 22), *pixel(55, 47))}),
        ([click(100, 100)], {"points": (132.5, 199.5)}),
    ],
)
def test_the_object_under_clicks_and_in_a_box_is_a_mask_of_their_label(client, regions, expected):
    config = BRUSH.replace("sofa, table", "cat")  # no words for the whole image, which clicks don't need
    (found,) = predicted(client, data_uri(png(DOGS)), context={"result": regions}, config=config)
    (mask,) = found["result"]
    value = mask["value"]
    np.testing.assert_array_equal(unpacked(value["rle"], 200, 133) == 255, segvoc.click(DOGS, **expected))
    assert (value["format"], value["brushlabels"], mask["type"]) == ("rle", ["cat"], "brushlabels")
    assert (mask["from_name"], mask["to_name"], mask["original_width"]) == ("masks", "img", 133)
    assert (found["model_version"], found["score"]) == (VERSION, None)


def test_each_of_several_boxes_has_an_object_and_none_has_none(client):
    boxes = [box(30, 22, 25, 25), box(44, 40, 24, 28)]
    (found,) = predicted(client, data_uri(png(DOGS)), context={"result": boxes})
    masks = [unpacked(one["value"]["rle"], 200, 133) == 255 for one in found["result"]]
    assert len(masks) == 2 and not (masks[0] & masks[1]).any()
    (found,) = predicted(client, data_uri(png(DOGS)), context={"result": []})
    assert found["result"] == []


TWO_IMAGES = (
    '<View><Image name="a" value="$note"/><Image name="b" value="$photo"/>'
    '<BrushLabels name="masks" toName="a,b"><Label value="cat"/></BrushLabels>'
    '<PolygonLabels name="outlines" toName="a,b"><Label value="puppy" alias="dog"/></PolygonLabels></View>'
)


def test_image_and_label_choose_the_tool_that_is_answered(client):
    drawn = {"result": [click(*UPPER, label="dog", image="b")]}
    (found,) = predicted(client, data_uri(png(DOGS)), context=drawn, config=TWO_IMAGES)
    (outline,) = found["result"]
    assert (outline["from_name"], outline["to_name"], outline["type"]) == ("outlines", "b", "polygonlabels")
    assert outline["value"]["polygonlabels"] == ["dog"]
    canvas = Image.new("1", (133, 200))
    ImageDraw.Draw(canvas).polygon([pixel(*point) for point in outline["value"]["points"]], fill=1)
    filled, expected = np.asarray(canvas), segvoc.click(DOGS, pixel(*UPPER))
    assert (filled & expected).sum() > 0.85 * (filled | expected).sum()


@pytest.mark.parametrize(
    ("regions", "said"),
    [
        ([click(*UPPER, on=False)], "neither a box nor a point on the object"),
        ([click(100.5, 30)], "the click at 100.5%, 30% is not in the image"),
        ([box(30, 22, 0, 25)], "no rectangle in the image"),
        ([box(30, 22, 25, 25), box(44, 40, 24, 28), click(*UPPER)], "clicks beside 2 boxes"),
        ([click(*UPPER, label="hat")], "the image 'img' has no BrushLabels or PolygonLabels with the label 'hat'"),
        ([click(*UPPER, image="other")], "the image 'other' has no"),
        ([click(*UPPER), click(*UPPER, label="W")], "have 2 labels or images"),
        ([click(*UPPER)] * 101, "at most 100"),
        ([region("brushlabels", "cat", "img", {"format": "rle", "rle": [0] * 99})], 'add smart="false" to its tag'),
    ],
)
def test_what_has_no_object_is_refused_and_logged(client, caplog, regions, said):
    status, code, message = refused(client, data_uri(png(DOGS)), context={"result": regions})
    assert (status, code) == (422, "invalid_request") and said in message
    assert [record.fields["problem"] for record in caplog.records if record.msg == "no prediction"] == [message]
    for images in ((), [data_uri(png(DOGS))] * 2):
        assert "send clicks with the task" in refused(client, *images, context={"result": [click(*UPPER)]})[2]


def test_images_are_those_of_the_label_studio_that_was_named(connected, studio):
    studio.answers["/data/local-files/?d=a%20b.png"] = Answer(body=png(drawn_image(1)))
    studio.answers["/tasks/3/resolve/?fileuri=czM6Ly9iL2EucG5n"] = Answer(body=png(drawn_image(2)))
    studio.answers["/data/local-files?d=c.png"] = Answer(301, headers={"Location": "/data/local-files/?d=a%20b.png"})
    uploaded, local = "/data/upload/7/a.png", "/data/local-files/?d=a b.png"
    shared = f"{studio.url}{uploaded}"
    sources = (uploaded, local, "s3://b/a.png", shared, "upload/7/a.png", "/data/local-files?d=c.png")
    found = predicted(connected, *sources)
    for prediction, seed in zip(found, (0, 1, 2, 0, 0, 1), strict=True):
        expected = NumpySegmenter().segment(drawn_image(seed), WORDS).labels
        np.testing.assert_array_equal(label_map(prediction, (48, 64)), LABEL_OF_WORD[expected])
    assert {authorization for _, _, authorization in studio.asked} == {f"Token {TOKEN}"}


@pytest.mark.parametrize(
    "source",
    [
        "/etc/passwd",
        "file:///etc/passwd",
        "http://169.254.169.254/latest/meta-data",
        "/api/users",
        "/data/%2e%2e/api/users",
        "data/a.png",
        "/data/\r\nX-Evil: 1",
    ],
)
def test_nothing_else_is_fetched(connected, client, studio, source):
    before = len(studio.asked)
    for service in (connected, client):
        status, code, message = refused(service, source)
        assert (status, code) == (422, "invalid_image")
        assert "fetche" in message or "404" in message
    # what is left of a line break is an address of Label Studio's own
    assert {path for _, path, _ in studio.asked[before:]} <= {"/data/X-Evil%3A%201"}


@pytest.mark.parametrize(
    ("answer", "status", "said"),
    [
        (Answer(403), 422, "answered 403"),
        (Answer(302, headers={"Location": "https://bucket.example/a.png"}), 422, "isn't fetched"),
        (Answer(302, headers={"Location": "/data/upload/7/b.png"}), 422, "redirects"),
        (Answer(body=bytes(60_000)), 413, "more than 50000 bytes"),
        (Answer(body=b"<html>"), 422, "in a known format"),
    ],
)
def test_what_label_studio_answers_has_limits(connected, studio, answer, status, said):
    studio.answers["/data/upload/7/b.png"] = answer
    found, code, message = refused(connected, "/data/upload/7/b.png")
    assert found == status
    assert said in message and message.startswith("task 1: ")
    assert TOKEN not in message
    good, bad = predicted(connected, "/data/upload/7/a.png", "/data/upload/7/b.png")
    assert good["result"]
    assert bad["error"] == {"code": code, "message": message.replace("task 1", "task 2")}


def test_personal_access_tokens_are_exchanged_once(studio):
    studio.asked.clear()
    studio.answers["/api/token/refresh/"] = Answer(body=json.dumps({"access": "short-lived"}).encode())
    with in_process(label_studio=studio.url, label_studio_token="head.body.signature") as client:
        predicted(client, "/data/upload/7/a.png", "/data/upload/7/a.png")
    asked = [(method, path) for method, path, _ in studio.asked]
    assert asked == [("POST", "/api/token/refresh/"), *[("GET", "/data/upload/7/a.png")] * 2]
    for bad in (Answer(401), Answer(body=b"[]"), Answer(body=b"<html>")):
        studio.answers["/api/token/refresh/"] = bad
        with in_process(label_studio=studio.url, label_studio_token="head.body.signature") as client:
            assert "token" in refused(client, "/data/upload/7/a.png")[2]


@pytest.mark.parametrize(
    ("image", "status"),
    [
        (data_uri(b"GIF89a"), 422),
        ("data:;base64,!!!!", 422),
        (None, 422),
        ({"path": "/etc/passwd"}, 422),
        (data_uri(png(np.zeros((1001, 1000, 3), np.uint8))), 413),
    ],
)
def test_odd_images_are_refused(client, image, status):
    assert refused(client, image)[0] == status


ENTITIES = "".join(f'<!ENTITY a{number} "&a{number - 1};&a{number - 1};">' for number in range(1, 60))
BOMB = f'<!DOCTYPE v [<!ENTITY a0 "ha">{ENTITIES}]><View>&a59;</View>'


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (BOMB, "document type"),
        ('<!DOCTYPE v [<!ENTITY x SYSTEM "file:///etc/passwd">]><View>&x;</View>', "document type"),
        ("<View>" * 101, "nested more than 100"),
        ("<View>", "valid XML"),
        ("<View/>", "no BrushLabels"),
        (BRUSH.replace('toName="img"', 'toName="other"'), "no BrushLabels"),
        (with_options(BRUSH, 'model_score_threshold="2"'), "not a probability"),
        (BRUSH.replace("sofa, table", "cat, table"), "'cat' is given twice"),
        (BRUSH.replace("sofa, table", "x" * 501), "501 characters"),
        (BRUSH.replace("sofa, table", ",".join(map(str, range(501)))), "words"),
    ],
)
def test_odd_configurations_are_refused(client, config, said):
    status, code, message = refused(client, data_uri(png()), config=config)
    assert (status, code) == (422, "invalid_request") and said in message
    unsafe = any(word in said for word in ("document type", "valid XML", "nested"))
    assert (client.post("/setup", json={"schema": config}).status_code == 422) == unsafe


@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/predict"), ("POST", "/setup"), ("POST", "/webhook"), ("GET", "/health")]
)
def test_the_key_may_be_the_password(method, path):
    body = {"/predict": predict_body(), "/setup": {"schema": BRUSH}}.get(path)
    with in_process(api_key=KEY, backends=("label-studio",)) as client:
        ask = partial(client.request, method, path, json=body)
        wrong = [ask(headers={"Authorization": text}) for text in ("", "Basic bad", "Bearer wrong")]
        for answer in (*wrong, ask(auth=("anyone", "wrong"))):
            assert (answer.status_code, failure(answer)) == (401, "unauthorized")
        assert ask(auth=("anyone", KEY)).status_code == 200
        assert ask(headers={"Authorization": f"Bearer {KEY}"}).status_code == 200
        assert client.get("/v1/models", auth=("anyone", KEY)).status_code == 401


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"label_studio": "labels.example"}, "not the address"),
        ({"label_studio": "http://labels.example/studio"}, "not the address"),
        ({"label_studio": None}, "without its address"),
        ({"label_studio_token": "two\nlines"}, "one line"),
    ],
)
def test_wrong_settings_are_refused(changes, said):
    with pytest.raises(UsageError, match=said):
        AnnotateSettings(**{"label_studio": "http://labels.example", "label_studio_token": TOKEN, **changes})


def predict_request(data: bytes = b"", annotations: bytes = b"") -> bytes:
    text = b'{"tasks": [{"id": 1, "data": {%s}, "annotations": [%s]}], "label_config": "<View/>"}' % (data, annotations)
    return http_post("/predict", "application/json", text)


def test_no_request_holds_the_event_loop():
    """Brush masks are lists of many numbers, which are not read; other data that takes long to parse is refused."""
    heart = Heart()
    routes = AnnotateRoutes(AnnotateSettings(page=NO_PAGE, backends=("label-studio",)))
    mask, keys = b"[" + b"1," * 3_900_000 + b"1]", b",".join(b'"%x": 1' % number for number in range(500_000))
    image = b'"image": "data:image/png;base64,' + base64.b64encode(bytes(19_000_000)) + b'"'
    attributes = f"<View {' '.join(map('a{}=0'.format, range(200_000)))}/>"
    with listening(extensions=(heart.beating, routes)) as port:
        for request, status in (
            (predict_request(annotations=b'{"rle": ' + mask + b"}"), 422),
            (predict_request(b'"image": ' + mask), 422),
            (predict_request(b'"image": [' + b"[]," * 140_000 + b"1]"), 422),
            (predict_request(keys), 413),
            (predict_request(image), 422),
            (predict_request(annotations=b'{"rle": ' + b"[" * 24_000_000), 413),
            (predict_request(annotations=b"[" + b"%s," % mask[:70].replace(b"1,1", b"111") * 200_000), 413),
            (
                http_post(
                    "/predict", "application/json", b'{"tasks": [' + b"{}," * 140_000 + b'1], "label_config": ""}'
                ),
                422,
            ),
            (
                http_post(
                    "/predict", "application/json", json.dumps({"tasks": [], "label_config": attributes}).encode()
                ),
                422,
            ),
        ):
            check_beats(port, heart, request, status)
