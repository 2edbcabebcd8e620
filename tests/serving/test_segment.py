"""POST /v1/segment as its callers see it: what it takes, what it gives, and what it refuses."""

import base64
import io
import json
import zipfile
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask

from segvoc.imaging.label_maps import labels_of
from segvoc.runtime.version import __version__
from segvoc.serving.answers import JSON, PNG, ZIP, negotiated
from tests.inference.numpy_engine import NumpySegmenter
from tests.serving.services import drawn_image, failure, in_process, png

WORDS = ["cat", "sofa, couch", "wall"]
BASE64 = base64.b64encode(png()).decode()
PARTS = {"cat": ["head", "tail"], "*": ["edge"]}


@pytest.fixture(scope="module")
def client():
    with in_process() as client:
        yield client


FORM = "multipart/form-data; boundary=x"


def expected_result(**options: Any) -> Any:
    return NumpySegmenter().segment(drawn_image(), options.pop("words", WORDS), **options)


def segment(client: Any, accept: str = "application/json", image: bytes | None = None, **fields: Any) -> Any:
    """Lists and objects go as JSON; a word list is sent unless words are given, and None leaves a field out."""
    fields = {"words": WORDS, **fields}
    sent = {
        name: json.dumps(value) if isinstance(value, list | dict) else str(value)
        for name, value in fields.items()
        if value is not None
    }
    files = {"image": ("photo.png", png() if image is None else image)}
    return client.post("/v1/segment", files=files, data=sent, headers={"Accept": accept})


def decoded(entry: dict[str, Any]) -> np.ndarray:
    return mask.decode(entry["rle"]).astype(bool)


def in_json(client: Any, **fields: Any) -> Any:
    return client.post("/v1/segment", json={"image": BASE64, "words": WORDS} | fields)


def test_an_image_in_json_has_the_labels_of_a_form(client):
    expected = segment(client, words="cat, sofa=couch, wall", threshold=0.1).json()
    for prefix, words in (("", "cat, sofa=couch, wall"), ("data:image/png;base64,", WORDS)):
        found = in_json(client, image=prefix + BASE64, words=words, threshold=0.1).json()
        assert found == expected | {"image": found["image"], "seconds": found["seconds"]}


def test_parts_and_other_answers_come_for_json_too(client):
    sent = {"image": BASE64, "words": ["cat"], "parts": {"cat": ["head", "tail"]}}
    labels = client.post("/v1/segment", json=sent, headers={"Accept": "image/png"})
    assert labels.content.startswith(b"\x89PNG")
    assert [part["name"] for part in in_json(client, **sent).json()["parts"]] == ["cat's head", "cat's tail"]


def test_json_has_the_report_and_a_mask_for_each_class_and_part(client):
    expected = expected_result(words=["cat"], parts={"cat": ["head"], "*": ["edge"]})
    for entry in segment(client, words="cat", parts="cat: head; *: edge").json()["parts"]:
        np.testing.assert_array_equal(decoded(entry), expected.part_labels == entry["id"])
    expected = expected_result()
    answer = segment(client)
    assert answer.status_code == 200 and answer.headers["content-type"] == "application/json"
    report = answer.json()
    for entry in report["classes"]:
        np.testing.assert_array_equal(decoded(entry), expected.labels == entry["id"])
        del entry["rle"]
    own = {"hints": [], "image": "photo.png", "weights": None, "version": __version__, "seconds": report["seconds"]}
    assert report == json.loads(json.dumps(expected.report())) | own


def test_objects_are_listed_with_their_masks(client):
    expected = expected_result(objects=True)
    report = segment(client, objects=True).json()
    assert [(entry["name"], tuple(entry["box"]), entry["pixels"]) for entry in report["objects"]] == [
        (one.word, one.box, one.area) for one in expected.objects
    ]
    things = [entry for entry in report["objects"] if entry["name"] != "wall"]
    np.testing.assert_array_equal(sum(decoded(entry) for entry in things), expected.object_map > 0)
    assert sum(entry["objects"] for entry in report["classes"]) == len(things)
    with zipfile.ZipFile(io.BytesIO(segment(client, ZIP, objects=True).content)) as archive:
        stored = np.array(Image.open(io.BytesIO(archive.read("objects.png"))))
    np.testing.assert_array_equal(stored, expected.object_map)
    refused = segment(client, objects="halves")
    assert refused.status_code == 422 and "objects" in refused.json()["error"]["message"]


