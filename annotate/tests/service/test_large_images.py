"""Images of many megapixels: tiles, labels at the size at which they were made, and rows that change."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from annotate.tests.service.test_project import work_of
from annotate.tests.services import in_process
from segvoc_annotate.projects import pyramid
from segvoc_annotate.projects.png_bands import BandedPng
from segvoc_annotate.projects.project import Project
from segvoc_annotate.projects.work_files import LOOSE
from tests.serving.services import png

WIDTH, HEIGHT = 2600, 2000


def sent(labels: np.ndarray, corrections: np.ndarray, **more: object) -> bytes:
    """A work file; more are its state's facts, or arrays."""
    facts = {name: value for name, value in more.items() if not isinstance(value, np.ndarray)}
    planes = {f"{name}.png": value for name, value in more.items() if isinstance(value, np.ndarray)}
    state = json.dumps({"answers": "[]", "source": "person", **facts})
    draft = dict.fromkeys(("draft.png", "confidence.png"))
    return work_of(labels, **{"state.json": state, **draft, "corrections.png": corrections, **planes})


def put(client: TestClient, content: bytes, revision: int, query: str):
    headers = {"If-Match": f'"{revision}"', "Content-Type": "application/zip"}
    return client.put(f"/v1/project/work/large.png?done=false{query}", content=content, headers=headers)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project of one large image."""
    folder = tmp_path_factory.mktemp("large") / "street"
    drawn = np.random.default_rng(3).integers(0, 256, (HEIGHT // 100, WIDTH // 100, 3), dtype=np.uint8)
    with Project.create(folder, words=["cat", "sofa", "wall"]) as project:
        buffer = io.BytesIO()
        Image.fromarray(drawn).resize((WIDTH, HEIGHT)).save(buffer, "PNG", compress_level=1)
        project.add("large.png", buffer.getvalue())
    return folder


def test_rows_that_changed_are_put_into_the_stored_maps_and_counted(large: Path):
    random = np.random.default_rng(5)
    labels = np.zeros((HEIGHT, WIDTH), np.uint16)
    corrections = np.zeros((HEIGHT, WIDTH), np.uint16)
    # the draft is smaller, in the image's shape
    draft = np.zeros((HEIGHT // 4, WIDTH // 4), np.uint16)
    confidence = np.full(draft.shape, 200, np.uint8)
    with in_process(project=large) as client:
        first = put(client, sent(labels, corrections, draft=draft, confidence=confidence), 0, "")
        assert first.status_code == 200, first.text
        assert first.json()["uncertainty"] == round(1 - 200 / 255, 4)
        for revision, (top, bottom) in enumerate(((0, 3), (800, 1500), (HEIGHT - 1, HEIGHT)), 1):
            rows = slice(top, bottom)
            labels[rows] = random.choice([0, 1, 2, 65535], (bottom - top, WIDTH))
            corrections[rows] = np.where(labels[rows] == 65535, 1, labels[rows] + 2) + LOOSE * (revision == 2)
            query = f"&draft=kept&rows={top}-{bottom}"
            answer = put(client, sent(labels[rows], corrections[rows], uncertainty=0.25), revision, query)
            assert answer.status_code == 200, answer.text
            state = answer.json()
            counts = {str(word): int((labels == word).sum()) for word in (0, 1, 2) if (labels == word).any()}
            assert (state["pixels"], state["unlabeled"]) == (counts, int((labels == 65535).sum()))
            assert (state["corrected"], state["uncertainty"]) == (int((corrections > 0).sum()), 0.25)
            assert (state["width"], state["height"], state["revision"]) == (WIDTH, HEIGHT, revision + 1)
        for rows, said in (("5-3", "are no rows"), (f"0-{HEIGHT + 1}", "are no rows"), ("x", "rows: String should")):
            refused = put(client, sent(labels[:1], corrections[:1]), 4, f"&rows={rows}")
            assert refused.status_code == 422 and said in refused.json()["error"]["message"]
        assert put(client, sent(labels[:2], corrections[:2]), 4, "&rows=0-1").status_code == 422  # another size
        assert put(client, sent(labels[:1], corrections[:1]), 3, "&rows=0-1").status_code == 412
    with Project(large) as project:
        state, work = project.work("large.png")
        assert work.corrections is not None
        assert (work.labels == labels).all() and (work.corrections == corrections).all()
        assert work.draft is not None and work.draft.shape == draft.shape
        with Image.open(project.files(project.image("large.png")).labels) as shown:
            assert shown.mode == "P" and (np.array(shown) == np.minimum(labels, 255)).all()
        assert project.recover() == []
        sure = work.confidence_map()
        assert sure.shape == labels.shape and (sure[900] == 1).all() and sure[100, 100] == np.float32(200 / 255)


@pytest.mark.parametrize("bits", [8, 16])
def test_a_map_in_bands_is_an_ordinary_png(bits: int):
    random = np.random.default_rng(bits)
    values = random.integers(0, 2**bits, (1500, 1400)).astype(f"uint{bits}")
    first = BandedPng.of(values, bytes(768) if bits == 8 else None)
    assert len(first.bands) == 3
    known = BandedPng.read(first.encoded())
    assert known == first
    for top, bottom in ((0, 1), (700, 1499), (1499, 1500)):
        values[top:bottom] = random.integers(0, 2**bits, (bottom - top, 1400))
        first = first.with_rows(top, values[top:bottom])
        with Image.open(io.BytesIO(first.encoded())) as image:
            assert (np.array(image) == values).all()
        assert (first.rows(top // 2, bottom) == values[top // 2 : bottom]).all()
    assert BandedPng.read(png(values)) is None


def test_what_is_labeled_has_at_most_so_many_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pyramid, "TILED_PIXELS", 50_000)
    with Project.create(tmp_path / "street", words=["cat"]) as project:
        project.add("photo.png", png(np.zeros((300, 400, 3), np.uint8)))
    with in_process(project=tmp_path / "street") as client:
        answer = client.get("/v1/project/tiles/photo.png")
    assert Image.open(io.BytesIO(answer.content)).size == (200, 150)


def test_a_large_image_comes_as_tiles_at_several_sizes(large: Path):
    with in_process(project=large) as client:
        address = "/v1/project/tiles/large.png"

        def tile(query: str) -> np.ndarray:
            answer = client.get(address + query)
            assert answer.status_code == 200, answer.text
            return np.array(Image.open(io.BytesIO(answer.content))).astype(int)

        with Image.open(large / "images/large.png") as image:
            pixels = np.array(image).astype(int)
            small = np.array(image.reduce(8)).astype(int)
        assert tile("?level=0&row=3&column=5").shape == (HEIGHT - 3 * 512, WIDTH - 5 * 512, 3)
        assert abs(tile("?level=0&row=1&column=2") - pixels[512:1024, 1024:1536]).mean() < 4
        assert abs(tile("?level=3&row=0&column=0") - small).mean() < 4
        # what is labeled is the image at the largest size of at most 16 megapixels
        assert tile("").shape == (HEIGHT, WIDTH, 3)
        for query in ("?level=9&row=0&column=0", "?level=0&row=../x&column=0"):
            assert client.get(address + query).status_code == 422
        assert client.get("/v1/project/tiles/no.png").status_code == 404
        # a replaced image has other tiles
        Image.fromarray(255 - pixels.astype(np.uint8)).save(large / "images/large.png", compress_level=1)
        assert abs(tile("?level=0&row=1&column=2") - (255 - pixels[512:1024, 1024:1536])).mean() < 4
