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
from segvoc.serving.vocabularies import DefinitionFiles
from tests.inference.numpy_engine import NumpySegmenter
from tests.serving.services import drawn_image, failure, in_process, png

WORDS = ["cat", "sofa, couch", "wall"]
PARTS = {"cat": ["head", "tail"], "*": ["edge"]}


@pytest.fixture(scope="module")
def client():
    with in_process() as client:
        yield client


def labeled(**options: Any) -> Any:
    return NumpySegmenter().segment(drawn_image(), options.pop("words", WORDS), **options)


def as_json(client: Any, accept: str = "application/json", **body: Any) -> Any:
    body = {"image": base64.b64encode(png()).decode(), "words": WORDS, **body}
    return client.post("/v1/segment", json=body, headers={"Accept": accept})


def as_form(client: Any, accept: str = "application/json", image: bytes | None = None, **fields: str) -> Any:
    files = {"image": ("photo.png", png() if image is None else image)}
    return client.post("/v1/segment", files=files, data=fields, headers={"Accept": accept})


def decoded(entry: dict[str, Any]) -> np.ndarray:
    return mask.decode(entry["rle"]).astype(bool)


def test_json_has_the_report_and_a_mask_for_each_class(client):
    expected = labeled()
    answer = as_json(client)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    report = answer.json()
    for entry in report["classes"]:
        np.testing.assert_array_equal(decoded(entry), expected.labels == entry["id"])
        del entry["rle"]
    assert report["hints"] == []
    del report["hints"], report["seconds"]
    told = expected.report()
    del told["seconds"]
    assert report == json.loads(json.dumps(told))


def test_a_form_gives_the_same_and_the_file_name(client):
    by_json, by_form = as_json(client).json(), as_form(client, words=json.dumps(WORDS)).json()
    assert by_form.pop("image") == "photo.png"
    assert by_json.pop("image") is None
    for report in (by_json, by_form):
        report.pop("seconds")
    assert by_form == by_json


def test_commas_separate_words_as_on_the_command_line(client):
    for answer in (as_json(client, words=" cat, sofa ,wall"), as_form(client, words=" cat, sofa ,wall")):
        assert [entry["name"] for entry in answer.json()["classes"]] == ["cat", "sofa", "wall"]


def test_png_is_the_label_map(client):
    answer = as_json(client, "image/png")
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["vary"] == "Accept"
    image = Image.open(io.BytesIO(answer.content))
    assert image.mode == "P"
    np.testing.assert_array_equal(labels_of(image, ""), labeled().labels)


def test_zip_has_all_files(client):
    expected = labeled(parts=PARTS, return_probabilities=True)
    answer = as_json(client, "application/zip", parts=PARTS, probabilities=True)
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


def test_parts_have_masks(client):
    expected = labeled(words=["cat"], parts={"cat": ["head"], "*": ["edge"]})
    for answer in (
        as_json(client, words="cat", parts="cat: head; *: edge"),
        as_form(client, words="cat", parts='{"cat": ["head"], "*": ["edge"]}'),
    ):
        for entry in answer.json()["parts"]:
            np.testing.assert_array_equal(decoded(entry), expected.part_labels == entry["id"])


@pytest.mark.parametrize(
    "options",
    [
        {"background": "other"},
        {"background": "other", "threshold": 0.7},
        {"threshold": 0.9},
        {"window": "official"},
        {"window": "official", "keep_classes": "all"},
        {"keep_classes": 2},
    ],
)
def test_options_are_those_of_the_library(client, options):
    expected = labeled(**options).report()
    report = as_json(client, **options).json()
    fields = {name: str(value) for name, value in options.items()}
    by_form = as_form(client, words=json.dumps(WORDS), **fields).json()
    for found in (report, by_form):
        assert found["unlabeled"] == expected["unlabeled"]
        assert [entry["pixels"] for entry in found["classes"]] == [entry["pixels"] for entry in expected["classes"]]


def test_vocabularies_are_encoded_once_and_named():
    model = NumpySegmenter()
    with in_process(model) as client:
        made = client.post("/v1/vocabularies", json={"words": WORDS, "background": "other"})
        assert made.status_code == 201
        assert made.json()["words"] == [*WORDS, "other"]
        name = made.json()["vocabulary"]
        again = client.post("/v1/vocabularies", json={"words": WORDS, "background": "other"})
        assert again.json()["vocabulary"] == name
        encoded = len(model.encode_words.calls)
        for _ in range(2):
            found = as_json(client, words=None, vocabulary=name).json()
        assert len(model.encode_words.calls) == encoded
        expected = as_json(client, background="other").json()
        assert [entry["rle"] for entry in found["classes"]] == [entry["rle"] for entry in expected["classes"]]