def test_png_is_the_label_map_and_types_that_there_are_not_are_not_acceptable(client):
    for accept in ("text/html", "image/jpeg", ",", "image/png;q=0", "*/*;q=0", "image/*; q=0.000, text/html"):
        answer = segment(client, accept)
        assert (answer.status_code, failure(answer)) == (406, "not_acceptable")
    answer = segment(client, "text/html, image/png;q=0.5")
    assert answer.headers["content-type"] == "image/png" and answer.headers["vary"] == "Accept"
    image = Image.open(io.BytesIO(answer.content))
    assert image.mode == "P"
    np.testing.assert_array_equal(labels_of(image, ""), expected_result().labels)


def test_zip_has_all_files(client):
    expected = expected_result(parts=PARTS, return_probabilities=True)
    answer = segment(client, "application/zip", parts=PARTS, probabilities=True)
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    images = {name: Image.open(io.BytesIO(file)) for name, file in files.items() if name.endswith(".png")}
    assert set(images) == {"labels.png", "confidence.png", "overlay.png", "parts.png"}
    np.testing.assert_array_equal(labels_of(images["labels.png"], ""), expected.labels)
    np.testing.assert_array_equal(labels_of(images["parts.png"], ""), expected.part_labels)
    np.testing.assert_allclose(np.asarray(images["confidence.png"]) / 255, expected.confidence, atol=0.5 / 255 + 1e-6)
    np.testing.assert_array_equal(np.asarray(images["overlay.png"]), np.asarray(expected.overlay()))
    np.testing.assert_array_equal(np.load(io.BytesIO(files["probabilities.npy"])), expected.probabilities)
    report = json.loads(files["result.json"])
    assert [entry["pixels"] for entry in report["parts"]] == [entry["pixels"] for entry in expected.report()["parts"]]


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (None, JSON),
        ("*/*", JSON),
        ("image/png, application/json", PNG),
        ("image/png;q=0, */*", JSON),
        ("application/json;q=0.2, application/zip; q=0.9, image/*;q=0.5", ZIP),
        ("*/*, application/json;q=0", PNG),
        ("application/*;q=0.1, image/png;q=0.05", JSON),
        ("IMAGE/PNG;charset=utf-8", PNG),
    ],
)
def test_the_type_of_the_highest_weight_is_chosen(accept, expected):
    assert negotiated(accept) == expected


@pytest.mark.filterwarnings("ignore:a 16-bit image")
def test_a_dark_image_may_be_stretched(client):
    gray = drawn_image()[..., 0].astype(np.uint16) * 16
    buffer = io.BytesIO()
    Image.fromarray(gray).save(buffer, "PNG")
    labels = {}
    for stretch in (None, "0,4080"):
        answer = segment(client, "image/png", buffer.getvalue(), stretch=stretch)
        assert answer.status_code == 200, answer.text
        labels[stretch] = labels_of(Image.open(io.BytesIO(answer.content)), "")
    expected = NumpySegmenter().segment(np.repeat(drawn_image()[..., :1], 3, -1), WORDS).labels
    np.testing.assert_array_equal(labels["0,4080"], expected)
    assert (labels[None] != expected).any()
    refused = segment(client, stretch="4,3")
    assert refused.status_code == 422 and "is not a stretch" in refused.json()["error"]["message"]


def test_words_are_encoded_once():
    model = NumpySegmenter()
    body = {"words": WORDS, "parts": {"*": ["edge"], "cat": []}, "background": "other"}
    with in_process(model) as client:
        first = segment(client, **body).json()
        encoded = len(model.encode_words.calls)
        assert segment(client, **body, image=png(drawn_image(1))).json()["classes"] != first["classes"]
        assert len(model.encode_words.calls) == encoded


