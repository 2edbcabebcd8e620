"""Clients that call at once get what they would get alone."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from segvoc.exported.shipped import open_tiny
from segvoc.inference.segmenter import Segmenter
from segvoc.models.opening import load
from tests.serving.services import labeled, listening, png
from tests.test_package import SAMPLES

WORDS = ["cat", "person", "cup", "sky", "wall"]


@pytest.fixture(params=["onnxruntime", pytest.param("torch", marks=pytest.mark.slow)])
def tiny(request) -> Segmenter:
    return open_tiny() if request.param == "onnxruntime" else load("tiny", device="cpu", dtype="float32")


@pytest.mark.parametrize("keep", ["all", pytest.param(None, marks=pytest.mark.slow)])
def test_four_clients_get_the_labels_of_one(tiny, keep):
    images = [png(np.asarray(Image.open(path).resize((160, 120)))) for path in sorted(SAMPLES.glob("*.jpg"))[:3]]
    with listening(tiny, batch=4, batch_wait=1.0) as port, ThreadPoolExecutor(4) as threads:
        options = {"probabilities": "true", **({} if keep is None else {"keep_classes": keep})}

        def label(image: bytes):
            return labeled(f"http://127.0.0.1:{port}", image, WORDS, **options)

        alone = [label(image) for image in images]
        together = list(threads.map(label, images))
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one["labels.png"], other["labels.png"])
        np.testing.assert_allclose(one["probabilities.npy"], other["probabilities.npy"], atol=1e-6, rtol=0)