@pytest.mark.parametrize("in_files", [False, True])
def test_the_oldest_vocabularies_are_forgotten(tmp_path, in_files):
    definitions = DefinitionFiles(tmp_path / "kept") if in_files else None
    with in_process(vocabularies=2, definitions=definitions) as client:
        names = [
            client.post("/v1/vocabularies", json={"words": word}).json()["vocabulary"] for word in ("a", "b", "a", "c")
        ]
        assert names[0] == names[2]
        codes = [as_json(client, words=None, vocabulary=name).status_code for name in (names[0], names[1], names[3])]
        assert codes == [200, 404, 200]
        if definitions is not None:
            outside = tmp_path / f"v{'0' * 32}"
            outside.write_bytes(b"not to be read")
            assert definitions.get(f"../{outside.name}") is None
            assert sorted(definitions) == sorted(path.name for path in (tmp_path / "kept").iterdir())
            (tmp_path / "kept" / names[3]).unlink()
            (tmp_path / "kept" / names[3]).mkdir()
            refused = as_json(client, words=None, vocabulary=names[3])
            assert (refused.status_code, refused.headers["retry-after"], failure(refused)) == (503, "1", "busy")


@pytest.mark.parametrize(
    ("body", "status", "code", "said"),
    [
        ({"words": None}, 422, "invalid_request", "words"),
        ({"words": []}, 422, "invalid_request", "there are no words"),
        ({"words": ["cat", "cat"]}, 422, "invalid_request", "'cat' is given twice"),
        ({"words": "cat,,wall"}, 422, "invalid_request", "empty"),
        ({"words": ["x" * 501]}, 422, "invalid_request", "501 characters"),
        ({"words": [f"word {i}" for i in range(501)]}, 422, "invalid_request", "501"),
        ({"words": ["cat"], "parts": {"*": [f"part {i}" for i in range(501)]}}, 422, "invalid_request", "502"),
        (
            {"words": [f"word {i}" for i in range(60)], "parts": {"*": [f"part {i}" for i in range(10)]}},
            *(422, "invalid_request", "660"),
        ),
        ({"parts": "head"}, 422, "invalid_request", "colon"),
        ({"background": "cat", "words": "cat"}, 422, "invalid_request", "only word"),
        ({"window": "large"}, 422, "invalid_request", "window"),
        ({"threshold": 2}, 422, "invalid_request", "threshold"),
        ({"threshold": "0.5"}, 422, "invalid_request", "threshold"),
        ({"keep_classes": 0}, 422, "invalid_request", "keep_classes"),
        ({"path": "/etc/passwd"}, 422, "invalid_request", "path"),
        ({"image": "/etc/passwd="}, 422, "invalid_image", "the image"),
        ({"image": "not base64!"}, 422, "invalid_request", "base64"),
        ({"image": ""}, 422, "invalid_image", "empty"),
        ({"image": base64.b64encode(b"GIF89a" + b"\0" * 20).decode()}, 422, "invalid_image", "damaged"),
        ({"vocabulary": "v" + "0" * 32}, 422, "invalid_request", "brings its own words"),
        ({"vocabulary": "v" + "0" * 32, "words": None}, 404, "not_found", "no vocabulary"),
        ({"vocabulary": "../../etc/passwd", "words": None}, 422, "invalid_request", "vocabulary"),
    ],
)
def test_what_is_wrong_with_a_request_is_said(client, body, status, code, said):
    answer = as_json(client, **body)
    assert (answer.status_code, failure(answer)) == (status, code)
    assert said in answer.json()["error"]["message"]


@pytest.mark.parametrize("window", ["tcl"])
def test_a_window_that_the_model_lacks_is_refused(window):
    model = NumpySegmenter()
    model.protocols = {name: value for name, value in model.protocols.items() if name != window}
    with in_process(model) as client:
        answer = as_json(client, window=window)
        assert (answer.status_code, failure(answer)) == (422, "invalid_request")
        assert "unknown to numpy" in answer.json()["error"]["message"]
        assert as_json(client).status_code == 200