@pytest.mark.parametrize(
    ("fields", "status", "code", "said"),
    [
        ({"words": None}, 422, "invalid_request", "words"),
        ({"words": ["cat", "cat"]}, 422, "invalid_request", "'cat' is given twice"),
        ({"words": ["x" * 501]}, 422, "invalid_request", "501 characters"),
        (
            {"words": [f"word {i}" for i in range(60)], "parts": {"*": [f"part {i}" for i in range(10)]}},
            *(422, "invalid_request", "660"),
        ),
        ({"parts": "head"}, 422, "invalid_request", "colon"),
        ({"window": "large"}, 422, "invalid_request", "window"),
        ({"threshold": ""}, 422, "invalid_request", "threshold"),
        ({"keep_classes": 0}, 422, "invalid_request", "keep_classes"),
        ({"model": ""}, 422, "invalid_request", "'model' is empty or given twice"),
        ({"image": b"/etc/passwd="}, 422, "invalid_image", "is not an image"),
        ({"image": png()[:60]}, 422, "invalid_image", "damaged"),
        ({"words": "[" * 9_000}, 400, "bad_request", "JSON"),
        ({"words": "[" * 100_000}, 413, "too_large", "too many values"),
    ],
)
def test_what_is_wrong_with_a_request_is_said(client, fields, status, code, said):
    answer = segment(client, **fields)
    assert (answer.status_code, failure(answer)) == (status, code) and said in answer.json()["error"]["message"]


def test_a_form_needs_one_image_as_a_file(client):
    files = {"words": (None, "cat")}
    no_image = client.post("/v1/segment", files=files)
    text = client.post("/v1/segment", files={**files, "image": (None, "a.png")})
    two = client.post("/v1/segment", files=[("image", ("a.png", png())), ("image", ("b.png", png()))])
    word_file = client.post("/v1/segment", files={"words": ("words.txt", b"cat")})
    assert [answer.status_code for answer in (no_image, text, two, word_file)] == [422, 422, 400, 422]
    assert no_image.json()["error"]["message"] == "image is missing; send it"
    assert text.json()["error"]["message"] == "image is a text; send the file: curl -F image=@photo.jpg"
    twice = client.post(
        "/v1/segment", files=[("image", ("a.png", png())), ("words", (None, "cat")), ("words", (None, "dog"))]
    )
    assert "given twice" in twice.json()["error"]["message"]


def test_limits_on_bytes_and_pixels():
    with in_process(max_bytes=1000, max_pixels=64 * 48, tiled_pixels=64 * 48) as client:
        assert segment(client).status_code == 200
        large = segment(client, image=png() + b"\0" * 1000)
        assert (large.status_code, failure(large)) == (413, "too_large")
        bomb = io.BytesIO()
        Image.new("1", (64, 49)).save(bomb, "PNG")
        many = segment(client, image=bomb.getvalue())
        assert (many.status_code, failure(many)) == (413, "too_large")
        assert "at most 0.003072 megapixels" in many.json()["error"]["message"]
        flood = client.post("/v1/segment", content=b"x" * 1_003_000, headers={"Content-Type": "application/json"})
        assert (flood.status_code, failure(flood)) == (413, "too_large")
        refused = segment(client, probabilities=True)
        assert (refused.status_code, failure(refused)) == (422, "invalid_request")
        assert "Accept: application/zip" in refused.json()["error"]["message"]
        probabilities = segment(client, "application/zip", probabilities=True)
        assert (probabilities.status_code, failure(probabilities)) == (413, "too_large")


