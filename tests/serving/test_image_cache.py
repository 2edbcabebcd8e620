"""The cache of encoded images: what comes again isn't encoded again, in bounded memory, and labels stay the same."""

import asyncio
import copy
import io
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from segvoc.imaging.label_maps import labels_of
from segvoc.serving.app import create_app
from segvoc.serving.labeler import Labeler
from segvoc.serving.settings import ServiceSettings
from tests.inference.numpy_engine import NumpySegmenter
from tests.serving.services import GatedSegmenter, drawn_image, in_process, named, png
from tests.serving.test_labeler import run, work
from tests.serving.test_segment import segment

CALLS: tuple[Mapping[str, Any], ...] = (
    {},
    {"words": ["dog", "wall", "sky", "road", "tree"]},
    {"threshold": 0.6},
    {"background": "other"},
    {"keep_classes": 2},
    {"parts": {"cat": ["head"], "*": ["edge"]}},
)


def counts(client: TestClient) -> dict[str, int]:
    lines = re.findall(r"^segvoc_image_cache_(\w+) ([\d.e+]+)$", client.get("/metrics").text, re.MULTILINE)
    return {name.removesuffix("_total"): int(float(value)) for name, value in lines if not name.endswith("_created")}


def labels(client: TestClient, **fields: Any) -> np.ndarray:
    answer = segment(client, "image/png", **fields)
    assert answer.status_code == 200, answer.text
    return labels_of(Image.open(io.BytesIO(answer.content)), "")


@pytest.fixture
def model() -> GatedSegmenter:
    return GatedSegmenter()


def test_an_image_is_encoded_once_for_all_words_and_options(model, monkeypatch):
    with in_process(NumpySegmenter(), image_cache=0) as client:
        expected = [labels(client, **fields) for fields in CALLS]
        assert counts(client) == {"hits": 0, "misses": 0, "entries": 0, "bytes": 0}
    with in_process(model) as client:
        model.sizes.clear()
        first = labels(client, **CALLS[0])
        monkeypatch.setattr("segvoc.serving.labeler.decode_image", None)  # isn't called
        found = [first, *(labels(client, **fields) for fields in CALLS[1:])]
        assert model.sizes == [1] and counts(client)["entries"] == 1
        assert (counts(client)["hits"], counts(client)["misses"]) == (len(CALLS) - 1, 1)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_large_images_displace_cached_ones_while_they_are_labeled(model):
    small, large = png(drawn_image(0, (160, 160))), png(drawn_image(1, (500, 500)))
    with in_process(model, max_pixels=250_000) as client:
        labels(client, image=small)
        assert counts(client)["entries"] == 1
        labels(client, image=large)  # takes all of the pixels
        assert counts(client)["entries"] == 0
        labels(client, image=small)
        assert counts(client) == {"hits": 0, "misses": 3, "entries": 1, "bytes": counts(client)["bytes"]}


def test_other_views_and_other_values_are_encoded_anew(model):
    with in_process(model) as client:
        for fields in ({}, {"window": "official"}, {"stretch": "0,4095"}, {"image": png(drawn_image(1))}):
            labels(client, **fields)
        assert counts(client)["misses"] == counts(client)["entries"] == 4


def test_the_least_recently_used_is_evicted(model):
    images = [png(drawn_image(seed, (320, 400))) for seed in range(3)]
    with in_process(model, image_cache=1) as client:
        for number in (0, 1, 0, 2, 0, 1):  # the second is evicted by the third
            labels(client, image=images[number])
            assert counts(client)["bytes"] <= 1_000_000
        assert counts(client)["entries"] == 2 and (counts(client)["hits"], counts(client)["misses"]) == (2, 4)
        before = counts(client)
        labels(client, image=png(drawn_image(3, (800, 800))))  # larger than the limit
        assert counts(client) == before | {"misses": 5}


def test_a_reload_empties_it_and_other_words_of_the_model_do_not():
    models = [GatedSegmenter(), GatedSegmenter()]
    second = models[1]
    app = create_app([lambda: models.pop(0)], ServiceSettings())
    with TestClient(app, base_url="http://127.0.0.1") as client:
        assert client.portal is not None
        labels(client)
        client.portal.call(app.state.service.labeler.adapt_model, copy.copy)
        labels(client)
        assert counts(client)["hits"] == 1
        client.portal.call(app.state.service.reload)
        assert counts(client)["entries"] == counts(client)["bytes"] == 0
        second.sizes.clear()
        labels(client)
        assert second.sizes == [1] and counts(client)["entries"] == 1


def test_models_share_its_memory():
    image = png(drawn_image(0, (320, 400)))
    with in_process(*map(named, "abc"), image_cache=1) as client:
        for name in "abc":
            labels(client, image=image, model=name)
        assert (counts(client)["misses"], counts(client)["entries"]) == (3, 2)
        labels(client, image=image, model="c")
        assert counts(client)["hits"] == 1


def test_equal_images_that_arrive_together_are_encoded_once(model):
    async def scenario(labeler: Labeler) -> None:
        model.sizes.clear()
        model.gate.clear()
        words = ("cat, wall", "dog, sky", "road, tree")
        calls = [asyncio.create_task(labeler.label(*work(words=line))) for line in words]
        await asyncio.sleep(0.2)
        model.gate.set()
        results = await asyncio.gather(*calls)
        assert model.sizes == [1]
        for line, result in zip(words, results, strict=True):
            expected = NumpySegmenter().segment(drawn_image(), line)
            np.testing.assert_array_equal(result.labels, expected.labels)

    metrics = run(scenario, model)
    read = metrics.registry.get_sample_value
    assert (read("segvoc_image_cache_hits_total"), read("segvoc_image_cache_misses_total")) == (2, 1)


def test_a_model_that_is_replaced_while_an_image_is_read_encodes_it_again(model):
    async def scenario(labeler: Labeler) -> None:
        first = await labeler.label(*work())
        model.gate.clear()
        busy = asyncio.create_task(labeler.label(*work(1)))
        await asyncio.sleep(0.1)
        replaced = asyncio.create_task(labeler.replace_model(NumpySegmenter))
        await asyncio.sleep(0.1)  # waits for the batch
        found = asyncio.create_task(labeler.label(*work()))
        await asyncio.sleep(0.1)  # has found the image, encoded by the first model
        model.gate.set()
        await asyncio.gather(busy, replaced)
        np.testing.assert_array_equal((await found).labels, first.labels)

    run(scenario, model)


def test_images_in_tiles_are_not_cached(model):
    image = png(drawn_image(size=(300, 200)))
    with in_process(model, max_pixels=200 * 300 - 1) as client:
        for _ in range(2):
            labels(client, image=image)
        assert counts(client) == {"hits": 0, "misses": 0, "entries": 0, "bytes": 0}