def test_damaged_images_are_refused_and_the_others_of_their_batch_are_not():
    image = png()
    with in_process(NumpySegmenter(batch=4)) as client:
        answer = as_form(client, image=image[: len(image) // 2], words="cat, wall")
        assert (answer.status_code, failure(answer)) == (422, "invalid_image")
        assert as_form(client, words="cat, wall").status_code == 200


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({}, 422),
        ({"words": "cat", "window": "large"}, 422),
        ({"words": "cat", "keep_classes": "some"}, 422),
        ({"words": '["cat"'}, 400),
        ({"words": '["cat", 3]'}, 422),
        ({"words": "cat", "parts": '{"cat": "head"}'}, 422),
        ({"words": "[" * 100_000}, 400),
        ({"words": "cat", "threshold": ""}, 422),
    ],
)
def test_wrong_fields_of_forms_are_refused(client, fields, status):
    answer = as_form(client, **fields)
    assert answer.status_code == status
    failure(answer)


def test_a_form_needs_one_image_as_a_file(client):
    files = {"words": (None, "cat")}
    no_image = client.post("/v1/segment", files=files)
    text = client.post("/v1/segment", files={**files, "image": (None, "abc")})
    two = client.post("/v1/segment", files=[("image", ("a.png", png())), ("image", ("b.png", png()))])
    word_file = client.post("/v1/segment", files={"words": ("words.txt", b"cat")})
    assert [answer.status_code for answer in (no_image, text, two, word_file)] == [422, 422, 400, 422]
    twice = client.post(
        "/v1/segment", files=[("image", ("a.png", png())), ("words", (None, "cat")), ("words", (None, "dog"))]
    )
    assert "given twice" in twice.json()["error"]["message"]


def test_limits_on_bytes_and_pixels():
    with in_process(max_bytes=1000, max_pixels=64 * 48) as client:
        assert as_form(client, words="cat").status_code == 200
        large = as_form(client, image=png() + b"\0" * 1000, words="cat")
        assert (large.status_code, failure(large)) == (413, "too_large")
        bomb = io.BytesIO()
        Image.new("1", (64, 49)).save(bomb, "PNG")
        many = as_form(client, image=bomb.getvalue(), words="cat")
        assert (many.status_code, failure(many)) == (413, "too_large")
        assert "at most 0.003072 megapixels" in many.json()["error"]["message"]
        flood = client.post("/v1/segment", content=b"x" * 1_003_000, headers={"Content-Type": "application/json"})
        assert (flood.status_code, failure(flood)) == (413, "too_large")
        assert as_json(client, probabilities=True).status_code == 200  # they are for zips alone
        probabilities = as_json(client, "application/zip", probabilities=True)
        assert (probabilities.status_code, failure(probabilities)) == (413, "too_large")


def test_uploads_stay_in_memory(client, monkeypatch):
    def rollover(_: object) -> None:
        raise AssertionError("an upload went to the disk")

    monkeypatch.setattr("tempfile.SpooledTemporaryFile.rollover", rollover)
    image = png(drawn_image(size=(1600, 1600)))
    answer = as_form(client, image=image + b"\0" * 3_000_000, words="cat, wall")
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b"{", "application/json", 400),
        (b"\xff\xfe", "application/json", 400),
        (b"[" * 500_000, "application/json", 413),
        (b"[" * 20_000, "application/json", 400),
        (b"[]", "application/json", 422),
        (b"null", "application/json", 422),
        (b'{"words": "a", "threshold": 1e999, "image": ""}', "application/json", 422),
        (b'{"words": "\\ud800", "image": ""}', "application/json", 400),
        (b"cat", "text/plain", 415),
        (b"image=1", "application/x-www-form-urlencoded", 415),
        (b"", "multipart/form-data", 400),
        (b"--x\r\n", "multipart/form-data; boundary=x", 422),
        (b"nonsense", "multipart/form-data; boundary=x", 400),
        (b"--x\r\nContent-Disposition: form-data\r\n\r\na\r\n--x--", "multipart/form-data; boundary=x", 400),
    ],
)
def test_broken_bodies_are_refused(client, content, kind, status):
    answer = client.post("/v1/segment", content=content, headers={"Content-Type": kind})
    assert answer.status_code == status, answer.text
    failure(answer)


def test_compressed_bodies_are_refused(client):
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    assert client.post("/v1/segment", content=b"{}", headers=headers).status_code == 415


def test_types_that_there_are_not_are_not_acceptable(client):
    answer = as_json(client, "text/html")
    assert (answer.status_code, failure(answer)) == (406, "not_acceptable")