def test_a_large_image_is_labeled_in_tiles_and_the_rest_as_a_whole():
    image = png(drawn_image(size=(300, 200)))
    with in_process(max_pixels=200 * 300 - 1) as client:
        found, packed = (segment(client, accept, image) for accept in ("image/png", "application/zip"))
        told = segment(client, image=image).json()
        assert segment(client, image=image[: len(image) // 2]).json()["error"]["code"] == "invalid_image"
        for fields in ({"parts": PARTS}, {"accept": "application/zip", "probabilities": True}):
            refused = segment(client, image=image, **fields)
            assert (refused.status_code, failure(refused)) == (413, "too_large")
    tiled = NumpySegmenter().segment(drawn_image(size=(300, 200)), WORDS, tile=2048)
    np.testing.assert_array_equal(labels_of(Image.open(io.BytesIO(found.content)), ""), tiled.labels)
    report = tiled.report()
    for name in ("width", "height", "unlabeled", "not_found", "quality"):
        assert told[name] == report[name]
    assert [entry["pixels"] for entry in told["classes"]] == [entry["pixels"] for entry in report["classes"]]
    np.testing.assert_array_equal(decoded(told["classes"][0]), tiled.labels == 0)
    with zipfile.ZipFile(io.BytesIO(packed.content)) as archive:
        assert set(archive.namelist()) == {"labels.png", "overlay.png", "result.json"}
        assert Image.open(archive.open("overlay.png")).size >= (200, 300)


def test_uploads_stay_in_memory(client, monkeypatch):
    def rollover(_: object) -> None:
        raise AssertionError("an upload went to the disk")

    monkeypatch.setattr("tempfile.SpooledTemporaryFile.rollover", rollover)
    assert segment(client, image=png() + b"\0" * 3_000_000, words="cat, wall").status_code == 200


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b"{", "application/json", 400),
        (b"[" * 400_000, "application/json", 413),
        (b"[" * 9_000, "application/json", 400),
        (b"[]", "application/json", 422),
        (b'{"words": "\\ud800"}', "application/json", 400),
        (b"cat", "text/plain", 415),
        (b"", "multipart/form-data", 400),
        (b"--x\r\n", "multipart/form-data; boundary=x", 422),
        (b'--x\r\nContent-Disposition: form-data; name="words"\r\n\r\n\xe9\r\n--x--', FORM, 400),
        (b"--x--", f"{FORM}; charset=latin-1", 415),
        (b"--x--", f'{FORM}; charset="UTF-8"', 422),
        (b"nonsense", "multipart/form-data; boundary=x", 400),
        (b"--x\r\nContent-Disposition: form-data\r\n\r\na\r\n--x--", "multipart/form-data; boundary=x", 400),
    ],
)
def test_broken_bodies_are_refused(client, content, kind, status):
    answer = client.post("/v1/segment", content=content, headers={"Content-Type": kind})
    assert answer.status_code == status, answer.text
    failure(answer)


@pytest.mark.parametrize("kind", ["application/json", FORM])
def test_packed_bodies_are_refused(client, kind):
    headers = {"Content-Type": kind, "Content-Encoding": "gzip"}
    assert client.post("/v1/segment", content=b"", headers=headers).status_code == 415


def test_names_by_id_are_no_words(client):
    for words in ('{"0":"cat","1":"wall"}', ' {"cat": 0}'):
        for answer in (segment(client, words=words), in_json(client, words=words)):
            assert answer.status_code == 422 and "are in brackets; separate words with commas" in answer.text
    assert in_json(client, words={"0": "cat"}).status_code == 422


def test_fields_and_addresses_of_other_services_are_answered_with_ours(client):
    for name, ours in (("prompt", "words"), ("text", "words"), ("conf", "threshold")):
        answer = segment(client, words="cat", **{name: "0.5"})
        assert answer.status_code == 422 and f"unknown field '{name}' (did you mean {ours}?)" in answer.text
    assert "POST /v1/segment labels an image" in client.post("/predict").text
    assert "labeled by POST" in client.get("/v1/segment").text


def test_hints_are_in_the_answer_and_name_the_forms_fields():
    with in_process() as client:
        words = ["cat; dog", "background"]
        first, second = (segment(client, words=words).json()["hints"] for _ in range(2))
        assert first == second and len(first) == 2
        assert first[0].startswith('"cat; dog" is taken as a single word')
        assert first[1].endswith("for unmatched pixels: background=background")
        assert segment(client, words=words, background="other").json()["hints"] == first[:1]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"image": "AAAA!AAA"}, "the image is not in base64 (there is '!' at 4)"),
        ({"words": []}, "words has no entry; give one or more"),
        ({"words": ["sky", 5]}, "words[1] isn't a text; write words as text"),
        ({"words": 5}, "words isn't a text; write words as text"),
        ({"words": ["cup\nsaucer"]}, "the word 'cup\\nsaucer' has a line break in it; give words one by one"),
        ({"threshold": "0.5"}, "threshold"),
        ({"color": 1}, "color"),
        ({"image": "AAAA"}, "the file is not an image in a known format"),
    ],
)
def test_a_wrong_value_of_a_field_is_named_without_the_types_of_our_schema(client, body, said):
    answer = in_json(client, **body)
    assert answer.status_code == 422 and said in answer.json()["error"]["message"]


def test_fields_that_json_lacks_are_named(client):
    for name in ("image", "words"):
        sent = {"image": BASE64, "words": "cat"}
        del sent[name]
        answer = client.post("/v1/segment", json=sent)
        assert answer.status_code == 422 and name in answer.json()["error"]["message"]


def test_lines_of_a_form_are_words(client):
    assert [entry["name"] for entry in segment(client, words="cat\r\nwall\r\n").json()["classes"]] == ["cat", "wall"]
