"""Words taught to tiny's network work in its programs, which run without PyTorch, and give the same labels."""

import numpy as np
import pytest

import segvoc
from segvoc.exported.shipped import open_tiny
from tests.teaching.drawn_examples import drawn_examples
from tests.teaching.test_networks import with_share


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_network_and_programs_agree(share):
    network, programs = segvoc.load("tiny", device="cpu", dtype="float32"), open_tiny()
    found, image = network.teach(drawn_examples(2), keep_worse=True), drawn_examples(3).images[2]
    taught = with_share(found, share, channels=384)
    one, other = (
        model.with_taught(taught).segment(image, ["grass", "sky", "brick", "cat"]) for model in (network, programs)
    )
    assert (one.labels == other.labels).mean() > 0.999
    assert np.abs(one.confidence - other.confidence).max() < 0.01
